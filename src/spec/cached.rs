//! What the cached linear probe asks: logistic regression on stored features.

use serde::{Deserialize, Serialize};

use super::protocol::WrongValue;
use super::{FeatureChoice, Layers, NamedLayers, NormChoice, Shots};

/// The evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CachedTask {
    /// Which tokens are the feature.
    pub feature: FeatureChoice,
    /// Whether the final normalisation is applied.
    pub norm: NormChoice,
    /// Which blocks are read; each has a classifier of its own.
    pub layers: Layers,
    /// Inverse strengths C of the penalty `|W|² / 2` beside the sum of cross entropies, as
    /// scikit-learn's `LogisticRegression` has them. The best on held-out train images is taken.
    pub strengths: Vec<f64>,
    /// Share of the train images that is held out to choose the strength.
    pub hold_out: f64,
    /// Whether features are brought to mean 0 and deviation 1 over the train images.
    pub standardise: bool,
    /// Largest element of the mean loss's gradient at which a fit is done.
    pub tolerance: f64,
    /// Iterations after which a fit ends anyway.
    pub max_iterations: usize,
    /// Which train images.
    pub shots: Shots,
    /// Seed of their choice and of the held-out images, which the run's does not change.
    pub shots_seed: u64,
}

impl Default for CachedTask {
    fn default() -> Self {
        Self {
            feature: FeatureChoice::Card,
            norm: NormChoice::Card,
            layers: Layers::Named(NamedLayers::Last),
            strengths: (-6..=2).map(|power| 10f64.powi(power)).collect(),
            hold_out: 0.1,
            standardise: true,
            tolerance: 1e-4,
            max_iterations: 1000,
            shots: Shots::All,
            shots_seed: 0,
        }
    }
}

impl CachedTask {
    /// Refuses values that mean nothing.
    pub(super) fn check(&self) -> Result<(), WrongValue> {
        let wrong = |field, reason| Err(WrongValue { field, reason });
        let mut strengths = self.strengths.iter();
        if let Some(strength) = strengths.find(|c| !(c.is_finite() && **c > 0.0)) {
            return wrong(
                "task.strengths",
                format!("must be positive, it has {strength}"),
            );
        }
        if self.strengths.is_empty() {
            return wrong("task.strengths", "lists no number".to_owned());
        }
        if !(self.hold_out > 0.0 && self.hold_out < 1.0) {
            return wrong(
                "task.hold_out",
                format!("must be between 0 and 1, it is {}", self.hold_out),
            );
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return wrong(
                "task.tolerance",
                format!("must be positive, it is {}", self.tolerance),
            );
        }
        if self.max_iterations == 0 {
            return wrong("task.max_iterations", "counts from 1".to_owned());
        }
        self.layers.check()
    }
}
