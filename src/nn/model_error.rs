//! What can go wrong between weights and a model's next weights.

use super::WeightError;
use crate::engine::EngineError;

/// A model cannot be built, run or trained.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A weight is missing or does not fit.
    #[error("the model cannot be built: {0}")]
    Weight(#[from] WeightError),
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(#[from] EngineError),
    /// The loss does not depend on a parameter that is to be trained.
    #[error("no gradient reaches {name}")]
    NoGradient {
        /// Canonical name of the parameter.
        name: String,
    },
}

impl ModelError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Weight(_) => "the weights belong to another architecture",
            Self::Engine(error) if error.message.contains("memory") => {
                "a smaller batch or architecture needs less memory"
            }
            Self::Engine(_) => return None,
            Self::NoGradient { .. } => "the model or the engine loses it: please report this",
        };
        Some(hint.to_owned())
    }
}
