//! The objective of segmentation: the cross entropy of every pixel.

use super::{Objective, Share, dropped_paths};
use crate::data::Pick;
use crate::data::stream::Stream;
use crate::decoders::segmentation::{Pass, Segmenter};
use crate::engine::{Engine, HostTensor, Result, Targets};

/// Images of one size and the classes of their pixels.
#[derive(Clone, Debug)]
pub struct SceneBatch {
    /// `[B, C, H, W]`, normalised.
    pub pixels: Vec<f32>,
    /// Class of each pixel or [`crate::engine::IGNORED`]: `[B, H, W]`.
    pub labels: Vec<u32>,
    /// Which image of its split each is, in which pass.
    pub picks: Vec<Pick>,
    /// First half of the blake3 of each file.
    pub contents: Vec<[u8; 16]>,
}

/// A segmentation network that learns, whole or but for its encoder.
#[derive(Debug)]
pub struct Segmentation<E: Engine> {
    /// The network.
    pub segmenter: Segmenter<E>,
    /// The same tensors without a graph: what validates.
    pub frozen: Segmenter<E>,
    /// How likely each block's branches are left out; empty where none ever is.
    pub drop_path: Vec<f64>,
    /// Seed of what is left out.
    pub seed: u64,
}

impl<E: Engine> Segmentation<E> {
    /// images: `[B, C, H, W]`, and their `[H, W]`
    fn images(&self, engine: &E, batch: &SceneBatch) -> Result<(E::Tensor, [usize; 2])> {
        let config = self.frozen.vit().config();
        let [height, width] = config.input_size();
        let shape = [batch.picks.len(), config.channels, height, width];
        Ok((engine.tensor(&batch.pixels[..], &shape)?, [height, width]))
    }

    /// The mean over all pixels of a batch, those without a class counting as nothing lost
    /// (mmsegmentation, `mmseg/models/losses/cross_entropy_loss.py` with `avg_non_ignore=False`), in
    /// proportion to the batch's part of the update.
    ///
    /// logits: `[B, h, w, K]`, resized to the images' size
    fn term(
        &self,
        engine: &E,
        logits: &E::Tensor,
        (size, labels): ([usize; 2], &[u32]),
        part: f64,
    ) -> Result<E::Tensor> {
        let logits = engine.resize_bilinear(logits, size)?;
        let classes = engine.shape(&logits).last().copied().unwrap_or_default();
        let rows = engine.reshape(&logits, &[labels.len(), classes])?;
        let mean = engine.cross_entropy(&rows, Targets::Classes(labels))?;
        engine.affine(&mean, part, 0.0)
    }
}

impl<E: Engine> Objective<E> for Segmentation<E> {
    type Batch = SceneBatch;
    /// Logits: `[B, h, w, K]`.
    type Scores = HostTensor;

    fn terms(&self) -> Vec<String> {
        let auxiliary = self.segmenter.auxiliary_weight().map(|_| "auxiliary");
        let names = ["segmentation"].into_iter().chain(auxiliary);
        names.map(str::to_owned).collect()
    }

    fn loss(&mut self, engine: &E, batch: &SceneBatch, share: Share) -> Result<Vec<E::Tensor>> {
        let (images, size) = self.images(engine, batch)?;
        let dropped = dropped_paths(engine, &self.drop_path, self.seed, &batch.picks)?;
        let stream = |pick: &Pick| {
            let words = [self.seed, pick.pass as u64, pick.index as u64];
            Stream::new(b"channels", words)
        };
        let mut streams: Vec<_> = batch.picks.iter().map(stream).collect();
        let mut pass = Pass::Training {
            keep: share.first,
            uniform: &mut |image| streams[image].unit(),
        };
        let predictions = (self.segmenter).train(engine, &images, dropped.as_ref(), &mut pass)?;
        let part = batch.picks.len() as f64 / share.samples;
        let own = (size, &batch.labels[..]);
        let mut terms = vec![self.term(engine, &predictions.logits, own, part)?];
        let weight = self.segmenter.auxiliary_weight();
        if let (Some(logits), Some(weight)) = (&predictions.auxiliary, weight) {
            terms.push(self.term(engine, logits, own, weight * part)?);
        }
        Ok(terms)
    }

    fn validate(&self, engine: &E, batch: &SceneBatch) -> Result<HostTensor> {
        let (images, _) = self.images(engine, batch)?;
        let logits = self.frozen.logits(engine, &images)?;
        Ok(HostTensor {
            shape: engine.shape(&logits),
            data: engine.to_f32(&logits)?,
        })
    }

    fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.segmenter.buffers()
    }
}
