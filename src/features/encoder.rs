//! From pixels to what is tapped, whatever computes it.

use super::Tap;
use crate::engine::{EngineError, HostTensor};

/// An encoder could not give what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The architecture has no such thing to read.
    #[error("{tap}: {reason}")]
    NoSuchTap {
        /// What was asked for.
        tap: Tap,
        /// Why it cannot be had, and what can.
        reason: &'static str,
    },
    /// The engine failed.
    #[error("the forward pass failed: {0}")]
    Engine(#[from] EngineError),
}

impl EncoderError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchTap { .. } => Some(
                "--set task.layers=last, task.feature=mean_patch or task.norm=raw chooses another feature"
                    .to_owned(),
            ),
            Self::Engine(_) => Some("a smaller --batch needs less memory".to_owned()),
        }
    }
}

/// A frozen network, or anything else that turns pixels into vectors, in plain data.
pub trait Encoder {
    /// Shape of one image's part of `tap`, or why the architecture has no such thing.
    fn shape(&self, tap: Tap) -> Result<Vec<usize>, EncoderError>;

    /// Runs one batch and reads every tap out of it, in the order given.
    ///
    /// pixels: `[B, C, H, W]`, normalised -> one `[B, ..]` a tap
    fn encode(
        &self,
        pixels: &[f32],
        batch: usize,
        taps: &[Tap],
    ) -> Result<Vec<HostTensor>, EncoderError>;
}

/// The identity: each image's pixels are its feature, the floor that any encoder must beat.
#[derive(Clone, Copy, Debug)]
pub struct PixelEncoder {
    /// Numbers in one image: C x H x W.
    pub dim: usize,
}

impl Encoder for PixelEncoder {
    fn shape(&self, tap: Tap) -> Result<Vec<usize>, EncoderError> {
        match tap {
            Tap::Pixels => Ok(vec![self.dim]),
            _ => Err(EncoderError::NoSuchTap {
                tap,
                reason: "raw pixels have no layers",
            }),
        }
    }

    fn encode(
        &self,
        pixels: &[f32],
        batch: usize,
        taps: &[Tap],
    ) -> Result<Vec<HostTensor>, EncoderError> {
        taps.iter()
            .map(|&tap| {
                let shape = [vec![batch], self.shape(tap)?].concat();
                Ok(HostTensor {
                    shape,
                    data: pixels.to_vec(),
                })
            })
            .collect()
    }
}
