//! Layer normalisation.

use super::{Loader, WeightError};
use crate::engine::{Engine, Result};

/// Normalisation over the last axis with a learned scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm<E: Engine> {
    weight: E::Tensor,
    bias: E::Tensor,
    eps: f64,
}

impl<E: Engine> LayerNorm<E> {
    /// From `prefix.weight` and `prefix.bias`, both `[width]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        width: usize,
        eps: f64,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: loader.take(&format!("{prefix}.weight"), &[width])?,
            bias: loader.take(&format!("{prefix}.bias"), &[width])?,
            eps,
        })
    }

    /// x: `[.., D]` -> `[.., D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        engine.layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}
