//! Affine map over the last axis.

use super::{WeightError, Weights};
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
        engine: &E,
        weights: &mut Weights,
        prefix: &str,
        inputs: usize,
        outputs: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            weight: weights.take(engine, &format!("{prefix}.weight"), &[outputs, inputs])?,
            bias: weights.take(engine, &format!("{prefix}.bias"), &[outputs])?,
        })
    }

    /// x: `[.., I]` -> `[.., O]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        engine.linear(x, &self.weight, Some(&self.bias))
    }
}
