//! Which weights of a pre-training run a paper's table shows.

use std::collections::BTreeMap;

use super::{PretrainingRecord, Record};

/// Weights that runs have kept, by their hashes.
pub(super) struct Epochs<'a>(BTreeMap<&'a str, Epoch<'a>>);

/// One of the epochs that a run has kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch<'a> {
    /// The run.
    pub run: &'a PretrainingRecord,
    /// Epochs before the weights.
    pub epoch: usize,
}

/// An epoch among those that were measured alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChosenEpoch<'a> {
    /// The epoch.
    pub of: Epoch<'a>,
    /// How many it is the best of, by top-1 on the validation images; `None` where it is the run's
    /// last, whatever the others are.
    pub best: Option<usize>,
}

impl<'a> Epochs<'a> {
    pub(super) fn new(runs: &'a [PretrainingRecord]) -> Self {
        let mut epochs = BTreeMap::new();
        for run in runs {
            // Before training, runs of one seed begin with the same weights.
            for kept in run.kept.iter().filter(|kept| kept.epoch > 0) {
                let epoch = kept.epoch;
                let blake3 = kept.blake3.as_str();
                epochs.entry(blake3).or_insert(Epoch { run, epoch });
            }
        }
        Self(epochs)
    }

    /// Whose weights a record is of.
    pub(super) fn of(&self, record: &Record) -> Option<Epoch<'a>> {
        self.0.get(record.subject.blake3.as_deref()?).copied()
    }
}

impl Epoch<'_> {
    /// Whether it is what the run came to.
    pub(super) fn is_last(&self) -> bool {
        self.epoch == self.run.epochs
    }
}

impl ChosenEpoch<'_> {
    /// Whether it was chosen by looking at the validation images.
    pub(super) fn is_selected(&self) -> bool {
        self.best.is_some_and(|of| of > 1)
    }

    /// What a reader must know of it.
    pub(super) fn words(&self) -> Option<String> {
        let Epoch { run, epoch } = self.of;
        let which = format!("epoch {epoch} of {}", run.epochs);
        match self.best? {
            1 => Some(format!("{which}, the only one that was measured")),
            of => Some(format!(
                "{which}, the best top-1 on the validation images of {of} epochs that were measured"
            )),
        }
    }
}
