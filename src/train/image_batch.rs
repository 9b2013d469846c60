//! Images on their way through training, and what heads say of them.

use crate::data::Pick;
use crate::engine::{Engine, Result};
use crate::metric::{Ranking, cross_entropy};

/// Images and their classes.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// `[B, C, H, W]`, normalised.
    pub pixels: Vec<f32>,
    /// Class of each.
    pub labels: Vec<u32>,
    /// Which image of its split each is, in which pass.
    pub picks: Vec<Pick>,
    /// What each is mixed with.
    pub mixed: Vec<Option<MixedIn>>,
    /// First half of the blake3 of each file.
    pub contents: Vec<[u8; 16]>,
}

/// The other image in a mixed one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixedIn {
    /// Its class.
    pub label: u32,
    /// Share of the first image.
    pub lambda: f64,
}

/// What one head makes of a batch of validation images.
#[derive(Clone, Debug)]
pub struct HeadScores {
    /// Cross entropy of each image, NaN without a logit of its class.
    pub losses: Vec<f64>,
    /// Its best classes for each image.
    pub ranked: Vec<Ranking>,
}

impl HeadScores {
    /// logits: `[B, C]`; labels: B classes
    pub(super) fn of<E: Engine>(engine: &E, logits: &E::Tensor, labels: &[u32]) -> Result<Self> {
        let classes = engine.shape(logits)[1];
        let logits = engine.to_f32(logits)?;
        let rows = logits.chunks(classes);
        let loss = |(row, &label)| cross_entropy(row, label).unwrap_or(f64::NAN);
        Ok(Self {
            losses: rows.clone().zip(labels).map(loss).collect(),
            ranked: rows.map(Ranking::of_scores).collect(),
        })
    }
}
