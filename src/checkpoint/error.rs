//! What can be wrong with a checkpoint, its card or its `config.json`.

use std::path::{Path, PathBuf};

use crate::nn::WeightError;

/// A checkpoint cannot be loaded as the model that made it.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is not there or cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file has another format.
    #[error("{} is not a safetensors file: {found}", path.display())]
    NotSafetensors {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
    },
    /// The header or the extent of the data is wrong.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A card cannot be parsed.
    #[error("{}: {reason}", path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// The weights that a card names are not there.
    #[error("{} is not there; {} names it", path.display(), card.display())]
    Absent {
        /// Where the weights belong, from the root.
        path: PathBuf,
        /// The card.
        card: PathBuf,
        /// Addresses, the most direct first.
        places: Vec<String>,
        /// The card's note.
        note: Option<String>,
    },
    /// The file's contents are not what the card says.
    #[error("{} has blake3 {found}, its card says {expected}", path.display())]
    Checksum {
        /// The weights.
        path: PathBuf,
        /// Hash of the file.
        found: String,
        /// Hash on the card.
        expected: String,
    },
    /// The file was replaced while mimbench was working with it.
    #[error("{} changed during the run", path.display())]
    Changed {
        /// The weights.
        path: PathBuf,
    },
    /// `config.json` cannot be used.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The `config.json`.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The architecture is one that no configuration here describes.
    #[error("{} is not a pre-norm ViT: {reason}", path.display())]
    NotPreNorm {
        /// The weights.
        path: PathBuf,
        /// What says so.
        reason: String,
    },
    /// No dialect recognises the keys.
    #[error("{}: no known dialect; it holds {keys}", path.display())]
    UnknownDialect {
        /// The weights.
        path: PathBuf,
        /// Some of its keys.
        keys: String,
        /// A prefix that hides a known dialect.
        prefix: Option<String>,
    },
    /// Keys that no rule of the dialect mentions.
    #[error("{}: {} key(s) that the {dialect} dialect does not know: {}", path.display(), keys.len(), listed(keys))]
    UnknownKeys {
        /// The weights.
        path: PathBuf,
        /// The dialect.
        dialect: &'static str,
        /// The keys.
        keys: Vec<String>,
    },
    /// Tensors that no layer of the architecture takes.
    #[error("{}: no layer takes {}", path.display(), listed(keys))]
    Unused {
        /// The weights.
        path: PathBuf,
        /// Canonical names.
        keys: Vec<String>,
    },
    /// A pattern of `--ignore-key` that names nothing.
    #[error("--ignore-key {pattern} matches no key of {}", path.display())]
    NothingIgnored {
        /// The weights.
        path: PathBuf,
        /// As given.
        pattern: String,
    },
    /// A tensor is missing or does not fit.
    #[error("{}: {source}", path.display())]
    Weight {
        /// The weights.
        path: PathBuf,
        /// Which tensor, and what is wrong.
        source: WeightError,
    },
    /// A tensor whose element type is no floating point.
    #[error("{}: {name} is stored as {dtype}, which is no weight", path.display())]
    Dtype {
        /// The weights.
        path: PathBuf,
        /// The key.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// A weight that is not a number.
    #[error("{}: {name} holds {value} at element {index}", path.display())]
    NotFinite {
        /// The weights.
        path: PathBuf,
        /// The key.
        name: String,
        /// NaN or an infinity.
        value: f32,
        /// Its place, row-major.
        index: usize,
    },
    /// The architecture cannot be read off the weights.
    #[error("{}: {reason}", path.display())]
    Architecture {
        /// The weights.
        path: PathBuf,
        /// What is unclear or contradictory.
        reason: String,
        /// What settles it.
        hint: &'static str,
    },
}

fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = keys
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if keys.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Where to get the weights of a card, and where to put them.
fn absent_hint(path: &Path, places: &[String], note: Option<&str>) -> String {
    let mut hint = match places {
        [] => format!(
            "the card knows no address; weights put at {} are used",
            path.display()
        ),
        places => format!(
            "get it from {} and put it at {}",
            places.join(" or "),
            path.display()
        ),
    };
    if let Some(note) = note {
        hint.push_str(". ");
        hint.push_str(note);
    }
    hint
}

impl CheckpointError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "a .safetensors file is needed, or for --ckpt a card (.toml)".to_owned(),
            Self::NotSafetensors { .. } => {
                "in Python: safetensors.torch.save_file(state_dict, \"model.safetensors\")".to_owned()
            }
            Self::Damaged { .. } => "download or copy it again and compare the sizes".to_owned(),
            Self::Card { .. } => {
                "checkpoints/README.md lists every field of a card".to_owned()
            }
            Self::Absent {
                path, places, note, ..
            } => absent_hint(path, places, note.as_deref()),
            Self::Checksum { .. } => {
                "this is another file than the card describes: fetch the right one or correct [file] blake3".to_owned()
            }
            Self::Changed { .. } => {
                "evaluate a copy, or wait until training has written its checkpoint".to_owned()
            }
            Self::Config { .. } => {
                "correct it, or move it away and give --heads or a card instead".to_owned()
            }
            Self::NotPreNorm { .. } => {
                "mimbench evaluates pre-norm ViTs; their blocks are x + attn(norm1(x)), x + mlp(norm2(x))".to_owned()
            }
            Self::UnknownDialect { prefix: Some(prefix), .. } => format!(
                "without the prefix `{prefix}` the keys would be timm's: strip it and save the file again"
            ),
            Self::UnknownDialect { prefix: None, .. } => {
                "timm's names are needed (patch_embed.proj.weight, blocks.0.attn.qkv.weight, ...)".to_owned()
            }
            Self::UnknownKeys { .. } => {
                "they may change the forward pass; --ignore-key GLOB leaves keys out on purpose, and the record says so".to_owned()
            }
            Self::NothingIgnored { .. } | Self::Unused { .. } => {
                "mimbench inspect FILE lists every key of the file".to_owned()
            }
            Self::Weight { .. } => "mimbench inspect FILE lists every key of the file".to_owned(),
            Self::Dtype { .. } => "--ignore-key GLOB leaves it out on purpose".to_owned(),
            Self::NotFinite { .. } => {
                "the training run diverged or the file is damaged: no feature of it would mean anything".to_owned()
            }
            Self::Architecture { hint, .. } => (*hint).to_owned(),
        })
    }
}
