//! What can be wrong with a sweep.

use std::path::PathBuf;

use super::PretrainSweep;

/// A sweep that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The file cannot be read, and its name is no built-in sweep's.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says what cannot be.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// The command line and the sweep set the same.
    #[error("--set {given} meets {own} of the sweep {sweep}")]
    Clash {
        /// As given on the command line.
        given: String,
        /// Of the sweep.
        own: String,
        /// The sweep's name.
        sweep: String,
    },
    /// Two points come to the same recipe.
    #[error("{} and {} of the sweep {sweep} are one recipe", points[0], points[1])]
    Same {
        /// The sweep's name.
        sweep: String,
        /// The points' names.
        points: [String; 2],
    },
}

impl SweepError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                let names = PretrainSweep::ALL.map(PretrainSweep::name).join(", ");
                Some(format!(
                    "a sweep is a TOML file such as protocols/pretrain/sweeps/medic-12.toml, or one of {names}"
                ))
            }
            Self::Parse { .. } => Some(
                "protocols/pretrain/sweeps/medic-12.toml shows the keys of a sweep".to_owned(),
            ),
            Self::Clash { .. } => {
                Some("leave one of the two out: a copy of the sweep's file can say less".to_owned())
            }
            Self::Same { .. } => Some("leave one of them out".to_owned()),
        }
    }
}
