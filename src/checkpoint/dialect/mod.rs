//! Dialects: the names under which each code base saves a ViT.

mod timm;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::audit::{Audit, AuditLine, Fate};
use super::pattern::matches;
use super::source::{Entry, TensorSource};
use super::{CheckpointError, Choice};
use crate::nn::Weights;

/// The dialects that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// timm's `VisionTransformer`; MAE's encoder has the same names.
    Timm,
}

/// What the keys and shapes of a file say about its architecture.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub patch_size: usize,
    pub channels: usize,
    pub width: usize,
    pub depth: usize,
    pub mlp_width: usize,
    pub class_token: bool,
    /// Rows of the position table.
    pub positions: usize,
    pub fc_norm: bool,
}

/// What to do with the keys that match a pattern.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// Part of the model under a canonical name.
    Rename {
        from: &'static str,
        to: &'static str,
    },
    /// Not part of the encoder.
    Drop {
        keys: &'static str,
        reason: &'static str,
    },
}

impl Dialect {
    /// The name used on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timm => "timm",
        }
    }

    /// The dialect of these keys, and the keys that say so.
    pub(super) fn recognise(entries: &BTreeMap<String, Entry>) -> Option<(Self, Choice)> {
        timm::recognise(entries).map(|evidence| {
            let choice = Choice::new("dialect", Self::Timm.name(), &evidence);
            (Self::Timm, choice)
        })
    }

    /// The architecture, from the keys that are not ignored.
    pub(super) fn facts(
        self,
        path: &Path,
        entries: &BTreeMap<String, Entry>,
    ) -> Result<Facts, CheckpointError> {
        match self {
            Self::Timm => timm::facts(path, entries),
        }
    }

    fn rules(self) -> &'static [Rule] {
        match self {
            Self::Timm => timm::RULES,
        }
    }

    /// What becomes of every key, by the dialect's rules and the patterns of `ignore`.
    pub(super) fn audit(self, entries: &BTreeMap<String, Entry>, ignore: &[String]) -> Audit {
        Audit::new(entries, |key| {
            self.fate(key, ignore).unwrap_or(Fate::Unknown)
        })
    }

    /// Reads the tensors that the audit makes part of the model; unknown keys are an error.
    pub(super) fn load(
        self,
        source: &TensorSource,
        audit: &Audit,
    ) -> Result<Weights, CheckpointError> {
        let unknown: Vec<_> = audit
            .lines
            .iter()
            .filter(|line| line.fate == Fate::Unknown)
            .map(|line| line.key.clone())
            .collect();
        if !unknown.is_empty() {
            return Err(CheckpointError::UnknownKeys {
                path: source.path().to_owned(),
                dialect: self.name(),
                keys: unknown,
            });
        }
        let mut weights = Weights::default();
        for AuditLine { key, fate, .. } in &audit.lines {
            let name = match fate {
                Fate::Loaded => key,
                Fate::Renamed { to } => to,
                Fate::Dropped { .. } | Fate::Ignored { .. } | Fate::Unknown => continue,
            };
            let Some(tensor) = source.tensor(key) else {
                continue;
            };
            let tensor = tensor?;
            if let Some(index) = tensor.data.iter().position(|x| !x.is_finite()) {
                return Err(CheckpointError::NotFinite {
                    path: source.path().to_owned(),
                    name: key.clone(),
                    value: tensor.data[index],
                    index,
                });
            }
            weights.insert(name.clone(), tensor);
        }
        Ok(weights)
    }

    fn fate(self, key: &str, ignore: &[String]) -> Option<Fate> {
        if let Some(pattern) = ignore
            .iter()
            .find(|pattern| matches(pattern, key).is_some())
        {
            return Some(Fate::Ignored {
                pattern: pattern.clone(),
            });
        }
        self.rules().iter().find_map(|rule| match rule {
            Rule::Drop { keys, reason } => matches(keys, key).map(|_| Fate::Dropped {
                reason: (*reason).to_owned(),
            }),
            Rule::Rename { from, to } => matches(from, key).map(|block| {
                let to = match block {
                    Some(block) => to.replace("{i}", &block.to_string()),
                    None => (*to).to_owned(),
                };
                if to == key {
                    Fate::Loaded
                } else {
                    Fate::Renamed { to }
                }
            }),
        })
    }
}
