//! What became of every key of a checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pattern::matches;
use super::rule::{Mapping, Recipe};
use super::source::TensorSource;

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
    /// Part of the model together with other keys, in part, or changed.
    Mapped {
        /// The canonical names.
        to: Vec<String>,
        /// What is done with it.
        how: String,
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
    /// Values that are no tensors, as a `.pth` has beside its weights.
    pub others: Vec<String>,
}

impl Audit {
    /// The keys of a file under a mapping, which there is none of where no dialect is known.
    pub(super) fn new(source: &TensorSource, mapping: Option<&Mapping>, ignore: &[String]) -> Self {
        let mut used = BTreeMap::<&str, Vec<(&str, &Recipe)>>::new();
        for (name, part) in mapping.iter().flat_map(|mapping| &mapping.parts) {
            for key in part.recipe.keys() {
                used.entry(key).or_default().push((name, &part.recipe));
            }
        }
        let fate = |key: &str| {
            let ignored = ignore
                .iter()
                .find(|pattern| matches(pattern, key).is_some());
            if let Some(pattern) = ignored {
                return Fate::Ignored {
                    pattern: pattern.clone(),
                };
            }
            let dropped = mapping.and_then(|mapping| mapping.dropped.get(key));
            if let Some(reason) = dropped {
                return Fate::Dropped {
                    reason: reason.clone(),
                };
            }
            match used.get(key).map(Vec::as_slice) {
                None => Fate::Unknown,
                Some([(name, Recipe::Same(_))]) if *name == key => Fate::Loaded,
                Some([(name, Recipe::Same(_))]) => Fate::Renamed {
                    to: (*name).to_owned(),
                },
                Some(parts) => Fate::Mapped {
                    to: parts.iter().map(|(name, _)| (*name).to_owned()).collect(),
                    how: parts[0].1.verb().to_owned(),
                },
            }
        };
        let line = |(key, entry): (&String, &super::source::Entry)| AuditLine {
            key: key.clone(),
            dtype: entry.dtype.clone(),
            shape: entry.shape.clone(),
            fate: fate(key),
        };
        Self {
            lines: source.entries().iter().map(line).collect(),
            others: source.others().to_vec(),
        }
    }

    /// Keys that are part of the model, and keys left out.
    pub fn counts(&self) -> (usize, usize) {
        let left_out = |line: &&AuditLine| {
            matches!(
                line.fate,
                Fate::Dropped { .. } | Fate::Unknown | Fate::Ignored { .. }
            )
        };
        let left_out = self.lines.iter().filter(left_out).count();
        (self.lines.len() - left_out, left_out)
    }

    /// Element types and how many keys are stored in each, the most frequent first.
    pub fn dtypes(&self) -> Vec<(&str, usize)> {
        let mut counts = BTreeMap::new();
        for line in &self.lines {
            *counts.entry(line.dtype.as_str()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        counts
    }

    /// Keys that were left out because the user said so.
    pub fn ignored(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter(|line| matches!(line.fate, Fate::Ignored { .. }))
            .map(|line| line.key.as_str())
    }
}
