//! By which statistics a pass normalises.

use crate::engine::{Engine, Result};
use crate::nn::BatchNorm;

/// By which statistics a pass normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The running ones, as in evaluation.
    Running,
    /// The batch's own, as in training.
    Batch {
        /// Whether the running ones take them in.
        keep: bool,
    },
}

impl Statistics {
    /// x: `[.., C]` -> `[.., C]`
    pub(super) fn normalise<E: Engine>(
        self,
        engine: &E,
        norm: &BatchNorm<E>,
        x: &E::Tensor,
    ) -> Result<E::Tensor> {
        match self {
            Self::Running => norm.forward(engine, x),
            Self::Batch { keep } => norm.forward_training(engine, x, keep),
        }
    }
}
