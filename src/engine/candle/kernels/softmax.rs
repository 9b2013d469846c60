//! The softmax of rows, in place.

use pulp::{Arch, Simd, WithSimd};

use super::vector::{exp, filled, total};

/// `row = softmax(row + bias)`; returns log Σ e^(row + bias).
///
/// row, bias: `[cols]`. To be called inside a [`WithSimd`].
#[inline(always)]
pub fn softmax_row<S: Simd>(simd: S, row: &mut [f32], bias: Option<&[f32]>) -> f32 {
    if let Some(bias) = bias {
        add_row(simd, row, bias);
    }
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

/// `row = e^(row + bias - lse)`: the softmax again, from its log-sum-exp.
///
/// row, bias: `[cols]`. To be called inside a [`WithSimd`].
#[inline(always)]
pub fn exp_minus<S: Simd>(simd: S, row: &mut [f32], bias: Option<&[f32]>, lse: f32) {
    if let Some(bias) = bias {
        add_row(simd, row, bias);
    }
    let (vectors, tail) = S::as_mut_simd_f32s(row);
    let shift = simd.splat_f32s(lse);
    for x in vectors {
        *x = exp(simd, simd.sub_f32s(*x, shift));
    }
    let last = simd.sub_f32s(filled(simd, tail, 0.0), shift);
    simd.partial_store_f32s(tail, exp(simd, last));
}

/// `scores = softmax(scores + bias)` along the columns on the calling thread, with each row's
/// log-sum-exp.
///
/// scores, bias: `[rows, cols]`, lse: `[rows]`.
pub fn softmax_rows(scores: &mut [f32], cols: usize, bias: Option<&[f32]>, lse: &mut [f32]) {
    Arch::new().dispatch(SoftmaxRows {
        scores,
        cols,
        bias,
        lse,
    });
}

/// `scores = e^(scores + bias - lse)` on the calling thread.
///
/// scores, bias: `[rows, cols]`, lse: `[rows]`.
pub fn exp_minus_rows(scores: &mut [f32], cols: usize, bias: Option<&[f32]>, lse: &[f32]) {
    Arch::new().dispatch(ExpMinusRows {
        scores,
        cols,
        bias,
        lse,
    });
}

struct SoftmaxRows<'a> {
    scores: &'a mut [f32],
    cols: usize,
    bias: Option<&'a [f32]>,
    lse: &'a mut [f32],
}

impl WithSimd for SoftmaxRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.cols).zip(self.lse);
        for (i, (row, lse)) in rows.enumerate() {
            let bias = self.bias.map(|bias| &bias[i * self.cols..][..self.cols]);
            *lse = softmax_row(simd, row, bias);
        }
    }
}

struct ExpMinusRows<'a> {
    scores: &'a mut [f32],
    cols: usize,
    bias: Option<&'a [f32]>,
    lse: &'a [f32],
}

impl WithSimd for ExpMinusRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rows = self.scores.chunks_exact_mut(self.cols).zip(self.lse);
        for (i, (row, &lse)) in rows.enumerate() {
            let bias = self.bias.map(|bias| &bias[i * self.cols..][..self.cols]);
            exp_minus(simd, row, bias, lse);
        }
    }
}

/// `row += bias`.
#[inline(always)]
fn add_row<S: Simd>(simd: S, row: &mut [f32], bias: &[f32]) {
    let (vectors, tail) = S::as_mut_simd_f32s(row);
    let (biases, bias_tail) = S::as_simd_f32s(bias);
    for (x, bias) in vectors.iter_mut().zip(biases) {
        *x = simd.add_f32s(*x, *bias);
    }
    let last = simd.add_f32s(filled(simd, tail, 0.0), filled(simd, bias_tail, 0.0));
    simd.partial_store_f32s(tail, last);
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
    fn reference(scores: &[f32], cols: usize, bias: Option<&[f32]>) -> (Vec<f64>, Vec<f64>) {
        let mut y: Vec<f64> = scores.iter().copied().map(f64::from).collect();
        if let Some(bias) = bias {
            for (y, &bias) in y.iter_mut().zip(bias) {
                *y += f64::from(bias);
            }
        }
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
            let bias = noise(7 * cols, 2);
            for bias in [None, Some(&bias[..])] {
                let (want, want_lse) = reference(&scores, cols, bias);
                let (mut best, mut lse) = (scores.clone(), [0.0; 7]);
                softmax_rows(&mut best, cols, bias, &mut lse);
                assert_close(&best, &want, 1e-6);
                assert_close(&lse, &want_lse, 3e-7);
                let mut again = scores.clone();
                exp_minus_rows(&mut again, cols, bias, &lse);
                assert_close(&again, &want, 2e-6);

                let (mut portable, mut portable_lse) = (scores.clone(), [0.0; 7]);
                SoftmaxRows {
                    scores: &mut portable,
                    cols,
                    bias,
                    lse: &mut portable_lse,
                }
                .with_simd(Scalar);
                assert_close(&portable, &want, 1e-6);
                assert_close(&portable_lse, &want_lse, 3e-7);
                let mut again = scores.clone();
                ExpMinusRows {
                    scores: &mut again,
                    cols,
                    bias,
                    lse: &portable_lse,
                }
                .with_simd(Scalar);
                assert_close(&again, &want, 2e-6);
            }
        }
    }

    #[test]
    fn large_scores_neither_overflow_nor_vanish() {
        let mut row = vec![1e30; 21];
        row[3] = -1e30;
        let mut lse = [0.0];
        softmax_rows(&mut row, 21, None, &mut lse);
        assert_eq!(row[3], 0.0);
        assert!(row.iter().enumerate().all(|(i, &x)| i == 3 || x == 0.05));
        assert_eq!(lse, [1e30]);
    }

    #[test]
    fn nan_takes_the_whole_row() {
        let mut row = noise(37, 1);
        row[20] = f32::NAN;
        softmax_rows(&mut row, 37, None, &mut [0.0]);
        assert!(row.iter().all(|x| x.is_nan()));
    }
}
