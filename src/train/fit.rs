//! The one loop.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    LearningRate, Position, Recipe, Sampler, Saved, Share, StateFolder, Step, Terms, TrainError,
    Trainable, World,
};
use crate::data::Pick;
use crate::store::NamedTensor;

/// Where samples come from.
pub trait Source {
    /// Samples that go through the network together.
    type Batch;

    /// Samples to train on.
    fn samples(&self) -> usize;

    /// Hands out these local batches in order; an error of `take` ends the loading.
    fn train(
        &mut self,
        batches: &[Vec<Pick>],
        take: &mut Take<'_, Self::Batch>,
    ) -> Result<(), TrainError>;

    /// Hands out the validation set in order and in batches, from its `first` sample on.
    fn validate(
        &mut self,
        first: usize,
        take: &mut Take<'_, Self::Batch>,
    ) -> Result<(), TrainError>;
}

/// Takes batches as they come.
pub type Take<'a, B> = dyn FnMut(B) -> Result<(), TrainError> + 'a;

/// Sees how a run goes on, keeps what it must be able to tell at the end, and may stop it.
pub trait Monitor<T: Trainable + ?Sized> {
    /// A batch is going to be trained on; what is found wrong with it ends the run.
    fn sees(&mut self, batch: &T::Batch) -> Result<(), TrainError>;

    /// `samples` of the epoch's have been trained on.
    fn progress(&mut self, epoch: usize, samples: usize, of: usize);

    /// The parameters have moved.
    fn updated(&mut self, update: &Update) -> Result<(), TrainError>;

    /// A batch of the validation after `epoch` has been looked at -> its samples.
    fn validated(
        &mut self,
        epoch: usize,
        batch: &T::Batch,
        scores: T::Scores,
    ) -> Result<usize, TrainError>;

    /// The updates of `epoch` are done, and its validation, where it has one; it left `trainable`.
    fn epoch_ended(
        &mut self,
        epoch: usize,
        validated: bool,
        trainable: &T,
    ) -> Result<(), TrainError>;

    /// What it must get back to go on: a value and tensors.
    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError>;

    /// Puts back what [`Monitor::save`] gave.
    fn resume(&mut self, saved: &Saved) -> Result<(), TrainError>;

    /// Something the user should know, in one line.
    fn notice(&mut self, message: &str);

    /// The batches of the update under way are going to be seen again.
    fn discarded(&mut self);

    /// Whether to save and stop after the batch in hand.
    fn cancelled(&self) -> bool;
}

/// One update, after it.
#[derive(Clone, Debug)]
pub struct Update {
    /// Updates before it since the run began.
    pub update: usize,
    /// Epochs at its end, with their fraction.
    pub epoch: f64,
    /// Samples of it.
    pub samples: usize,
    /// The largest learning rate of any group.
    pub learning_rate: f64,
    /// The terms of the loss: means over the update.
    pub terms: Terms,
    /// Global norm of the gradient before clipping.
    pub gradient_norm: f64,
}

/// How far a run is: what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Epoch, counted from 0.
    pub epoch: usize,
    /// What is done in it.
    pub stage: Stage,
}

/// What is done in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// This local batch of this update of the epoch is next.
    Train {
        /// Update of the epoch.
        update: usize,
        /// Local batch of the update.
        local: usize,
    },
    /// This sample of the validation set is next: batches may have another size when a run goes on.
    Validate {
        /// Place in the set.
        sample: usize,
    },
}

impl Progress {
    /// The beginning of an epoch.
    pub fn epoch(epoch: usize) -> Self {
        let stage = Stage::Train {
            update: 0,
            local: 0,
        };
        Self { epoch, stage }
    }
}

/// Trains until the recipe's end, from the last state where there is one, and leaves the final
/// state behind: a run that is finished is found so, and nothing is done again.
///
/// # Errors
/// Whatever keeps it from going on. [`TrainError::Interrupted`] when the monitor wanted the end:
/// the state is saved.
pub fn fit<T: Trainable + ?Sized>(
    trainable: &mut T,
    source: &mut dyn Source<Batch = T::Batch>,
    recipe: &Recipe,
    states: &mut StateFolder,
    world: &dyn World,
    monitor: &mut dyn Monitor<T>,
) -> Result<(), TrainError> {
    recipe.check(source.samples())?;
    let sampler = recipe.sampler(source.samples());
    let groups = trainable.groups().into_iter();
    let scales = groups.map(|group| (group.peak_scale, group.learning_rate_scale));
    let mut run = Run {
        names: trainable.terms(),
        scales: scales.collect(),
        trainable,
        recipe,
        sampler,
        states,
        world,
        monitor,
        progress: Progress::epoch(0),
        terms: Vec::new(),
        samples: None,
    };
    if run.resume()? {
        return Ok(());
    }
    while run.progress.epoch < recipe.epochs {
        let epoch = run.progress.epoch;
        if let Stage::Train { .. } = run.progress.stage {
            run.train(source)?;
        }
        if let Stage::Validate { sample } = run.progress.stage {
            source.validate(sample, &mut |batch| run.validate(&batch))?;
            run.end_epoch(epoch, true)?;
        }
    }
    run.save().map(drop)
}

/// A run under way.
struct Run<'a, T: Trainable + ?Sized> {
    trainable: &'a mut T,
    recipe: &'a Recipe,
    sampler: Sampler,
    states: &'a mut StateFolder,
    world: &'a dyn World,
    monitor: &'a mut dyn Monitor<T>,
    progress: Progress,
    /// What the terms of the loss are called.
    names: Vec<String>,
    /// Scales of every group's peak, and of its learning rate.
    scales: Vec<(f64, f64)>,
    /// Sums of the terms of the update's local batches so far.
    terms: Terms,
    /// Samples of the update under way over all processes, once they have been summed.
    samples: Option<f64>,
}

impl<T: Trainable + ?Sized> Run<'_, T> {
    /// Goes back to the last state, where there is one; whether it is that of the end.
    fn resume(&mut self) -> Result<bool, TrainError> {
        let monitor = &mut *self.monitor;
        let Some(saved) = self.states.load(&mut |message| monitor.notice(message))? else {
            return Ok(false);
        };
        self.trainable.load(&saved.tensors)?;
        self.monitor.resume(&saved)?;
        self.progress = saved.progress;
        self.terms = saved.terms;
        Ok(self.progress.epoch >= self.recipe.epochs)
    }

    /// What is left of an epoch's updates.
    fn train(&mut self, source: &mut dyn Source<Batch = T::Batch>) -> Result<(), TrainError> {
        let Progress {
            epoch,
            stage: Stage::Train { update, local },
        } = self.progress
        else {
            return Ok(());
        };
        let steps = self.sampler.epoch(epoch, self.world);
        let left = steps.iter().skip(update).flat_map(|step| &step.local);
        let batches: Vec<_> = left.skip(local).cloned().collect();
        self.without_samples(&steps)?;
        source.train(&batches, &mut |batch| {
            self.local_batch(&steps, &batch)?;
            self.without_samples(&steps)
        })
    }

    /// The updates that come next and that other processes have all the samples of.
    fn without_samples(&mut self, steps: &[Step]) -> Result<(), TrainError> {
        let epoch = self.progress.epoch;
        while let Stage::Train { update, .. } = self.progress.stage {
            let here = self.progress.epoch == epoch;
            if !here || steps.get(update).is_none_or(|step| !step.local.is_empty()) {
                break;
            }
            self.update(steps)?;
            self.pause(epoch * steps.len() + update + 1)?;
        }
        Ok(())
    }

    /// One local batch, and the update where it is its last.
    fn local_batch(&mut self, steps: &[Step], batch: &T::Batch) -> Result<(), TrainError> {
        let Progress {
            epoch,
            stage: Stage::Train { update, local },
        } = self.progress
        else {
            return Ok(());
        };
        self.monitor.sees(batch)?;
        let step = &steps[update];
        let share = Share {
            samples: self.samples(step),
            first: local == 0,
        };
        let terms = self.trainable.accumulate(batch, share)?;
        let lost = terms.iter().any(|value| !value.is_finite());
        if local == 0 {
            self.terms = self.names.iter().cloned().zip(terms).collect();
        } else {
            for ((_, sum), value) in self.terms.iter_mut().zip(terms) {
                *sum += value;
            }
        }
        self.progress.stage = Stage::Train {
            update,
            local: local + 1,
        };
        let last = local + 1 == step.local.len();
        // From the sums of the terms every process learns that one of them is lost.
        if last || lost {
            self.update(steps)?;
        }
        let done = steps[..update].iter().map(Step::samples).sum::<usize>();
        let of_step: usize = step.local[..=local].iter().map(Vec::len).sum();
        let all = steps.iter().map(Step::samples).sum();
        self.monitor.progress(epoch, done + of_step, all);
        self.pause(epoch * steps.len() + update + usize::from(last))
    }

    /// Samples of an update over all processes, which are summed once.
    fn samples(&mut self, step: &Step) -> f64 {
        let sum = || self.world.sum(&[step.samples() as f64])[0];
        *self.samples.get_or_insert_with(sum)
    }

    /// Moves the parameters, where all processes have numbers for losses.
    fn update(&mut self, steps: &[Step]) -> Result<(), TrainError> {
        let Progress {
            epoch,
            stage: Stage::Train { update, .. },
        } = self.progress
        else {
            return Ok(());
        };
        let samples = self.samples(&steps[update]);
        let terms = self.world_terms();
        let lost: Terms = (terms.iter())
            .filter(|(_, value)| !value.is_finite())
            .cloned()
            .collect();
        if !lost.is_empty() {
            let saved = self.last_good(update);
            return Err(TrainError::NotFinite {
                update,
                epoch,
                terms: lost,
                saved,
            });
        }
        let recipe = self.recipe;
        let done = epoch * steps.len() + update;
        let position = Position {
            iteration: done as u64,
            iterations_per_epoch: steps.len() as u64,
            epochs: recipe.epochs as u64,
        };
        let rate = LearningRate::new(recipe.schedule, recipe.learning_rate, position);
        let decay = (recipe.weight_decay_schedule).at(recipe.weight_decay, position);
        let gradient_norm = self.trainable.update(rate, decay)?;
        if !gradient_norm.is_finite() {
            let saved = self.last_good(update);
            return Err(TrainError::GradientNotFinite {
                update,
                epoch,
                saved,
            });
        }
        let rates = self
            .scales
            .iter()
            .map(|&(peak, scale)| rate.of(peak, scale));
        self.monitor.updated(&Update {
            update: done,
            epoch: epoch as f64 + (update + 1) as f64 / steps.len() as f64,
            samples: samples as usize,
            learning_rate: rates.reduce(f64::max).unwrap_or_else(|| rate.of(1.0, 1.0)),
            terms,
            gradient_norm,
        })?;
        self.terms.clear();
        self.samples = None;
        if update + 1 == steps.len() && !recipe.validates(epoch) {
            return self.end_epoch(epoch, false);
        }
        self.progress.stage = if update + 1 < steps.len() {
            Stage::Train {
                update: update + 1,
                local: 0,
            }
        } else {
            Stage::Validate { sample: 0 }
        };
        Ok(())
    }

    fn end_epoch(&mut self, epoch: usize, validated: bool) -> Result<(), TrainError> {
        self.monitor.epoch_ended(epoch, validated, self.trainable)?;
        self.progress = Progress::epoch(epoch + 1);
        Ok(())
    }

    /// The terms of the update over all processes.
    fn world_terms(&self) -> Terms {
        let own = |i| self.terms.get(i).map_or(0.0, |(_, value)| *value);
        let own: Vec<_> = (0..self.names.len()).map(own).collect();
        let names = self.names.iter().cloned();
        names.zip(self.world.sum(&own)).collect()
    }

    /// One batch of the validation.
    fn validate(&mut self, batch: &T::Batch) -> Result<(), TrainError> {
        let Progress {
            epoch,
            stage: Stage::Validate { sample },
        } = self.progress
        else {
            return Ok(());
        };
        let scores = self.trainable.validate(batch)?;
        let samples = self.monitor.validated(epoch, batch, scores)?;
        let stage = Stage::Validate {
            sample: sample + samples,
        };
        self.progress = Progress { epoch, stage };
        let updates = self.sampler.steps();
        self.pause((epoch + 1) * updates)
    }

    /// Saves where it is time, or where the end is wanted, which it then is.
    fn pause(&mut self, updates: usize) -> Result<(), TrainError> {
        let cancelled = self.monitor.cancelled();
        if !cancelled && !self.states.due() {
            return Ok(());
        }
        self.save()?;
        if !cancelled {
            return Ok(());
        }
        Err(TrainError::Interrupted {
            updates_done: updates,
            updates: self.sampler.steps() * self.recipe.epochs,
            state: self.states.folder().to_owned(),
        })
    }

    /// Saves the state before an update that cannot be made.
    fn last_good(&mut self, update: usize) -> Option<PathBuf> {
        self.trainable.discard().ok()?;
        self.monitor.discarded();
        self.terms.clear();
        self.progress.stage = Stage::Train { update, local: 0 };
        self.save().ok()
    }

    /// Saves, where anything has come since the last state -> the state of this position.
    fn save(&mut self) -> Result<PathBuf, TrainError> {
        if let Some(path) = self.states.holds(self.progress) {
            return Ok(path);
        }
        let mut tensors = self.trainable.save()?;
        let (monitor, own) = self.monitor.save()?;
        tensors.extend(own);
        self.states.save(&Saved {
            progress: self.progress,
            terms: self.terms.clone(),
            monitor,
            tensors: tensors
                .into_iter()
                .map(|tensor| (tensor.name.clone(), tensor))
                .collect(),
        })
    }
}
