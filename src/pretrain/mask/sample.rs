//! The mask of one image.

use std::cmp::Ordering;

use super::MaskError;

/// Which patches of an image are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Every patch, row-major in the grid; the seen ones stand first.
    pub order: Vec<u32>,
    /// Patches that are seen.
    pub kept: usize,
}

impl Sample {
    /// The patches in their order in the grid, all of them seen.
    pub(super) fn whole(patches: usize) -> Self {
        Self {
            order: (0..patches as u32).collect(),
            kept: patches,
        }
    }

    /// The seen patches and then the hidden ones, both in their order in the grid.
    ///
    /// hidden: `[N]`
    pub(super) fn of_hidden(hidden: &[bool]) -> Self {
        let side = |hides: bool| {
            let patches = hidden.iter().enumerate();
            patches.filter_map(move |(patch, &hidden)| (hidden == hides).then_some(patch as u32))
        };
        let mut order: Vec<_> = side(false).collect();
        let kept = order.len();
        order.extend(side(true));
        Self { order, kept }
    }

    /// The `kept` patches of smallest noise are seen, in the order of their noise, the earlier of two
    /// equal ones first. Noise is no NaN.
    ///
    /// noise: `[N]`
    pub(super) fn of_noise<T: PartialOrd>(noise: &[T], kept: usize) -> Self {
        let mut order: Vec<u32> = (0..noise.len() as u32).collect();
        let of = |patch: u32| &noise[patch as usize];
        order.sort_by(|&a, &b| of(a).partial_cmp(of(b)).unwrap_or(Ordering::Equal));
        Self { order, kept }
    }
}

/// MAE's number of patches that a ratio leaves, `int(N (1 - ratio))` in f64
/// (facebookresearch/mae `models_mae.py`, `random_masking`).
pub(super) fn kept(patches: usize, ratio: f64) -> Result<usize, MaskError> {
    match (patches as f64 * (1.0 - share(ratio)?)) as usize {
        0 => Err(MaskError::Ratio { ratio, patches }),
        kept => Ok(kept),
    }
}

/// A ratio, where it is one.
pub(super) fn share(ratio: f64) -> Result<f64, MaskError> {
    match (0.0..=1.0).contains(&ratio) {
        true => Ok(ratio),
        false => Err(MaskError::Value {
            field: "ratio",
            reason: format!("is {ratio}, not a share of the patches from 0 to 1"),
        }),
    }
}
