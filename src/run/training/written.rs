//! What was trained, on its way into a file.

use std::path::Path;

use super::super::pair::Pair;
use crate::checkpoint::{CanonicalModel, ConvertError, Pretrained, TimmModel};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::nn::Weights;
use crate::store::{Elements, NamedTensor};
use crate::train::TrainError;

/// Names of parameters in a state.
const PARAMETER: &str = "parameter.";

/// Puts what was trained in the place of what it began as.
pub(in crate::run) fn take_parameters(
    weights: &mut Weights,
    state: Vec<NamedTensor<'static>>,
) -> Result<(), Error> {
    for tensor in state {
        let Some(name) = tensor.name.strip_prefix(PARAMETER) else {
            continue;
        };
        let shape = weights.find(name).map(|before| before.shape.clone());
        let (Ok(shape), Elements::F32(data)) = (shape, &tensor.elements) else {
            return Err(TrainError::Unfit {
                name: name.to_owned(),
                reason: "is no parameter of the network in f32".to_owned(),
            }
            .into());
        };
        let data = data.to_vec();
        weights.insert(name.to_owned(), HostTensor { shape, data });
    }
    Ok(())
}

/// Writes an encoder and its card, under timm's names where timm has such a model; otherwise why it has
/// not.
pub(in crate::run) fn write_encoder(
    output: &Path,
    encoder: Pretrained<'_>,
) -> Result<Option<String>, Error> {
    let for_timm = || -> Result<(), ConvertError> {
        let model = TimmModel::pretrained(encoder.clone())?;
        Pair::locked(output)?.write(
            output,
            &|path| model.write(path),
            &|path| model.card(path),
            &|again| model.difference(again),
        )
    };
    let reason = match for_timm() {
        Ok(()) => return Ok(None),
        Err(error) => unwritten(error)?,
    };
    let model = CanonicalModel::pretrained(encoder);
    Pair::locked(output)?.write(
        output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    )?;
    Ok(Some(reason))
}

/// Why a model has no file, where the reason lies in the model.
pub(in crate::run) fn unwritten(error: ConvertError) -> Result<String, ConvertError> {
    match error {
        ConvertError::Inexpressible { reason, .. } => {
            Ok(format!("timm has no such model, {reason}"))
        }
        ConvertError::NotTheSame { reason, .. } => {
            Ok(format!("it would not be read back as it is, {reason}"))
        }
        other => Err(other),
    }
}
