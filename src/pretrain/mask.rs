//! Which patches an encoder sees.

use std::cmp::Ordering;

/// For every sample of a batch, the patches that are seen and the order they are seen in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Patches N of a sample.
    patches: usize,
    /// Patches K of a sample that are seen.
    kept: usize,
    /// Patches of every sample, the seen ones first: `[B, N]`.
    order: Vec<u32>,
    /// Place of every patch in `order`: `[B, N]`.
    restore: Vec<u32>,
}

/// A mask cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// The ratio leaves nothing to see, or is no ratio.
    #[error("a mask ratio of {ratio} leaves none of {patches} patches")]
    Ratio {
        /// As given.
        ratio: f64,
        /// Patches of a sample.
        patches: usize,
    },
    /// The noise is not one number a patch.
    #[error("{length} numbers of noise are no whole number of samples of {patches} patches")]
    Length {
        /// Numbers given.
        length: usize,
        /// Patches of a sample.
        patches: usize,
    },
    /// Noise that cannot be sorted.
    #[error("the noise of patch {patch} of sample {sample} is NaN")]
    NotANumber {
        /// Place in the batch.
        sample: usize,
        /// Place in the grid, row-major.
        patch: usize,
    },
}

impl MaskError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Ratio { .. } => "the ratio is the share of patches to hide: 0.75 is MAE's",
            Self::Length { .. } => "one number for each patch of each sample is needed",
            Self::NotANumber { .. } => "noise is drawn from [0, 1)",
        }
    }
}

impl Mask {
    /// MAE's random mask: of every sample the `int(N (1 - ratio))` patches of smallest noise are
    /// seen, in the order of their noise, the earlier of two equal ones first
    /// (facebookresearch/mae `models_mae.py`, `random_masking`).
    ///
    /// noise: `[B, N]` row-major
    pub fn random(noise: &[f32], patches: usize, ratio: f64) -> Result<Self, MaskError> {
        let kept = (patches as f64 * (1.0 - ratio)) as usize;
        if !(0.0..=1.0).contains(&ratio) || kept == 0 {
            return Err(MaskError::Ratio { ratio, patches });
        }
        if !noise.len().is_multiple_of(patches) {
            let length = noise.len();
            return Err(MaskError::Length { length, patches });
        }
        if let Some(at) = noise.iter().position(|x| x.is_nan()) {
            return Err(MaskError::NotANumber {
                sample: at / patches,
                patch: at % patches,
            });
        }
        let mut mask = Self {
            patches,
            kept,
            order: Vec::with_capacity(noise.len()),
            restore: vec![0; noise.len()],
        };
        for (noise, restore) in noise
            .chunks_exact(patches)
            .zip(mask.restore.chunks_exact_mut(patches))
        {
            let mut order: Vec<u32> = (0..patches as u32).collect();
            let of = |patch: u32| noise[patch as usize];
            order.sort_by(|&a, &b| of(a).partial_cmp(&of(b)).unwrap_or(Ordering::Equal));
            for (place, &patch) in order.iter().enumerate() {
                restore[patch as usize] = place as u32;
            }
            mask.order.extend(order);
        }
        Ok(mask)
    }

    /// Samples B.
    pub fn batch(&self) -> usize {
        self.order.len() / self.patches
    }

    /// Patches N of a sample.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// Patches K of a sample that are seen.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// The patches that are seen, in their order: `[B, K]`.
    pub fn seen(&self) -> Vec<u32> {
        let samples = self.order.chunks_exact(self.patches);
        samples
            .flat_map(|order| &order[..self.kept])
            .copied()
            .collect()
    }

    /// Rows of `[B N]` whose patch is hidden, ascending.
    pub fn hidden_rows(&self) -> Vec<u32> {
        let rows = (0..self.restore.len() as u32).zip(&self.restore);
        rows.filter(|(_, place)| **place as usize >= self.kept)
            .map(|(row, _)| row)
            .collect()
    }

    /// For every patch its place among the seen and then the hidden ones: `[B, N]`.
    pub fn restore(&self) -> &[u32] {
        &self.restore
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_keeps_the_same_number(
            patches in 1usize..40,
            batch in 1usize..4,
            ratio in 0.0f64..1.0,
            seed in any::<u64>(),
        ) {
            let draw = |i: usize| (seed.wrapping_mul(i as u64 * 2 + 1) >> 40) as f32;
            let noise: Vec<f32> = (0..batch * patches).map(draw).collect();
            let kept = (patches as f64 * (1.0 - ratio)) as usize;
            let Ok(mask) = Mask::random(&noise, patches, ratio) else {
                prop_assert_eq!(kept, 0);
                return Ok(());
            };
            prop_assert_eq!((mask.batch(), mask.kept()), (batch, kept));
            prop_assert_eq!(mask.seen().len(), batch * kept);
            let hidden = mask.hidden_rows();
            prop_assert_eq!(hidden.len(), batch * (patches - kept));
            for (sample, seen) in mask.seen().chunks(kept).enumerate() {
                let noise = &noise[sample * patches..][..patches];
                let of = |patch: u32| noise[patch as usize];
                prop_assert!(seen.is_sorted_by(|&a, &b| of(a) < of(b) || (of(a) == of(b) && a < b)));
                for patch in 0..patches as u32 {
                    let row = (sample * patches) as u32 + patch;
                    prop_assert_ne!(seen.contains(&patch), hidden.contains(&row));
                    if !seen.contains(&patch) {
                        prop_assert!(seen.iter().all(|&kept| of(kept) <= of(patch)));
                    }
                }
            }
        }
    }

    #[test]
    fn no_ratio_hides_nothing() {
        let mask = Mask::random(&[0.5, 0.1, 0.3], 3, 0.0).unwrap();
        assert_eq!(mask.seen(), [1, 2, 0]);
        assert_eq!(mask.restore(), [2, 0, 1]);
        assert_eq!(mask.hidden_rows(), [0u32; 0]);
    }

    #[test]
    fn what_cannot_be_a_mask() {
        for (noise, patches, ratio, said) in [
            (&[0.0, 1.0][..], 2, 0.6, "none of 2"),
            (&[0.0, 1.0], 2, -0.5, "-0.5"),
            (&[0.0, 1.0], 2, f64::NAN, "NaN leaves"),
            (&[0.0, 1.0], 0, 0.5, "none of 0"),
            (&[0.0, 1.0, 2.0], 2, 0.5, "3 numbers"),
            (&[0.0, 1.0, 2.0, f32::NAN], 2, 0.5, "patch 1 of sample 1"),
        ] {
            let error = Mask::random(noise, patches, ratio).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
