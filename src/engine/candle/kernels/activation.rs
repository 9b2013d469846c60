//! Activations and their gradients.

use pulp::{Arch, Simd, WithSimd};

use super::output::{CHUNK, chunks};
use super::vector::{at_most, exp, filled, normal_tail};
use crate::engine::Activation;

/// The activation of every element of `x`.
pub fn activation(kind: Activation, x: &[f32]) -> Vec<f32> {
    chunks(x.len(), CHUNK, |index, y| {
        activate(kind, &x[index * CHUNK..][..y.len()], y);
    })
}

/// The gradient to `x`: `dy * act'(x)`.
///
/// x, dy: of one length.
pub fn activation_gradient(kind: Activation, x: &[f32], dy: &[f32]) -> Vec<f32> {
    chunks(x.len(), CHUNK, |index, dx| {
        let start = index * CHUNK;
        dx.copy_from_slice(&dy[start..][..dx.len()]);
        activate_gradient(kind, &x[start..][..dx.len()], dx);
    })
}

/// `y = act(x)` on the calling thread, for a tile in the cache.
///
/// x, y: of one length.
pub fn activate(kind: Activation, x: &[f32], y: &mut [f32]) {
    y.copy_from_slice(x);
    activate_in_place(kind, y);
}

/// `x = act(x)` on the calling thread, for a tile in the cache.
pub fn activate_in_place(kind: Activation, x: &mut [f32]) {
    let arch = Arch::new();
    match kind {
        Activation::Gelu => arch.dispatch(Values { curve: Gelu, x }),
        Activation::GeluTanh => arch.dispatch(Values { curve: TANH, x }),
        Activation::QuickGelu => arch.dispatch(Values { curve: QUICK, x }),
        Activation::Silu => arch.dispatch(Values { curve: SILU, x }),
        Activation::Relu => arch.dispatch(Values { curve: Relu, x }),
    }
}

/// `dy *= act'(x)` on the calling thread, for a tile in the cache.
///
/// x, dy: of one length.
pub fn activate_gradient(kind: Activation, x: &[f32], dy: &mut [f32]) {
    let arch = Arch::new();
    match kind {
        Activation::Gelu => arch.dispatch(Slopes { curve: Gelu, x, dy }),
        Activation::GeluTanh => arch.dispatch(Slopes { curve: TANH, x, dy }),
        Activation::QuickGelu => arch.dispatch(Slopes {
            curve: QUICK,
            x,
            dy,
        }),
        Activation::Silu => arch.dispatch(Slopes { curve: SILU, x, dy }),
        Activation::Relu => arch.dispatch(Slopes { curve: Relu, x, dy }),
    }
}

/// A function of one variable and its derivative.
trait Curve: Copy {
    fn value<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
    fn slope<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
}

/// `x Φ(x)`. The tail of Φ is computed itself, not as what is left of 1, so that values stay
/// right to some units of the last place for negative `x` too.
#[derive(Clone, Copy)]
struct Gelu;

impl Curve for Gelu {
    /// `max(x, 0) - |x| Φ(-|x|)`.
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let tail = normal_tail(simd, x);
        let missing = simd.mul_f32s(simd.mul_f32s(tail.distance, tail.ratio), tail.density);
        simd.sub_f32s(simd.max_f32s(x, simd.splat_f32s(0.0)), missing)
    }

    /// `Φ(x) + x φ(x)`: what it is at `-|x|`, and 1 less that on the other side.
    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        /// 1 / sqrt(2 π).
        const HEIGHT: f32 = 0.398_942_3;
        let tail = normal_tail(simd, x);
        let height = simd.splat_f32s(-HEIGHT);
        let left = simd.mul_add_e_f32s(tail.distance, height, tail.ratio);
        let left = simd.mul_f32s(left, tail.density);
        let right = simd.sub_f32s(simd.splat_f32s(1.0), left);
        let positive = simd.greater_than_f32s(x, simd.splat_f32s(0.0));
        simd.select_f32s(positive, right, left)
    }
}

/// `x σ(linear x + cubic x³)`.
#[derive(Clone, Copy)]
struct Gated {
    linear: f32,
    cubic: f32,
    /// Where the gate is 0 or 1 to f32.
    far: f32,
}

/// `x (1 + tanh(u)) / 2 = x σ(2 u)` with `u = sqrt(2 / π) (x + 0.044715 x³)` (PyTorch,
/// `torch.nn.GELU`, `approximate="tanh"`).
const TANH: Gated = Gated {
    linear: 1.595_769,
    cubic: 0.071_354_814,
    far: 64.0,
};

/// OpenAI's CLIP, `clip/model.py`.
const QUICK: Gated = Gated {
    linear: 1.702,
    cubic: 0.0,
    far: 64.0,
};

/// PyTorch, `torch.nn.SiLU`.
const SILU: Gated = Gated {
    linear: 1.0,
    cubic: 0.0,
    far: 88.0,
};

impl Gated {
    /// `t = min(|x|, far)` and `e^-(linear t + cubic t³)`.
    #[inline(always)]
    fn decay<S: Simd>(self, simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
        let t = at_most(simd, simd.abs_f32s(x), self.far);
        let rate = simd.mul_add_e_f32s(
            simd.mul_f32s(t, t),
            simd.splat_f32s(-self.cubic),
            simd.splat_f32s(-self.linear),
        );
        (t, exp(simd, simd.mul_f32s(t, rate)))
    }
}

impl Curve for Gated {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let (_, decay) = self.decay(simd, x);
        let positive = simd.greater_than_f32s(x, simd.splat_f32s(0.0));
        let above = simd.select_f32s(positive, x, simd.mul_f32s(x, decay));
        simd.div_f32s(above, simd.add_f32s(simd.splat_f32s(1.0), decay))
    }

    /// `σ + t (linear + 3 cubic t²) σ (1 - σ)` at `-|x|` with the second term's sign turned,
    /// and 1 less that on the other side.
    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let one = simd.splat_f32s(1.0);
        let (t, decay) = self.decay(simd, x);
        let gate = simd.div_f32s(one, simd.add_f32s(one, decay));
        let rate = simd.mul_add_e_f32s(
            simd.mul_f32s(t, t),
            simd.splat_f32s(3.0 * self.cubic),
            simd.splat_f32s(self.linear),
        );
        let closed = simd.mul_f32s(decay, gate);
        let moved = simd.mul_f32s(simd.mul_f32s(t, rate), gate);
        let left = simd.mul_f32s(closed, simd.sub_f32s(one, moved));
        let right = simd.sub_f32s(one, left);
        let positive = simd.greater_than_f32s(x, simd.splat_f32s(0.0));
        simd.select_f32s(positive, right, left)
    }
}

/// `max(x, 0)`; what is no number stays none.
#[derive(Clone, Copy)]
struct Relu;

impl Curve for Relu {
    #[inline(always)]
    fn value<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
    }

    #[inline(always)]
    fn slope<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        let zero = simd.splat_f32s(0.0);
        let one = simd.splat_f32s(1.0);
        simd.select_f32s(simd.greater_than_f32s(x, zero), one, zero)
    }
}

struct Values<'a, C> {
    curve: C,
    x: &'a mut [f32],
}

impl<C: Curve> WithSimd for Values<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, tail) = S::as_mut_simd_f32s(self.x);
        for x in vectors {
            *x = self.curve.value(simd, *x);
        }
        if !tail.is_empty() {
            let y = self.curve.value(simd, filled(simd, tail, 0.0));
            simd.partial_store_f32s(tail, y);
        }
    }
}

struct Slopes<'a, C> {
    curve: C,
    x: &'a [f32],
    dy: &'a mut [f32],
}

impl<C: Curve> WithSimd for Slopes<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (vectors, tail) = S::as_simd_f32s(self.x);
        let (gradients, gradients_tail) = S::as_mut_simd_f32s(self.dy);
        for (x, dy) in vectors.iter().zip(gradients) {
            *dy = simd.mul_f32s(*dy, self.curve.slope(simd, *x));
        }
        if !tail.is_empty() {
            let slope = self.curve.slope(simd, filled(simd, tail, 0.0));
            let dx = simd.mul_f32s(filled(simd, gradients_tail, 0.0), slope);
            simd.partial_store_f32s(gradients_tail, dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{noise, on_threads, sweep};
    use pulp::Scalar;

    const KINDS: [Activation; 5] = [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Relu,
    ];

    /// Φ(x): the power series near 0, the continued fraction of the tail further out
    /// (Abramowitz and Stegun 26.2.11 and 26.2.14).
    fn normal(x: f64) -> f64 {
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let t = x.abs();
        let tail = if t < 3.0 {
            let (mut term, mut sum) = (t, t);
            for k in 1..80 {
                term *= t * t / f64::from(2 * k + 1);
                sum += term;
            }
            0.5 - density * sum
        } else {
            density / (1..200).rev().fold(t, |rest, k| t + f64::from(k) / rest)
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    /// Value and derivative.
    fn reference(kind: Activation, x: f64) -> [f64; 2] {
        let gated = |inner: f64, slope: f64| {
            let (gate, closed) = (1.0 / (1.0 + (-inner).exp()), 1.0 / (1.0 + inner.exp()));
            [x * gate, gate + x * slope * gate * closed]
        };
        match kind {
            Activation::Gelu => {
                let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
                [x * normal(x), normal(x) + x * density]
            }
            Activation::GeluTanh => {
                let factor = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                gated(
                    factor * (x + 0.044_715 * x.powi(3)),
                    factor * (1.0 + 3.0 * 0.044_715 * x * x),
                )
            }
            Activation::QuickGelu => gated(1.702 * x, 1.702),
            Activation::Silu => gated(x, 1.0),
            Activation::Relu => [x.max(0.0), f64::from(u8::from(x > 0.0))],
        }
    }

    /// Values and slopes by one instruction set.
    fn by<S: Simd>(simd: S, kind: Activation, x: &[f32]) -> [Vec<f32>; 2] {
        fn run<S: Simd>(simd: S, curve: impl Curve, x: &[f32]) -> [Vec<f32>; 2] {
            let (mut y, mut dy) = (x.to_vec(), vec![1.0; x.len()]);
            Values { curve, x: &mut y }.with_simd(simd);
            Slopes {
                curve,
                x,
                dy: &mut dy,
            }
            .with_simd(simd);
            [y, dy]
        }
        match kind {
            Activation::Gelu => run(simd, Gelu, x),
            Activation::GeluTanh => run(simd, TANH, x),
            Activation::QuickGelu => run(simd, QUICK, x),
            Activation::Silu => run(simd, SILU, x),
            Activation::Relu => run(simd, Relu, x),
        }
    }

    /// Values and slopes by the best instruction set, the portable path and AVX2.
    fn all(kind: Activation, x: &[f32]) -> Vec<[Vec<f32>; 2]> {
        let slopes = activation_gradient(kind, x, &vec![1.0; x.len()]);
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut all = vec![[activation(kind, x), slopes], by(Scalar, kind, x)];
        #[cfg(target_arch = "x86_64")]
        all.extend(pulp::x86::V3::try_new().map(|avx2| by(avx2, kind, x)));
        all
    }

    #[test]
    fn values_and_slopes_are_right_to_f32() {
        let x = sweep(-10.0, 10.0, 200_003);
        for kind in KINDS {
            // The gates' exponents are rounded before they are raised.
            let bound = if kind == Activation::Gelu { 1e-7 } else { 2e-7 };
            for [values, slopes] in all(kind, &x) {
                for ((&x, value), slope) in x.iter().zip(values).zip(slopes) {
                    let [want, want_slope] = reference(kind, x.into());
                    let error = (f64::from(value) - want).abs();
                    assert!(
                        error <= bound * want.abs().max(1.0),
                        "{kind:?} {x} {error:.1e}"
                    );
                    let error = (f64::from(slope) - want_slope).abs();
                    assert!(error <= 2.5e-7, "{kind:?}' {x} {error:.1e}");
                }
            }
        }
    }

    #[test]
    fn the_tail_of_gelu_keeps_its_leading_digits() {
        let x = sweep(-13.0, -1e-3, 100_001);
        for (&x, y) in x.iter().zip(activation(Activation::Gelu, &x)) {
            let [want, _] = reference(Activation::Gelu, x.into());
            let error = (f64::from(y) / want - 1.0).abs();
            assert!(error <= 5e-7, "{x} {error:.1e}");
        }
    }

    #[test]
    fn extremes_end_in_zero_and_the_line() {
        let x = [-1e30, -200.0, -0.0, 0.0, 200.0, 1e30, f32::NAN];
        for kind in KINDS {
            for [values, slopes] in all(kind, &x) {
                assert_eq!(values[..6], [0.0, 0.0, 0.0, 0.0, 200.0, 1e30], "{kind:?}");
                // At its corner the slope is 0, as for what is no number.
                let corner = kind == Activation::Relu;
                let middle = if corner { 0.0 } else { 0.5 };
                assert_eq!(slopes[..6], [0.0, 0.0, middle, middle, 1.0, 1.0]);
                assert!(values[6].is_nan() && slopes[6].is_nan() != corner);
            }
        }
    }

    #[test]
    fn neither_threads_nor_the_length_of_the_rest_change_a_bit() {
        let x: Vec<f32> = noise(20_007, 1).iter().map(|x| 5.0 * x).collect();
        let dy = noise(20_007, 2);
        for kind in KINDS {
            let y = on_threads(|| activation(kind, &x));
            let dx = on_threads(|| activation_gradient(kind, &x, &dy));
            for n in [0, 1, 7, 15, 16, 31] {
                assert_eq!(activation(kind, &x[..n]), y[..n]);
                assert_eq!(activation_gradient(kind, &x[..n], &dy[..n]), dx[..n]);
                let mut part = vec![0.0; n];
                activate(kind, &x[..n], &mut part);
                assert_eq!(part, y[..n]);
            }
        }
    }
}
