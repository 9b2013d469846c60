//! Neck and heads of UperNet.

use super::neck::Scale;
use super::{FcnHead, Neck, Pass, Predictions, SegmenterConfig, UperHead, UperNetConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, WeightError};

/// The level that the auxiliary head reads
/// (microsoft/unilm `beit/semantic_segmentation/configs/_base_/models/upernet_beit.py`, `in_index`).
const AUXILIARY_LEVEL: usize = 2;

/// Neck and heads of UperNet.
#[derive(Clone, Debug)]
pub struct UperNet<E: Engine> {
    /// Makes a pyramid of the encoder's blocks.
    pub neck: Neck<E>,
    /// Makes classes of the pyramid.
    pub head: UperHead<E>,
    /// Makes classes of one level, where there is such a head.
    pub auxiliary: Option<FcnHead<E>>,
}

impl<E: Engine> UperNet<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: &SegmenterConfig,
        (own, scales): (&UperNetConfig, [Scale; 4]),
    ) -> std::result::Result<Self, WeightError> {
        let (width, classes) = (config.width(), config.classes());
        let neck = Neck::load(loader, width, scales)?;
        let head = UperHead::load(loader, own, (width, classes))?;
        let auxiliary = own.auxiliary.map(|auxiliary| {
            let sizes = (width, auxiliary.channels, classes);
            FcnHead::load(loader, sizes, own.dropout)
        });
        Ok(Self {
            neck,
            head,
            auxiliary: auxiliary.transpose()?,
        })
    }

    /// blocks: four of `[B, h, w, D]`
    pub(super) fn forward(
        &self,
        engine: &E,
        blocks: &[E::Tensor],
        pass: &mut Pass<'_>,
    ) -> Result<Predictions<E>> {
        let pyramid = self.neck.forward(engine, blocks, pass.statistics())?;
        let logits = self.head.forward(engine, &pyramid, pass)?;
        let auxiliary = match (&self.auxiliary, &pass) {
            (Some(head), Pass::Training { .. }) => {
                let level = pyramid.get(AUXILIARY_LEVEL).ok_or_else(|| EngineError {
                    op: "UperNet",
                    message: format!("a pyramid of {} levels", pyramid.len()),
                })?;
                Some(head.forward(engine, level, pass)?)
            }
            _ => None,
        };
        Ok(Predictions { logits, auxiliary })
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        let auxiliary = self.auxiliary.iter().flat_map(FcnHead::buffers);
        let own = self.neck.buffers().into_iter().chain(self.head.buffers());
        own.chain(auxiliary).collect()
    }
}
