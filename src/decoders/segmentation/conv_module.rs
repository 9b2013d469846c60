//! mmcv's unit of a head: a convolution, BatchNorm, ReLU.

use super::Statistics;
use crate::engine::{Activation, Engine, Result};
use crate::nn::{BatchNorm, BatchNormConfig, Linear, Loader, WeightError};

/// BatchNorm after every convolution and in the neck: PyTorch's defaults, which mmcv keeps
/// (mmcv, `mmcv/cnn/bricks/norm.py`).
pub(super) fn batch_norm_config(width: usize) -> BatchNormConfig {
    BatchNormConfig {
        width,
        eps: 1e-5,
        momentum: 0.1,
        affine: true,
    }
}

/// Sides of the kernels that heads have, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    /// 1 x 1.
    One,
    /// 3 x 3, over a border of zeros.
    Three,
}

impl Kernel {
    pub(super) fn side(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// `relu(bn(conv(x)))`, where the convolution has no bias (mmcv, `mmcv/cnn/bricks/conv_module.py`).
#[derive(Clone, Debug)]
pub(super) struct ConvModule<E: Engine> {
    convolution: Convolution<E>,
    norm: BatchNorm<E>,
}

#[derive(Clone, Debug)]
enum Convolution<E: Engine> {
    One(Linear<E>),
    /// `[O, I, 3, 3]`
    Three(E::Tensor),
}

impl<E: Engine> ConvModule<E> {
    /// From `prefix.conv.weight` `[O, I, k, k]` and `prefix.bn`.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        (inputs, outputs): (usize, usize),
        kernel: Kernel,
    ) -> std::result::Result<Self, WeightError> {
        let name = format!("{prefix}.conv");
        Ok(Self {
            convolution: match kernel {
                Kernel::One => {
                    let size = (inputs, kernel.side());
                    let layer = Linear::from_kernel(loader, &name, size, outputs, false)?;
                    Convolution::One(layer)
                }
                Kernel::Three => {
                    let shape = [outputs, inputs, kernel.side(), kernel.side()];
                    Convolution::Three(loader.take(&format!("{name}.weight"), &shape)?)
                }
            },
            norm: BatchNorm::load(loader, &format!("{prefix}.bn"), batch_norm_config(outputs))?,
        })
    }

    /// x: `[B, H, W, I]` -> `[B, H, W, O]`
    pub(super) fn forward(
        &self,
        engine: &E,
        x: &E::Tensor,
        statistics: Statistics,
    ) -> Result<E::Tensor> {
        let x = match &self.convolution {
            Convolution::One(layer) => layer.forward(engine, x)?,
            Convolution::Three(weight) => engine.convolution(x, weight)?,
        };
        let x = statistics.normalise(engine, &self.norm, &x)?;
        engine.activation(&x, Activation::Relu)
    }

    /// Handles to the running statistics.
    pub(super) fn buffers(&self) -> Vec<(String, E::Tensor)> {
        self.norm.buffers().to_vec()
    }
}
