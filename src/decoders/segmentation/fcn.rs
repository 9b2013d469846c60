//! The head that helps UperNet to learn.

use super::Pass;
use super::conv_module::{ConvModule, Kernel};
use crate::engine::{Engine, Result};
use crate::nn::{Linear, Loader, WeightError};

/// mmsegmentation's `FCNHead` of one convolution by 3 x 3 pixels that is not joined to its input
/// (`mmseg/models/decode_heads/fcn_head.py`).
#[derive(Clone, Debug)]
pub struct FcnHead<E: Engine> {
    convolution: ConvModule<E>,
    conv_seg: Linear<E>,
    dropout: f64,
}

impl<E: Engine> FcnHead<E> {
    /// From `auxiliary_head.convs.0` and `auxiliary_head.conv_seg`.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        (width, channels, classes): (usize, usize, usize),
        dropout: f64,
    ) -> std::result::Result<Self, WeightError> {
        let name = "auxiliary_head.convs.0";
        let sizes = (width, channels);
        let last = "auxiliary_head.conv_seg";
        Ok(Self {
            convolution: ConvModule::load(loader, name, sizes, Kernel::Three)?,
            conv_seg: Linear::from_kernel(loader, last, (channels, 1), classes, true)?,
            dropout,
        })
    }

    /// x: `[B, h, w, D]` -> logits `[B, h, w, K]`
    pub fn forward(&self, engine: &E, x: &E::Tensor, pass: &mut Pass<'_>) -> Result<E::Tensor> {
        let x = self.convolution.forward(engine, x, pass.statistics())?;
        let x = pass.drop_channels(engine, &x, self.dropout)?;
        self.conv_seg.forward(engine, &x)
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.convolution.buffers()
    }
}
