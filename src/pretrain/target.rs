//! How a teacher's tokens become targets.

use serde::{Deserialize, Serialize};

use super::normalise_patches;
use crate::engine::{Engine, Result};

/// What is done to a teacher's tokens before a student is compared with them; none has a learned
/// scale or shift.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetNorm {
    /// Every token by its own mean and biased variance, epsilon 1e-5: PyTorch's `layer_norm`
    /// (OpenDriveLab/maskalign `models_pretrain.py`, "whiten"; FD, Wei et al. 2022).
    Layer,
    /// Every token by its own mean and unbiased variance, epsilon 1e-6 (aicip/MEDiC, liuxingbin/dbot
    /// `models_mae.py`).
    Unbiased,
    /// Every number of a token by its mean and biased variance over all tokens, hidden patches' too,
    /// of the images that go through the network together, epsilon 1e-5: a BatchNorm in training (MaskAlign, table 6).
    Batch,
    /// All numbers of all tokens of the images that go through the network together by one mean and
    /// one unbiased variance, epsilon 1e-6: what MaskAlign's code calls "bn"
    /// (OpenDriveLab/maskalign `models_pretrain.py`).
    Whole,
    /// Nothing.
    None,
}

/// PyTorch's epsilon of `LayerNorm` and `BatchNorm1d`.
const EPS: f64 = 1e-5;

impl TargetNorm {
    /// Whether a token's target depends on other tokens.
    pub(super) fn is_joint(self) -> bool {
        match self {
            Self::Batch | Self::Whole => true,
            Self::Layer | Self::Unbiased | Self::None => false,
        }
    }

    /// tokens: `[.., D]` -> `[.., D]`
    pub fn apply<E: Engine>(self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        let shape = engine.shape(tokens);
        let width = shape.last().copied().unwrap_or_default();
        match self {
            Self::Layer => layer_norm(engine, tokens),
            Self::Unbiased => normalise_patches(engine, tokens),
            Self::Batch => {
                let rows = [shape.iter().product::<usize>() / width.max(1), width];
                let rows = engine.reshape(tokens, &rows)?;
                let centred = engine.sub(&rows, &engine.mean(&rows, &[0])?)?;
                let variance = engine.mean(&engine.mul(&centred, &centred)?, &[0])?;
                let scale = engine.pow(&engine.affine(&variance, 1.0, EPS)?, -0.5)?;
                engine.reshape(&engine.mul(&centred, &scale)?, &shape)
            }
            Self::Whole => {
                let flat = engine.reshape(tokens, &[shape.iter().product()])?;
                engine.reshape(&normalise_patches(engine, &flat)?, &shape)
            }
            Self::None => Ok(tokens.clone()),
        }
    }
}

/// A layer norm over the last axis without scale and shift, epsilon 1e-5: `[.., D]` -> `[.., D]`
pub(super) fn layer_norm<E: Engine>(engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
    let width = engine.shape(x).last().copied().unwrap_or_default();
    let weight = engine.tensor(&vec![1f32; width][..], &[width])?;
    let bias = engine.tensor(&vec![0f32; width][..], &[width])?;
    engine.layer_norm(x, &weight, &bias, EPS)
}
