//! What attention weights say about the patches: [`crate::metric::attention_statistics`] of every
//! head, from blocks of weights that are in the cache.
//!
//! Elements are f32, sums that have to cancel are exact to more than that: renormalised weights
//! are split at 2^-12, so that what they miss of 1 is known to f64's digits.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::vector::{filled, ln};
use crate::metric::{DISTANCE_EPSILON, NMI_EPSILON, PatchGrid};

/// Queries whose keys' totals are added in f32 before they are added in f64.
const QUERIES: usize = 16;

/// Vectors of a row that are added in f32 before they are added in f64.
const VECTORS: usize = 16;

/// Added to a number up to 1 and taken off again, it leaves the nearest multiple of 2^-12: sums of
/// such numbers are exact.
const COARSE: f32 = 2048.0;

/// The grid that statistics are about, and how far apart its patches lie.
#[derive(Debug)]
pub struct Spans {
    patches: PatchGrid,
    /// Pixels by rows apart and by columns to the right, from the leftmost: `[R, 2 C - 1]`.
    by_offset: Vec<f32>,
}

/// Sums over a run of queries of one head.
#[derive(Clone, Debug)]
pub struct HeadSums {
    /// Entropy of the weights with NMI's epsilon.
    dependent: f64,
    distance: f64,
    distance_raw: f64,
    entropy: f64,
    /// Weights with NMI's epsilon, of each key.
    keys: Vec<f64>,
}

impl Spans {
    /// Spans between the patches of a grid.
    pub fn new(patches: &PatchGrid) -> Self {
        let [rows, columns] = patches.grid;
        let offsets = (0..rows).flat_map(|row| {
            let right = (0..2 * columns - 1).map(move |i| (i + 1).abs_diff(columns));
            right.map(move |column| patches.span(row, column) as f32)
        });
        Self {
            patches: *patches,
            by_offset: offsets.collect(),
        }
    }

    /// The patches among a run of tokens.
    fn queries(&self, tokens: Range<usize>) -> Range<usize> {
        let prefix = self.patches.prefix;
        tokens.start.saturating_sub(prefix)..tokens.end.saturating_sub(prefix)
    }

    /// From every patch among a run of tokens to all patches: `[queries, R C]`.
    pub fn of(&self, tokens: Range<usize>) -> Vec<f32> {
        let [rows, columns] = self.patches.grid;
        let mut spans = Vec::with_capacity(self.queries(tokens.clone()).len() * rows * columns);
        for query in self.queries(tokens) {
            let (row, column) = (query / columns, query % columns);
            for key_row in 0..rows {
                let start = row.abs_diff(key_row) * (2 * columns - 1) + columns - 1 - column;
                spans.extend_from_slice(&self.by_offset[start..][..columns]);
            }
        }
        spans
    }

    /// Sums of one head over a run of tokens, on the calling thread.
    ///
    /// weights: `[tokens, N]`, rows of the softmax; spans: of the same run, by [`Spans::of`]
    pub fn sums(&self, weights: &[f32], tokens: Range<usize>, spans: &[f32]) -> HeadSums {
        let (columns, patches) = (self.patches.tokens(), self.patches.patches());
        let before = tokens.len() - self.queries(tokens).len();
        let mut sums = HeadSums {
            dependent: 0.0,
            distance: 0.0,
            distance_raw: 0.0,
            entropy: 0.0,
            keys: vec![0.0; patches],
        };
        Arch::new().dispatch(Queries {
            weights: &weights[before * columns..],
            prefix: self.patches.prefix,
            spans,
            sums: &mut sums,
        });
        sums
    }

    /// The statistics of one head, from the sums over all runs, which are merged in order.
    pub fn statistics<'a>(&self, runs: impl IntoIterator<Item = &'a HeadSums>) -> [f32; 4] {
        let count = self.patches.patches() as f64;
        let mut keys = vec![0.0; self.patches.patches()];
        let [mut dependent, mut distance, mut distance_raw, mut entropy] = [0.0; 4];
        for run in runs {
            dependent += run.dependent;
            distance += run.distance;
            distance_raw += run.distance_raw;
            entropy += run.entropy;
            for (key, sum) in keys.iter_mut().zip(&run.keys) {
                *key += sum;
            }
        }
        let total: f64 = keys.iter().sum();
        let logarithms: f64 = keys.iter().map(|key| key * key.ln()).sum();
        let independent = total.ln() - logarithms / total;
        let nmi = if keys.len() == 1 {
            0.0
        } else {
            (independent - dependent / count) / (count.ln() * independent).sqrt()
        };
        [nmi, distance / count, distance_raw / count, entropy / count].map(|x| x as f32)
    }
}

struct Queries<'a> {
    /// `[queries, N]`
    weights: &'a [f32],
    prefix: usize,
    /// `[queries, R C]`
    spans: &'a [f32],
    sums: &'a mut HeadSums,
}

impl WithSimd for Queries<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let patches = self.sums.keys.len();
        let count = patches as f64;
        let mut keys = vec![0.0; patches];
        let rows = self
            .weights
            .chunks_exact(self.prefix + patches)
            .zip(self.spans.chunks_exact(patches));
        for (query, (row, spans)) in rows.enumerate() {
            let weights = &row[self.prefix..];
            let total = sum(simd, weights);
            let scales = [NMI_EPSILON, DISTANCE_EPSILON]
                .map(|epsilon| (1.0 / (total + count * epsilon)) as f32);
            let ([for_nmi, for_distance], distance) =
                row_sums(simd, weights, spans, scales, &mut keys);
            let mean = distance / for_distance.total;
            self.sums.dependent += for_nmi.entropy();
            self.sums.distance += mean;
            self.sums.distance_raw += mean * total;
            self.sums.entropy += for_distance.entropy();
            if query % QUERIES == QUERIES - 1 {
                flush(&mut keys, &mut self.sums.keys);
            }
        }
        flush(&mut keys, &mut self.sums.keys);
    }
}

/// Adds the keys' totals to `into` and begins them anew.
#[inline(always)]
fn flush(keys: &mut [f32], into: &mut [f64]) {
    for (key, into) in keys.iter_mut().zip(into) {
        *into += f64::from(std::mem::take(key));
    }
}

/// Numbers whose total would be 1 but for rounding.
#[derive(Clone, Copy, Default)]
struct Renormalised {
    total: f64,
    /// `Σ p ln p`
    logarithms: f64,
}

impl Renormalised {
    /// The entropy of the numbers over their total.
    #[inline(always)]
    fn entropy(self) -> f64 {
        self.total.ln() - self.logarithms / self.total
    }
}

/// [`Renormalised`] in the lanes of vectors.
#[derive(Clone, Copy)]
struct Lanes<V> {
    coarse: V,
    fine: V,
    logarithms: V,
}

impl<V: Copy> Lanes<V> {
    #[inline(always)]
    fn add<S: Simd<f32s = V>>(&mut self, simd: S, p: V) {
        let shift = simd.splat_f32s(COARSE);
        let coarse = simd.sub_f32s(simd.add_f32s(p, shift), shift);
        self.coarse = simd.add_f32s(self.coarse, coarse);
        self.fine = simd.add_f32s(self.fine, simd.sub_f32s(p, coarse));
        self.logarithms = simd.mul_add_e_f32s(p, ln(simd, p), self.logarithms);
    }

    #[inline(always)]
    fn add_to<S: Simd<f32s = V>>(self, simd: S, sums: &mut Renormalised) {
        let sum = |lanes| f64::from(simd.reduce_sum_f32s(lanes));
        sums.total += sum(self.coarse) + sum(self.fine);
        sums.logarithms += sum(self.logarithms);
    }
}

/// Of one query's weights: those renormalised with each epsilon, and the sum of those with the
/// second times their spans. Adds those with the first to the keys.
///
/// weights, spans, keys: `[R C]`; scales: one over the totals with the epsilons
#[inline(always)]
fn row_sums<S: Simd>(
    simd: S,
    weights: &[f32],
    spans: &[f32],
    scales: [f32; 2],
    keys: &mut [f32],
) -> ([Renormalised; 2], f64) {
    let zero = simd.splat_f32s(0.0);
    let renormalised = |weights| {
        let of = |scale: f32, epsilon: f64| {
            let shift = simd.splat_f32s((f64::from(scale) * epsilon) as f32);
            simd.mul_add_e_f32s(weights, simd.splat_f32s(scale), shift)
        };
        [of(scales[0], NMI_EPSILON), of(scales[1], DISTANCE_EPSILON)]
    };
    let mut sums = [Renormalised::default(); 2];
    let mut distance = 0.0;
    let run = VECTORS * S::F32_LANES;
    let runs = weights.chunks(run).zip(spans.chunks(run));
    for ((weights, spans), keys) in runs.zip(keys.chunks_mut(run)) {
        let none = Lanes {
            coarse: zero,
            fine: zero,
            logarithms: zero,
        };
        let mut lanes = [none; 2];
        let mut distances = zero;
        let (weights, weights_tail) = S::as_simd_f32s(weights);
        let (spans, spans_tail) = S::as_simd_f32s(spans);
        let (keys, keys_tail) = S::as_mut_simd_f32s(keys);
        for ((&weights, &spans), keys) in weights.iter().zip(spans).zip(keys) {
            let [for_nmi, for_distance] = renormalised(weights);
            lanes[0].add(simd, for_nmi);
            lanes[1].add(simd, for_distance);
            distances = simd.mul_add_e_f32s(for_distance, spans, distances);
            *keys = simd.add_f32s(*keys, for_nmi);
        }
        if !weights_tail.is_empty() {
            let mask = simd.mask_between_m32s(0, weights_tail.len() as u32).mask();
            let there = |p| simd.select_f32s(mask, p, zero);
            let [for_nmi, for_distance] =
                renormalised(simd.partial_load_f32s(weights_tail)).map(there);
            lanes[0].add(simd, for_nmi);
            lanes[1].add(simd, for_distance);
            let spans = simd.partial_load_f32s(spans_tail);
            distances = simd.mul_add_e_f32s(for_distance, spans, distances);
            let totals = simd.add_f32s(simd.partial_load_f32s(keys_tail), for_nmi);
            simd.partial_store_f32s(keys_tail, totals);
        }
        for (lanes, sums) in lanes.into_iter().zip(&mut sums) {
            lanes.add_to(simd, sums);
        }
        distance += f64::from(simd.reduce_sum_f32s(distances));
    }
    (sums, distance)
}

/// The sum of all weights.
#[inline(always)]
fn sum<S: Simd>(simd: S, weights: &[f32]) -> f64 {
    let run = VECTORS * S::F32_LANES;
    let of = |weights: &[f32]| {
        let (vectors, tail) = S::as_simd_f32s(weights);
        let mut sum = filled(simd, tail, 0.0);
        for &weights in vectors {
            sum = simd.add_f32s(sum, weights);
        }
        f64::from(simd.reduce_sum_f32s(sum))
    };
    weights.chunks(run).map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::softmax::softmax_rows;
    use crate::engine::candle::kernels::vector::tests::noise;
    use crate::metric::attention_statistics;
    use pulp::Scalar;

    /// The statistics by the best instruction set, and by the portable path.
    fn both(map: &[f32], patches: &PatchGrid, run: usize) -> [[f32; 4]; 2] {
        let spans = Spans::new(patches);
        let tokens = patches.tokens();
        let runs = || (0..tokens).step_by(run).map(|i| i..(i + run).min(tokens));
        let rows = |run: &Range<usize>| &map[run.start * tokens..run.end * tokens];
        let best: Vec<_> = runs()
            .map(|run| spans.sums(rows(&run), run.clone(), &spans.of(run)))
            .collect();
        let portable: Vec<_> = runs()
            .map(|run| {
                let queries = spans.queries(run.clone());
                let weights = &rows(&run)[(run.len() - queries.len()) * tokens..];
                let mut sums = HeadSums {
                    dependent: 0.0,
                    distance: 0.0,
                    distance_raw: 0.0,
                    entropy: 0.0,
                    keys: vec![0.0; patches.patches()],
                };
                Queries {
                    weights,
                    prefix: patches.prefix,
                    spans: &spans.of(run),
                    sums: &mut sums,
                }
                .with_simd(Scalar);
                sums
            })
            .collect();
        [best, portable].map(|sums| spans.statistics(&sums))
    }

    #[track_caller]
    fn assert_defined(map: &[f32], patches: &PatchGrid, run: usize) {
        let want = attention_statistics(map, patches).unwrap();
        for found in both(map, patches, run) {
            let found = found.map(f64::from);
            let what = format!("{patches:?}: {found:?} {want:?}");
            assert!((found[0] - want[0]).abs() <= 1e-6, "{what}");
            // What an epsilon of 1e-32 alone makes is nothing.
            for (found, want) in found.iter().zip(want).skip(1) {
                assert!((found - want).abs() <= 1e-6 * want + 1e-24, "{what}");
            }
        }
    }

    const GRIDS: [(usize, [usize; 2], usize); 7] = [
        (1, [14, 14], 50),
        (0, [14, 14], 64),
        (5, [3, 7], 4),
        (1, [1, 1], 2),
        (0, [2, 2], 4),
        (2, [1, 33], 64),
        (1, [20, 17], 57),
    ];

    #[test]
    fn softmax_maps_of_any_sharpness_agree_with_the_definition() {
        for (prefix, grid, run) in GRIDS {
            let patches = PatchGrid {
                prefix,
                grid,
                patch_size: 16,
            };
            let tokens = patches.tokens();
            for sharpness in [0.0, 1e-3, 0.3, 3.0, 20.0, 300.0] {
                let mut map = noise(tokens * tokens, 3);
                map.iter_mut().for_each(|score| *score *= sharpness);
                softmax_rows(&mut map, tokens, &mut vec![0.0; tokens]);
                assert_defined(&map, &patches, run);
            }
        }
    }

    /// Where entropies are small differences of numbers near 1, or nothing is left to renormalise.
    #[test]
    fn extreme_maps_agree_with_the_definition() {
        for (prefix, grid, run) in GRIDS {
            let patches = PatchGrid {
                prefix,
                grid,
                patch_size: 14,
            };
            let tokens = patches.tokens();
            type Weight<'a> = &'a dyn Fn(usize, usize) -> f32;
            let maps: [Weight<'_>; 6] = [
                &|query, key| f32::from(query == key),
                // All on one key, with and without a remainder.
                &|_, key| f32::from(key == tokens - 1),
                &|query, key| {
                    let rest = 1e-7 * (1 + (query + key) % 3) as f32;
                    if key == tokens - 1 { 1.0 } else { rest }
                },
                &|query, key| {
                    let rest = 1e-3 * (1 + (query * key) % 5) as f32;
                    if key == tokens - 1 {
                        0.3
                    } else {
                        rest / tokens as f32
                    }
                },
                // All on the tokens before the patches; next to all.
                &|_, key| f32::from(key < prefix),
                &|query, key| {
                    if key < prefix {
                        1.0
                    } else {
                        1e-33 * (query + key) as f32
                    }
                },
            ];
            for weight in maps {
                let map: Vec<f32> = (0..tokens * tokens)
                    .map(|i| weight(i / tokens, i % tokens))
                    .collect();
                assert_defined(&map, &patches, run);
            }
        }
    }

    #[test]
    fn nan_is_passed_on() {
        let patches = PatchGrid {
            prefix: 1,
            grid: [4, 5],
            patch_size: 16,
        };
        let mut map = vec![1.0 / 21.0; 21 * 21];
        map[200] = f32::NAN;
        for found in both(&map, &patches, 21) {
            assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
        }
    }
}
