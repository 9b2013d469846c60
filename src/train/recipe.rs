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
    /// Samples that are mixed with one coefficient.
    pub mixed: usize,
    /// How often an epoch has a sample.
    pub repeats: usize,
    /// The schedule's peak; groups scale it.
    pub learning_rate: f64,
    /// How it moves.
    pub schedule: Schedule,
    /// Weight decay, which groups scale by 0 or 1.
    pub weight_decay: f64,
    /// How the weight decay moves, from that value on.
    pub weight_decay_schedule: Schedule,
    /// Epochs between two validations; the last epoch is always validated.
    pub validate_every: Option<usize>,
    /// Seed of order and augmentation.
    pub seed: u64,
    /// Whether a BatchNorm takes its statistics from every local batch.
    pub batch_norm: bool,
}

impl Recipe {
    /// Whether epoch `epoch` of the run, counted from 0, ends with a validation.
    pub fn validates(&self, epoch: usize) -> bool {
        let every = |every: usize| (epoch + 1).is_multiple_of(every) || epoch + 1 == self.epochs;
        self.validate_every.is_some_and(every)
    }

    /// Updates of an epoch over `samples` samples.
    pub fn updates_per_epoch(&self, samples: usize) -> usize {
        self.sampler(samples).steps()
    }

    /// Updates of the whole run over `samples` samples.
    pub fn updates(&self, samples: usize) -> usize {
        self.updates_per_epoch(samples) * self.epochs
    }

    /// Samples that an epoch has of `samples` samples.
    pub fn images_per_epoch(&self, samples: usize) -> usize {
        match self.epoch {
            EpochLength::Samples => samples,
            EpochLength::WholeBatches | EpochLength::Updates(_) => {
                self.sampler(samples).steps() * self.batch
            }
        }
    }

    /// How `samples` samples are dealt out.
    pub fn sampler(&self, samples: usize) -> Sampler {
        Sampler {
            samples,
            batch: self.batch,
            local_batch: self.local_batch,
            mixed: self.mixed,
            repeats: self.repeats,
            epoch: self.epoch,
            seed: self.seed,
        }
    }

    /// Refuses numbers that mean nothing for `samples` samples.
    ///
    /// # Errors
    /// [`TrainError::Recipe`], whose hint names the setting.
    pub fn check(&self, samples: usize) -> Result<(), TrainError> {
        let refuse = |message: String, hint| Err(TrainError::Recipe { message, hint });
        let Self {
            batch, local_batch, ..
        } = *self;
        if samples == 0 {
            let hint = "task.shots and --limit say how many of the train images are taken";
            return refuse("there is no image to train on".to_owned(), hint);
        }
        if batch == 0 || local_batch == 0 || self.validate_every == Some(0) {
            return refuse(
                "batch, local batch and epochs between validations count from 1".to_owned(),
                "they are task.batch, task.local_batch and task.validate_every",
            );
        }
        if local_batch > batch || !batch.is_multiple_of(local_batch) {
            return refuse(
                format!("a batch of {batch} is no multiple of local batches of {local_batch}"),
                "--set task.local_batch=N takes a divisor of task.batch",
            );
        }
        if self.epoch == EpochLength::WholeBatches && samples < batch {
            return refuse(
                format!(
                    "an epoch of whole batches of {batch} has none: there are {samples} images to train on"
                ),
                "--set task.batch=N with task.local_batch takes fewer images, --set task.drop_last=false what makes no whole batch; in pre-training they are training.batch and training.drop_last",
            );
        }
        if self.batch_norm && local_batch == 1 {
            return refuse(
                "a BatchNorm finds no variance in local batches of one image".to_owned(),
                "--set task.local_batch=N takes more, or task.head.batch_norm=false does without",
            );
        }
        if self.batch_norm && self.epoch == EpochLength::Samples && samples % local_batch == 1 {
            return refuse(
                format!(
                    "a BatchNorm finds no variance in one image, and {samples} images leave one over from local batches of {local_batch}"
                ),
                "--set task.drop_last=true leaves it out, another task.local_batch leaves another rest",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_norm_needs_two_images_of_every_local_batch() {
        let recipe = Recipe {
            epochs: 1,
            epoch: EpochLength::Samples,
            batch: 6,
            local_batch: 3,
            mixed: 3,
            repeats: 1,
            learning_rate: 0.1,
            schedule: Schedule::Constant {},
            weight_decay: 0.0,
            weight_decay_schedule: Schedule::Constant {},
            validate_every: None,
            seed: 0,
            batch_norm: true,
        };
        let refused = |recipe: &Recipe, samples| recipe.check(samples).err();
        // A whole local batch before the last, or none.
        for samples in [10, 13, 1] {
            let error = refused(&recipe, samples).unwrap();
            let hint = error.hint().unwrap();
            assert!(hint.contains("--set task.drop_last=true"), "{hint}");
        }
        for samples in [2, 11, 12] {
            assert!(refused(&recipe, samples).is_none(), "{samples}");
        }
        let with = |epoch, batch_norm, local_batch| Recipe {
            epoch,
            batch_norm,
            local_batch,
            ..recipe.clone()
        };
        let samples = EpochLength::Samples;
        assert!(refused(&with(samples, false, 3), 13).is_none());
        assert!(refused(&with(samples, false, 1), 13).is_none());
        for epoch in [EpochLength::WholeBatches, EpochLength::Updates(2)] {
            assert!(refused(&with(epoch, true, 3), 13).is_none());
            assert!(refused(&with(epoch, true, 1), 13).is_some());
        }
    }
}
