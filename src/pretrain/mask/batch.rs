//! The masks of a batch.

use super::sample::kept;
use super::{MaskError, Sample};

/// For every sample of a batch, the patches that are seen and the order they are seen in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    /// Patches N of a sample.
    patches: usize,
    /// Patches of every sample that are seen: `[B]`.
    kept: Vec<usize>,
    /// Patches of every sample, the seen ones first: `[B, N]`.
    order: Vec<u32>,
    /// Place of every patch in `order`: `[B, N]`.
    restore: Vec<u32>,
}

impl Mask {
    /// The masks of these samples, in their order.
    pub fn new(patches: usize, samples: Vec<Sample>) -> Result<Self, MaskError> {
        let mut mask = Self {
            patches,
            kept: Vec::with_capacity(samples.len()),
            order: Vec::with_capacity(samples.len() * patches),
            restore: Vec::with_capacity(samples.len() * patches),
        };
        for (at, Sample { order, kept }) in samples.into_iter().enumerate() {
            // A place that no patch has.
            let nowhere = patches as u32;
            let mut restore = vec![nowhere; patches];
            for (place, &patch) in order.iter().enumerate() {
                if let Some(restored) = restore.get_mut(patch as usize) {
                    *restored = place as u32;
                }
            }
            if order.len() != patches || restore.contains(&nowhere) || kept > patches {
                return Err(MaskError::Order {
                    sample: at,
                    patches,
                });
            }
            mask.kept.push(kept);
            mask.order.extend(order);
            mask.restore.extend(restore);
        }
        Ok(mask)
    }

    /// MAE's random mask: of every sample the `int(N (1 - ratio))` patches of smallest noise are
    /// seen, in the order of their noise, the earlier of two equal ones first
    /// (facebookresearch/mae `models_mae.py`, `random_masking`).
    ///
    /// noise: `[B, N]` row-major
    pub fn random(noise: &[f32], patches: usize, ratio: f64) -> Result<Self, MaskError> {
        let kept = kept(patches, ratio)?;
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
        let samples = noise.chunks_exact(patches);
        Self::new(
            patches,
            samples.map(|noise| Sample::of_noise(noise, kept)).collect(),
        )
    }

    /// Samples B.
    pub fn batch(&self) -> usize {
        self.kept.len()
    }

    /// Patches N of a sample.
    pub fn patches(&self) -> usize {
        self.patches
    }

    /// Patches K of a sample that are seen; `None` where samples differ, or where there is none.
    pub fn kept(&self) -> Option<usize> {
        let (&first, others) = self.kept.split_first()?;
        others.iter().all(|&kept| kept == first).then_some(first)
    }

    /// The patches that are seen, in their order: `[B, K]`; `None` where [`Mask::kept`] is.
    pub fn seen(&self) -> Option<Vec<u32>> {
        let kept = self.kept()?;
        let samples = (0..self.batch()).map(|sample| &self.order[sample * self.patches..][..kept]);
        Some(samples.flatten().copied().collect())
    }

    /// Whether a patch is hidden: `[B, N]`.
    pub fn hidden(&self) -> Vec<bool> {
        let kept = self
            .kept
            .iter()
            .flat_map(|&kept| std::iter::repeat_n(kept, self.patches));
        let places = self.restore.iter().zip(kept);
        places
            .map(|(&place, kept)| place as usize >= kept)
            .collect()
    }

    /// Rows of `[B N]` whose patch is hidden, ascending.
    pub fn hidden_rows(&self) -> Vec<u32> {
        self.rows(true)
    }

    /// Rows of `[B N]` whose patch is seen, ascending.
    pub fn seen_rows(&self) -> Vec<u32> {
        self.rows(false)
    }

    /// Rows of `[B N]` whose patch is hidden, or those whose patch is not, ascending.
    fn rows(&self, hides: bool) -> Vec<u32> {
        let rows = (0..).zip(self.hidden());
        rows.filter_map(|(row, hidden)| (hidden == hides).then_some(row))
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
            prop_assert_eq!((mask.batch(), mask.kept()), (batch, Some(kept)));
            let seen = mask.seen().unwrap();
            prop_assert_eq!(seen.len(), batch * kept);
            let hidden = mask.hidden_rows();
            prop_assert_eq!(hidden.len(), batch * (patches - kept));
            for (sample, seen) in seen.chunks(kept).enumerate() {
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
        assert_eq!(mask.seen().unwrap(), [1, 2, 0]);
        assert_eq!(mask.restore(), [2, 0, 1]);
        assert_eq!(mask.hidden_rows(), [0u32; 0]);
    }

    #[test]
    fn what_cannot_be_a_mask() {
        for (noise, patches, ratio, said) in [
            (&[0.0, 1.0][..], 2, 0.6, "none of 2"),
            (&[0.0, 1.0], 2, -0.5, "-0.5"),
            (&[0.0, 1.0], 2, f64::NAN, "mask.ratio is NaN"),
            (&[0.0, 1.0], 0, 0.5, "none of 0"),
            (&[0.0, 1.0, 2.0], 2, 0.5, "3 numbers"),
            (&[0.0, 1.0, 2.0, f32::NAN], 2, 0.5, "patch 1 of sample 1"),
        ] {
            let error = Mask::random(noise, patches, ratio).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.hint().is_empty());
        }
    }

    fn sample(order: &[u32], kept: usize) -> Sample {
        Sample {
            order: order.to_vec(),
            kept,
        }
    }

    #[test]
    fn samples_may_keep_different_numbers() {
        let samples = vec![sample(&[2, 0, 1], 1), sample(&[1, 0, 2], 2)];
        let mask = Mask::new(3, samples).unwrap();
        assert_eq!((mask.batch(), mask.patches()), (2, 3));
        assert_eq!((mask.kept(), mask.seen()), (None, None));
        assert_eq!(mask.hidden(), [true, true, false, false, false, true]);
        assert_eq!(mask.hidden_rows(), [0, 1, 5]);
        assert_eq!(mask.seen_rows(), [2, 3, 4]);
        assert_eq!(mask.restore(), [1, 2, 0, 1, 0, 2]);
        let none = Mask::new(3, vec![]).unwrap();
        assert_eq!((none.batch(), none.kept()), (0, None));
    }

    #[test]
    fn what_is_no_order_is_refused() {
        for (order, kept) in [
            (&[0, 1][..], 1),
            (&[0, 1, 1], 1),
            (&[0, 1, 3], 1),
            (&[0, 1, 2, 2], 1),
            (&[0, 1, 2], 4),
        ] {
            let samples = vec![sample(&[0, 1, 2], 3), sample(order, kept)];
            let error = Mask::new(3, samples).unwrap_err();
            assert_eq!(
                error,
                MaskError::Order {
                    sample: 1,
                    patches: 3
                }
            );
            assert!(!error.hint().is_empty());
        }
    }
}
