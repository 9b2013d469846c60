//! Checkpoint cards: what a checkpoint is, where it comes from, and what weights cannot tell.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::dialect::{Dialect, PositionResize};
use super::loading::Feature;
use crate::data::Interpolation;
use crate::engine::Activation;
use crate::vit::Heads;

/// One card (TOML). Only `name` and `[file] path` must be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name in tables.
    pub name: String,
    /// The weights.
    pub file: CardFile,
    /// What the weights cannot tell about the architecture.
    #[serde(default)]
    pub model: CardModel,
    /// What the model was trained to see.
    #[serde(default)]
    pub input: CardInput,
    /// Which feature the family uses.
    pub feature: Option<Feature>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Numbers others published for this checkpoint.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// Where the weights are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFile {
    /// Relative to the card.
    pub path: PathBuf,
    /// Where they can be had.
    pub url: Option<String>,
    /// Hash of the file, hexadecimal; checked when given.
    pub blake3: Option<String>,
}

/// Facts of the architecture.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardModel {
    /// Dialect of the keys; recognised when absent.
    pub dialect: Option<Dialect>,
    /// Attention heads: a number, or text as in `6x11,12`.
    pub heads: Option<Heads>,
    /// Epsilon of every LayerNorm.
    pub norm_eps: Option<f64>,
    /// Activation of the MLP.
    pub activation: Option<Activation>,
    /// Whose way of bringing position tables to another input size.
    pub position_resize: Option<PositionResize>,
}

/// The input the checkpoint expects.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardInput {
    /// Height and width, pixels.
    pub size: Option<[usize; 2]>,
    /// Shorter side before the centre crop, pixels.
    pub resize: Option<usize>,
    /// Filter of the resize.
    pub interpolation: Option<Interpolation>,
    /// Mean a channel, of values in [0, 1].
    pub mean: Option<Vec<f32>>,
    /// Standard deviation a channel.
    pub std: Option<Vec<f32>>,
}

/// A number somebody published.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What was measured, as in `knn top1`.
    pub measure: String,
    /// The value, in the unit it was published in.
    pub value: f64,
    /// Paper and table, or repository and file.
    pub citation: String,
}

impl Card {
    /// Reads a card.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let text = std::fs::read_to_string(path).map_err(|source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error| CheckpointError::Card {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Card;
    use crate::vit::Heads;

    #[test]
    fn the_documented_card_is_a_card() {
        let page = include_str!("../../checkpoints/README.md");
        let text = page
            .split("```toml")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let card: Card = toml::from_str(text).unwrap();
        assert_eq!(card.model.heads, Some(Heads::same(12, 1)));
        assert_eq!(card.published[0].value, 73.9);
    }
}
