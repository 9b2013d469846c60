//! The images of a probe, on their way into batches.

use std::sync::Arc;

use crate::data::augment::AugmentSpec;
use crate::data::{Images, InputSpec, Pick, Preparation, Split, load_batches, ranged_batches};
use crate::features::PassOptions;
use crate::train::{ImageBatch, Source, Take, TrainError};

/// Train images, augmented, and validation images, as they are evaluated.
pub(super) struct ProbeImages {
    pub train: Arc<Split>,
    pub val: Arc<Split>,
    pub input: InputSpec,
    pub augment: AugmentSpec,
    pub seed: u64,
    pub classes: usize,
    pub pass: PassOptions,
}

impl Source for ProbeImages {
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
            augment: self.augment.clone(),
            seed: self.seed,
            mix: None,
        };
        load_batches(
            &self.train,
            &preparation,
            batches,
            self.pass.workers,
            &mut |images| take(self.batch(&self.train, images)?),
        )
    }

    fn validate(
        &mut self,
        first: usize,
        take: &mut Take<'_, ImageBatch>,
    ) -> Result<(), TrainError> {
        let left = first..self.val.samples.len();
        load_batches(
            &self.val,
            &Preparation::Evaluation(self.input.clone()),
            &ranged_batches(&[left], self.pass.batch),
            self.pass.workers,
            &mut |images| take(self.batch(&self.val, images)?),
        )
    }
}

impl ProbeImages {
    fn batch(&self, split: &Split, images: &mut Images<'_>) -> Result<ImageBatch, TrainError> {
        let values = self.input.channels * self.input.height * self.input.width;
        let mut batch = ImageBatch {
            pixels: Vec::with_capacity(images.len() * values),
            labels: Vec::with_capacity(images.len()),
            indices: Vec::with_capacity(images.len()),
            contents: Vec::with_capacity(images.len()),
        };
        for image in images {
            let image = image?;
            let sample = &split.samples[image.index];
            if sample.label as usize >= self.classes {
                return Err(TrainError::Label {
                    path: split.located(image.index),
                    label: sample.label,
                    classes: self.classes,
                });
            }
            let pixels = image.pixels.map_err(|error| TrainError::Image {
                path: split.located(image.index),
                reason: error.to_string(),
            })?;
            batch.pixels.extend_from_slice(&pixels);
            batch.labels.push(sample.label);
            batch.indices.push(image.index);
            batch.contents.push(image.content);
        }
        Ok(batch)
    }
}
