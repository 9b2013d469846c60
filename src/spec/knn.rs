//! The kNN protocol: DINO's evaluator (facebookresearch/dino `eval_knn.py`) with its settings
//! named.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::features::Token;
use crate::metric::HnswOptions;

/// `kind = "knn"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnnProtocol {
    /// Always `knn`.
    pub kind: String,
    /// Name in tables.
    pub name: String,
    /// Raised whenever a number may change.
    pub version: u32,
    /// A protocol beside this file whose settings hold where this one is silent.
    #[serde(default, skip_serializing)]
    pub extends: Option<String>,
    /// Which images.
    #[serde(default)]
    pub data: DataSection,
    /// How an image becomes an input.
    #[serde(default)]
    pub input: InputSection,
    /// The evaluation.
    #[serde(default)]
    pub task: KnnTask,
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSection {
    /// Folder under `$MIMBENCH_DATA` when `--data` is not given.
    pub dataset: String,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            dataset: "imagenet-1k".to_owned(),
        }
    }
}

/// How an image becomes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputSection {
    /// Mean and standard deviation.
    pub normalise: Normalise,
    /// Shorter side before the centre crop.
    pub resize: ResizeChoice,
    /// Filter of the resize.
    pub interpolation: InterpolationChoice,
}

impl Default for InputSection {
    fn default() -> Self {
        Self {
            normalise: Normalise::Card,
            resize: ResizeChoice::Dino,
            interpolation: InterpolationChoice::Bicubic,
        }
    }
}

/// Mean and standard deviation of the input. Evaluating with another normalisation than the
/// checkpoint was trained with has cost 19 points of accuracy, so it is the checkpoint's by
/// default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// The checkpoint's own.
    Card,
    /// ImageNet's.
    Imagenet,
    /// 0.5 and 0.5.
    Half,
    /// OpenAI CLIP's.
    Clip,
}

/// Shorter side before the centre crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeChoice {
    /// 256/224 of the input size, as DINO resizes to 256 for 224; inputs of up to 64 pixels
    /// (CIFAR, MNIST) are taken whole.
    Dino,
    /// What the checkpoint's card or `config.json` says.
    Card,
    /// The input size itself: nothing is cropped from the longer side's middle but the excess.
    Whole,
}

/// Filter of the resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationChoice {
    /// What the checkpoint's card or `config.json` says.
    Card,
    /// Cubic, a = -0.5, antialiased.
    Bicubic,
    /// Linear, antialiased.
    Bilinear,
}

/// The evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnTask {
    /// Which tokens are the feature.
    pub feature: FeatureChoice,
    /// Whether the final normalisation is applied.
    pub norm: NormChoice,
    /// Which blocks are read.
    pub layers: Layers,
    /// Numbers of neighbours.
    pub k: Vec<usize>,
    /// The one of them that tables show.
    pub headline: usize,
    /// How neighbours vote.
    pub vote: VoteKind,
    /// T of the vote `exp(similarity / T)`.
    pub temperature: f32,
    /// How neighbours are found.
    pub search: Search,
    /// Settings of the index, where one is used.
    pub hnsw: HnswOptions,
}

impl Default for KnnTask {
    fn default() -> Self {
        Self {
            feature: FeatureChoice::Card,
            norm: NormChoice::Card,
            layers: Layers::Named(NamedLayers::Last),
            k: vec![1, 5, 10, 20, 50, 100, 200],
            headline: 20,
            vote: VoteKind::Dino,
            temperature: 0.07,
            search: Search::Exact,
            hnsw: HnswOptions::default(),
        }
    }
}

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

/// Which blocks are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// By name.
    Named(NamedLayers),
    /// By number, counted from 0.
    Blocks(Vec<usize>),
}

/// Blocks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedLayers {
    /// The last block.
    Last,
    /// Every block, in one pass.
    All,
}

impl Layers {
    /// Block numbers for a model of `depth` blocks.
    pub fn of(&self, depth: usize) -> Vec<usize> {
        match self {
            Self::Named(NamedLayers::Last) => vec![depth.saturating_sub(1)],
            Self::Named(NamedLayers::All) => (0..depth).collect(),
            Self::Blocks(blocks) => blocks.clone(),
        }
    }
}

/// How neighbours vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoteKind {
    /// `exp(similarity / T)`.
    Dino,
    /// One vote each.
    Majority,
}

/// How neighbours are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// Against every train image.
    Exact,
    /// Through an approximate index; its recall against exact search is measured.
    Hnsw,
}

impl KnnProtocol {
    /// The protocol that is used when no file is given.
    pub const BUILTIN: &'static str = include_str!("../../protocols/knn.toml");

    /// Refuses values that mean nothing.
    pub fn check(&self) -> Result<(), SpecError> {
        let wrong = |field, reason: String| {
            Err(SpecError::Value {
                protocol: self.name.clone(),
                field,
                reason,
            })
        };
        let task = &self.task;
        if task.k.is_empty() || task.k.contains(&0) {
            return wrong(
                "task.k",
                format!("must list positive numbers, it is {:?}", task.k),
            );
        }
        if !task.k.contains(&task.headline) {
            return wrong(
                "task.headline",
                format!("{} is not among task.k {:?}", task.headline, task.k),
            );
        }
        if !(task.temperature.is_finite() && task.temperature > 0.0) {
            return wrong(
                "task.temperature",
                format!("must be positive, it is {}", task.temperature),
            );
        }
        // exp(1/T) must stay far below f32's largest number, also summed over neighbours.
        if task.temperature < 0.0125 {
            return wrong(
                "task.temperature",
                format!("{} overflows exp(1/T) in f32", task.temperature),
            );
        }
        if let Some(twice) = repeated(&task.k) {
            return wrong("task.k", format!("lists {twice} twice"));
        }
        if let Layers::Blocks(blocks) = &task.layers {
            if blocks.is_empty() {
                return wrong("task.layers", "lists no block".to_owned());
            }
            if let Some(twice) = repeated(blocks) {
                return wrong("task.layers", format!("lists block {twice} twice"));
            }
        }
        if task.search == Search::Hnsw
            && let Err(error) = task.hnsw.check()
        {
            return wrong("task.hnsw", error.to_string());
        }
        Ok(())
    }
}

/// The first number that stands in the list a second time.
fn repeated(numbers: &[usize]) -> Option<usize> {
    let mut seen = HashSet::new();
    numbers.iter().copied().find(|&number| !seen.insert(number))
}
