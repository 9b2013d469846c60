//! How a batch goes through a head.

use super::Statistics;
use crate::engine::{Engine, Result};

/// How a batch goes through a head.
pub enum Pass<'a> {
    /// By running statistics, every channel counting.
    Evaluation,
    /// By the batch's own statistics, with channels left out.
    Training {
        /// Whether the running statistics take the batch's in.
        keep: bool,
        /// The next number of the image of this place in the batch, uniform in `[0, 1)`.
        uniform: &'a mut dyn FnMut(usize) -> f64,
    },
}

impl Pass<'_> {
    /// By which statistics it normalises.
    pub fn statistics(&self) -> Statistics {
        match self {
            Self::Evaluation => Statistics::Running,
            Self::Training { keep, .. } => Statistics::Batch { keep: *keep },
        }
    }

    /// In training, channels left out image by image and the others raised in turn: PyTorch's
    /// `Dropout2d`. A channel stays where its number is not below the rate.
    ///
    /// x: `[B, H, W, C]` -> `[B, H, W, C]`
    pub(super) fn drop_channels<E: Engine>(
        &mut self,
        engine: &E,
        x: &E::Tensor,
        rate: f64,
    ) -> Result<E::Tensor> {
        let Self::Training { uniform, .. } = self else {
            return Ok(x.clone());
        };
        let shape = engine.shape(x);
        let (Some(&images), Some(&channels)) = (shape.first(), shape.last()) else {
            return Ok(x.clone());
        };
        if rate == 0.0 {
            return Ok(x.clone());
        }
        let mut factors = Vec::with_capacity(images * channels);
        for image in 0..images {
            factors.extend((0..channels).map(|_| match uniform(image) < rate {
                true => 0.0,
                false => 1.0 / (1.0 - rate),
            }));
        }
        let factors = engine.tensor(&factors[..], &[images, 1, 1, channels])?;
        engine.mul(x, &factors)
    }
}
