//! The two-layer perceptron of a transformer block.

use super::{Linear, Loader, WeightError};
use crate::engine::{Activation, Engine, Result};

/// `fc2(act(fc1(x)))`.
#[derive(Clone, Debug)]
pub struct Mlp<E: Engine> {
    fc1: Linear<E>,
    fc2: Linear<E>,
    activation: Activation,
}

impl<E: Engine> Mlp<E> {
    /// From `prefix.fc1` and `prefix.fc2`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        (width, hidden): (usize, usize),
        activation: Activation,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            fc1: Linear::load(loader, &format!("{prefix}.fc1"), width, hidden)?,
            fc2: Linear::load(loader, &format!("{prefix}.fc2"), hidden, width)?,
            activation,
        })
    }

    /// x: `[.., D]` -> `[.., D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        engine.mlp(
            x,
            (&self.fc1.weight, &self.fc1.bias),
            self.activation,
            (&self.fc2.weight, &self.fc2.bias),
        )
    }
}
