//! The images of a pre-training run: augmented ones to learn from, and those that kNN looks at.

use std::sync::Arc;

use super::super::training::image_batch;
use crate::data::augment::AugmentSpec;
use crate::data::{InputSpec, Pick, Preparation, Split, load_batches, ranged_batches};
use crate::features::PassOptions;
use crate::train::{ImageBatch, Source, Take, TrainError};

/// Train images, augmented, and watched ones, as they are evaluated.
pub(super) struct PretrainImages {
    pub train: Arc<Split>,
    /// Those that vote, then those that are voted on, as one row of samples.
    pub watched: Vec<Arc<Split>>,
    pub input: InputSpec,
    pub augment: AugmentSpec,
    pub seed: u64,
    pub classes: usize,
    pub pass: PassOptions,
}

impl Source for PretrainImages {
    type Batch = ImageBatch;

    fn samples(&self) -> usize {
        self.train.samples.len()
    }

    fn train(
        &mut self,
        batches: &[Vec<Pick>],
        take: &mut Take<'_, ImageBatch>,
    ) -> Result<(), TrainError> {
        let preparation = Preparation::Training {
            input: self.input.clone(),
            augment: Box::new(self.augment.clone()),
            seed: self.seed,
            mix: None,
        };
        self.load(&self.train, &preparation, batches, take)
    }

    fn validate(
        &mut self,
        first: usize,
        take: &mut Take<'_, ImageBatch>,
    ) -> Result<(), TrainError> {
        let preparation = Preparation::Evaluation(self.input.clone());
        let mut before = 0;
        for split in &self.watched {
            let images = split.samples.len();
            let left = first.saturating_sub(before).min(images)..images;
            let batches = ranged_batches(&[left], self.pass.batch);
            self.load(split, &preparation, &batches, take)?;
            before += images;
        }
        Ok(())
    }
}

impl PretrainImages {
    fn load(
        &self,
        split: &Split,
        preparation: &Preparation,
        batches: &[Vec<Pick>],
        take: &mut Take<'_, ImageBatch>,
    ) -> Result<(), TrainError> {
        let mut picks = batches.iter().flatten().copied();
        let what = (&self.input, self.classes);
        load_batches(
            split,
            preparation,
            batches,
            self.pass.workers,
            &mut |images| take(image_batch(split, images, &mut picks, what)?),
        )
    }
}
