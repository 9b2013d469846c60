//! What can be wrong with a record.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::{PRETRAINING_SCHEMA, SCHEMA};
use crate::store::StoreError;

/// A record that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or the folder of records.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no record, or was cut short.
    #[error("{} is no record: {field}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where in it, as in `measures[3].value`.
        field: String,
        /// What is wrong there.
        reason: String,
    },
    /// Another version wrote it.
    #[error("{} has schema {found}, this version reads {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// Another version wrote the record of a pre-training.
    #[error("{} has schema {found}, this version reads {PRETRAINING_SCHEMA}", path.display())]
    PretrainingSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
    },
    /// The seal does not fit the contents.
    #[error("{} was changed after it was written: seal does not fit its contents", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file is called after another cell.
    #[error("{} holds the record of cell.key {key}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// The cell in it.
        key: String,
    },
    /// Several records.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
    /// What lies beside a record does not belong to it.
    #[error("{} {reason}", path.display())]
    Outcomes {
        /// The file.
        path: PathBuf,
        /// What is wrong: what follows the file's name in a sentence.
        reason: String,
    },
    /// What should lie beside a record does not.
    #[error("{} is missing", path.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
        /// The record's key.
        key: String,
    },
}

impl RecordError {
    /// What lies beside the record of `key` cannot be read.
    pub(super) fn beside(key: &str, error: StoreError) -> Self {
        match error {
            StoreError::Damaged { path, reason } => Self::Outcomes {
                path,
                reason: format!("is damaged: {reason}"),
            },
            StoreError::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => {
                let key = key.to_owned();
                Self::Missing { path, key }
            }
            StoreError::Io { path, source, .. } => Self::Read { path, source },
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "--results DIR is the folder that the records are in".to_owned(),
            Self::Name { key, .. } => format!("a record's file is called {key}.json"),
            Self::Several(errors) => return errors.first().and_then(Self::hint),
            Self::Missing { key, .. } => format!(
                "bring it back, or run the command of record {key} again: features are kept"
            ),
            Self::Schema { .. }
            | Self::PretrainingSchema { .. }
            | Self::Parse { .. }
            | Self::Changed { .. }
            | Self::Outcomes { .. } => {
                "move the file away and run its command again: features are kept".to_owned()
            }
        })
    }
}
