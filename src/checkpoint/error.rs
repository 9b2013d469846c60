//! What can be wrong with a checkpoint, its card or its `config.json`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::source::{printable, shown};
use crate::nn::WeightError;

/// Characters of a sentence that quotes a file: a card's note may be a paragraph.
const SAID: usize = 2000;

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
    /// A pipe, a device or a socket, or a folder where a file is needed.
    #[error("{} cannot be read: it is no regular file", path.display())]
    NotRegular {
        /// What was asked for.
        path: PathBuf,
    },
    /// The file has a format that no weights come in.
    #[error("{} is not a checkpoint file: {found}", path.display())]
    NotCheckpoint {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// Nothing in a folder says which of its files is meant.
    #[error("{} is a directory without model.safetensors or model.safetensors.index.json{}", path.display(), holding(held))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Names in it that could be given.
        held: Vec<String>,
    },
    /// A checkpoint in several files is opened by a name that none of them has.
    #[error("{} is not there; {} is", path.display(), index.display())]
    OnlyIndex {
        /// The file that was asked for.
        path: PathBuf,
        /// The index beside it.
        index: PathBuf,
    },
    /// An index and the files that it names contradict each other.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A pickle names something that is no part of weights.
    #[error("{} asks Python for {name}, which is not needed to hold weights", path.display())]
    Global {
        /// The file.
        path: PathBuf,
        /// Module and name.
        name: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A file that asks for more than any checkpoint needs.
    #[error("{} holds too many {what}", path.display())]
    Excessive {
        /// The file.
        path: PathBuf,
        /// Of what there are too many.
        what: &'static str,
    },
    /// A file of PyTorch's of a kind that is not read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
        /// What to do about it.
        hint: &'static str,
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
    #[error("{} has blake3 {found}, its card says {}", path.display(), shown(expected))]
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
    },
    /// `--key` names a part that the file does not have.
    #[error("{} has no part {}", path.display(), shown(key))]
    NoSuchPart {
        /// The weights.
        path: PathBuf,
        /// As given.
        key: String,
        /// What could be given.
        parts: Vec<String>,
    },
    /// Nothing tells which of several encoders is meant.
    #[error("{} holds {} encoders: {}", path.display(), roots.len(), listed(roots))]
    SeveralEncoders {
        /// The weights.
        path: PathBuf,
        /// Where each of them is.
        roots: Vec<String>,
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
    /// The decoder of pre-training is another than MAE's.
    #[error("{}: {} key(s) of its decoder are not MAE's: {}", path.display(), keys.len(), listed(keys))]
    NotMae {
        /// The weights.
        path: PathBuf,
        /// The keys.
        keys: Vec<String>,
    },
    /// There is nothing that was trained to name classes.
    #[error("{} holds no classification head", path.display())]
    NoHead {
        /// The weights.
        path: PathBuf,
    },
    /// The classification head is no linear layer, or one that is not known.
    #[error("{}: {} key(s) of its classification head are not known of {dialect}: {}", path.display(), keys.len(), listed(keys))]
    OtherHead {
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
    #[error("{}: {}", path.display(), printable(&source.to_string(), SAID))]
    Weight {
        /// The weights.
        path: PathBuf,
        /// Which tensor, and what is wrong.
        source: WeightError,
    },
    /// A tensor whose element type is no floating point.
    #[error("{}: {} is stored as {}, which is no weight", path.display(), shown(name), shown(dtype))]
    Dtype {
        /// The weights.
        path: PathBuf,
        /// The key.
        name: String,
        /// Its element type.
        dtype: String,
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
    let keys_shown = keys.iter().take(SHOWN).map(|key| shown(key));
    let mut text = keys_shown.collect::<Vec<_>>().join(", ");
    if keys.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// What else a folder has.
fn holding(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; it holds {}", listed(names)),
    }
}

/// What may stand where nothing does.
const FILE_NEEDED: &str = "a safetensors file, a PyTorch file or the index of a checkpoint in several files is needed, or for --ckpt a card (.toml)";

/// Where to get the weights of a card, and where to put them.
fn absent_hint(path: &Path, places: &[String], note: Option<&str>) -> String {
    let mut hint = match places {
        [] => format!(
            "the card knows no address; weights put at {} are used",
            path.display()
        ),
        places => format!(
            "get it from {} and put it at {}",
            printable(&places.join(" or "), SAID),
            path.display()
        ),
    };
    if let Some(note) = note {
        hint.push_str(". ");
        hint.push_str(&printable(note, SAID));
    }
    hint
}

impl CheckpointError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } => match source.kind() {
                ErrorKind::NotFound => FILE_NEEDED,
                ErrorKind::PermissionDenied => {
                    "make it readable for you (chmod u+r FILE, and u+x on its folders) or copy it"
                }
                ErrorKind::InvalidData => "it is to be text in UTF-8",
                _ => "copy it to a local disk and try again",
            }
            .to_owned(),
            Self::NotRegular { .. } => {
                "save what comes from a pipe or a device as a file first".to_owned()
            }
            Self::NotCheckpoint { hint, .. }
            | Self::Global { hint, .. }
            | Self::Unsupported { hint, .. } => (*hint).to_owned(),
            Self::Folder { .. } => "give the file with the weights, or its card".to_owned(),
            Self::OnlyIndex { index, .. } => {
                format!("the checkpoint is in several files: give {}", index.display())
            }
            Self::Index { .. } => {
                "download the index and every file that it names again, from one revision".to_owned()
            }
            Self::Excessive { .. } => {
                "in Python, where you trust the file: save its state dict alone".to_owned()
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
            Self::UnknownDialect { .. } => {
                "a ViT has a patch projection (patch_embed.proj.weight, conv1.weight, embeddings.patch_embeddings.projection.weight, ...): none is here".to_owned()
            }
            Self::NoSuchPart { parts, .. } if parts.is_empty() => {
                "its keys have no parts: leave --key out".to_owned()
            }
            Self::NoSuchPart { parts, .. } => format!("its keys begin with {}", listed(parts)),
            Self::SeveralEncoders { .. } => "--key PART says which of them to evaluate".to_owned(),
            Self::UnknownKeys { .. } => {
                "they may change the forward pass; --ignore-key GLOB leaves keys out on purpose, and the record says so".to_owned()
            }
            Self::NotMae { .. } => {
                "its encoder can be evaluated; a decoder is read from files of facebookresearch/mae and of transformers' ViTMAEForPreTraining".to_owned()
            }
            Self::NoHead { .. } => {
                "only a checkpoint that was fine-tuned or probed can be evaluated as it is; mimbench knn evaluates any encoder".to_owned()
            }
            Self::OtherHead { .. } => {
                "a head that is one linear layer can be evaluated as it is; heads of pre-training, with hidden layers or with BatchNorm cannot".to_owned()
            }
            Self::NothingIgnored { .. } | Self::Unused { .. } => {
                "mimbench inspect FILE lists every key of the file".to_owned()
            }
            Self::Weight { source: WeightError::NotFinite { .. }, .. } => {
                "the training run diverged or the file is damaged: no feature of it would mean anything".to_owned()
            }
            Self::Weight { .. } => "mimbench inspect FILE lists every key of the file".to_owned(),
            Self::Dtype { .. } => "--ignore-key GLOB leaves it out on purpose".to_owned(),
            Self::Architecture { hint, .. } => (*hint).to_owned(),
        })
    }
}
