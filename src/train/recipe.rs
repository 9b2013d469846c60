//! How long, with how much, and how fast something is trained.

use super::{EpochLength, Sampler, Schedule, TrainError};

/// Everything about a run that is no objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Epochs.
    pub epochs: usize,
    /// How long an epoch is.
    pub epoch: EpochLength,
    /// Samples of one update.
    pub batch: usize,
    /// Samples that go through the network together.
    pub local_batch: usize,
    /// The schedule's peak; groups scale it.
    pub learning_rate: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// Weight decay, which groups scale by 0 or 1.
    pub weight_decay: f64,
    /// Epochs between two validations; the last epoch is always validated.
    pub validate_every: Option<usize>,
    /// Seed of order and augmentation.
    pub seed: u64,
}

impl Recipe {
    /// Whether epoch `epoch` of the run, counted from 0, ends with a validation.
    pub fn validates(&self, epoch: usize) -> bool {
        let every = |every: usize| (epoch + 1).is_multiple_of(every) || epoch + 1 == self.epochs;
        self.validate_every.is_some_and(every)
    }

    /// Updates of the whole run over `samples` samples.
    pub fn updates(&self, samples: usize) -> usize {
        self.sampler(samples).steps() * self.epochs
    }

    /// How `samples` samples are dealt out.
    pub(super) fn sampler(&self, samples: usize) -> Sampler {
        Sampler {
            samples,
            batch: self.batch,
            local_batch: self.local_batch,
            epoch: self.epoch,
            seed: self.seed,
        }
    }

    /// Refuses numbers that mean nothing for `samples` samples.
    pub(super) fn check(&self, samples: usize) -> Result<(), TrainError> {
        let refuse = |message: String| Err(TrainError::Recipe { message });
        let Self {
            batch, local_batch, ..
        } = *self;
        if samples == 0 {
            return refuse("there is no image to train on".to_owned());
        }
        if batch == 0 || local_batch == 0 || self.validate_every == Some(0) {
            return refuse(
                "batch, local batch and epochs between validations count from 1".to_owned(),
            );
        }
        if local_batch > batch || !batch.is_multiple_of(local_batch) {
            return refuse(format!(
                "a batch of {batch} is no multiple of local batches of {local_batch}"
            ));
        }
        if self.epoch == EpochLength::WholeBatches && samples < batch {
            return refuse(format!(
                "an epoch of whole batches of {batch} has none: there are {samples} images to train on"
            ));
        }
        Ok(())
    }
}
