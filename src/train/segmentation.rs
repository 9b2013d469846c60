//! The objective of segmentation: the cross entropy of every pixel.

use super::{Objective, Share, dropped_paths};
use crate::data::Pick;
use crate::data::stream::Stream;
use crate::decoders::segmentation::{Pass, Segmenter, Sliding, View, Window};
use crate::engine::{Engine, EngineError, HostTensor, Result, Targets};

/// Images of one size.
#[derive(Clone, Debug)]
pub struct SceneView {
    /// `[B, C, H, W]`, normalised.
    pub pixels: Vec<f32>,
    /// Height and width.
    pub size: [usize; 2],
    /// Whether left and right are exchanged.
    pub mirrored: bool,
}

/// Crops of one size, or one whole image in a validation, and the classes of their pixels.
#[derive(Clone, Debug)]
pub struct SceneBatch {
    /// The crops, in one view; or the image in several sizes, and mirrored.
    pub views: Vec<SceneView>,
    /// Class of each pixel or [`crate::engine::IGNORED`]: `[B, H, W]`, of a whole image in its
    /// original size.
    pub labels: Vec<u32>,
    /// Height and width of the labels.
    pub original: [usize; 2],
    /// Which image of its split each is, in which pass.
    pub picks: Vec<Pick>,
    /// First half of the blake3 of each file and its mask.
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
    /// How it looks at whole images.
    pub sliding: Sliding,
    /// Windows that go through the network together.
    pub windows: usize,
}

impl<E: Engine> Segmentation<E> {
    /// What the network says of windows of an image: `[B, h, w, K]`.
    fn look(&self, engine: &E, view: &SceneView, windows: &[Window]) -> Result<HostTensor> {
        let config = self.frozen.vit().config();
        let [height, width] = config.input_size();
        let [rows, columns] = view.size;
        let mut pixels = vec![0f32; windows.len() * config.channels * height * width];
        let mut inputs = pixels.chunks_exact_mut(height * width);
        let mut smaller = None;
        for window in windows {
            if [window.height, window.width] != [height, width] {
                smaller = Some([window.height, window.width]);
            }
            for (plane, input) in view.pixels.chunks_exact(rows * columns).zip(&mut inputs) {
                let lines = input.chunks_exact_mut(width).take(window.height);
                for (line, row) in lines.zip(window.top..) {
                    let own = &plane[row * columns + window.left..][..window.width];
                    line[..window.width].copy_from_slice(own);
                }
            }
        }
        let shape = [windows.len(), config.channels, height, width];
        let images = engine.tensor(&pixels[..], &shape)?;
        let mut logits = self.frozen.logits(engine, &images)?;
        if let Some([rows, columns]) = smaller {
            // Of an image that a window is too large for, what lies beyond its edges is left out.
            logits = engine.resize_bilinear(&logits, [height, width])?;
            logits = engine.narrow(&logits, 1, 0, rows)?;
            logits = engine.narrow(&logits, 2, 0, columns)?;
        }
        Ok(HostTensor {
            shape: engine.shape(&logits),
            data: engine.to_f32(&logits)?,
        })
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
    /// The class of every pixel of one whole image in its original size: `[H, W]`.
    type Scores = Vec<u32>;

    fn terms(&self) -> Vec<String> {
        let auxiliary = self.segmenter.auxiliary_weight().map(|_| "auxiliary");
        let names = ["segmentation"].into_iter().chain(auxiliary);
        names.map(str::to_owned).collect()
    }

    fn loss(&mut self, engine: &E, batch: &SceneBatch, share: Share) -> Result<Vec<E::Tensor>> {
        let [view] = &batch.views[..] else {
            return Err(EngineError {
                op: "segmentation",
                message: format!("{} views of what is learned from", batch.views.len()),
            });
        };
        let [height, width] = view.size;
        let channels = self.segmenter.vit().config().channels;
        let shape = [batch.picks.len(), channels, height, width];
        let images = engine.tensor(&view.pixels[..], &shape)?;
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
        let own = (view.size, &batch.labels[..]);
        let mut terms = vec![self.term(engine, &predictions.logits, own, part)?];
        let weight = self.segmenter.auxiliary_weight();
        if let (Some(logits), Some(weight)) = (&predictions.auxiliary, weight) {
            terms.push(self.term(engine, logits, own, weight * part)?);
        }
        Ok(terms)
    }

    fn validate(&self, engine: &E, batch: &SceneBatch) -> Result<Vec<u32>> {
        let views: Vec<_> = (batch.views.iter())
            .map(|view| View {
                size: view.size,
                mirrored: view.mirrored,
            })
            .collect();
        let mut look =
            |view: usize, windows: &[Window]| self.look(engine, &batch.views[view], windows);
        let image = (&views[..], batch.original);
        self.sliding.classes(image, self.windows, &mut look)
    }

    fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.segmenter.buffers()
    }
}
