//! The heads of frozen encoders.

use super::conv_module::batch_norm_config;
use super::{LinearHeadConfig, Pass};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{BatchNorm, Linear, Loader, WeightError};

/// One linear layer over the joined blocks, where asked for behind a BatchNorm.
///
/// A plain ViT's blocks are of one size, so that joining them resizes none.
#[derive(Clone, Debug)]
pub struct LinearHead<E: Engine> {
    norm: Option<BatchNorm<E>>,
    conv_seg: Linear<E>,
    dropout: f64,
}

impl<E: Engine> LinearHead<E> {
    /// From `decode_head.conv_seg`, and `decode_head.bn` where there is a BatchNorm
    /// (facebookresearch/dinov2 `dinov2/eval/segmentation/models/decode_heads/linear_head.py`).
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: LinearHeadConfig,
        (width, classes): (usize, usize),
    ) -> std::result::Result<Self, WeightError> {
        let norm = || BatchNorm::load(loader, "decode_head.bn", batch_norm_config(width));
        let norm = config.batch_norm.then(norm).transpose()?;
        let name = "decode_head.conv_seg";
        Ok(Self {
            norm,
            conv_seg: Linear::from_kernel(loader, name, (width, 1), classes, true)?,
            dropout: config.dropout,
        })
    }

    /// Channels are left out before the BatchNorm (facebookresearch/dinov3
    /// `dinov3/eval/segmentation`, `LinearHead.forward`).
    ///
    /// blocks: each `[B, h, w, D]` -> logits `[B, h, w, K]`
    pub fn forward(
        &self,
        engine: &E,
        blocks: &[E::Tensor],
        pass: &mut Pass<'_>,
    ) -> Result<E::Tensor> {
        let x = match blocks {
            [only] => only.clone(),
            [] => {
                return Err(EngineError {
                    op: "linear head",
                    message: "it reads no block".to_owned(),
                });
            }
            _ => engine.cat(&blocks.iter().collect::<Vec<_>>(), 3)?,
        };
        let mut x = pass.drop_channels(engine, &x, self.dropout)?;
        if let Some(norm) = &self.norm {
            x = pass.statistics().normalise(engine, norm, &x)?;
        }
        self.conv_seg.forward(engine, &x)
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        let norms = self.norm.iter();
        norms.flat_map(|norm| norm.buffers().clone()).collect()
    }
}
