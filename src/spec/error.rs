//! What can be wrong with a protocol.

use std::path::PathBuf;

use super::Kind;
use super::linear::WARMUP_EPOCHS;

/// A protocol file or a setting cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not parse, or has an unknown key.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
        /// Its kind, where that is known.
        kind: Option<Kind>,
    },
    /// The file is a protocol of another command.
    #[error("{} is a protocol of kind \"{found}\"; this command needs \"{expected}\"", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// Its kind.
        found: String,
        /// The kind of the command.
        expected: &'static str,
    },
    /// `extends` leads to a file that extends another.
    #[error("{}: extends a file that extends another one", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
    },
    /// A pattern names no file.
    #[error("--protocols {pattern}: {reason}")]
    Pattern {
        /// As given.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// Two files are one protocol.
    #[error("{} is the protocol of {} again", path.display(), other.display())]
    Twice {
        /// The second.
        path: PathBuf,
        /// The first.
        other: PathBuf,
    },
    /// A file that gives other settings under the name of a built-in protocol.
    #[error("{} is called {name}, and its settings are not those of {name}", path.display())]
    TakenName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A `--set` cannot be applied.
    #[error("--set {setting}: {reason}")]
    Set {
        /// As given.
        setting: String,
        /// What is wrong.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{protocol}: {field} {reason}")]
    Value {
        /// Name of the protocol.
        protocol: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
        /// Kind of the protocol.
        kind: Kind,
    },
}

impl SpecError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => {
                "--protocol takes a TOML file such as protocols/knn.toml".to_owned()
            }
            Self::Value {
                field: WARMUP_EPOCHS,
                ..
            } => format!("--set {WARMUP_EPOCHS}=N with fewer epochs than the run, 0 for none"),
            Self::Parse {
                kind: Some(kind), ..
            }
            | Self::Value { kind, .. } => {
                format!("{} shows every key with its meaning", kind.file())
            }
            Self::Parse { kind: None, .. } => format!(
                "{} show every key with its meaning",
                Kind::ALL.map(Kind::file).join(", ")
            ),
            Self::Kind { found, .. } => format!("run it with: mimbench {found}"),
            Self::Pattern { .. } => {
                "as in --protocols protocols/knn.toml or --protocols 'protocols/*.toml'".to_owned()
            }
            Self::TakenName { .. } => {
                "give it a name of its own, so that nobody takes its rows for the other's"
                    .to_owned()
            }
            Self::Twice { .. } => "name each protocol once".to_owned(),
            Self::Chain { .. } => "one level of extends is enough for everyone".to_owned(),
            Self::Set { .. } => format!(
                "as in --set task.k=[20] of kNN or --set task.batch=256 of a probe; {} show every key",
                Kind::ALL.map(Kind::file).join(", ")
            ),
        })
    }
}
