//! What can be wrong with a pickle or with what surrounds it.

use std::path::Path;

use crate::checkpoint::CheckpointError;

/// Something that makes a file of PyTorch's unreadable.
#[derive(Debug)]
pub(in crate::checkpoint::source) enum Fault {
    /// The bytes contradict each other.
    Damaged(String),
    /// The pickle goes on after its last byte.
    CutOff,
    /// More of something than any checkpoint needs.
    Excessive(&'static str),
    /// A name of Python's that weights do not need.
    Global {
        /// Module and name.
        name: String,
        /// What to do.
        hint: &'static str,
    },
    /// The file cannot be read any more.
    Unreadable(CheckpointError),
    /// Something legitimate that is not read.
    Unsupported {
        /// What it is.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
}

impl Fault {
    pub(in crate::checkpoint::source) fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Self::Damaged(reason) => CheckpointError::Damaged { path, reason },
            Self::CutOff => CheckpointError::Damaged {
                path,
                reason: "its pickle is cut off".to_owned(),
            },
            Self::Excessive(what) => CheckpointError::Excessive { path, what },
            Self::Global { name, hint } => CheckpointError::Global { path, name, hint },
            Self::Unreadable(error) => error,
            Self::Unsupported { reason, hint } => {
                CheckpointError::Unsupported { path, reason, hint }
            }
        }
    }
}

impl From<CheckpointError> for Fault {
    fn from(error: CheckpointError) -> Self {
        Self::Unreadable(error)
    }
}

pub(super) fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(format!("its pickle {}", reason.into())))
}
