//! What can be wrong with a pickle or with what surrounds it.

use std::path::Path;

use crate::checkpoint::CheckpointError;

/// Something that makes a file of PyTorch's unreadable.
#[derive(Debug)]
pub(in crate::checkpoint::source) enum Fault {
    /// The bytes contradict each other.
    Damaged(String),
    /// More of something than any checkpoint needs.
    Excessive(&'static str),
    /// A name of Python's that weights do not need.
    Global {
        /// Module and name.
        name: String,
        /// What to do.
        hint: &'static str,
    },
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
            Self::Excessive(what) => CheckpointError::Excessive { path, what },
            Self::Global { name, hint } => CheckpointError::Global { path, name, hint },
            Self::Unsupported { reason, hint } => {
                CheckpointError::Unsupported { path, reason, hint }
            }
        }
    }
}

pub(super) fn damaged<T>(reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Damaged(format!("its pickle {}", reason.into())))
}
