//! What became of every key of a checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::source::Entry;

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
    /// No rule of the dialect mentions it; such a checkpoint cannot be loaded.
    Unknown,
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
    /// Entries with a fate each.
    pub(super) fn new(entries: &BTreeMap<String, Entry>, fate: impl Fn(&str) -> Fate) -> Self {
        let line = |(key, entry): (&String, &Entry)| AuditLine {
            key: key.clone(),
            dtype: entry.dtype.clone(),
            shape: entry.shape.clone(),
            fate: fate(key),
        };
        Self {
            lines: entries.iter().map(line).collect(),
        }
    }

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
