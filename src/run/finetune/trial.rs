//! Real steps of a network on images of noise: what they take before any image is read.

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::training::Training;
use super::network;
use super::start::Basis;
use crate::data::Pick;
use crate::engine::Compute;
use crate::error::Error;
use crate::train::{ImageBatch, LearningRate, MixedIn, Share, TrainError};

/// A network as it is trained, before anything that it learns is kept.
pub(super) struct Trial<'a> {
    basis: &'a Basis<'a>,
    network: Box<Training>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(basis: &'a Basis<'a>, compute: Compute) -> Result<Self, Error> {
        let network = network::build(basis, compute)?;
        Ok(Self { basis, network })
    }

    /// What is tried.
    pub(super) fn network(&self) -> &Training {
        &*self.network
    }

    /// Images of noise, mixed where the recipe mixes.
    pub(super) fn images(&self, count: usize) -> ImageBatch {
        let mut rng = ChaCha8Rng::seed_from_u64(self.basis.seed);
        let values = count * self.basis.input.values();
        let classes = self.basis.classes as u32;
        let pixels = (0..values).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mixed = self.basis.task.mix.as_ref().map(|_| MixedIn {
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

    /// One local batch of an update -> seconds.
    pub(super) fn local_batch(&mut self, images: &ImageBatch) -> Result<f64, TrainError> {
        let share = Share {
            samples: self.basis.task.batch as f64,
            first: true,
        };
        let start = Instant::now();
        self.network.accumulate(images, share)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// Moves the parameters by what was gathered, as far as the recipe's first update does: not at
    /// all, where it warms up -> seconds.
    pub(super) fn update(&mut self) -> Result<f64, TrainError> {
        let start = Instant::now();
        let weight_decay = self.basis.task.weight_decay;
        self.network
            .update(LearningRate::constant(0.0), weight_decay)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// A whole step in all that it keeps: gradients are gathered where an update has several local
    /// batches.
    pub(super) fn step(&mut self, at_once: usize) -> Result<(), TrainError> {
        let images = self.images(at_once);
        self.local_batch(&images)?;
        if at_once < self.basis.task.batch {
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
