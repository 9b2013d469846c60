//! What protocols measure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FinetunePreset, LinearPreset, SegmentPreset};

/// `kind = ` of a protocol file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kNN classification of frozen features.
    Knn,
    /// Linear heads over a frozen encoder, trained on augmented images.
    Linear,
    /// Logistic regression of stored features.
    LinearCached,
    /// The whole network, trained with labels.
    Finetune,
    /// The network's own head, as it is.
    Classify,
    /// The class of every pixel, by heads over an encoder's patches.
    Segment,
    /// Attention distance, mutual information, entropy, and diagnostics of the layers.
    Attention,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 7] = [
        Self::Knn,
        Self::Linear,
        Self::LinearCached,
        Self::Finetune,
        Self::Classify,
        Self::Segment,
        Self::Attention,
    ];

    /// The word in protocol files and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Linear => "linear",
            Self::LinearCached => "linear_cached",
            Self::Finetune => "finetune",
            Self::Classify => "classify",
            Self::Segment => "segment",
            Self::Attention => "attention",
        }
    }

    /// The subcommand that carries it out.
    pub fn command(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Linear | Self::LinearCached => "linear",
            Self::Finetune | Self::Classify => "finetune",
            Self::Segment => "segment",
            Self::Attention => "attention",
        }
    }

    /// Whether a network or heads over it are trained, image by image.
    pub fn trains(self) -> bool {
        matches!(self, Self::Linear | Self::Finetune | Self::Segment)
    }

    /// The protocol file that explains every key.
    pub fn file(self) -> &'static str {
        match self {
            Self::Knn => "protocols/knn.toml",
            Self::Linear => "protocols/linear-beit.toml",
            Self::LinearCached => "protocols/linear-cached.toml",
            Self::Finetune => "protocols/finetune-mae.toml",
            Self::Classify => "protocols/classify.toml",
            Self::Segment => "protocols/segment-beit.toml",
            Self::Attention => "protocols/attention.toml",
        }
    }

    /// Text of the protocol that is used when no file is given.
    pub fn builtin(self) -> &'static str {
        match self {
            Self::Knn => include_str!("../../protocols/knn.toml"),
            Self::Linear => LinearPreset::Beit.text(),
            Self::LinearCached => LinearPreset::Cached.text(),
            Self::Finetune => FinetunePreset::Mae.text(),
            Self::Classify => include_str!("../../protocols/classify.toml"),
            Self::Segment => SegmentPreset::Beit.text(),
            Self::Attention => include_str!("../../protocols/attention.toml"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
