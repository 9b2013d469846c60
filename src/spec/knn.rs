//! What the kNN protocol asks: DINO's evaluator (facebookresearch/dino `eval_knn.py`) with its
//! settings named.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::protocol::WrongValue;
use super::{FeatureChoice, NormChoice};
use crate::metric::HnswOptions;

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

    /// Refuses lists that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |reason| {
            Err(WrongValue {
                field: "task.layers",
                reason,
            })
        };
        let Self::Blocks(blocks) = self else {
            return Ok(());
        };
        if blocks.is_empty() {
            return wrong("lists no block".to_owned());
        }
        match repeated(blocks) {
            Some(twice) => wrong(format!("lists block {twice} twice")),
            None => Ok(()),
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

impl KnnTask {
    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason| Err(WrongValue { field, reason });
        if self.k.is_empty() || self.k.contains(&0) {
            return wrong(
                "task.k",
                format!("must list positive numbers, it is {:?}", self.k),
            );
        }
        if !self.k.contains(&self.headline) {
            return wrong(
                "task.headline",
                format!("{} is not among task.k {:?}", self.headline, self.k),
            );
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return wrong(
                "task.temperature",
                format!("must be positive, it is {}", self.temperature),
            );
        }
        // exp(1/T) must stay far below f32's largest number, also summed over neighbours.
        if self.temperature < 0.0125 {
            return wrong(
                "task.temperature",
                format!("{} overflows exp(1/T) in f32", self.temperature),
            );
        }
        if let Some(twice) = repeated(&self.k) {
            return wrong("task.k", format!("lists {twice} twice"));
        }
        self.layers.check()?;
        if self.search == Search::Hnsw
            && let Err(error) = self.hnsw.check()
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
