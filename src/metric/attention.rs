//! What one head's attention map says about the image's patches: how much keys depend on queries,
//! how far queries look, how widely.
//!
//! This is the definition, in f64. Engines compute the same inside the forward pass
//! (`Engine::attention_with_statistics`), so that no map has to leave it.

use serde::{Deserialize, Serialize};

use super::metric_error::MetricError;

/// Added to every weight before the rows are renormalised for [`AttentionStatistic::Nmi`]
/// (cl-vs-mim, `self_attention_analysis.ipynb`).
pub const NMI_EPSILON: f64 = 1e-8;

/// Added to every weight before the rows are renormalised for [`AttentionStatistic::Distance`]
/// (cl-vs-mim, `self_attention_analysis.ipynb`) and [`AttentionStatistic::Entropy`]: a query that
/// looks at no patch looks at all of them alike.
pub const DISTANCE_EPSILON: f64 = 1e-32;

/// A number that is read off one head's map of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionStatistic {
    /// Mutual information of query and key over the root of the product of their entropies, the
    /// query uniform: 0 where all queries look alike, 1 where each looks at a key of its own
    /// (Park et al., "What Do Self-Supervised Vision Transformers Learn?"; cl-vs-mim,
    /// `self_attention_analysis.ipynb`). 0 for a single patch.
    Nmi,
    /// Mean over queries of the mean distance of their keys, weighted by the renormalised weights
    /// (cl-vs-mim, `self_attention_analysis.ipynb`).
    Distance,
    /// The same, by the weights as they are: what the tokens before the patches take is taken
    /// from the distance (dBOT, `analysis/analysis.py`).
    DistanceRaw,
    /// Mean over queries of the entropy of their renormalised weights.
    Entropy,
}

impl AttentionStatistic {
    /// Every statistic, in the order in which they are given.
    pub const ALL: [Self; 4] = [Self::Nmi, Self::Distance, Self::DistanceRaw, Self::Entropy];

    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nmi => "nmi",
            Self::Distance => "distance",
            Self::DistanceRaw => "distance_raw",
            Self::Entropy => "entropy",
        }
    }

    /// Its unit, where it has one.
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Self::Nmi => None,
            Self::Distance | Self::DistanceRaw => Some("px"),
            Self::Entropy => Some("nat"),
        }
    }
}

/// Where the patches stand among an image's tokens and on the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchGrid {
    /// Tokens before the patches.
    pub prefix: usize,
    /// Rows and columns of patches, which follow row by row.
    pub grid: [usize; 2],
    /// Side of a patch, pixels.
    pub patch_size: usize,
}

impl PatchGrid {
    /// Number of patches.
    pub fn patches(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.prefix + self.patches()
    }

    /// Pixels between the centres of patches that lie so many rows and columns apart.
    pub fn span(&self, rows: usize, columns: usize) -> f64 {
        self.patch_size as f64 * (rows as f64).hypot(columns as f64)
    }

    /// Pixels between the centres of two patches.
    pub fn distance(&self, from: usize, to: usize) -> f64 {
        let columns = self.grid[1];
        self.span(
            (from / columns).abs_diff(to / columns),
            (from % columns).abs_diff(to % columns),
        )
    }
}

/// The statistics of one head's softmax map, in the order of [`AttentionStatistic::ALL`].
///
/// map: `[N, N]`, queries by keys
///
/// # Errors
/// `AttentionMap` when the map is not one of this grid's tokens, or the grid has no patch.
pub fn attention_statistics(map: &[f32], grid: &PatchGrid) -> Result<[f64; 4], MetricError> {
    let (tokens, patches) = (grid.tokens(), grid.patches());
    if patches == 0 || map.len() != tokens * tokens {
        return Err(MetricError::AttentionMap {
            values: map.len(),
            prefix: grid.prefix,
            grid: grid.grid,
        });
    }
    let count = patches as f64;
    let mut keys = vec![0.0; patches];
    let [mut dependent, mut distance, mut distance_raw, mut entropy] = [0.0; 4];
    for (query, row) in map.chunks_exact(tokens).skip(grid.prefix).enumerate() {
        let weights: Vec<f64> = row[grid.prefix..].iter().map(|&w| w.into()).collect();
        let total: f64 = weights.iter().sum();
        let for_nmi = |w: f64| (w + NMI_EPSILON) / (total + count * NMI_EPSILON);
        let for_distance = |w: f64| (w + DISTANCE_EPSILON) / (total + count * DISTANCE_EPSILON);
        for (key, &weight) in weights.iter().enumerate() {
            let span = grid.distance(query, key);
            keys[key] += for_nmi(weight);
            dependent += surprise(for_nmi(weight));
            distance += for_distance(weight) * span;
            distance_raw += weight * span;
            entropy += surprise(for_distance(weight));
        }
    }
    let independent: f64 = keys.iter().map(|total| surprise(total / count)).sum();
    let information = independent - dependent / count;
    let nmi = if patches == 1 {
        0.0
    } else {
        information / (count.ln() * independent).sqrt()
    };
    Ok([nmi, distance / count, distance_raw / count, entropy / count])
}

/// What an event of this probability adds to an entropy, nats.
fn surprise(p: f64) -> f64 {
    if p == 0.0 { 0.0 } else { -p * p.ln() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn grid(prefix: usize, grid: [usize; 2]) -> PatchGrid {
        PatchGrid {
            prefix,
            grid,
            patch_size: 16,
        }
    }

    fn map(tokens: usize, weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        (0..tokens * tokens)
            .map(|i| weight(i / tokens, i % tokens))
            .collect()
    }

    #[track_caller]
    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} {expected}");
    }

    #[test]
    fn uniform_attention_looks_as_far_as_the_grid_is_wide() {
        let grid = grid(1, [14, 14]);
        let uniform = map(197, |_, _| 1.0 / 197.0);
        let [nmi, distance, raw, entropy] = attention_statistics(&uniform, &grid).unwrap();
        near(nmi, 0.0, 1e-6);
        near(distance, 116.4922, 5e-5);
        near(raw, distance * 196.0 / 197.0, 1e-5);
        near(entropy, 196f64.ln(), 1e-9);
        let others = map(197, |q, k| if q == k { 0.0 } else { 1.0 / 196.0 });
        let [_, distance, ..] = attention_statistics(&others, &grid).unwrap();
        near(distance, 117.0896, 5e-5);
    }

    #[test]
    fn attention_to_oneself_looks_nowhere_else() {
        let identity = map(200, |q, k| f32::from(q == k));
        let [nmi, distance, raw, entropy] =
            attention_statistics(&identity, &grid(4, [14, 14])).unwrap();
        near(nmi, 1.0, 1e-5);
        near(distance, 0.0, 1e-12);
        near(raw, 0.0, 1e-12);
        near(entropy, 0.0, 1e-12);
    }

    #[test]
    fn a_query_that_looks_at_no_patch_looks_at_all_alike() {
        let class_only = map(7, |_, k| f32::from(k == 0));
        let grid = grid(1, [2, 3]);
        let [nmi, distance, raw, entropy] = attention_statistics(&class_only, &grid).unwrap();
        near(nmi, 0.0, 1e-12);
        near(raw, 0.0, 0.0);
        near(entropy, 6f64.ln(), 1e-12);
        let pairs = (0..36).map(|i| grid.distance(i / 6, i % 6));
        near(distance, pairs.sum::<f64>() / 36.0, 1e-12);
    }

    #[test]
    fn patches_lie_row_by_row() {
        let grid = grid(0, [2, 5]);
        near(grid.distance(0, 9), 16.0 * 17f64.sqrt(), 1e-12);
        near(grid.distance(7, 3), 16.0 * 2f64.sqrt(), 1e-12);
    }

    #[test]
    fn a_single_patch_tells_nothing() {
        let found = attention_statistics(&[0.5; 4], &grid(1, [1, 1])).unwrap();
        assert_eq!(found, [0.0; 4]);
    }

    #[test]
    fn a_map_of_other_tokens_is_refused() {
        for (length, grid) in [(16, grid(1, [2, 2])), (0, grid(0, [0, 3]))] {
            let error = attention_statistics(&vec![0.0; length], &grid).unwrap_err();
            assert!(error.to_string().contains(&format!("{length} values")));
            assert!(error.hint().is_some());
        }
    }

    proptest! {
        #[test]
        fn nmi_lies_between_0_and_1(
            (rows, columns, prefix) in (1usize..5, 1usize..5, 0usize..3),
            sharpness in 0f32..60.0,
            seed in any::<u32>(),
        ) {
            let tokens = prefix + rows * columns;
            let mut state = seed;
            let mut scores = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (sharpness * (state >> 8) as f32 / (1 << 24) as f32).exp()
            };
            let mut weights: Vec<f32> = (0..tokens * tokens).map(|_| scores()).collect();
            for row in weights.chunks_exact_mut(tokens) {
                let total: f32 = row.iter().sum();
                row.iter_mut().for_each(|weight| *weight /= total);
            }
            let grid = grid(prefix, [rows, columns]);
            let [nmi, distance, raw, entropy] = attention_statistics(&weights, &grid).unwrap();
            prop_assert!((-1e-9..=1.0 + 1e-9).contains(&nmi), "{}", nmi);
            prop_assert!((0.0..=grid.span(rows, columns)).contains(&distance));
            prop_assert!(raw <= distance * (1.0 + 1e-6));
            prop_assert!(entropy <= (grid.patches() as f64).ln() + 1e-9);
        }
    }
}
