//! Which feature of a checkpoint a protocol looks at.

use serde::{Deserialize, Serialize};

use crate::features::Token;

/// Which tokens are the feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureChoice {
    /// The one the checkpoint's family is evaluated by.
    Card,
    /// The class token.
    Cls,
    /// The mean of the patch tokens.
    MeanPatch,
    /// Both, one after the other.
    Concat,
    /// The checkpoint's own pooling: CLIP's projection, SigLIP's attention pooling, the mean of
    /// class and distillation token.
    Pooled,
}

impl FeatureChoice {
    /// The tokens, where the card has the word `card_says`.
    pub fn token(self, card_says: Token) -> Token {
        match self {
            Self::Card => card_says,
            Self::Cls => Token::Cls,
            Self::MeanPatch => Token::MeanPatch,
            Self::Concat => Token::Concat,
            Self::Pooled => Token::Pooled,
        }
    }
}

/// Whether the final normalisation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormChoice {
    /// As the checkpoint's family does.
    Card,
    /// Yes.
    Norm,
    /// No: the raw output of the block.
    Raw,
}

impl NormChoice {
    /// Whether to normalise, where the card has the word `card_says`.
    pub fn applies(self, card_says: bool) -> bool {
        match self {
            Self::Card => card_says,
            Self::Norm => true,
            Self::Raw => false,
        }
    }
}
