//! Curves and sums over the vectors of an instruction set.
//!
//! Products and sums are fused where the set can (`mul_add_e`). Nothing here needs the fusion,
//! so that the portable path stays short of calls into the C library.

use pulp::Simd;

/// Below this e^x is taken as 0: the power of two would leave the normal numbers.
const SMALLEST: f32 = -88.0;

/// Added to a number below 2^22 it leaves the nearest integer, plus the exponent's bias of 127,
/// in the low bits.
const ROUND: f32 = 12_582_912.0 + 127.0;

/// ln 2 in two parts, the first short enough for exact products with the exponents of f32
/// (Cody and Waite).
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

/// e^r = 1 + r + r^2 (c0 + c1 r + ...) with the least relative error, 3.1e-9, on
/// `|r| <= ln 2 / 2`; by Remez' exchange.
const EXP: [f32; 5] = [
    0.499_999_93,
    0.166_665_2,
    0.041_668_393,
    0.008_368_78,
    0.001_381_446_7,
];

/// ln(1 + f) = f - f²/2 + f³ (c0 + c1 f + ...) with the least relative error, 5.8e-9, on
/// `√½ <= 1 + f <= √2`; by weighted least squares, repeated to level the error.
const LN: [f32; 8] = [
    0.333_333_3,
    -0.250_008_2,
    0.200_012_27,
    -0.166_233_57,
    0.142_017_57,
    -0.131_601_83,
    0.127_615_78,
    -0.076_345,
];

/// Φ(-t) e^(t²/2) = P(t) / Q(t) with the least relative error, 5.2e-9, on `0 <= t <= 13.25`;
/// by weighted least squares, repeated to level the error.
const TAIL_P: [f32; 5] = [
    0.5,
    0.434_882_74,
    0.180_690_25,
    0.039_770_15,
    0.003_986_563_4,
];

/// See [`TAIL_P`].
const TAIL_Q: [f32; 6] = [
    1.0,
    1.667_650_3,
    1.191_969_6,
    0.462_747_2,
    0.099_696_56,
    0.009_992_685,
];

/// Where Φ(-t) is 0 in f32's normal numbers.
const TAIL_END: f32 = 13.25;

/// c[0] + c[1] x + c[2] x² + ...
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::f32s, c: &[f32; N]) -> S::f32s {
    let mut sum = simd.splat_f32s(c[N - 1]);
    for k in (0..N - 1).rev() {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(c[k]));
    }
    sum
}

/// The smaller of `x` and `limit`, or NaN where `x` is.
#[inline(always)]
pub fn at_most<S: Simd>(simd: S, x: S::f32s, limit: f32) -> S::f32s {
    let limit = simd.splat_f32s(limit);
    simd.select_f32s(simd.greater_than_f32s(x, limit), limit, x)
}

/// The larger of `x` and `limit`, or NaN where `x` is.
#[inline(always)]
fn at_least<S: Simd>(simd: S, x: S::f32s, limit: f32) -> S::f32s {
    let limit = simd.splat_f32s(limit);
    simd.select_f32s(simd.less_than_f32s(x, limit), limit, x)
}

/// `x` up to 88 -> `r` and `2^n` with `x = n ln 2 + r`, `|r| <= ln 2 / 2`; the power is 0 for
/// `x` below -87.7.
#[inline(always)]
fn reduce<S: Simd>(simd: S, x: S::f32s) -> (S::f32s, S::f32s) {
    let x = at_least(simd, x, SMALLEST);
    let log2_e = simd.splat_f32s(std::f32::consts::LOG2_E);
    let shifted = simd.mul_add_e_f32s(x, log2_e, simd.splat_f32s(ROUND));
    let n = simd.sub_f32s(shifted, simd.splat_f32s(ROUND));
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[0]), x);
    let r = simd.mul_add_e_f32s(n, simd.splat_f32s(-LN_2[1]), r);
    let bits = simd.transmute_u32s_f32s(shifted);
    let power = simd.wrapping_dyn_shl_u32s(bits, simd.splat_u32s(23));
    (r, simd.transmute_f32s_u32s(power))
}

/// e^r times a power of two, `|r| <= ln 2 / 2`.
#[inline(always)]
fn exp_reduced<S: Simd>(simd: S, r: S::f32s, power: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let curved = simd.mul_f32s(r, polynomial(simd, r, &EXP));
    let slope = simd.add_f32s(one, curved);
    let value = simd.mul_add_e_f32s(r, slope, one);
    simd.mul_f32s(value, power)
}

/// e^x for `x` up to 88, to about 1 unit in the last place; 0 below -87.7.
#[inline(always)]
pub fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (r, power) = reduce(simd, x);
    exp_reduced(simd, r, power)
}

/// ln x for positive normal `x`, to about 1 unit in the last place; a finite number for 0.
#[inline(always)]
pub fn ln<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROOT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    const MANTISSA: u32 = (1 << 23) - 1;
    /// Its low bits count in ones.
    const ONES: f32 = 8_388_608.0;
    // x = 2^n m with m from √½ to √2: the exponent's bits, and what is left of x's.
    let bits = simd.transmute_u32s_f32s(x);
    let bits = simd.add_u32s(bits, simd.splat_u32s(1f32.to_bits() - ROOT_HALF));
    let exponent = simd.wrapping_dyn_shr_u32s(bits, simd.splat_u32s(23));
    let exponent = simd.or_u32s(exponent, simd.splat_u32s(ONES.to_bits()));
    let n = simd.sub_f32s(
        simd.transmute_f32s_u32s(exponent),
        simd.splat_f32s(ONES + 127.0),
    );
    let m = simd.and_u32s(bits, simd.splat_u32s(MANTISSA));
    let m = simd.transmute_f32s_u32s(simd.add_u32s(m, simd.splat_u32s(ROOT_HALF)));
    let f = simd.sub_f32s(m, simd.splat_f32s(1.0));
    let square = simd.mul_f32s(f, f);
    let curved = simd.mul_f32s(simd.mul_f32s(square, f), polynomial(simd, f, &LN));
    let low = simd.mul_add_e_f32s(n, simd.splat_f32s(LN_2[1]), curved);
    let low = simd.mul_add_e_f32s(square, simd.splat_f32s(-0.5), low);
    simd.mul_add_e_f32s(n, simd.splat_f32s(LN_2[0]), simd.add_f32s(f, low))
}

/// The lower tail of the normal distribution.
pub struct Tail<V> {
    /// `min(|x|, 13.25)`: `t`.
    pub distance: V,
    /// `e^(-t²/2)`, 0 at the end.
    pub density: V,
    /// `Φ(-t) / e^(-t²/2)`.
    pub ratio: V,
}

/// The tail beyond `|x|`.
#[inline(always)]
pub fn normal_tail<S: Simd>(simd: S, x: S::f32s) -> Tail<S::f32s> {
    let distance = at_most(simd, simd.abs_f32s(x), TAIL_END);
    let half = simd.mul_f32s(distance, simd.splat_f32s(-0.5));
    let square = simd.mul_f32s(half, distance);
    // What rounding takes from the square would cost some units of the last place far out.
    let lost = simd.mul_add_e_f32s(half, distance, simd.neg_f32s(square));
    let (r, power) = reduce(simd, square);
    Tail {
        distance,
        density: exp_reduced(simd, simd.add_f32s(r, lost), power),
        ratio: simd.div_f32s(
            polynomial(simd, distance, &TAIL_P),
            polynomial(simd, distance, &TAIL_Q),
        ),
    }
}

/// A part of a vector, filled up.
#[inline(always)]
pub fn filled<S: Simd>(simd: S, part: &[f32], fill: f32) -> S::f32s {
    let mask = simd.mask_between_m32s(0, part.len() as u32).mask();
    simd.select_f32s(mask, simd.partial_load_f32s(part), simd.splat_f32s(fill))
}

/// The sum of four vectors' lanes.
#[inline(always)]
pub fn total<S: Simd>(simd: S, sums: [S::f32s; 4]) -> f32 {
    let [a, b, c, d] = sums;
    simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use pulp::{Arch, Scalar, WithSimd};

    /// Deterministic values in -1..1.
    pub fn noise(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| {
                let bits = (i + 1).wrapping_mul(2_654_435_761).wrapping_add(seed << 8);
                let bits = (bits ^ (bits >> 15)).wrapping_mul(0x2c1b_3c6d);
                ((bits ^ (bits >> 12)) >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// `n` values from `from` to `to`.
    pub fn sweep(from: f32, to: f32, n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| from + (to - from) * i as f32 / (n - 1) as f32)
            .collect()
    }

    /// Asserts `max|got - want| <= bound * max(|want|)`.
    pub fn assert_close(got: &[f32], want: &[f64], bound: f64) {
        assert_eq!(got.len(), want.len());
        let largest = want.iter().fold(f64::MIN_POSITIVE, |m, w| m.max(w.abs()));
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            let error = (f64::from(got) - want).abs() / largest;
            assert!(error <= bound, "{i}: {got} for {want}, {error:.1e}");
        }
    }

    /// The result of `run` on one, two and three threads, which must be the same.
    pub fn on_threads<T: PartialEq + std::fmt::Debug + Send>(run: impl Fn() -> T + Sync) -> T {
        let on = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(&run)
        };
        let one = on(1);
        assert_eq!(one, on(2));
        assert_eq!(one, on(3));
        one
    }

    struct Exp<'a>(&'a mut [f32]);

    impl WithSimd for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, tail) = S::as_mut_simd_f32s(self.0);
            for x in vectors {
                *x = exp(simd, *x);
            }
            let x = exp(simd, filled(simd, tail, 0.0));
            simd.partial_store_f32s(tail, x);
        }
    }

    #[test]
    fn exp_is_right_to_a_unit_of_the_last_place() {
        let x = sweep(-87.6, 88.0, 100_003);
        let (mut best, mut portable) = (x.clone(), x.clone());
        Arch::new().dispatch(Exp(&mut best));
        Exp(&mut portable).with_simd(Scalar);
        for ((x, best), portable) in x.iter().zip(best).zip(portable) {
            let want = f64::from(*x).exp();
            for got in [best, portable] {
                let error = (f64::from(got) - want).abs() / want;
                assert!(error < 1.5e-7, "exp({x}) = {got}, {error:.1e}");
            }
        }
    }

    struct Ln<'a>(&'a mut [f32]);

    impl WithSimd for Ln<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (vectors, tail) = S::as_mut_simd_f32s(self.0);
            for x in vectors {
                *x = ln(simd, *x);
            }
            let x = ln(simd, filled(simd, tail, 1.0));
            simd.partial_store_f32s(tail, x);
        }
    }

    #[test]
    fn ln_is_right_to_about_a_unit_of_the_last_place() {
        let mut x = sweep(1e-3, 3.0, 200_003);
        x.extend(sweep(0.999, 1.001, 20_001));
        x.extend(sweep(-86.0, 88.0, 100_003).iter().map(|x| x.exp()));
        let (mut best, mut portable) = (x.clone(), x.clone());
        Arch::new().dispatch(Ln(&mut best));
        Ln(&mut portable).with_simd(Scalar);
        for ((x, best), portable) in x.iter().zip(best).zip(portable) {
            let want = f64::from(*x).ln();
            for got in [best, portable] {
                let error = (f64::from(got) - want).abs();
                assert!(error <= 1.2e-7 * want.abs(), "ln({x}) = {got}, {error:.1e}");
            }
        }
    }

    #[test]
    fn ln_of_0_is_finite() {
        let mut x = [0.0];
        Arch::new().dispatch(Ln(&mut x));
        assert!(x[0].is_finite());
    }

    #[test]
    fn exp_ends_at_zero_and_passes_nan_on() {
        let mut x = [-88.0, -1e30, f32::NEG_INFINITY, 0.0, f32::NAN];
        Arch::new().dispatch(Exp(&mut x));
        assert_eq!(x[..4], [0.0, 0.0, 0.0, 1.0]);
        assert!(x[4].is_nan());
    }
}
