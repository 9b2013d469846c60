//! Element-wise sums and products, and sums over rows.
//!
//! All are bound by memory: plain loops, which the compiler turns into vectors of any
//! instruction set, are as fast as the memory is.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::output::{CHUNK, chunks, least_chunks};

/// Rows that are summed together. Fixed, so that threads change no bit.
const ROWS: usize = 64;

/// `x + y`; y is repeated to the length of x, which is a multiple of its own.
pub fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    combine(x, y, |x, y| x + y)
}

/// `x - y`, y repeated as in [`add`].
pub fn sub(x: &[f32], y: &[f32]) -> Vec<f32> {
    combine(x, y, |x, y| x - y)
}

/// `x y`, y repeated as in [`add`].
pub fn mul(x: &[f32], y: &[f32]) -> Vec<f32> {
    combine(x, y, |x, y| x * y)
}

/// `a x + b`.
pub fn scale_shift(x: &[f32], a: f32, b: f32) -> Vec<f32> {
    chunks(x.len(), CHUNK, |index, out| {
        for (out, x) in out.iter_mut().zip(&x[index * CHUNK..]) {
            *out = a * x + b;
        }
    })
}

/// PyTorch's `smooth_l1_loss` of differences, without a reduction.
pub fn smooth_l1(x: &[f32], beta: f32) -> Vec<f32> {
    map(x, |x| {
        let distance = x.abs();
        match distance < beta {
            true => 0.5 * distance * distance / beta,
            false => distance - 0.5 * beta,
        }
    })
}

/// The slope of [`smooth_l1`].
pub fn smooth_l1_slope(x: &[f32], beta: f32) -> Vec<f32> {
    map(x, |x| match x.abs() < beta {
        true => x / beta,
        false if x == 0.0 => 0.0,
        false => x.signum(),
    })
}

#[inline(always)]
fn map(x: &[f32], with: impl Fn(f32) -> f32 + Sync) -> Vec<f32> {
    chunks(x.len(), CHUNK, |index, out| {
        for (out, &x) in out.iter_mut().zip(&x[index * CHUNK..]) {
            *out = with(x);
        }
    })
}

#[inline(always)]
fn combine(x: &[f32], y: &[f32], with: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    chunks(x.len(), CHUNK, |index, mut out| {
        let mut start = index * CHUNK;
        while !out.is_empty() {
            let y = &y[start % y.len()..];
            let (run, rest) = out.split_at_mut(out.len().min(y.len()));
            for ((out, &x), &y) in run.iter_mut().zip(&x[start..]).zip(y) {
                *out = with(x, y);
            }
            start += run.len();
            out = rest;
        }
    })
}

/// The sum of the rows: x: `[rows, width]` -> `[width]`.
pub fn column_sums(x: &[f32], width: usize) -> Vec<f32> {
    let tile = ROWS * width;
    let mut sums = vec![0.0; x.len().div_ceil(tile) * width];
    sums.par_chunks_mut(width)
        .enumerate()
        .with_min_len(least_chunks(x.len()))
        .for_each(|(i, sums)| {
            let rows = &x[i * tile..x.len().min((i + 1) * tile)];
            add_rows(rows, sums);
        });
    merge(&sums, width)
}

/// The sum of few rows, one after the other on the calling thread: sums: `[parts, width]` ->
/// `[width]`.
pub(super) fn merge(sums: &[f32], width: usize) -> Vec<f32> {
    let mut merged = vec![0.0; width];
    add_rows(sums, &mut merged);
    merged
}

/// `sums += each row`: x: `[rows, width]`, sums: `[width]`. Eight rows are added up before they
/// meet the sums, which are then read and written an eighth as often.
fn add_rows(x: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    let mut blocks = x.chunks_exact(8 * width);
    for block in &mut blocks {
        let (left, right) = block.split_at(4 * width);
        let [a, b, c, d] = quarters(left, width);
        let [e, f, g, h] = quarters(right, width);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]));
        }
    }
    for row in blocks.remainder().chunks_exact(width) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

/// Four rows: x: `[4, width]`.
#[inline(always)]
pub(super) fn quarters(x: &[f32], width: usize) -> [&[f32]; 4] {
    let (top, bottom) = x.split_at(2 * width);
    let ((a, b), (c, d)) = (top.split_at(width), bottom.split_at(width));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};

    #[test]
    fn elements_are_those_of_a_plain_loop() {
        for n in [0, 1, 33, 20_003] {
            let (x, y) = (noise(n, 1), noise(n, 2));
            let each = |with: fn(f32, f32) -> f32| -> Vec<f32> {
                x.iter().zip(&y).map(|(&x, &y)| with(x, y)).collect()
            };
            assert_eq!(on_threads(|| add(&x, &y)), each(|x, y| x + y));
            assert_eq!(on_threads(|| sub(&x, &y)), each(|x, y| x - y));
            assert_eq!(on_threads(|| mul(&x, &y)), each(|x, y| x * y));
            let scaled = on_threads(|| scale_shift(&x, 2.5, -1.0));
            assert_eq!(scaled, each(|x, _| 2.5 * x - 1.0));
        }
    }

    #[test]
    fn the_shorter_side_is_repeated() {
        for period in [1, 7, 5000] {
            let (x, y) = (noise(period * 9, 1), noise(period, 2));
            let want = x.chunks_exact(period).flat_map(|x| add(x, &y));
            assert_eq!(on_threads(|| add(&x, &y)), want.collect::<Vec<_>>());
        }
    }

    #[test]
    fn column_sums_agree_with_f64_on_any_number_of_threads() {
        for (rows, width) in [(1, 1), (9, 5), (64, 16), (65, 17), (300, 70)] {
            let x = noise(rows * width, 3);
            let mut want = vec![0.0; width];
            for row in x.chunks_exact(width) {
                for (want, &x) in want.iter_mut().zip(row) {
                    *want += f64::from(x);
                }
            }
            assert_close(&on_threads(|| column_sums(&x, width)), &want, 1e-6);
        }
    }
}
