//! Transposed convolutions that make four pixels of one.

use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, WeightError};

/// PyTorch's `ConvTranspose2d(I, O, kernel_size=2, stride=2)`, channels last: a linear layer to the
/// four pixels that each becomes.
#[derive(Clone, Debug)]
pub(super) struct Upscale<E: Engine> {
    /// `[I, O, 2, 2]`
    weight: E::Tensor,
    /// `[O]`
    bias: E::Tensor,
    inputs: usize,
    outputs: usize,
}

impl<E: Engine> Upscale<E> {
    /// From `prefix.weight` `[I, O, 2, 2]` and `prefix.bias` `[O]`.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        (inputs, outputs): (usize, usize),
    ) -> std::result::Result<Self, WeightError> {
        let shape = [inputs, outputs, 2, 2];
        Ok(Self {
            weight: loader.take(&format!("{prefix}.weight"), &shape)?,
            bias: loader.take(&format!("{prefix}.bias"), &[outputs])?,
            inputs,
            outputs,
        })
    }

    /// x: `[B, H, W, I]` -> `[B, 2 H, 2 W, O]`
    pub(super) fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let shape = engine.shape(x);
        let &[batch, height, width, _] = shape.as_slice() else {
            return Err(EngineError {
                op: "upscale",
                message: format!("images must be [B, H, W, C], got {shape:?}"),
            });
        };
        let weight = engine.permute(&self.weight, &[2, 3, 1, 0])?;
        let weight = engine.reshape(&weight, &[4 * outputs, inputs])?;
        let bias = engine.reshape(&self.bias, &[1, outputs])?;
        let bias = engine.reshape(&engine.expand(&bias, &[4, outputs])?, &[4 * outputs])?;
        let pixels = engine.linear(x, &weight, Some(&bias))?;
        let pixels = engine.reshape(&pixels, &[batch, height, width, 2, 2, outputs])?;
        let pixels = engine.permute(&pixels, &[0, 1, 3, 2, 4, 5])?;
        engine.reshape(&pixels, &[batch, 2 * height, 2 * width, outputs])
    }
}
