//! The ways from the bytes of an image file to a model's input.

use super::augment::{AugmentSpec, Augmenter, SampleKey};
use super::{ImageError, InputSpec, Limits, LoadError, MixDraw, MixSpec, Pick, Preprocessor};

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
        augment: Box<AugmentSpec>,
        /// The run's seed.
        seed: u64,
        /// How pairs of the tensors are mixed, after everything else.
        mix: Option<MixSpec>,
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
                mix,
            } => {
                mix.as_ref().map_or(Ok(()), MixSpec::check)?;
                Preparer::Training {
                    augmenter: Augmenter::new((**augment).clone(), input.clone(), limits)?,
                    seed: *seed,
                }
            }
        })
    }

    /// What mixes pairs of its tensors.
    pub(super) fn mixer(&self) -> Option<Mixer> {
        match self {
            Self::Training {
                input,
                seed,
                mix: Some(spec),
                ..
            } if spec.mixes() => Some(Mixer {
                spec: *spec,
                seed: *seed,
                shape: [input.channels, input.height, input.width],
            }),
            _ => None,
        }
    }
}

/// Mixes pairs of tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixer {
    spec: MixSpec,
    seed: u64,
    /// `[C, H, W]`
    shape: [usize; 3],
}

impl Mixer {
    /// Mixes a pair of batch `group`; the share that each keeps of its own.
    pub(super) fn mix(&self, group: u64, first: &mut [f32], second: &mut [f32]) -> f64 {
        let [_, height, width] = self.shape;
        let draw = MixDraw::new(&self.spec, self.seed, group, [height, width]);
        draw.apply(first, second, self.shape);
        draw.lambda
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
