//! Gradients no longer than a norm.

use crate::engine::{Engine, Result};

/// Root of the sum of squares over all elements of all tensors.
pub fn global_norm<E: Engine>(engine: &E, tensors: &[E::Tensor]) -> Result<f64> {
    let tensors: Vec<_> = tensors.iter().collect();
    let squares: f64 = engine.square_sums(&tensors)?.into_iter().sum();
    Ok(squares.sqrt())
}

/// Scales gradients whose [`global_norm`] is above `longest` down to it, as
/// `torch.nn.utils.clip_grad_norm_` does, and gives the norm that they had. A norm that is not
/// finite changes nothing: the caller sees it.
pub fn clip<E: Engine>(engine: &E, gradients: &mut [E::Tensor], longest: f64) -> Result<f64> {
    /// What PyTorch adds to the norm that it divides by (`torch/nn/utils/clip_grad.py`).
    const ADDED: f64 = 1e-6;
    let norm = global_norm(engine, gradients)?;
    let factor = longest / (norm + ADDED);
    if norm.is_finite() && factor < 1.0 {
        for gradient in gradients {
            *gradient = engine.affine(gradient, factor, 0.0)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;

    fn clipped(values: [f32; 3], longest: f64) -> (f64, [Vec<f64>; 2]) {
        let engine = Candle::new(Precision::F64);
        let mut gradients = [
            engine.tensor(&values[..2], &[1, 2]).unwrap(),
            engine.tensor(&values[2..], &[1]).unwrap(),
        ];
        let norm = clip(&engine, &mut gradients, longest).unwrap();
        (norm, gradients.map(|x| engine.to_f64(&x).unwrap()))
    }

    #[test]
    fn long_gradients_are_scaled_together() {
        let (norm, [first, second]) = clipped([2.0, 3.0, 6.0], 3.5);
        assert_eq!(norm, 7.0);
        let factor = 3.5 / (7.0 + 1e-6);
        assert_eq!(first, [2.0 * factor, 3.0 * factor]);
        assert_eq!(second, [6.0 * factor]);
    }

    #[test]
    fn short_gradients_stay() {
        let (norm, [first, second]) = clipped([2.0, 3.0, 6.0], 7.5);
        assert_eq!((norm, first, second), (7.0, vec![2.0, 3.0], vec![6.0]));
    }

    #[test]
    fn a_norm_that_is_no_number_changes_nothing() {
        let (norm, [first, _]) = clipped([2.0, f32::INFINITY, 6.0], 1.0);
        assert_eq!((norm, first[0]), (f64::INFINITY, 2.0));
        assert!(clipped([2.0, f32::NAN, 6.0], 1.0).0.is_nan());
    }
}
