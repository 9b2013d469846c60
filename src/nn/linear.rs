//! Affine map over the last axis.

use super::{Loader, WeightError};
use crate::engine::{Engine, Result};

/// `x Wᵀ + b`: `[.., I] -> [.., O]`.
#[derive(Clone, Debug)]
pub struct Linear<E: Engine> {
    weight: E::Tensor,
    bias: Option<E::Tensor>,
}

impl<E: Engine> Linear<E> {
    /// From `prefix.weight` `[outputs, inputs]` and `prefix.bias` `[outputs]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightError> {
        let mut linear = Self::without_bias(loader, prefix, inputs, outputs)?;
        linear.bias = Some(loader.take(&format!("{prefix}.bias"), &[outputs])?);
        Ok(linear)
    }

    /// From `prefix.weight` `[outputs, inputs]` alone.
    pub fn without_bias(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: loader.take(&format!("{prefix}.weight"), &[outputs, inputs])?,
            bias: None,
        })
    }

    /// From a convolution `[outputs, C, p, p]` whose stride is its kernel: a linear map of each
    /// patch, `[.., C p p] -> [.., O]`.
    pub fn from_kernel(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        (channels, patch): (usize, usize),
        outputs: usize,
        bias: bool,
    ) -> std::result::Result<Self, WeightError> {
        let stored = [outputs, channels, patch, patch];
        let matrix = [outputs, channels * patch * patch];
        Ok(Self {
            weight: loader.take_as(&format!("{prefix}.weight"), &stored, &matrix)?,
            bias: bias
                .then(|| loader.take(&format!("{prefix}.bias"), &[outputs]))
                .transpose()?,
        })
    }

    /// x: `[.., I]` -> `[.., O]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        engine.linear(x, &self.weight, self.bias.as_ref())
    }
}
