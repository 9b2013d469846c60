//! From a ViT's blocks, which all have one resolution, to a pyramid of four.

use super::Statistics;
use super::conv_module::batch_norm_config;
use super::upscale::Upscale;
use crate::engine::{Activation, Engine, Result};
use crate::nn::{BatchNorm, Loader, WeightError};

/// How much larger or smaller than the patch grid a level of the pyramid is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// Four times as many rows and columns.
    Quadruple,
    /// Twice as many.
    Double,
    /// As many.
    Same,
    /// Half as many, rounded down.
    Half,
    /// A quarter of them, rounded down.
    Quarter,
    /// An eighth of them, rounded down.
    Eighth,
}

/// The levels for a patch size, pixels, the finest first, whose pixels are 4, 8, 16 and 32 of the
/// image's (microsoft/unilm `beit/semantic_segmentation/backbone/beit.py`, which has 16 and 8); patches
/// of 14 have the levels of 16, those of 4 go on where 8 ends.
pub(super) fn scales(patch_size: usize) -> Option<[Scale; 4]> {
    match patch_size {
        14 | 16 => Some([Scale::Quadruple, Scale::Double, Scale::Same, Scale::Half]),
        8 => Some([Scale::Double, Scale::Same, Scale::Half, Scale::Quarter]),
        4 => Some([Scale::Same, Scale::Half, Scale::Quarter, Scale::Eighth]),
        _ => None,
    }
}

/// One level of the pyramid.
#[derive(Clone, Debug)]
enum Level<E: Engine> {
    Quadruple {
        first: Upscale<E>,
        norm: BatchNorm<E>,
        second: Upscale<E>,
    },
    Double(Upscale<E>),
    Same,
    Half,
    Quarter,
    Eighth,
}

impl<E: Engine> Level<E> {
    fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        width: usize,
        scale: Scale,
    ) -> std::result::Result<Self, WeightError> {
        let mut upscale =
            |place: usize| Upscale::load(loader, &format!("{prefix}.{place}"), (width, width));
        Ok(match scale {
            Scale::Quadruple => {
                let [first, second] = [upscale(0)?, upscale(3)?];
                let norm = format!("{prefix}.1");
                Self::Quadruple {
                    first,
                    norm: BatchNorm::load(loader, &norm, batch_norm_config(width))?,
                    second,
                }
            }
            Scale::Double => Self::Double(upscale(0)?),
            Scale::Same => Self::Same,
            Scale::Half => Self::Half,
            Scale::Quarter => Self::Quarter,
            Scale::Eighth => Self::Eighth,
        })
    }

    fn forward(&self, engine: &E, x: &E::Tensor, statistics: Statistics) -> Result<E::Tensor> {
        match self {
            Self::Quadruple {
                first,
                norm,
                second,
            } => {
                let x = first.forward(engine, x)?;
                let x = statistics.normalise(engine, norm, &x)?;
                let x = engine.activation(&x, Activation::Gelu)?;
                second.forward(engine, &x)
            }
            Self::Double(upscale) => upscale.forward(engine, x),
            Self::Same => Ok(x.clone()),
            Self::Half => engine.max_pool(x),
            // Halves of halves are the quarters of `max_pool2d(4)`, whatever is left over.
            Self::Quarter => engine.max_pool(&engine.max_pool(x)?),
            Self::Eighth => engine.max_pool(&engine.max_pool(&engine.max_pool(x)?)?),
        }
    }
}

/// BEiT's neck: `fpn1` to `fpn4`.
#[derive(Clone, Debug)]
pub struct Neck<E: Engine> {
    levels: Vec<Level<E>>,
}

impl<E: Engine> Neck<E> {
    /// From `backbone.fpn1` to `backbone.fpn4`, those of them that have weights.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        width: usize,
        scales: [Scale; 4],
    ) -> std::result::Result<Self, WeightError> {
        let mut levels = Vec::new();
        for (i, scale) in scales.into_iter().enumerate() {
            let prefix = format!("backbone.fpn{}", i + 1);
            levels.push(Level::load(loader, &prefix, width, scale)?);
        }
        Ok(Self { levels })
    }

    /// blocks: four of `[B, h, w, D]` -> one of each level, the finest first
    pub fn forward(
        &self,
        engine: &E,
        blocks: &[E::Tensor],
        statistics: Statistics,
    ) -> Result<Vec<E::Tensor>> {
        let levels = self.levels.iter().zip(blocks);
        levels
            .map(|(level, x)| level.forward(engine, x, statistics))
            .collect()
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        let norms = self.levels.iter().filter_map(|level| match level {
            Level::Quadruple { norm, .. } => Some(norm.buffers().to_vec()),
            _ => None,
        });
        norms.flatten().collect()
    }
}
