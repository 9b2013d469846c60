//! Linear classifiers over a frozen encoder's tokens, many at once.

use std::fmt;

use serde::Serialize;

use crate::engine::{Engine, EngineError, Result};
use crate::features::{EncoderError, Tap, Token};
use crate::nn::{BatchNorm, BatchNormConfig, Linear, Loader, WeightError};
use crate::vit::{Site, Vit, VitConfig, tap_shape};

/// Epsilon of the BatchNorm before a head (facebookresearch/mae `main_linprobe.py`).
const BATCH_NORM_EPS: f64 = 1e-6;

/// Share of a batch in its running statistics: PyTorch's default.
const BATCH_NORM_MOMENTUM: f64 = 0.1;

/// What a head reads: one vector an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeInput {
    /// Blocks, counted from 0, ascending. The class tokens of all of them are joined; patches are
    /// those of the last.
    pub blocks: Vec<usize>,
    /// Which tokens: with [`Token::Concat`] the mean of the last block's patches follows the class
    /// tokens.
    pub token: Token,
    /// Whether the checkpoint's final normalisation is applied to every block's tokens.
    pub norm: bool,
}

impl ProbeInput {
    /// Its parts, in order: class tokens, then the mean of the patches.
    fn parts(&self) -> Vec<Tap> {
        let tap = |&layer: &usize, token| Tap::Pooled {
            layer,
            token,
            norm: self.norm,
        };
        let classes = self.blocks.iter().map(|layer| tap(layer, Token::Cls));
        let last = |token| self.blocks.last().map(|layer| tap(layer, token));
        match self.token {
            Token::Cls => classes.collect(),
            Token::Concat => classes.chain(last(Token::MeanPatch)).collect(),
            Token::MeanPatch | Token::Pooled => last(self.token).into_iter().collect(),
        }
    }

    /// The block whose output it ends with.
    pub fn layer(&self) -> Option<usize> {
        self.blocks.last().copied()
    }

    /// Length D of its vector, or why the architecture has no such thing.
    pub fn width(&self, config: &VitConfig) -> std::result::Result<usize, EncoderError> {
        let mut width = 0;
        for tap in self.parts() {
            width += tap_shape(config, tap)?.iter().product::<usize>();
        }
        Ok(width)
    }
}

/// `block 7 concat raw`, `blocks 8-11 cls norm`.
impl fmt::Display for ProbeInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.blocks.as_slice() {
            [first, .., last] => write!(f, "blocks {first}-{last}")?,
            [only] => write!(f, "block {only}")?,
            [] => write!(f, "no block")?,
        }
        let norm = if self.norm { "norm" } else { "raw" };
        write!(f, " {} {norm}", self.token.name())
    }
}

/// A linear classifier and what it reads.
#[derive(Clone, Debug)]
pub struct ProbeHead<E: Engine> {
    /// Place of its input in [`ProbeHeads::inputs`].
    pub input: usize,
    linear: Linear<E>,
}

/// Classifiers over a frozen ViT.
#[derive(Clone, Debug)]
pub struct ProbeHeads<E: Engine> {
    inputs: Vec<ProbeInput>,
    /// One an input where heads stand behind a BatchNorm.
    norms: Vec<BatchNorm<E>>,
    heads: Vec<ProbeHead<E>>,
}

impl<E: Engine> ProbeHeads<E> {
    /// Head `i` from `heads.i.weight` `[classes, D]` and `heads.i.bias`, over the input of the place
    /// that `of` has; with `batch_norm`, input `j` behind the statistics `norms.j.running_mean` and
    /// `norms.j.running_var` `[D]`. Inputs come with their lengths D.
    pub fn load(
        loader: &mut Loader<'_, E>,
        inputs: &[(ProbeInput, usize)],
        of: &[usize],
        classes: usize,
        batch_norm: bool,
    ) -> std::result::Result<Self, WeightError> {
        let mut norms = Vec::new();
        for (j, &(_, width)) in inputs.iter().enumerate().filter(|_| batch_norm) {
            let config = BatchNormConfig {
                width,
                eps: BATCH_NORM_EPS,
                momentum: BATCH_NORM_MOMENTUM,
                affine: false,
            };
            norms.push(BatchNorm::load(loader, &format!("norms.{j}"), config)?);
        }
        let mut heads = Vec::new();
        for (i, &input) in of.iter().enumerate() {
            let linear = Linear::load(loader, &format!("heads.{i}"), inputs[input].1, classes)?;
            heads.push(ProbeHead { input, linear });
        }
        Ok(Self {
            inputs: inputs.iter().map(|(input, _)| input.clone()).collect(),
            norms,
            heads,
        })
    }

    /// What heads read out of a frozen ViT, one an input.
    ///
    /// images: `[B, C, H, W]`, normalised -> each `[B, D]`
    pub fn features(&self, engine: &E, vit: &Vit<E>, images: &E::Tensor) -> Result<Vec<E::Tensor>> {
        let mut wanted: Vec<Tap> = Vec::new();
        for part in self.inputs.iter().flat_map(ProbeInput::parts) {
            if !wanted.contains(&part) {
                wanted.push(part);
            }
        }
        let mut found = vec![None; wanted.len()];
        let layers = wanted.iter().filter_map(|tap| tap.layer());
        let depth = layers.max().map_or(0, |layer| layer + 1);
        let reads = |site: Site| {
            let at = |tap: &Tap| tap.layer().map(Site::Block) == Some(site);
            wanted.iter().any(at)
        };
        vit.forward(engine, images, depth, &reads, &mut |site, tokens| {
            for (found, tap) in found.iter_mut().zip(&wanted) {
                if let Tap::Pooled { layer, token, norm } = *tap
                    && site == Site::Block(layer)
                {
                    *found = Some(vit.pool(engine, tokens, token, norm)?);
                }
            }
            Ok(())
        })?;
        let joined = |input: &ProbeInput| {
            let mut parts = Vec::new();
            for part in input.parts() {
                let place = wanted.iter().position(|tap| *tap == part);
                let tensor = place.and_then(|place| found[place].as_ref());
                parts.push(tensor.ok_or_else(|| EngineError {
                    op: "features",
                    message: format!("the forward pass does not reach {part}"),
                })?);
            }
            match parts.as_slice() {
                [only] => Ok((*only).clone()),
                parts => engine.cat(parts, 1),
            }
        };
        self.inputs.iter().map(joined).collect()
    }

    /// In training: normalised by the batch's own statistics where there is a BatchNorm, whose
    /// running statistics follow where `keep` says so.
    ///
    /// features: each `[B, D]` -> logits, one a head: `[B, classes]`
    pub fn train(&self, engine: &E, features: &[E::Tensor], keep: bool) -> Result<Vec<E::Tensor>> {
        let mut normalised = features.to_vec();
        for (x, norm) in normalised.iter_mut().zip(&self.norms) {
            *x = norm.forward_training(engine, x, keep)?;
        }
        self.logits(engine, &normalised)
    }

    /// Otherwise: by the running statistics.
    ///
    /// features: each `[B, D]` -> logits, one a head: `[B, classes]`
    pub fn evaluate(&self, engine: &E, features: &[E::Tensor]) -> Result<Vec<E::Tensor>> {
        let mut normalised = features.to_vec();
        for (x, norm) in normalised.iter_mut().zip(&self.norms) {
            *x = norm.forward(engine, x)?;
        }
        self.logits(engine, &normalised)
    }

    fn logits(&self, engine: &E, features: &[E::Tensor]) -> Result<Vec<E::Tensor>> {
        let logits = |head: &ProbeHead<E>| head.linear.forward(engine, &features[head.input]);
        self.heads.iter().map(logits).collect()
    }

    /// Handles to the running statistics.
    pub fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.norms
            .iter()
            .flat_map(|norm| norm.buffers().clone())
            .collect()
    }
}
