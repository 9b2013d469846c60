//! Softmax cross-entropy: `loss = mean over rows of -Σ t log softmax(x)`.
//!
//! Gradients take the rows' log-sum-exp that the loss came with, and the gradient to the loss,
//! `dloss`.

use pulp::{Arch, Simd, WithSimd};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use super::output::{chunks, least_chunks};
use super::softmax::{exp_minus, log_sum_parts};
use super::vector::{filled, total};
use crate::engine::IGNORED;

/// Elements of the rows that a thread takes at a time: 32 KB.
const TILE: usize = 8192;

/// The loss against one class a row, and each row's log-sum-exp: `[rows]`.
///
/// logits: `[rows, width]`, classes: `[rows]`, below `width` or [`IGNORED`].
pub fn cross_entropy_classes(logits: &[f32], classes: &[u32], width: usize) -> (f32, Vec<f32>) {
    mean_loss(logits, width, |row, x| {
        if classes[row] == IGNORED {
            return (0.0, 0.0);
        }
        let [largest, sum] = Arch::new().dispatch(LogSum { x });
        let target = x[classes[row] as usize];
        let loss = f64::from(largest) - f64::from(target) + f64::from(sum).ln();
        (loss, largest + sum.ln())
    })
}

/// The gradient to the logits: `(softmax - onehot) dloss / rows`.
///
/// logits: `[rows, width]`, classes, lse: `[rows]`.
pub fn cross_entropy_classes_gradient(
    logits: &[f32],
    classes: &[u32],
    lse: &[f32],
    width: usize,
    dloss: f32,
) -> Vec<f32> {
    let scale = dloss / lse.len() as f32;
    gradient(logits.len(), width, |row, dx| {
        if classes[row] == IGNORED {
            dx.fill(0.0);
            return;
        }
        dx.copy_from_slice(&logits[row * width..][..width]);
        Arch::new().dispatch(Probabilities {
            x: dx,
            lse: lse[row],
            scale,
        });
        dx[classes[row] as usize] -= scale;
    })
}

/// The loss against one distribution a row, and each row's log-sum-exp: `[rows]`.
///
/// logits, targets: `[rows, width]`.
pub fn cross_entropy_soft(logits: &[f32], targets: &[f32], width: usize) -> (f32, Vec<f32>) {
    mean_loss(logits, width, |row, x| {
        let arch = Arch::new();
        let [largest, sum] = arch.dispatch(LogSum { x });
        let log_sum = sum.ln();
        // Σ t (largest - x) + log_sum Σ t: nothing large is taken from something large.
        let [weighted, weight] = arch.dispatch(Weighted {
            x,
            targets: &targets[row * width..][..width],
            origin: largest,
        });
        let loss = f64::from(weighted) + f64::from(log_sum) * f64::from(weight);
        (loss, largest + log_sum)
    })
}

/// The gradient to the logits: `(softmax Σ t - t) dloss / rows`.
///
/// logits, targets: `[rows, width]`, lse: `[rows]`.
pub fn cross_entropy_soft_gradient(
    logits: &[f32],
    targets: &[f32],
    lse: &[f32],
    width: usize,
    dloss: f32,
) -> Vec<f32> {
    let scale = dloss / lse.len() as f32;
    gradient(logits.len(), width, |row, dx| {
        let arch = Arch::new();
        let (x, targets) = (&logits[row * width..][..width], &targets[row * width..]);
        let [_, weight] = arch.dispatch(Weighted {
            x,
            targets: &targets[..width],
            origin: 0.0,
        });
        dx.copy_from_slice(x);
        arch.dispatch(Probabilities {
            x: dx,
            lse: lse[row],
            scale: scale * weight,
        });
        for (dx, target) in dx.iter_mut().zip(targets) {
            *dx -= scale * target;
        }
    })
}

/// The gradient to the targets: `(lse - x) dloss / rows`.
///
/// logits: `[rows, width]`, lse: `[rows]`.
pub fn cross_entropy_soft_targets_gradient(
    logits: &[f32],
    lse: &[f32],
    width: usize,
    dloss: f32,
) -> Vec<f32> {
    let scale = dloss / lse.len() as f32;
    gradient(logits.len(), width, |row, dt| {
        for (dt, x) in dt.iter_mut().zip(&logits[row * width..]) {
            *dt = scale * (lse[row] - x);
        }
    })
}

/// The mean of `loss(index of the row, row)`, summed in the order of the rows, and the second
/// results.
fn mean_loss(
    logits: &[f32],
    width: usize,
    loss: impl Fn(usize, &[f32]) -> (f64, f32) + Sync,
) -> (f32, Vec<f32>) {
    let rows: Vec<(f64, f32)> = logits
        .par_chunks_exact(width)
        .enumerate()
        .with_min_len(least_chunks(logits.len()).max(TILE / width))
        .map(|(row, x)| loss(row, x))
        .collect();
    let sum: f64 = rows.iter().map(|(loss, _)| loss).sum();
    let mean = (sum / rows.len() as f64) as f32;
    (mean, rows.into_iter().map(|(_, lse)| lse).collect())
}

/// `len` elements in rows, made by `write(index of the row, row)`.
fn gradient(len: usize, width: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let rows = (TILE / width).max(1);
    chunks(len, rows * width, |index, out| {
        for (row, out) in out.chunks_exact_mut(width).enumerate() {
            write(index * rows + row, out);
        }
    })
}

/// The largest `x` and `Σ e^(x - largest)`.
struct LogSum<'a> {
    x: &'a [f32],
}

impl WithSimd for LogSum<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
        log_sum_parts(simd, self.x)
    }
}

/// `x = e^(x - lse) scale`.
struct Probabilities<'a> {
    x: &'a mut [f32],
    lse: f32,
    scale: f32,
}

impl WithSimd for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        exp_minus(simd, self.x, self.lse);
        for x in self.x {
            *x *= self.scale;
        }
    }
}

/// `Σ t (origin - x)` and `Σ t`.
struct Weighted<'a> {
    x: &'a [f32],
    targets: &'a [f32],
    origin: f32,
}

impl WithSimd for Weighted<'_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
        let (xs, x_tail) = S::as_simd_f32s(self.x);
        let (targets, target_tail) = S::as_simd_f32s(self.targets);
        let origin = simd.splat_f32s(self.origin);
        let zero = simd.splat_f32s(0.0);
        let last = filled(simd, target_tail, 0.0);
        let below = simd.sub_f32s(origin, filled(simd, x_tail, self.origin));
        // Four chains each, so that an addition need not wait for the one before.
        let mut weighted = [simd.mul_f32s(last, below), zero, zero, zero];
        let mut weight = [last, zero, zero, zero];
        let (x_quads, x_rest) = xs.as_chunks::<4>();
        let (target_quads, target_rest) = targets.as_chunks::<4>();
        for (x, target) in x_quads.iter().zip(target_quads) {
            for lane in 0..4 {
                let below = simd.sub_f32s(origin, x[lane]);
                weighted[lane] = simd.mul_add_e_f32s(target[lane], below, weighted[lane]);
                weight[lane] = simd.add_f32s(weight[lane], target[lane]);
            }
        }
        for (x, target) in x_rest.iter().zip(target_rest) {
            let below = simd.sub_f32s(origin, *x);
            weighted[1] = simd.mul_add_e_f32s(*target, below, weighted[1]);
            weight[1] = simd.add_f32s(weight[1], *target);
        }
        [total(simd, weighted), total(simd, weight)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};
    use pulp::Scalar;

    const DLOSS: f32 = 0.75;

    /// Log-softmax of rows in f64, with their log-sum-exp.
    fn log_softmax(x: &[f32], width: usize) -> (Vec<f64>, Vec<f64>) {
        let mut y: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let lse = y.chunks_exact_mut(width).map(|row| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let lse = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            row.iter_mut().for_each(|x| *x -= lse);
            lse
        });
        let lse = lse.collect();
        (y, lse)
    }

    fn logits(rows: usize, width: usize) -> Vec<f32> {
        noise(rows * width, 5).iter().map(|x| 7.0 * x).collect()
    }

    #[test]
    fn classes_agree_with_f64_on_any_number_of_threads() {
        for (rows, width) in [(1, 1), (3, 5), (7, 37), (64, 1000), (5, 9001)] {
            let x = logits(rows, width);
            let classes: Vec<u32> = (0..rows).map(|i| (i * 7 % width) as u32).collect();
            let (log, want_lse) = log_softmax(&x, width);
            let picked = |row: usize| log[row * width + classes[row] as usize];
            let want = -(0..rows).map(picked).sum::<f64>() / rows as f64;
            let (loss, lse) = on_threads(|| cross_entropy_classes(&x, &classes, width));
            assert!((f64::from(loss) - want).abs() <= 2e-7 * want.max(1.0));
            assert_close(&lse, &want_lse, 3e-7);

            let scale = f64::from(DLOSS) / rows as f64;
            let mut want: Vec<f64> = log.iter().map(|l| l.exp() * scale).collect();
            for (row, &class) in classes.iter().enumerate() {
                want[row * width + class as usize] -= scale;
            }
            let dx =
                on_threads(|| cross_entropy_classes_gradient(&x, &classes, &lse, width, DLOSS));
            if width > 1 {
                assert_close(&dx, &want, 1e-6);
            }
        }
    }

    #[test]
    fn distributions_agree_with_f64_on_any_number_of_threads() {
        for (rows, width) in [(1, 2), (3, 5), (7, 37), (64, 1000)] {
            let x = logits(rows, width);
            // Weights that sum to anything: the gradient must not take them for a distribution.
            let t: Vec<f32> = noise(rows * width, 6).iter().map(|t| t + 1.0).collect();
            let (log, _) = log_softmax(&x, width);
            let terms = log.iter().zip(&t).map(|(log, &t)| -log * f64::from(t));
            let want = terms.sum::<f64>() / rows as f64;
            let (loss, lse) = on_threads(|| cross_entropy_soft(&x, &t, width));
            assert!((f64::from(loss) - want).abs() <= 5e-7 * want.abs());

            let scale = f64::from(DLOSS) / rows as f64;
            let mut want = Vec::new();
            for (log, t) in log.chunks_exact(width).zip(t.chunks_exact(width)) {
                let weight: f64 = t.iter().copied().map(f64::from).sum();
                for (log, &t) in log.iter().zip(t) {
                    want.push(scale * (log.exp() * weight - f64::from(t)));
                }
            }
            let dx = on_threads(|| cross_entropy_soft_gradient(&x, &t, &lse, width, DLOSS));
            assert_close(&dx, &want, 1e-6);

            let want: Vec<f64> = log.iter().map(|log| -log * scale).collect();
            let dt = on_threads(|| cross_entropy_soft_targets_gradient(&x, &lse, width, DLOSS));
            assert_close(&dt, &want, 1e-6);
        }
    }

    #[test]
    fn large_logits_keep_the_loss_of_their_differences() {
        let mut x = vec![9.0e4; 20];
        x[4] += 3.0;
        let (loss, _) = cross_entropy_classes(&x, &[4], 20);
        let want = (1.0 + 19.0 * (-3.0f64).exp()).ln();
        assert!((f64::from(loss) - want).abs() < 1e-7, "{loss} {want}");
        let mut onehot = vec![0.0; 20];
        onehot[4] = 1.0;
        let (soft, _) = cross_entropy_soft(&x, &onehot, 20);
        assert!((f64::from(soft) - want).abs() < 1e-7, "{soft} {want}");
    }

    #[test]
    fn the_portable_path_agrees() {
        let (x, t) = (logits(1, 75), noise(75, 6));
        let close = |a: [f32; 2], b: [f32; 2]| assert_close(&a, &b.map(f64::from), 3e-7);
        let best = Arch::new().dispatch(LogSum { x: &x });
        close(LogSum { x: &x }.with_simd(Scalar), best);
        let weighted = || Weighted {
            x: &x,
            targets: &t,
            origin: 7.0,
        };
        let best = Arch::new().dispatch(weighted());
        close(weighted().with_simd(Scalar), best);
        let (mut best, mut portable) = (x.clone(), x);
        let probabilities = |x| Probabilities {
            x,
            lse: 8.0,
            scale: 0.3,
        };
        Arch::new().dispatch(probabilities(&mut best));
        probabilities(&mut portable).with_simd(Scalar);
        let best: Vec<f64> = best.into_iter().map(f64::from).collect();
        assert_close(&portable, &best, 3e-7);
    }
}
