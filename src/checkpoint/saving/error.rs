//! Why a checkpoint is not converted.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::nn::WeightError;
use crate::store::StoreError;

/// A checkpoint cannot be written under other names, or not there.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// No class of timm's is the same model.
    #[error("{} cannot be expressed in timm: {reason}", path.display())]
    Inexpressible {
        /// The weights.
        path: PathBuf,
        /// What no class has.
        reason: String,
    },
    /// The output is the input, or a part of it.
    #[error("{} is the input", path.display())]
    OntoInput {
        /// The output.
        path: PathBuf,
    },
    /// The output's card would take the place of the input's.
    #[error("{} is the card of the input", path.display())]
    OntoCard {
        /// The card.
        path: PathBuf,
    },
    /// Something is there already.
    #[error("{} exists", path.display())]
    Exists {
        /// The output or its card.
        path: PathBuf,
    },
    /// A name that other programs would not take for a safetensors file's.
    #[error("{} does not end in .safetensors", path.display())]
    Extension {
        /// The output.
        path: PathBuf,
    },
    /// safetensors has no such element type.
    #[error("{}: {name} is stored as {dtype}, which safetensors has not", path.display())]
    ElementType {
        /// The input.
        path: PathBuf,
        /// The key.
        name: String,
        /// Its element type.
        dtype: String,
    },
    /// Nothing is left to write.
    #[error("{} holds no tensor to convert", path.display())]
    Empty {
        /// The input.
        path: PathBuf,
    },
    /// What was written is not read back as the same model.
    #[error("{} is not read back as the model that was written: {reason}", path.display())]
    NotTheSame {
        /// The output, which was not put in its place.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// The input.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The output.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ConvertError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Inexpressible { .. } => {
                "--names original writes its tensors as they are named; mimbench itself reads the input"
            }
            Self::OntoInput { .. } | Self::OntoCard { .. } => "choose another name for the output",
            Self::Exists { .. } => "--force replaces it",
            Self::Extension { .. } => "name it OUT.safetensors",
            Self::ElementType { .. } => "--ignore-key GLOB leaves it out",
            Self::Empty { .. } => "mimbench inspect FILE lists every key of the file",
            Self::NotTheSame { .. } => {
                "a config.json beside the output describes another model: choose another folder"
            }
            Self::Checkpoint(error) => return error.hint(),
            Self::Store(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }

    /// A tensor that cannot be had from the input at `path`.
    pub(super) fn weight(path: &std::path::Path, source: WeightError) -> Self {
        Self::Checkpoint(CheckpointError::Weight {
            path: path.to_owned(),
            source,
        })
    }
}
