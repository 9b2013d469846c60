//! Real steps of a network on images of noise: what they take before any image is read.

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Trainee;
use crate::data::Pick;
use crate::engine::Compute;
use crate::error::Error;
use crate::train::{GroupSummary, ImageBatch, LearningRate, MixedIn, Share, TrainError, Trainable};

/// A network as it is trained, before anything that it learns is kept.
pub(in crate::run) struct Trial<'a, T: Trainee> {
    trainee: &'a T,
    network: Box<dyn Trainable<Batch = ImageBatch, Scores = T::Scores>>,
}

impl<'a, T: Trainee> Trial<'a, T> {
    pub(in crate::run) fn new(trainee: &'a T, compute: Compute) -> Result<Self, Error> {
        let network = trainee.build(compute)?;
        Ok(Self { trainee, network })
    }

    /// The groups that its parameters learn in.
    pub(super) fn groups(&self) -> Vec<GroupSummary> {
        self.network.groups()
    }

    /// Images of noise, mixed where the recipe mixes.
    pub(in crate::run) fn images(&self, count: usize) -> ImageBatch {
        let mut rng = ChaCha8Rng::seed_from_u64(self.trainee.seed());
        let values = count * self.trainee.input().values();
        let classes = self.trainee.classes() as u32;
        let pixels = (0..values).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mixed = self.trainee.mixes().then_some(MixedIn {
            label: 0,
            lambda: 0.5,
        });
        let pick = |index| Pick {
            index,
            pass: 0,
            group: 0,
        };
        ImageBatch {
            pixels,
            labels: (0..count).map(|_| rng.random_range(0..classes)).collect(),
            picks: (0..count).map(pick).collect(),
            mixed: vec![mixed; count],
            contents: vec![[0; 16]; count],
        }
    }

    /// One local batch of an update -> seconds, and the parts of its loss.
    pub(in crate::run) fn local_batch(
        &mut self,
        images: &ImageBatch,
    ) -> Result<(f64, Vec<f64>), TrainError> {
        let share = Share {
            samples: self.trainee.batch() as f64,
            first: true,
        };
        let start = Instant::now();
        let losses = self.network.accumulate(images, share)?;
        Ok((start.elapsed().as_secs_f64(), losses))
    }

    /// Moves the parameters by what was gathered, as far as the recipe's first update does: not at
    /// all, where it warms up -> seconds.
    pub(super) fn update(&mut self) -> Result<f64, TrainError> {
        self.update_by(LearningRate::constant(0.0))
    }

    /// Moves the parameters by what was gathered -> seconds.
    pub(in crate::run) fn update_by(&mut self, rate: LearningRate) -> Result<f64, TrainError> {
        let start = Instant::now();
        let weight_decay = self.trainee.weight_decay();
        self.network.update(rate, weight_decay)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// A whole step in all that it keeps: gradients are gathered where an update has several local
    /// batches.
    pub(super) fn step(&mut self, at_once: usize) -> Result<(), TrainError> {
        let images = self.images(at_once);
        self.local_batch(&images)?;
        if at_once < self.trainee.batch() {
            self.local_batch(&images)?;
        }
        self.update().map(drop)
    }

    /// A batch of the validation -> seconds.
    pub(super) fn validate(&mut self, images: &ImageBatch) -> Result<f64, TrainError> {
        let start = Instant::now();
        self.network.validate(images)?;
        Ok(start.elapsed().as_secs_f64())
    }
}
