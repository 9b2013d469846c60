//! The objective of linear probes: the sum of the heads' cross entropies over a frozen encoder.

use super::{HeadScores, ImageBatch, Objective, Share};
use crate::decoders::ProbeHeads;
use crate::engine::{Engine, Result, Targets};
use crate::vit::Vit;

/// Heads that learn over a ViT that does not. Heads share no parameter, so that each ends where
/// it would alone.
#[derive(Debug)]
pub struct LinearProbe<E: Engine> {
    /// The encoder.
    pub vit: Vit<E>,
    /// What learns.
    pub heads: ProbeHeads<E>,
    /// What each head is called in curves.
    pub names: Vec<String>,
    /// Images in one forward pass of the encoder.
    pub chunk: usize,
}

impl<E: Engine> LinearProbe<E> {
    /// What the heads read -> each `[B, D]`
    fn features(&self, engine: &E, batch: &ImageBatch) -> Result<Vec<E::Tensor>> {
        let config = self.vit.config();
        let [height, width] = config.input_size();
        let image = config.channels * height * width;
        let mut chunks: Vec<Vec<E::Tensor>> = Vec::new();
        for pixels in batch.pixels.chunks(image * self.chunk) {
            let shape = [pixels.len() / image, config.channels, height, width];
            let images = engine.tensor(pixels, &shape)?;
            chunks.push(self.heads.features(engine, &self.vit, &images)?);
        }
        if chunks.len() == 1 {
            return Ok(chunks.remove(0));
        }
        let inputs = chunks.first().map_or(0, Vec::len);
        let joined = |input: usize| {
            let parts: Vec<_> = chunks.iter().map(|chunk| &chunk[input]).collect();
            engine.cat(&parts, 0)
        };
        (0..inputs).map(joined).collect()
    }
}

impl<E: Engine> Objective<E> for LinearProbe<E> {
    type Batch = ImageBatch;
    type Scores = Vec<HeadScores>;

    fn terms(&self) -> Vec<String> {
        self.names.clone()
    }

    fn loss(&mut self, engine: &E, batch: &ImageBatch, share: Share) -> Result<Vec<E::Tensor>> {
        let features = self.features(engine, batch)?;
        let logits = self.heads.train(engine, &features, share.first)?;
        let part = batch.labels.len() as f64 / share.samples;
        let term = |logits: &E::Tensor| {
            let mean = engine.cross_entropy(logits, Targets::Classes(&batch.labels))?;
            engine.affine(&mean, part, 0.0)
        };
        logits.iter().map(term).collect()
    }

    fn validate(&self, engine: &E, batch: &ImageBatch) -> Result<Vec<HeadScores>> {
        let features = self.features(engine, batch)?;
        let logits = self.heads.evaluate(engine, &features)?;
        let scores = |logits| HeadScores::of(engine, logits, &batch.labels);
        logits.iter().map(scores).collect()
    }

    fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.heads.buffers()
    }
}
