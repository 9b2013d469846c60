//! The kinds of masks.

use serde::{Deserialize, Serialize};

use super::sample::kept;
use super::{AttentionSource, BlockMask, EpochOf, EvolvedMask, MaskError, Sample, attentive, grid};
use crate::data::augment::SampleKey;
use crate::data::stream::Stream;

/// How it is decided which patches of an image are seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MaskSpec {
    /// All of them (feature distillation).
    None {},
    /// MAE's: any `int(N (1 - ratio))` (facebookresearch/mae `models_mae.py`, `random_masking`).
    Random {
        /// Share of the patches to hide.
        ratio: f64,
    },
    /// All but some rectangles.
    Block(BlockMask),
    /// `int(N (1 - ratio))` at the same places of every cell of 2 x 2 patches, as in MEDiC's
    /// figure 2(a): of a ratio of 0.75, one patch a cell. Which places is drawn for each image;
    /// where other ratios, or sides of odd length, need a part of the patches of a place, any.
    Grid {
        /// Share of the patches to hide.
        ratio: f64,
    },
    /// MaskAlign's: `int(N (1 - ratio))`, drawn in proportion to the class token's attention to
    /// them (OpenDriveLab/maskalign `models_pretrain.py`).
    Attentive {
        /// Share of the patches to hide.
        ratio: f64,
        /// Whose attention.
        of: AttentionSource,
    },
    /// Parts of the image that attention finds, by and by in place of a grid.
    Evolved(EvolvedMask),
}

impl MaskSpec {
    /// Refuses what gives no mask over images of `grid` rows and columns of patches.
    pub fn check(&self, grid: [usize; 2]) -> Result<(), MaskError> {
        let patches = grid[0] * grid[1];
        match self {
            Self::None {} => Ok(()),
            Self::Random { ratio } | Self::Grid { ratio } | Self::Attentive { ratio, .. } => {
                kept(patches, *ratio).map(drop)
            }
            Self::Block(block) => block.check(grid),
            Self::Evolved(evolved) => evolved.check(grid),
        }
    }

    /// Whether every image keeps the same number of patches, as sparse encoding needs.
    pub fn is_exact(&self) -> bool {
        match self {
            Self::Block(block) => block.exact,
            _ => true,
        }
    }

    /// Whose attention it is drawn by, if by any: see [`MaskSpec::draw`] for its shape.
    pub fn attention(&self) -> Option<&AttentionSource> {
        match self {
            Self::Attentive { of, .. } => Some(of),
            Self::Evolved(evolved) => Some(&evolved.of),
            Self::None {} | Self::Random { .. } | Self::Block(_) | Self::Grid { .. } => None,
        }
    }

    /// Patches of an image of `grid` that are seen; `None` where it is not the same number for
    /// every image, or where [`MaskSpec::check`] refuses.
    pub fn kept(&self, grid: [usize; 2]) -> Option<usize> {
        self.check(grid).ok()?;
        let patches = grid[0] * grid[1];
        match self {
            Self::None {} => Some(patches),
            Self::Random { ratio } | Self::Grid { ratio } | Self::Attentive { ratio, .. } => {
                kept(patches, *ratio).ok()
            }
            Self::Block(block) => block.exact.then(|| patches - block.target(grid)),
            Self::Evolved(evolved) => kept(patches, evolved.ratio).ok(),
        }
    }

    /// The mask of the image of `key` in an epoch: a function of the arguments, whatever the batch.
    /// Evolved Part Masking draws the grid's cell, the number of parts and where they begin once a
    /// batch; here every image has its own.
    ///
    /// attention: where [`MaskSpec::attention`] names some. For `attentive` the class token's to
    /// the patches, `[N]`; for `evolved` that of the patches to the patches, `[N, N]`, a query a
    /// row, without the class token's row and column and not divided by what is left.
    pub fn draw(
        &self,
        grid: [usize; 2],
        key: SampleKey,
        epoch: EpochOf,
        attention: Option<&[f32]>,
    ) -> Result<Sample, MaskError> {
        self.check(grid)?;
        let patches = grid[0] * grid[1];
        let mut stream = Stream::new(b"masking1", [key.seed, key.pass, key.index]);
        match self {
            Self::None {} => Ok(Sample::whole(patches)),
            Self::Random { ratio } => {
                let noise: Vec<_> = (0..patches).map(|_| stream.unit()).collect();
                Ok(Sample::of_noise(&noise, kept(patches, *ratio)?))
            }
            Self::Block(block) => Ok(block.draw(grid, &mut stream)),
            Self::Grid { ratio } => Ok(grid::draw(grid, kept(patches, *ratio)?, &mut stream)),
            Self::Attentive { ratio, .. } => {
                let attention = weights(attention, patches)?;
                let kept = kept(patches, *ratio)?;
                Ok(attentive::draw(attention, kept, &mut stream))
            }
            Self::Evolved(evolved) => {
                let attention = weights(attention, patches * patches)?;
                evolved.draw(grid, epoch, attention, &mut stream)
            }
        }
    }
}

/// The attention, which must be `expected` softmax weights or sums of some.
fn weights(attention: Option<&[f32]>, expected: usize) -> Result<&[f32], MaskError> {
    let attention = attention.ok_or(MaskError::NoAttention)?;
    let found = attention.len();
    if found != expected {
        return Err(MaskError::AttentionLength { found, expected });
    }
    let weight = |x: &f32| x.is_finite() && *x >= 0.0;
    match attention.iter().position(|x| !weight(x)) {
        Some(place) => Err(MaskError::AttentionValue {
            place,
            value: attention[place],
        }),
        None => Ok(attention),
    }
}
