//! The sum of squares, from which norms are made.

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSlice;

use super::output::{CHUNK, least_chunks};

/// Sums that run beside each other, so that they fit vectors of f64.
const LANES: usize = 8;

/// `Σ x²` in f64: in f32, 10⁷ small terms would not reach a large sum any more.
pub fn square_sum<T: Copy + Into<f64> + Sync>(x: &[T]) -> f64 {
    let parts: Vec<f64> = x
        .par_chunks(CHUNK)
        .with_min_len(least_chunks(x.len()))
        .map(of_chunk)
        .collect();
    parts.into_iter().sum()
}

fn of_chunk<T: Copy + Into<f64>>(x: &[T]) -> f64 {
    let (rows, tail) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for row in rows {
        for (sum, &x) in sums.iter_mut().zip(row) {
            let x: f64 = x.into();
            *sum += x * x;
        }
    }
    for (sum, &x) in sums.iter_mut().zip(tail) {
        let x: f64 = x.into();
        *sum += x * x;
    }
    sums.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{noise, on_threads};

    #[test]
    fn ten_million_squares_keep_every_digit() {
        let n = 10_000_000;
        let found = on_threads(|| square_sum(&vec![1.1f32; n]));
        let expected = n as f64 * f64::from(1.1f32).powi(2);
        assert!(
            (found - expected).abs() <= 1e-12 * expected,
            "{found} for {expected}"
        );
    }

    #[test]
    fn every_element_counts_once() {
        for n in [0, 1, 7, 8, 4095, 4097, 20_001] {
            let x = noise(n, 0);
            let expected: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let found = on_threads(|| square_sum(&x));
            assert!((found - expected).abs() <= 1e-12 * expected, "{n}");
        }
    }
}
