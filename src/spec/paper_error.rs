//! What can be wrong with the papers' tables.

use std::path::{Path, PathBuf};

/// A definition, a CSV of published values or a list of conflicts cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PaperError {
    /// A file or folder cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A TOML file does not parse, or has an unknown key.
    #[error("{}: {reason}", file.display())]
    Toml {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// A value in a TOML file makes no sense.
    #[error("{}: {field}: {reason}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Which value.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a CSV file makes no sense.
    #[error("{}: line {line}: {reason}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong, and in which field.
        reason: String,
    },
    /// A cell of the table is not in the CSV file.
    #[error("{}: row {row} has no cell for column \"{column}\"", file.display())]
    NoCell {
        /// The CSV file.
        file: PathBuf,
        /// As in the field `row`.
        row: usize,
        /// As in the definition.
        column: String,
    },
    /// A definition without values, or values without a definition.
    #[error("{} belongs to no {other}", file.display())]
    Alone {
        /// The file that is there.
        file: PathBuf,
        /// The file that is not.
        other: String,
    },
    /// No table is called so.
    #[error("no table is called {id}; known are {}", known.join(", "))]
    Unknown {
        /// As asked for.
        id: String,
        /// Ids of all tables.
        known: Vec<String>,
    },
}

impl PaperError {
    pub(super) fn field(file: &Path, field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Field {
            file: file.to_owned(),
            field: field.into(),
            reason: reason.into(),
        }
    }

    pub(super) fn line(file: &Path, line: u64, reason: impl Into<String>) -> Self {
        Self::Line {
            file: file.to_owned(),
            line,
            reason: reason.into(),
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => {
                "--tables takes a folder of definitions, --published one of CSV files".to_owned()
            }
            Self::Toml { .. } | Self::Field { .. } => {
                "protocols/tables/medic-1.toml shows what a definition holds, \
                 results/published/conflicts/medic.toml what a conflict is"
                    .to_owned()
            }
            Self::Line { .. } | Self::NoCell { .. } => {
                "results/published/medic-1.csv shows what a table of published values holds"
                    .to_owned()
            }
            Self::Alone { .. } => {
                "a table is a definition (ID.toml) and its published values (ID.csv)".to_owned()
            }
            Self::Unknown { id, known } => {
                let nearest = known
                    .iter()
                    .min_by_key(|known| strsim::levenshtein(known, id));
                match nearest {
                    Some(nearest) => format!("the nearest id is {nearest}"),
                    None => "the folders given with --tables and --published are empty".to_owned(),
                }
            }
        })
    }
}
