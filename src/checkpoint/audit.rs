//! What became of every key of a checkpoint.

use serde::{Deserialize, Serialize};

/// The fate of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fate")]
pub enum Fate {
    /// Part of the model under its own name.
    Loaded,
    /// Part of the model under another name.
    Renamed {
        /// The canonical name.
        to: String,
    },
    /// Left out, and why.
    Dropped {
        /// Why.
        reason: String,
    },
    /// Left out because the user said so.
    Ignored {
        /// The pattern that names it.
        pattern: String,
    },
}

/// One key of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Name in the file.
    pub key: String,
    /// Element type in the file.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// What became of it.
    #[serde(flatten)]
    pub fate: Fate,
}

/// Every key of a checkpoint, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// One line a key.
    pub lines: Vec<AuditLine>,
}

impl Audit {
    /// Keys that are part of the model, and keys left out.
    pub fn counts(&self) -> (usize, usize) {
        let loaded = |line: &&AuditLine| matches!(line.fate, Fate::Loaded | Fate::Renamed { .. });
        let loaded = self.lines.iter().filter(loaded).count();
        (loaded, self.lines.len() - loaded)
    }

    /// Keys that were left out because the user said so.
    pub fn ignored(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(|line| matches!(line.fate, Fate::Ignored { .. }))
            .map(|line| line.key.as_str())
    }
}
