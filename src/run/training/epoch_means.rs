//! What the updates of an epoch were on the whole.

use serde::{Deserialize, Serialize};

use crate::train::{Terms, Update};

/// Sums over the updates of an epoch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::run) struct EpochMeans {
    /// Updates of the run at its end.
    pub updates: usize,
    /// Images of the run at its end.
    pub seen: usize,
    pub samples: usize,
    /// Each term times the samples of its update.
    pub terms: Terms,
    pub learning_rate: f64,
}

impl EpochMeans {
    /// One more update.
    pub(in crate::run) fn add(&mut self, update: &Update) {
        self.updates = update.update + 1;
        self.seen += update.samples;
        self.samples += update.samples;
        self.learning_rate = update.learning_rate;
        if self.terms.is_empty() {
            let names = update.terms.iter();
            self.terms = names.map(|(name, _)| (name.clone(), 0.0)).collect();
        }
        for ((_, sum), (_, value)) in self.terms.iter_mut().zip(&update.terms) {
            *sum += value * update.samples as f64;
        }
    }

    /// Ends the epoch; what counts over the run goes on.
    pub(in crate::run) fn take(&mut self) -> Self {
        let after = Self {
            updates: self.updates,
            seen: self.seen,
            ..Self::default()
        };
        std::mem::replace(self, after)
    }

    /// Names and means of the terms.
    pub(in crate::run) fn terms(&self) -> impl Iterator<Item = (&str, f64)> {
        let samples = self.samples.max(1) as f64;
        let terms = self.terms.iter();
        terms.map(move |(name, sum)| (name.as_str(), sum / samples))
    }
}
