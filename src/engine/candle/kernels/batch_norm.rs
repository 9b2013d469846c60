//! Batch normalisation: each feature over all rows.

use pulp::{Arch, Simd, WithSimd};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::output::{chunks, least_chunks};
use super::vector::filled;

/// Rows whose sums are f32, before f64 merges them in order. Fixed, so that threads change no bit.
const ROWS: usize = 64;

/// Elements of the rows that a thread normalises at a time: 32 KB.
const TILE: usize = 8192;

/// Rows in which each feature is normalised, and what the gradient needs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormed {
    /// `[rows, width]`.
    pub y: Vec<f32>,
    /// Mean of each feature: `[width]`.
    pub mean: Vec<f32>,
    /// Its variance over the number of rows: `[width]`.
    pub variance: Vec<f32>,
    /// `1 / sqrt(variance + eps)`: `[width]`.
    pub rstd: Vec<f32>,
}

/// `(x - mean) rstd weight + bias` with the mean and the variance of each feature.
///
/// x: `[rows, width]`, weight, bias: `[width]`.
pub fn batch_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> BatchNormed {
    let width = weight.len();
    let [exact, variance] = statistics(x, width);
    let rstd = variance.iter().map(|v| (1.0 / (v + eps).sqrt()) as f32);
    let rstd: Vec<f32> = rstd.collect();
    let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
    let (mean, variance) = (narrow(&exact), narrow(&variance));
    let scale: Vec<f32> = rstd.iter().zip(weight).map(|(r, w)| r * w).collect();
    // What rounding takes from the mean.
    let lost = exact.iter().zip(&mean).map(|(e, &m)| e - f64::from(m));
    let shift: Vec<f32> = lost
        .zip(scale.iter().zip(bias))
        .map(|(lost, (&scale, &bias))| (f64::from(bias) - lost * f64::from(scale)) as f32)
        .collect();
    let tile = (TILE / width).max(1) * width;
    let y = chunks(x.len(), tile, |i, y| {
        let x = x[i * tile..][..y.len()].chunks_exact(width);
        for (y, x) in y.chunks_exact_mut(width).zip(x) {
            Arch::new().dispatch(Normalise {
                x,
                mean: &mean,
                scale: &scale,
                shift: &shift,
                y,
            });
        }
    });
    BatchNormed {
        y,
        mean,
        variance,
        rstd,
    }
}

/// Mean and biased variance of each feature. Runs of rows have their own, in the cache, from the
/// distances to a value that is near their mean, so that a large mean takes no digit; they are joined as Chan, Golub and LeVeque do it ("Updating formulae and a pairwise algorithm for
/// computing sample variances", 1979).
fn statistics(x: &[f32], width: usize) -> [Vec<f64>; 2] {
    // What each run's distances are from, their sum and the sum of their squares: [runs, 3, width].
    let mut parts = vec![0.0; x.len().div_ceil(ROWS * width) * 3 * width];
    parts
        .par_chunks_exact_mut(3 * width)
        .zip(x.par_chunks(ROWS * width))
        .with_min_len(least_chunks(x.len()))
        .for_each(|(part, x)| {
            let (near, sums) = part.split_at_mut(width);
            let (sum, squares) = sums.split_at_mut(width);
            for x in x.chunks_exact(width) {
                Arch::new().dispatch(Add { x, sum: near });
            }
            let count = (x.len() / width) as f32;
            near.iter_mut().for_each(|near| *near /= count);
            for x in x.chunks_exact(width) {
                let (sum, squares) = (&mut *sum, &mut *squares);
                Arch::new().dispatch(AddDistances {
                    x,
                    near,
                    sum,
                    squares,
                });
            }
        });
    let [mut mean, mut squares] = [0; 2].map(|_| vec![0.0; width]);
    let mut count = 0.0;
    for (part, x) in parts.chunks_exact(3 * width).zip(x.chunks(ROWS * width)) {
        let rows = (x.len() / width) as f64;
        let share = rows / (count + rows);
        for (feature, (mean, squares)) in mean.iter_mut().zip(&mut squares).enumerate() {
            let [near, sum, square] = [0, 1, 2].map(|i| f64::from(part[i * width + feature]));
            let beyond = sum / rows;
            let apart = near + beyond - *mean;
            *mean += apart * share;
            *squares += square - sum * beyond + apart * apart * count * share;
        }
        count += rows;
    }
    squares.iter_mut().for_each(|squares| *squares /= count);
    [mean, squares]
}

/// The gradients to x, weight and bias, those that `needs` asks for in this order.
///
/// x, dy, dx: `[rows, width]`, weight, mean, rstd and the gradients to weight and bias: `[width]`.
pub fn batch_norm_gradient(
    x: &[f32],
    weight: &[f32],
    [mean, rstd]: [&[f32]; 2],
    dy: &[f32],
    needs: [bool; 3],
) -> [Option<Vec<f32>>; 3] {
    let width = weight.len();
    let run = ROWS * width;
    // Gradients to weight and bias of each run: [runs, 2, width].
    let mut parts = vec![0.0; x.len().div_ceil(run) * 2 * width];
    parts
        .par_chunks_exact_mut(2 * width)
        .zip(x.par_chunks(run).zip(dy.par_chunks(run)))
        .with_min_len(least_chunks(x.len()))
        .for_each(|(part, (x, dy))| {
            let (dweight, dbias) = part.split_at_mut(width);
            for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact(width)) {
                let (dweight, dbias) = (&mut *dweight, &mut *dbias);
                Arch::new().dispatch(AddGradients {
                    x,
                    dy,
                    mean,
                    rstd,
                    dweight,
                    dbias,
                });
            }
        });
    let mut sums = vec![0.0; 2 * width];
    for part in parts.chunks_exact(2 * width) {
        for (sum, &part) in sums.iter_mut().zip(part) {
            *sum += f64::from(part);
        }
    }
    let (dweight, dbias) = sums.split_at(width);
    let rows = (x.len() / width) as f64;
    let dx = needs[0].then(|| {
        // dx = scale dy - (constant + slope (x - mean)).
        let scale: Vec<f32> = rstd.iter().zip(weight).map(|(r, w)| r * w).collect();
        let each = scale.iter().zip(rstd).zip(dweight.iter().zip(dbias));
        let line = each.map(|((&scale, &rstd), (dweight, dbias))| {
            let scale = f64::from(scale) / rows;
            let slope = scale * f64::from(rstd) * dweight;
            ((scale * dbias) as f32, slope as f32)
        });
        let (constant, slope): (Vec<f32>, Vec<f32>) = line.unzip();
        let tile = (TILE / width).max(1) * width;
        chunks(x.len(), tile, |i, dx| {
            let [x, dy] = [x, dy].map(|x| x[i * tile..][..dx.len()].chunks_exact(width));
            for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(x.zip(dy)) {
                Arch::new().dispatch(Backward {
                    x,
                    dy,
                    mean,
                    scale: &scale,
                    line: [&constant, &slope],
                    dx,
                });
            }
        })
    });
    let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
    [
        dx,
        needs[1].then(|| narrow(dweight)),
        needs[2].then(|| narrow(dbias)),
    ]
}

/// `out = f(inputs, out)` for every feature of a row.
#[inline(always)]
fn each<S: Simd, const N: usize>(
    simd: S,
    inputs: [&[f32]; N],
    out: &mut [f32],
    f: impl Fn([S::f32s; N], S::f32s) -> S::f32s,
) {
    let split = inputs.map(|x| S::as_simd_f32s(x));
    let (vectors, tail) = S::as_mut_simd_f32s(out);
    let count = vectors.len();
    let inputs = split.map(|(x, _)| &x[..count]);
    for (i, out) in vectors.iter_mut().enumerate() {
        *out = f(inputs.map(|x| x[i]), *out);
    }
    let last = split.map(|(_, tail)| filled(simd, tail, 0.0));
    let out = f(last, filled(simd, tail, 0.0));
    simd.partial_store_f32s(tail, out);
}

/// `y = (x - mean) scale + shift`.
struct Normalise<'a> {
    x: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    shift: &'a [f32],
    y: &'a mut [f32],
}

impl WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = [self.x, self.mean, self.scale, self.shift];
        each(simd, inputs, self.y, |[x, mean, scale, shift], _| {
            simd.mul_add_e_f32s(simd.sub_f32s(x, mean), scale, shift)
        });
    }
}

/// `sum += x`.
struct Add<'a> {
    x: &'a [f32],
    sum: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        each(simd, [self.x], self.sum, |[x], sum| simd.add_f32s(sum, x));
    }
}

/// `sum += x - near`, `squares += (x - near)²`.
struct AddDistances<'a> {
    x: &'a [f32],
    near: &'a [f32],
    sum: &'a mut [f32],
    squares: &'a mut [f32],
}

impl WithSimd for AddDistances<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = [self.x, self.near];
        each(simd, inputs, self.sum, |[x, near], sum| {
            simd.add_f32s(sum, simd.sub_f32s(x, near))
        });
        each(simd, inputs, self.squares, |[x, near], squares| {
            let x = simd.sub_f32s(x, near);
            simd.mul_add_e_f32s(x, x, squares)
        });
    }
}

/// `dweight += dy (x - mean) rstd`, `dbias += dy`.
struct AddGradients<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    dweight: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl WithSimd for AddGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let inputs = [self.x, self.dy, self.mean, self.rstd];
        each(simd, inputs, self.dweight, |[x, dy, mean, rstd], sum| {
            let normed = simd.mul_f32s(simd.sub_f32s(x, mean), rstd);
            simd.mul_add_e_f32s(dy, normed, sum)
        });
        each(simd, [self.dy], self.dbias, |[dy], sum| {
            simd.add_f32s(sum, dy)
        });
    }
}

/// `dx = scale dy - (constant + slope (x - mean))`.
struct Backward<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    line: [&'a [f32]; 2],
    dx: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [constant, slope] = self.line;
        let inputs = [self.x, self.dy, self.mean, self.scale, constant, slope];
        each(simd, inputs, self.dx, |inputs, _| {
            let [x, dy, mean, scale, constant, slope] = inputs;
            let line = simd.mul_add_e_f32s(simd.sub_f32s(x, mean), slope, constant);
            simd.mul_add_e_f32s(dy, scale, simd.neg_f32s(line))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};
    use pulp::Scalar;

    const EPS: f64 = 1e-5;

    struct Case {
        x: Vec<f32>,
        weight: Vec<f32>,
        bias: Vec<f32>,
        dy: Vec<f32>,
    }

    impl Case {
        fn new(rows: usize, width: usize, shift: f32) -> Self {
            Self {
                x: noise(rows * width, 1).iter().map(|x| x + shift).collect(),
                weight: noise(width, 2).iter().map(|w| 1.0 + 0.5 * w).collect(),
                bias: noise(width, 3),
                dy: noise(rows * width, 4),
            }
        }

        fn forward(&self) -> BatchNormed {
            batch_norm(&self.x, &self.weight, &self.bias, EPS)
        }

        fn gradient(&self, needs: [bool; 3]) -> [Option<Vec<f32>>; 3] {
            let BatchNormed { mean, rstd, .. } = self.forward();
            batch_norm_gradient(&self.x, &self.weight, [&mean, &rstd], &self.dy, needs)
        }

        /// y, mean, variance, dx, dweight, dbias.
        fn plain(&self) -> [Vec<f64>; 6] {
            let width = self.weight.len();
            let rows = self.x.len() / width;
            let mut found = [rows * width, width, width, rows * width, width, width]
                .map(|length| vec![0.0; length]);
            for feature in 0..width {
                let at = |x: &[f32], row: usize| f64::from(x[row * width + feature]);
                let mean_of =
                    |f: &dyn Fn(usize) -> f64| (0..rows).map(f).sum::<f64>() / rows as f64;
                let mean = mean_of(&|row| at(&self.x, row));
                let variance = mean_of(&|row| (at(&self.x, row) - mean).powi(2));
                let rstd = 1.0 / (variance + EPS).sqrt();
                let normed = |row| (at(&self.x, row) - mean) * rstd;
                let along = mean_of(&|row| at(&self.dy, row) * normed(row));
                let level = mean_of(&|row| at(&self.dy, row));
                let [weight, bias] = [&self.weight, &self.bias].map(|x| f64::from(x[feature]));
                for row in 0..rows {
                    let place = row * width + feature;
                    found[0][place] = normed(row) * weight + bias;
                    let dy = at(&self.dy, row);
                    found[3][place] = rstd * weight * (dy - level - normed(row) * along);
                }
                found[1][feature] = mean;
                found[2][feature] = variance;
                found[4][feature] = along * rows as f64;
                found[5][feature] = level * rows as f64;
            }
            found
        }
    }

    #[test]
    fn any_size_agrees_with_f64_on_any_number_of_threads() {
        for (rows, width) in [(2, 1), (5, 7), (64, 16), (65, 33), (1000, 40), (300, 9000)] {
            let case = Case::new(rows, width, 0.5);
            let found = on_threads(|| case.forward());
            let [y, mean, variance, dx, dweight, dbias] = case.plain();
            // The difference of two rows may be the rounding of x.
            let bound = if rows < 5 { 1e-5 } else { 1e-6 };
            assert_close(&found.y, &y, bound);
            assert_close(&found.mean, &mean, 2e-7);
            assert_close(&found.variance, &variance, 5e-7);
            let gradients = on_threads(|| case.gradient([true; 3]));
            for (found, want) in gradients.iter().zip([dx, dweight, dbias]) {
                if rows > 2 {
                    assert_close(found.as_ref().unwrap(), &want, 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_large_mean_costs_nothing() {
        let case = Case::new(500, 20, 100.0);
        let [y, _, variance, ..] = case.plain();
        let found = case.forward();
        assert_close(&found.y, &y, 1e-6);
        assert_close(&found.variance, &variance, 1e-6);
    }

    #[test]
    fn a_constant_feature_gives_the_bias() {
        let mut case = Case::new(100, 3, 0.0);
        case.x.fill(3.0);
        let found = case.forward();
        assert!(found.y.chunks(3).all(|y| y == case.bias));
        assert_eq!(found.variance, [0.0; 3]);
    }

    #[test]
    fn what_is_asked_for_does_not_depend_on_the_rest() {
        let case = Case::new(50, 48, 0.0);
        let all = case.gradient([true; 3]);
        for needs in [
            [true, false, false],
            [false, true, false],
            [false, false, true],
        ] {
            for ((found, all), needed) in case.gradient(needs).iter().zip(&all).zip(needs) {
                assert_eq!(found.as_ref(), all.as_ref().filter(|_| needed));
            }
        }
    }

    #[test]
    fn a_feature_that_is_no_number_leaves_the_others_alone() {
        let mut case = Case::new(70, 5, 0.0);
        let clean = case.forward();
        case.x[2] = f32::NAN;
        let found = case.forward();
        for (i, (found, clean)) in found.y.iter().zip(&clean.y).enumerate() {
            assert!(if i % 5 == 2 {
                found.is_nan()
            } else {
                found == clean
            });
        }
    }

    #[test]
    fn the_portable_path_agrees() {
        let (x, dy) = (noise(21, 1), noise(21, 2));
        let [mean, scale, constant, slope] = [3, 4, 5, 6].map(|seed| noise(21, seed));
        let mut dx = vec![0.0; 21];
        Backward {
            x: &x,
            dy: &dy,
            mean: &mean,
            scale: &scale,
            line: [&constant, &slope],
            dx: &mut dx,
        }
        .with_simd(Scalar);
        let at = |x: &[f32], i: usize| f64::from(x[i]);
        let want = |i| {
            let line = at(&constant, i) + at(&slope, i) * (at(&x, i) - at(&mean, i));
            at(&scale, i) * at(&dy, i) - line
        };
        assert_close(&dx, &(0..21).map(want).collect::<Vec<_>>(), 3e-7);
    }
}
