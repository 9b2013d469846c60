//! Affine map over the last axis.

use super::{Loader, WeightError};
use crate::engine::{Engine, Result};

/// `x Wᵀ + b`: `[.., I] -> [.., O]`.
#[derive(Clone, Debug)]
pub struct Linear<E: Engine> {
    pub(super) weight: E::Tensor,
    pub(super) bias: E::Tensor,
}

impl<E: Engine> Linear<E> {
    /// From `prefix.weight` `[outputs, inputs]` and `prefix.bias` `[outputs]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: loader.take(&format!("{prefix}.weight"), &[outputs, inputs])?,
            bias: loader.take(&format!("{prefix}.bias"), &[outputs])?,
        })
    }

    /// x: `[.., I]` -> `[.., O]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        engine.linear(x, &self.weight, Some(&self.bias))
    }
}
