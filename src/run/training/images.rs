//! The images of a training run, on their way into batches.

use std::sync::Arc;

use crate::data::augment::AugmentSpec;
use crate::data::{
    Images, InputSpec, MixSpec, Pick, Preparation, Split, load_batches, ranged_batches,
};
use crate::features::PassOptions;
use crate::train::{ImageBatch, MixedIn, Source, Take, TrainError};

/// Train images, augmented, and validation images, as they are evaluated.
pub(in crate::run) struct TrainingImages {
    pub train: Arc<Split>,
    pub val: Arc<Split>,
    pub input: InputSpec,
    pub augment: AugmentSpec,
    pub mix: Option<MixSpec>,
    pub seed: u64,
    pub classes: usize,
    pub pass: PassOptions,
}

impl Source for TrainingImages {
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
            mix: self.mix,
        };
        let mut picks = batches.iter().flatten().copied();
        load_batches(
            &self.train,
            &preparation,
            batches,
            self.pass.workers,
            &mut |images| take(self.batch(&self.train, images, &mut picks)?),
        )
    }

    fn validate(
        &mut self,
        first: usize,
        take: &mut Take<'_, ImageBatch>,
    ) -> Result<(), TrainError> {
        let left = first..self.val.samples.len();
        let batches = ranged_batches(&[left], self.pass.batch);
        let mut picks = batches.iter().flatten().copied();
        load_batches(
            &self.val,
            &Preparation::Evaluation(self.input.clone()),
            &batches,
            self.pass.workers,
            &mut |images| take(self.batch(&self.val, images, &mut picks)?),
        )
    }
}

impl TrainingImages {
    fn batch(
        &self,
        split: &Split,
        images: &mut Images<'_>,
        picks: &mut dyn Iterator<Item = Pick>,
    ) -> Result<ImageBatch, TrainError> {
        image_batch(split, images, picks, (&self.input, self.classes))
    }
}

/// The images of a split that a pass hands out, of at most so many classes.
pub(in crate::run) fn image_batch(
    split: &Split,
    images: &mut Images<'_>,
    picks: &mut dyn Iterator<Item = Pick>,
    (input, classes): (&InputSpec, usize),
) -> Result<ImageBatch, TrainError> {
    let mut batch = ImageBatch {
        pixels: Vec::with_capacity(images.len() * input.values()),
        labels: Vec::with_capacity(images.len()),
        picks: Vec::with_capacity(images.len()),
        mixed: Vec::with_capacity(images.len()),
        contents: Vec::with_capacity(images.len()),
    };
    for image in images {
        let image = image?;
        let sample = &split.samples[image.index];
        if sample.label as usize >= classes {
            return Err(TrainError::Label {
                path: split.located(image.index),
                label: sample.label,
                classes,
            });
        }
        let pixels = image.pixels.map_err(|error| TrainError::Image {
            path: split.located(image.index),
            reason: error.to_string(),
        })?;
        batch.pixels.extend_from_slice(&pixels);
        batch.labels.push(sample.label);
        batch.picks.extend(picks.next());
        batch.mixed.push(image.mixed.map(|mixed| MixedIn {
            label: split.samples[mixed.partner].label,
            lambda: mixed.lambda,
        }));
        batch.contents.push(image.content);
    }
    Ok(batch)
}
