//! Pre-training as a trial needs to know it.

use super::super::forecast::Trainee;
use super::memory::PretrainMemory;
use super::network::{Basis, Training};
use crate::data::InputSpec;
use crate::engine::Compute;
use crate::error::Error;
use crate::plan::{AtOnce, pretrain_at_once, pretrain_parts};

impl Trainee for Basis<'_> {
    type Scores = Vec<f32>;

    fn name(&self) -> &str {
        &self.recipe.name
    }

    fn build(&self, compute: Compute) -> Result<Box<Training>, Error> {
        Basis::build(self, compute)
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
        false
    }

    fn batch(&self) -> usize {
        self.recipe.training.batch
    }

    fn weight_decay(&self) -> f64 {
        self.recipe.training.weight_decay
    }

    fn parts(&self) -> Vec<usize> {
        pretrain_parts(self.batch())
    }

    fn images_at_once(&self, at_once: AtOnce) -> Result<usize, Error> {
        pretrain_at_once(self.batch(), at_once)
    }

    fn counted(&self, parameters: usize, at_once: usize, compute: Compute) -> Result<u64, Error> {
        let memory = PretrainMemory::new(self, parameters, at_once, (compute, 0))?;
        Ok(memory.total() - memory.waiting)
    }
}
