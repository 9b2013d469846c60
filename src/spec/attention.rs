//! What the attention protocol asks: the analyses of cl-vs-mim (naver-ai/cl-vs-mim) and dBOT, and
//! diagnostics of the features of every block.

use serde::{Deserialize, Serialize};

use super::protocol::WrongValue;
use super::{FeatureChoice, NormChoice};

/// The evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttentionTask {
    /// Validation images looked at, where there are as many.
    pub images: usize,
    /// How they are chosen.
    pub choice: ImageChoice,
    /// Whether the features of every block are looked at as well.
    pub diagnostics: bool,
    /// Which tokens are these features.
    pub feature: FeatureChoice,
    /// Whether the final normalisation is applied to them.
    pub norm: NormChoice,
    /// Images whose attention is kept to be drawn, evenly spread over the list.
    pub maps: usize,
    /// Patches whose attention is drawn: places in the image, row and column in `[0, 1)`.
    pub queries: Vec<[f64; 2]>,
    /// Resamples of the images behind every interval.
    pub resamples: usize,
}

impl Default for AttentionTask {
    fn default() -> Self {
        Self {
            images: 5000,
            choice: ImageChoice::Stratified,
            diagnostics: true,
            feature: FeatureChoice::Card,
            norm: NormChoice::Raw,
            maps: 4,
            queries: vec![[0.5, 0.5], [0.1, 0.1]],
            resamples: 1000,
        }
    }
}

/// How images are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageChoice {
    /// As many of each class as its share, drawn by the seed.
    Stratified,
    /// The first sixty-fourth of each class, in order, and of these the first `images`
    /// (`self_attention_analysis.ipynb`: `utils.subsample` with 2^-6, then one batch).
    ClVsMim,
}

impl AttentionTask {
    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason| Err(WrongValue { field, reason });
        if self.images == 0 {
            return wrong("task.images", "must be positive".to_owned());
        }
        if !(100..=100_000).contains(&self.resamples) {
            let reason = format!("must be 100 to 100000, it is {}", self.resamples);
            return wrong("task.resamples", reason);
        }
        if self.maps > 64 {
            let reason = format!("keeps at most 64 images to draw, it is {}", self.maps);
            return wrong("task.maps", reason);
        }
        if self.queries.len() > 16 {
            let reason = format!("names at most 16 places, it has {}", self.queries.len());
            return wrong("task.queries", reason);
        }
        let inside = |place: &[f64; 2]| place.iter().all(|x| (0.0..1.0).contains(x));
        if let Some(place) = self.queries.iter().find(|place| !inside(place)) {
            let reason = format!("holds {place:?}, a place is row and column in [0, 1)");
            return wrong("task.queries", reason);
        }
        Ok(())
    }
}
