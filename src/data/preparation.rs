//! The ways from the bytes of an image file to a model's input.

use super::augment::{AugmentSpec, Augmenter, SampleKey};
use super::{ImageError, InputSpec, Limits, LoadError, Pick, Preprocessor};

/// How a pass makes inputs of images.
#[derive(Clone, Debug, PartialEq)]
pub enum Preparation {
    /// As evaluation does: the same tensor every time.
    Evaluation(InputSpec),
    /// As training does: another tensor every pass.
    Training {
        /// What the model takes.
        input: InputSpec,
        /// What happens to images on the way.
        augment: AugmentSpec,
        /// The run's seed.
        seed: u64,
    },
}

impl Preparation {
    /// What the model takes.
    pub fn input(&self) -> &InputSpec {
        match self {
            Self::Evaluation(input) | Self::Training { input, .. } => input,
        }
    }

    /// What one thread does this with.
    pub(super) fn preparer(&self) -> Result<Preparer, LoadError> {
        let limits = Limits::default();
        Ok(match self {
            Self::Evaluation(input) => {
                Preparer::Evaluation(Preprocessor::new(input.clone(), limits)?)
            }
            Self::Training {
                input,
                augment,
                seed,
            } => Preparer::Training {
                augmenter: Augmenter::new(augment.clone(), input.clone(), limits)?,
                seed: *seed,
            },
        })
    }
}

/// The buffers of one thread.
#[derive(Debug)]
pub(super) enum Preparer {
    Evaluation(Preprocessor),
    Training { augmenter: Augmenter, seed: u64 },
}

impl Preparer {
    /// Writes the tensor of an image, `[C, H, W]`.
    pub(super) fn apply(
        &mut self,
        bytes: &[u8],
        pick: Pick,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        match self {
            Self::Evaluation(preprocessor) => preprocessor.apply(bytes, out),
            Self::Training { augmenter, seed } => {
                let key = SampleKey {
                    seed: *seed,
                    pass: pick.pass as u64,
                    index: pick.index as u64,
                };
                augmenter.apply(bytes, key, out)
            }
        }
    }
}
