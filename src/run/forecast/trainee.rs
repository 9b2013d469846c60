//! What is about to be trained, as far as a trial of it needs to know.

use crate::data::InputSpec;
use crate::engine::Compute;
use crate::error::Error;
use crate::plan::AtOnce;
use crate::train::{ImageBatch, Trainable};

/// A network that can be built and tried before anything that it learns is kept.
pub(in crate::run) trait Trainee {
    /// What a batch of validation images gives.
    type Scores;

    /// Its name in notices.
    fn name(&self) -> &str;

    /// It, before its first update.
    fn build(
        &self,
        compute: Compute,
    ) -> Result<Box<dyn Trainable<Batch = ImageBatch, Scores = Self::Scores>>, Error>;

    /// How images become inputs.
    fn input(&self) -> &InputSpec;

    /// Seed of everything random.
    fn seed(&self) -> u64;

    /// Classes of its images.
    fn classes(&self) -> usize;

    /// Whether images are mixed.
    fn mixes(&self) -> bool;

    /// Images of an update.
    fn batch(&self) -> usize;

    /// Weight decay of an update.
    fn weight_decay(&self) -> f64;

    /// Numbers of images that an update can be cut into, ascending.
    fn parts(&self) -> Vec<usize>;

    /// Images that go through it together where their number is not to be found out.
    fn images_at_once(&self, at_once: AtOnce) -> Result<usize, Error>;

    /// Bytes at the peak of a step by formula, of so many parameters that are trained and images at
    /// once, without what waits for it.
    fn counted(&self, parameters: usize, at_once: usize, compute: Compute) -> Result<u64, Error>;
}
