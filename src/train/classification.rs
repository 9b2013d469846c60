//! The objective of fine-tuning: the cross entropy of a whole classifier on mixed images.

use super::{HeadScores, ImageBatch, Objective, Share, dropped_paths};
use crate::engine::{Engine, Result, Targets};
use crate::vit::Classifier;

/// A classifier of which every layer learns.
#[derive(Debug)]
pub struct Classification<E: Engine> {
    /// The network.
    pub classifier: Classifier<E>,
    /// The same tensors without a graph: what validates.
    pub frozen: Classifier<E>,
    /// How likely each block's branches are left out; empty where none ever is.
    pub drop_path: Vec<f64>,
    /// Part of a target that is spread evenly over all classes.
    pub smoothing: f64,
    /// Seed of the branches that are left out.
    pub seed: u64,
}

impl<E: Engine> Classification<E> {
    /// images: `[B, C, H, W]`
    fn images(&self, engine: &E, batch: &ImageBatch) -> Result<E::Tensor> {
        let config = self.classifier.vit().config();
        let [height, width] = config.input_size();
        let shape = [batch.labels.len(), config.channels, height, width];
        engine.tensor(&batch.pixels[..], &shape)
    }

    /// Distributions over the classes, `[B, C]`: what is spread over all of them, the rest at the
    /// two classes of a mixed image by their shares (timm `timm/data/mixup.py`, `mixup_target`).
    fn targets(&self, batch: &ImageBatch) -> Vec<f64> {
        let classes = self.classifier.classes();
        let off = self.smoothing / classes as f64;
        let mut targets = vec![off; batch.labels.len() * classes];
        let rows = targets.chunks_mut(classes);
        for ((row, &label), mixed) in rows.zip(&batch.labels).zip(&batch.mixed) {
            let share = mixed.map_or(1.0, |mixed| mixed.lambda);
            row[label as usize] += (1.0 - self.smoothing) * share;
            if let Some(mixed) = mixed {
                row[mixed.label as usize] += (1.0 - self.smoothing) * (1.0 - share);
            }
        }
        targets
    }
}

impl<E: Engine> Objective<E> for Classification<E> {
    type Batch = ImageBatch;
    type Scores = Vec<HeadScores>;

    fn terms(&self) -> Vec<String> {
        vec!["cross entropy".to_owned()]
    }

    fn loss(&mut self, engine: &E, batch: &ImageBatch, share: Share) -> Result<Vec<E::Tensor>> {
        let images = self.images(engine, batch)?;
        let logits = match dropped_paths(engine, &self.drop_path, self.seed, &batch.picks)? {
            Some(dropped) => (self.classifier).forward_dropping(engine, &images, &dropped)?,
            None => self.classifier.forward(engine, &images)?,
        };
        let targets = self.targets(batch);
        let targets = engine.tensor(&targets[..], &engine.shape(&logits))?;
        let mean = engine.cross_entropy(&logits, Targets::Soft(&targets))?;
        let part = batch.labels.len() as f64 / share.samples;
        Ok(vec![engine.affine(&mean, part, 0.0)?])
    }

    fn validate(&self, engine: &E, batch: &ImageBatch) -> Result<Vec<HeadScores>> {
        let images = self.images(engine, batch)?;
        let logits = self.frozen.forward(engine, &images)?;
        Ok(vec![HeadScores::of(engine, &logits, &batch.labels)?])
    }

    fn buffers(&self) -> Vec<(String, E::Tensor)> {
        Vec::new()
    }
}
