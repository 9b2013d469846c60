//! The perceptrons of transformer blocks.

use super::{LayerNorm, Linear, Loader, WeightError};
use crate::engine::{Activation, Engine, Result};

/// `fc2(act(fc1(x)))`.
#[derive(Clone, Debug)]
pub struct Mlp<E: Engine> {
    fc1: [E::Tensor; 2],
    fc2: [E::Tensor; 2],
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
        let mut layer = |name, inputs, outputs| {
            let weight = loader.take(&format!("{prefix}.{name}.weight"), &[outputs, inputs])?;
            let bias = loader.take(&format!("{prefix}.{name}.bias"), &[outputs])?;
            Ok([weight, bias])
        };
        Ok(Self {
            fc1: layer("fc1", width, hidden)?,
            fc2: layer("fc2", hidden, width)?,
            activation,
        })
    }

    /// x: `[.., D]` -> `[.., D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let ([w1, b1], [w2, b2]) = (&self.fc1, &self.fc2);
        engine.mlp(x, (w1, b1), self.activation, (w2, b2))
    }
}

/// `fc2(norm?(act(fc1_g(x)) * fc1_x(x)))` (timm, `timm/layers/mlp.py`, `SwiGLU`).
#[derive(Clone, Debug)]
pub struct GatedMlp<E: Engine> {
    gate: Linear<E>,
    value: Linear<E>,
    norm: Option<LayerNorm<E>>,
    fc2: Linear<E>,
    activation: Activation,
}

impl<E: Engine> GatedMlp<E> {
    /// From `prefix.fc1_g`, `prefix.fc1_x` and `prefix.fc2`, and `prefix.norm` where an epsilon is
    /// given.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        (width, hidden): (usize, usize),
        activation: Activation,
        norm_eps: Option<f64>,
    ) -> std::result::Result<Self, WeightError> {
        let name = |part: &str| format!("{prefix}.{part}");
        Ok(Self {
            gate: Linear::load(loader, &name("fc1_g"), width, hidden)?,
            value: Linear::load(loader, &name("fc1_x"), width, hidden)?,
            norm: norm_eps
                .map(|eps| LayerNorm::load(loader, &name("norm"), hidden, eps))
                .transpose()?,
            fc2: Linear::load(loader, &name("fc2"), hidden, width)?,
            activation,
        })
    }

    /// x: `[.., D]` -> `[.., D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let gate = engine.activation(&self.gate.forward(engine, x)?, self.activation)?;
        let mut hidden = engine.mul(&gate, &self.value.forward(engine, x)?)?;
        if let Some(norm) = &self.norm {
            hidden = norm.forward(engine, &hidden)?;
        }
        self.fc2.forward(engine, &hidden)
    }
}
