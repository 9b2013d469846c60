//! Tensors of an engine on their way to a state and back, bit for bit.

use super::TrainError;
use crate::engine::{Engine, HostSlice, Precision};
use crate::store::{Elements, NamedTensor, Tensors};

/// A tensor for a state, in the engine's own element type.
pub(super) fn stored<E: Engine>(
    engine: &E,
    name: String,
    tensor: &E::Tensor,
) -> Result<NamedTensor<'static>, TrainError> {
    Ok(NamedTensor {
        name,
        shape: engine.shape(tensor),
        elements: match engine.precision() {
            Precision::F64 => Elements::F64(engine.to_f64(tensor)?.into()),
            Precision::F32 | Precision::Bf16 => Elements::F32(engine.to_f32(tensor)?.into()),
        },
    })
}

/// The elements of `name`, which must have this shape.
pub(super) fn elements<'a>(
    tensors: &'a Tensors,
    name: &str,
    shape: &[usize],
) -> Result<HostSlice<'a>, TrainError> {
    let unfit = |reason: String| TrainError::Unfit {
        name: name.to_owned(),
        reason,
    };
    let tensor = tensors
        .get(name)
        .ok_or_else(|| unfit("is missing".to_owned()))?;
    if tensor.shape != shape {
        return Err(unfit(format!(
            "has shape {:?}, not {shape:?}",
            tensor.shape
        )));
    }
    numbers(tensor).ok_or_else(|| unfit("holds integers".to_owned()))
}

/// The elements of a tensor of floats.
pub(super) fn numbers<'a>(tensor: &'a NamedTensor<'_>) -> Option<HostSlice<'a>> {
    match &tensor.elements {
        Elements::F32(elements) => Some(HostSlice::F32(elements)),
        Elements::F64(elements) => Some(HostSlice::F64(elements)),
        Elements::U32(_) | Elements::I64(_) | Elements::U8(_) => None,
    }
}
