//! Whatever makes classes of an encoder's blocks.

use super::config::Layout;
use super::{LinearHead, Pass, SegmenterConfig, UperNet};
use crate::engine::{Engine, Result};
use crate::nn::{Loader, WeightError};

/// Whatever makes classes of an encoder's blocks.
#[derive(Clone, Debug)]
pub enum SegmentationDecoder<E: Engine> {
    /// Neck and heads.
    UperNet(Box<UperNet<E>>),
    /// One layer.
    Linear(LinearHead<E>),
}

/// What heads say of a batch.
#[derive(Clone, Debug)]
pub struct Predictions<E: Engine> {
    /// `[B, h, w, K]`
    pub logits: E::Tensor,
    /// In training the auxiliary head's, of its own size: `[B, h, w, K]`.
    pub auxiliary: Option<E::Tensor>,
}

impl<E: Engine> SegmentationDecoder<E> {
    /// From tensors under mmsegmentation's names, `backbone.fpnN`, `decode_head` and
    /// `auxiliary_head`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &SegmenterConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(match config.layout() {
            Layout::UperNet(own, scales) => {
                Self::UperNet(Box::new(UperNet::load(loader, config, (own, *scales))?))
            }
            Layout::Linear(own) => {
                let width = config.width() * config.blocks().len();
                Self::Linear(LinearHead::load(loader, *own, (width, config.classes()))?)
            }
        })
    }

    /// blocks: each `[B, h, w, D]`, those of [`SegmenterConfig::blocks`]
    pub fn forward(
        &self,
        engine: &E,
        blocks: &[E::Tensor],
        pass: &mut Pass<'_>,
    ) -> Result<Predictions<E>> {
        match self {
            Self::UperNet(net) => net.forward(engine, blocks, pass),
            Self::Linear(head) => Ok(Predictions {
                logits: head.forward(engine, blocks, pass)?,
                auxiliary: None,
            }),
        }
    }

    /// Handles to the running statistics.
    pub fn buffers(&self) -> Vec<(String, E::Tensor)> {
        match self {
            Self::UperNet(net) => net.buffers(),
            Self::Linear(head) => head.buffers(),
        }
    }
}
