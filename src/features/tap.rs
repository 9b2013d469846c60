//! What can be read out of an encoder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the tokens of a layer become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Token {
    /// The class token: D.
    Cls,
    /// Mean of the patch tokens: D.
    MeanPatch,
    /// Class token, then mean of the patch tokens: 2 D.
    Concat,
    /// The checkpoint's own pooling, where that is another: CLIP's projection, SigLIP's attention
    /// pooling, the mean of class and distillation token.
    Pooled,
}

impl Token {
    /// The name used in protocols and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::MeanPatch => "mean_patch",
            Self::Concat => "concat",
            Self::Pooled => "pooled",
        }
    }
}

/// One thing read out of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// One vector an image out of the output of a block: `[B, D]` or `[B, 2 D]`.
    Pooled {
        /// Block, counted from 0.
        layer: usize,
        /// Which tokens.
        token: Token,
        /// Whether the checkpoint's final normalisation is applied, where it stands in that
        /// architecture: `norm` to the tokens before pooling, `fc_norm` to the mean after it.
        norm: bool,
    },
    /// The raw input pixels: `[B, C H W]`.
    Pixels,
    /// Input of block 0: `[B, N, D]`.
    Embed,
    /// Output of a block: `[B, N, D]`.
    Block(usize),
    /// Attention weights of a block: `[B, H, N, N]`.
    Attention(usize),
    /// What the attention weights of a block say about the patches: `[B, H, 4]`, in the order of
    /// [`crate::metric::AttentionStatistic::ALL`].
    AttentionStatistics(usize),
    /// Tokens after the final normalisation where it is over tokens, else the last block's
    /// output: `[B, N, D]`.
    Tokens,
    /// What the classification head says of each class: `[B, C]`.
    Logits,
}

impl Tap {
    /// The block whose output this tap reads, where it reads one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Pooled { layer, .. }
            | Self::Block(layer)
            | Self::Attention(layer)
            | Self::AttentionStatistics(layer) => Some(layer),
            Self::Pixels | Self::Embed | Self::Tokens | Self::Logits => None,
        }
    }
}

impl fmt::Display for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pooled { layer, token, norm } => {
                let norm = if *norm { "norm" } else { "raw" };
                write!(f, "block {layer} {} {norm}", token.name())
            }
            Self::Pixels => write!(f, "pixels"),
            Self::Embed => write!(f, "embed"),
            Self::Block(layer) => write!(f, "block.{layer}"),
            Self::Attention(layer) => write!(f, "attn.{layer}"),
            Self::AttentionStatistics(layer) => write!(f, "attn.{layer} statistics"),
            Self::Tokens => write!(f, "tokens"),
            Self::Logits => write!(f, "logits"),
        }
    }
}
