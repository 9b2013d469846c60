//! What can go wrong between parameters and their next values.

use crate::engine::EngineError;

/// An optimizer cannot be made, restored, or step.
#[derive(Debug, thiserror::Error)]
pub enum OptimizerError {
    /// A parameter that nothing would train.
    #[error("the parameter {name} is in no group")]
    NoGroup {
        /// Canonical name.
        name: String,
    },
    /// A parameter that would take two steps at once.
    #[error("the parameter {name} is in two groups, or twice in one")]
    TwoGroups {
        /// Canonical name.
        name: String,
    },
    /// A group with a parameter that is not there.
    #[error("the group {group:?} names parameter {member} of {parameters}")]
    NoSuchMember {
        /// The group's name.
        group: String,
        /// The place it names.
        member: usize,
        /// How many there are.
        parameters: usize,
    },
    /// Parameters that a state could not tell apart.
    #[error("two parameters are called {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// A step with more or fewer tensors than the optimizer has.
    #[error("{found} {what} for an optimizer of {expected}")]
    Count {
        /// Which tensors.
        what: &'static str,
        /// How many came.
        found: usize,
        /// How many it was made with.
        expected: usize,
    },
    /// A state that belongs to something else.
    #[error("the saved state has no {name}")]
    Missing {
        /// The slot.
        name: String,
    },
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(#[from] EngineError),
}

impl OptimizerError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoGroup { .. }
            | Self::TwoGroups { .. }
            | Self::NoSuchMember { .. }
            | Self::SameName { .. }
            | Self::Count { .. } => "the model and its groups do not fit: please report this",
            Self::Missing { .. } => "the state belongs to another optimizer or model",
            Self::Engine(error) if error.message.contains("memory") => {
                "a smaller batch or architecture needs less memory"
            }
            Self::Engine(_) => return None,
        };
        Some(hint.to_owned())
    }
}
