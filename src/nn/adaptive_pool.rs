//! Means over the bins of a coarser grid.

use crate::engine::{Engine, EngineError, Result};

/// Means over `bins` x `bins` parts of every image, which overlap where they do not divide it:
/// PyTorch's `adaptive_avg_pool2d`, channels last.
///
/// x: `[B, H, W, C]` -> `[B, bins, bins, C]`
pub fn adaptive_average_pool<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    bins: usize,
) -> Result<E::Tensor> {
    let shape = engine.shape(x);
    let [batch, height, width, channels] = match shape[..] {
        [batch, height, width, channels] if height * width * bins > 0 => {
            [batch, height, width, channels]
        }
        _ => {
            return Err(EngineError {
                op: "adaptive_average_pool",
                message: format!("{bins} x {bins} bins of images of shape {shape:?}"),
            });
        }
    };
    let (rows, columns) = (shares(height, bins), shares(width, bins));
    let mut matrix = Vec::with_capacity(bins * bins * height * width);
    for row in rows.chunks_exact(height) {
        for column in columns.chunks_exact(width) {
            let places = row.iter().flat_map(|a| column.iter().map(move |b| a * b));
            matrix.extend(places);
        }
    }
    let matrix = engine.tensor(&matrix[..], &[1, bins * bins, height * width])?;
    let matrix = engine.expand(&matrix, &[batch, bins * bins, height * width])?;
    let pixels = engine.reshape(x, &[batch, height * width, channels])?;
    let pooled = engine.matmul(&matrix, &pixels)?;
    engine.reshape(&pooled, &[batch, bins, bins, channels])
}

/// What each of `length` places has in the mean of each bin, `[bins, length]`: bin `i` reaches from
/// `⌊i length / bins⌋` to before `⌈(i + 1) length / bins⌉`
/// (PyTorch, `aten/src/ATen/native/AdaptivePooling.h`).
fn shares(length: usize, bins: usize) -> Vec<f64> {
    let mut shares = vec![0.0; bins * length];
    for (i, shares) in shares.chunks_exact_mut(length).enumerate() {
        let places = i * length / bins..((i + 1) * length).div_ceil(bins);
        let share = 1.0 / places.len() as f64;
        shares[places].fill(share);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;

    #[test]
    fn bins_overlap_where_they_do_not_divide_the_image() {
        let engine = Candle::new(Precision::F64);
        // One line of five pixels of two channels; of a line, every row of bins is the same.
        let pixels: Vec<f64> = (0..5).flat_map(|x| [f64::from(x), 10.0]).collect();
        let x = engine.tensor(&pixels[..], &[1, 1, 5, 2]).unwrap();
        for (bins, expected) in [
            (1, vec![2.0]),
            (2, vec![1.0, 3.0]),
            (3, vec![0.5, 2.0, 3.5]),
            (6, vec![0.0, 0.5, 1.5, 2.5, 3.5, 4.0]),
        ] {
            let pooled = adaptive_average_pool(&engine, &x, bins).unwrap();
            assert_eq!(engine.shape(&pooled), [1, bins, bins, 2]);
            let found = engine.to_f64(&pooled).unwrap();
            for (i, pixel) in found.chunks(2).enumerate() {
                assert!((pixel[0] - expected[i % bins]).abs() < 1e-12, "{found:?}");
                assert!((pixel[1] - 10.0).abs() < 1e-12);
            }
        }
        assert!(adaptive_average_pool(&engine, &x, 0).is_err());
    }
}
