//! Pixels as targets of pre-training.

use crate::engine::{Engine, Result};

/// Added to a patch's variance (facebookresearch/mae `models_mae.py`, `forward_loss`).
const EPS: f64 = 1e-6;

/// images: `[B, C, h p, w p]` -> the patches row by row, each `(p, p, C)`: `[B, h w, p p C]`
pub fn patch_pixels<E: Engine>(
    engine: &E,
    images: &E::Tensor,
    channels: usize,
    patch_size: usize,
    [rows, columns]: [usize; 2],
) -> Result<E::Tensor> {
    let batch = engine.shape(images).first().copied().unwrap_or_default();
    let p = patch_size;
    let patches = engine.reshape(images, &[batch, channels, rows, p, columns, p])?;
    let patches = engine.permute(&patches, &[0, 2, 4, 3, 5, 1])?;
    engine.reshape(&patches, &[batch, rows * columns, p * p * channels])
}

/// `(x - mean) / √(variance + 1e-6)` over the last axis, n numbers, with the variance that divides
/// by n - 1: `[.., n]` -> `[.., n]`
pub fn normalise_patches<E: Engine>(engine: &E, patches: &E::Tensor) -> Result<E::Tensor> {
    let numbers = engine.shape(patches).last().copied().unwrap_or_default();
    // A layer norm divides by n: its variance is (n - 1) / n times this one.
    let n = numbers as f64;
    let share = (n - 1.0) / n;
    let weight = engine.tensor(&vec![share.sqrt(); numbers][..], &[numbers])?;
    let bias = engine.tensor(&vec![0f64; numbers][..], &[numbers])?;
    engine.layer_norm(patches, &weight, &bias, EPS * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;

    #[test]
    fn rows_columns_and_channels_of_a_patch() {
        let engine = Candle::new(Precision::F64);
        // Two channels of 2 x 4 pixels: 0 to 7, and 10 to 17.
        let pixels: Vec<f64> = (0..8).chain(10..18).map(f64::from).collect();
        let images = engine.tensor(&pixels[..], &[1, 2, 2, 4]).unwrap();
        let patches = patch_pixels(&engine, &images, 2, 2, [1, 2]).unwrap();
        assert_eq!(engine.shape(&patches), [1, 2, 8]);
        assert_eq!(
            engine.to_f64(&patches).unwrap(),
            [
                0., 10., 1., 11., 4., 14., 5., 15., 2., 12., 3., 13., 6., 16., 7., 17.
            ]
        );
    }

    #[test]
    fn the_variance_is_unbiased() {
        let engine = Candle::new(Precision::F64);
        let patch = [1.0, 2.0, 6.0, 7.0];
        let found = normalise_patches(&engine, &engine.tensor(&patch[..], &[1, 4]).unwrap());
        let found = engine.to_f64(&found.unwrap()).unwrap();
        // Mean 4, squares 9, 4, 4, 9 over 3.
        let deviation = (26f64 / 3.0 + 1e-6).sqrt();
        for (found, x) in found.iter().zip(patch) {
            assert!((found - (x - 4.0) / deviation).abs() < 1e-12);
        }
        // A patch of one colour has no variance and stays finite.
        let flat = engine.tensor(&[5.0f64; 4][..], &[1, 4]).unwrap();
        let flat = normalise_patches(&engine, &flat).unwrap();
        assert_eq!(engine.to_f64(&flat).unwrap(), [0.0; 4]);
    }
}
