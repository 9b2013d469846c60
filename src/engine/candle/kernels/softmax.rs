//! The softmax of rows.

use pulp::{Arch, Simd, WithSimd};

use super::output::{CHUNK, chunks};
use super::vector::{exp, filled, total};

/// The softmax of each row, on all threads: x: `[rows, cols]`.
pub fn softmax(x: &[f32], cols: usize) -> Vec<f32> {
    let tile = (CHUNK / cols.max(1)).max(1) * cols.max(1);
    chunks(x.len(), tile, |index, out| {
        out.copy_from_slice(&x[index * tile..][..out.len()]);
        let mut sums = vec![0.0; out.len() / cols];
        softmax_rows(out, cols, &mut sums);
    })
}

/// The gradient of [`softmax`]: y: `[rows, cols]`, its output; dy: `[rows, cols]`.
pub fn softmax_gradient(y: &[f32], dy: &[f32], cols: usize) -> Vec<f32> {
    let tile = (CHUNK / cols.max(1)).max(1) * cols.max(1);
    chunks(y.len(), tile, |index, out| {
        let y = &y[index * tile..][..out.len()];
        out.copy_from_slice(&dy[index * tile..][..out.len()]);
        let rows = y.chunks_exact(cols).zip(out.chunks_exact(cols));
        let share = |(y, dy): (&[f32], &[f32])| y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        let shares: Vec<f32> = rows.map(share).collect();
        softmax_gradient_rows(y, cols, &shares, out);
    })
}

/// `row = softmax(row)`; returns log Σ e^row.
///
/// row: `[cols]`. To be called inside a [`WithSimd`].
#[inline(always)]
pub fn softmax_row<S: Simd>(simd: S, row: &mut [f32]) -> f32 {
    let largest = largest(simd, row);
    let (vectors, tail) = S::as_mut_simd_f32s(row);
    let shift = simd.splat_f32s(largest);
    let mut sums = [simd.splat_f32s(0.0); 4];
    let (quads, rest) = vectors.as_chunks_mut::<4>();
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad) {
            *x = exp(simd, simd.sub_f32s(*x, shift));
            *sum = simd.add_f32s(*sum, *x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *x = exp(simd, simd.sub_f32s(*x, shift));
        *sum = simd.add_f32s(*sum, *x);
    }
    let last = filled(simd, tail, f32::NEG_INFINITY);
    let last = exp(simd, simd.sub_f32s(last, shift));
    sums[3] = simd.add_f32s(sums[3], last);
    let sum = total(simd, sums);
    let scale = simd.splat_f32s(1.0 / sum);
    for x in vectors {
        *x = simd.mul_f32s(*x, scale);
    }
    simd.partial_store_f32s(tail, simd.mul_f32s(last, scale));
    largest + sum.ln()
}

/// `row = e^(row - lse)`: the softmax again, from its log-sum-exp.
///
/// row: `[cols]`. To be called inside a [`WithSimd`].
#[inline(always)]
pub fn exp_minus<S: Simd>(simd: S, row: &mut [f32], lse: f32) {
    let (vectors, tail) = S::as_mut_simd_f32s(row);
    let shift = simd.splat_f32s(lse);
    for x in vectors {
        *x = exp(simd, simd.sub_f32s(*x, shift));
    }
    let last = simd.sub_f32s(filled(simd, tail, 0.0), shift);
    simd.partial_store_f32s(tail, exp(simd, last));
}

/// `scores = softmax(scores)` along the columns on the calling thread, with each row's
/// log-sum-exp.
///
/// scores: `[rows, cols]`, lse: `[rows]`.
pub fn softmax_rows(scores: &mut [f32], cols: usize, lse: &mut [f32]) {
    Arch::new().dispatch(SoftmaxRows { scores, cols, lse });
}

/// `scores = e^(scores - lse)` on the calling thread.
///
/// scores: `[rows, cols]`, lse: `[rows]`.
pub fn exp_minus_rows(scores: &mut [f32], cols: usize, lse: &[f32]) {
    Arch::new().dispatch(ExpMinusRows { scores, cols, lse });
}

/// From the gradient of a softmax to that of its scores, on the calling thread:
/// `dweights = weights (dweights - shares)`.
///
/// weights, dweights: `[rows, cols]`; shares: `[rows]`, `Σ_c weights_c dweights_c` of each row.
pub fn softmax_gradient_rows(weights: &[f32], cols: usize, shares: &[f32], dweights: &mut [f32]) {
    Arch::new().dispatch(GradientRows {
        weights,
        cols,
        shares,
        dweights,
    });
}

struct GradientRows<'a> {
    weights: &'a [f32],
    cols: usize,
    shares: &'a [f32],
    dweights: &'a mut [f32],
}

impl WithSimd for GradientRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let weights = self.weights.chunks_exact(self.cols);
        let dweights = self.dweights.chunks_exact_mut(self.cols);
        for ((weights, dweights), &share) in weights.zip(dweights).zip(self.shares) {
            let share = simd.splat_f32s(share);
            let gradient = |w, dw| simd.mul_f32s(w, simd.sub_f32s(dw, share));
            let (weights, weights_tail) = S::as_simd_f32s(weights);
            let (dweights, tail) = S::as_mut_simd_f32s(dweights);
            for (&w, dw) in weights.iter().zip(dweights) {
                *dw = gradient(w, *dw);
            }
            let last = gradient(
                simd.partial_load_f32s(weights_tail),
                simd.partial_load_f32s(tail),
            );
            simd.partial_store_f32s(tail, last);
        }
    }
}

struct SoftmaxRows<'a> {
    scores: &'a mut [f32],
    cols: usize,
    lse: &'a mut [f32],
}

impl WithSimd for SoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.cols).zip(self.lse);
        for (row, lse) in rows {
            *lse = softmax_row(simd, row);
        }
    }
}

struct ExpMinusRows<'a> {
    scores: &'a mut [f32],
    cols: usize,
    lse: &'a [f32],
}

impl WithSimd for ExpMinusRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.cols).zip(self.lse);
        for (row, &lse) in rows {
            exp_minus(simd, row, lse);
        }
    }
}

/// The largest element.
#[inline(always)]
fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (vectors, tail) = S::as_simd_f32s(row);
    let mut best = [filled(simd, tail, f32::NEG_INFINITY); 4];
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for (best, x) in best.iter_mut().zip(quad) {
            *best = simd.max_f32s(*best, *x);
        }
    }
    for (best, x) in best.iter_mut().zip(rest) {
        *best = simd.max_f32s(*best, *x);
    }
    let [a, b, c, d] = best;
    simd.reduce_max_f32s(simd.max_f32s(simd.max_f32s(a, b), simd.max_f32s(c, d)))
}

/// The largest element and `Σ e^(x - largest)`.
#[inline(always)]
pub(super) fn log_sum_parts<S: Simd>(simd: S, row: &[f32]) -> [f32; 2] {
    let largest = largest(simd, row);
    let shift = simd.splat_f32s(largest);
    let (vectors, tail) = S::as_simd_f32s(row);
    let last = simd.sub_f32s(filled(simd, tail, f32::NEG_INFINITY), shift);
    let zero = simd.splat_f32s(0.0);
    let mut sums = [exp(simd, last), zero, zero, zero];
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad) {
            *sum = simd.add_f32s(*sum, exp(simd, simd.sub_f32s(*x, shift)));
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = simd.add_f32s(*sum, exp(simd, simd.sub_f32s(*x, shift)));
    }
    [largest, total(simd, sums)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise};
    use pulp::Scalar;

    /// scores: `[rows, cols]` -> the softmax and the log-sum-exp, in f64.
    fn reference(scores: &[f32], cols: usize) -> (Vec<f64>, Vec<f64>) {
        let mut y: Vec<f64> = scores.iter().copied().map(f64::from).collect();
        let lse = y.chunks_exact_mut(cols).map(|row| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            row.iter_mut().for_each(|x| *x = (*x - lse).exp());
            lse
        });
        let lse = lse.collect();
        (y, lse)
    }

    #[test]
    fn rows_of_any_length_agree_with_f64() {
        for cols in [1, 5, 16, 17, 63, 64, 80, 197] {
            let scores: Vec<f32> = noise(7 * cols, 1).iter().map(|x| 6.0 * x).collect();
            let (want, want_lse) = reference(&scores, cols);
            let (mut best, mut lse) = (scores.clone(), [0.0; 7]);
            softmax_rows(&mut best, cols, &mut lse);
            assert_close(&best, &want, 1e-6);
            assert_close(&lse, &want_lse, 3e-7);
            let mut again = scores.clone();
            exp_minus_rows(&mut again, cols, &lse);
            assert_close(&again, &want, 2e-6);

            let (mut portable, mut portable_lse) = (scores.clone(), [0.0; 7]);
            SoftmaxRows {
                scores: &mut portable,
                cols,
                lse: &mut portable_lse,
            }
            .with_simd(Scalar);
            assert_close(&portable, &want, 1e-6);
            assert_close(&portable_lse, &want_lse, 3e-7);
            let mut again = scores.clone();
            ExpMinusRows {
                scores: &mut again,
                cols,
                lse: &portable_lse,
            }
            .with_simd(Scalar);
            assert_close(&again, &want, 2e-6);
        }
    }

    #[test]
    fn large_scores_neither_overflow_nor_vanish() {
        let mut row = vec![1e30; 21];
        row[3] = -1e30;
        let mut lse = [0.0];
        softmax_rows(&mut row, 21, &mut lse);
        assert_eq!(row[3], 0.0);
        assert!(row.iter().enumerate().all(|(i, &x)| i == 3 || x == 0.05));
        assert_eq!(lse, [1e30]);
    }

    #[test]
    fn nan_takes_the_whole_row() {
        let mut row = noise(37, 1);
        row[20] = f32::NAN;
        softmax_rows(&mut row, 37, &mut [0.0]);
        assert!(row.iter().all(|x| x.is_nan()));
    }
}
