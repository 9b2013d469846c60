//! Fine-tuning as a trial needs to know it.

use super::super::forecast::Trainee;
use super::super::training::Training;
use super::memory::Memory;
use super::network;
use super::start::{self, Basis};
use crate::data::InputSpec;
use crate::engine::Compute;
use crate::error::Error;
use crate::plan::{AtOnce, images_at_once, parts};
use crate::train::HeadScores;

impl Trainee for Basis<'_> {
    type Scores = Vec<HeadScores>;

    fn name(&self) -> &str {
        self.origin.name()
    }

    fn build(&self, compute: Compute) -> Result<Box<Training>, Error> {
        network::build(self, compute)
    }

    fn input(&self) -> &InputSpec {
        self.input
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn mixes(&self) -> bool {
        self.task.mix.is_some()
    }

    fn batch(&self) -> usize {
        self.task.batch
    }

    fn weight_decay(&self) -> f64 {
        self.task.weight_decay
    }

    fn parts(&self) -> Vec<usize> {
        parts(self.task)
    }

    fn images_at_once(&self, at_once: AtOnce) -> Result<usize, Error> {
        images_at_once(self.task, at_once)
    }

    fn counted(&self, parameters: usize, at_once: usize, compute: Compute) -> Result<u64, Error> {
        let config = start::network(self)?.config;
        let memory = Memory::new(self, &config, parameters, at_once, (compute, 0));
        Ok(memory.total() - memory.waiting)
    }
}
