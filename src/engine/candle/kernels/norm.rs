//! Layer normalisation.

use pulp::{Arch, Simd, WithSimd};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::elementwise::merge;
use super::output::{chunks_beside, least_chunks};
use super::vector::{filled, total};

/// Elements of the rows that a thread normalises at a time: 32 KB.
const TILE: usize = 8192;

/// Rows whose gradients to weight and bias are summed together. Fixed, so that threads change
/// no bit.
const ROWS: usize = 32;

/// A layer norm and what its gradient needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Normed {
    /// `[rows, width]`.
    pub y: Vec<f32>,
    /// Mean of each row: `[rows]`.
    pub mean: Vec<f32>,
    /// `1 / sqrt(variance + eps)` of each row, the variance over `width`: `[rows]`.
    pub rstd: Vec<f32>,
}

/// Gradients to x: `[rows, width]`, to weight and to bias: `[width]`, those asked for.
pub type NormGradients = [Option<Vec<f32>>; 3];

/// `(x - mean) rstd weight + bias` of each row.
///
/// x: `[rows, width]`, weight, bias: `[width]`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32) -> Normed {
    let width = weight.len();
    let rows = x.len() / width;
    let tile = (TILE / width).max(1);
    let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
    let statistics = mean.par_chunks_mut(tile).zip(rstd.par_chunks_mut(tile));
    let y = chunks_beside(x.len(), tile * width, statistics, |i, y, (mean, rstd)| {
        Arch::new().dispatch(Forward {
            x: &x[i * tile * width..][..y.len()],
            weight,
            bias,
            eps,
            y,
            mean,
            rstd,
        });
    });
    Normed { y, mean, rstd }
}

/// The gradients to x, weight and bias, those that `needs` asks for in this order.
///
/// x, dy, dx: `[rows, width]`, weight and its gradient, the bias' gradient: `[width]`, mean,
/// rstd: `[rows]`.
pub fn layer_norm_gradient(
    x: &[f32],
    weight: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dy: &[f32],
    needs: [bool; 3],
) -> NormGradients {
    let [needs_x, needs_weight, needs_bias] = needs;
    let needs_sums = needs_weight || needs_bias;
    let width = weight.len();
    let tile = ROWS * width;
    // Weight's and bias' gradient of each tile: [tiles, 2, width].
    let mut sums = vec![0.0; x.len().div_ceil(tile) * 2 * width];
    let backward = |i: usize, dx: Option<&mut [f32]>, sums: Option<&mut [f32]>| {
        let rows = i * ROWS..mean.len().min((i + 1) * ROWS);
        let elements = rows.start * width..rows.end * width;
        Arch::new().dispatch(Backward {
            x: &x[elements.clone()],
            weight,
            mean: &mean[rows.clone()],
            rstd: &rstd[rows],
            dy: &dy[elements],
            dx,
            sums: sums.map(|sums| sums.split_at_mut(width)),
        });
    };
    let parts = sums.par_chunks_mut(2 * width);
    let dx = if needs_x {
        Some(chunks_beside(x.len(), tile, parts, |i, dx, sums| {
            backward(i, Some(dx), needs_sums.then_some(sums));
        }))
    } else {
        if needs_sums {
            parts
                .enumerate()
                .with_min_len(least_chunks(x.len()))
                .for_each(|(i, sums)| backward(i, None, Some(sums)));
        }
        None
    };
    if !needs_sums {
        return [dx, None, None];
    }
    let mut dweight = merge(&sums, 2 * width);
    let dbias = dweight.split_off(width);
    [
        dx,
        needs_weight.then_some(dweight),
        needs_bias.then_some(dbias),
    ]
}

struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
    mean: &'a mut [f32],
    rstd: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.weight.len();
        let rows = self
            .x
            .chunks_exact(width)
            .zip(self.y.chunks_exact_mut(width));
        let statistics = self.mean.iter_mut().zip(self.rstd);
        for ((x, y), (mean, rstd)) in rows.zip(statistics) {
            *mean = sum(simd, x) / width as f32;
            let variance = centred_squares(simd, x, *mean) / width as f32;
            *rstd = 1.0 / (variance + self.eps).sqrt();
            normalise(simd, x, *mean, *rstd, self.weight, self.bias, y);
        }
    }
}

/// Σ x.
#[inline(always)]
fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (vectors, tail) = S::as_simd_f32s(x);
    let zero = simd.splat_f32s(0.0);
    let mut sums = [filled(simd, tail, 0.0), zero, zero, zero];
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad) {
            *sum = simd.add_f32s(*sum, *x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = simd.add_f32s(*sum, *x);
    }
    total(simd, sums)
}

/// Σ (x - mean)².
#[inline(always)]
fn centred_squares<S: Simd>(simd: S, x: &[f32], mean: f32) -> f32 {
    let (vectors, tail) = S::as_simd_f32s(x);
    let shift = simd.splat_f32s(mean);
    let zero = simd.splat_f32s(0.0);
    let last = simd.sub_f32s(filled(simd, tail, mean), shift);
    let mut sums = [simd.mul_f32s(last, last), zero, zero, zero];
    let (quads, rest) = vectors.as_chunks::<4>();
    for quad in quads {
        for (sum, x) in sums.iter_mut().zip(quad) {
            let x = simd.sub_f32s(*x, shift);
            *sum = simd.mul_add_e_f32s(x, x, *sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        let x = simd.sub_f32s(*x, shift);
        *sum = simd.mul_add_e_f32s(x, x, *sum);
    }
    total(simd, sums)
}

/// `y = (x - mean) rstd weight + bias`.
#[inline(always)]
fn normalise<S: Simd>(
    simd: S,
    x: &[f32],
    mean: f32,
    rstd: f32,
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    let (mean, rstd) = (simd.splat_f32s(mean), simd.splat_f32s(rstd));
    let (xs, x_tail) = S::as_simd_f32s(x);
    let (weights, weight_tail) = S::as_simd_f32s(weight);
    let (biases, bias_tail) = S::as_simd_f32s(bias);
    let (ys, y_tail) = S::as_mut_simd_f32s(y);
    for (((y, x), weight), bias) in ys.iter_mut().zip(xs).zip(weights).zip(biases) {
        let x = simd.mul_f32s(simd.sub_f32s(*x, mean), rstd);
        *y = simd.mul_add_e_f32s(x, *weight, *bias);
    }
    let x = simd.sub_f32s(filled(simd, x_tail, 0.0), mean);
    let y = simd.mul_add_e_f32s(
        simd.mul_f32s(x, rstd),
        filled(simd, weight_tail, 0.0),
        filled(simd, bias_tail, 0.0),
    );
    simd.partial_store_f32s(y_tail, y);
}

struct Backward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    mean: &'a [f32],
    rstd: &'a [f32],
    dy: &'a [f32],
    dx: Option<&'a mut [f32]>,
    /// Weight's and bias' gradient, to be added to.
    sums: Option<(&'a mut [f32], &'a mut [f32])>,
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = self.weight.len();
        let rows = self.x.chunks_exact(width).zip(self.dy.chunks_exact(width));
        let statistics = self.mean.iter().zip(self.rstd);
        for (i, ((x, dy), (&mean, &rstd))) in rows.zip(statistics).enumerate() {
            if let Some((dweight, dbias)) = &mut self.sums {
                add_sums(simd, x, dy, mean, rstd, dweight, dbias);
            }
            if let Some(dx) = &mut self.dx {
                let dx = &mut dx[i * width..][..width];
                row_gradient(simd, x, dy, mean, rstd, self.weight, dx);
            }
        }
    }
}

/// `dweight += dy (x - mean) rstd`, `dbias += dy`.
#[inline(always)]
fn add_sums<S: Simd>(
    simd: S,
    x: &[f32],
    dy: &[f32],
    mean: f32,
    rstd: f32,
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let (mean, rstd) = (simd.splat_f32s(mean), simd.splat_f32s(rstd));
    let (xs, x_tail) = S::as_simd_f32s(x);
    let (dys, dy_tail) = S::as_simd_f32s(dy);
    let (dweights, dweight_tail) = S::as_mut_simd_f32s(dweight);
    let (dbiases, dbias_tail) = S::as_mut_simd_f32s(dbias);
    let sums = dweights.iter_mut().zip(dbiases);
    for ((x, dy), (dweight, dbias)) in xs.iter().zip(dys).zip(sums) {
        let x = simd.mul_f32s(simd.sub_f32s(*x, mean), rstd);
        *dweight = simd.mul_add_e_f32s(*dy, x, *dweight);
        *dbias = simd.add_f32s(*dbias, *dy);
    }
    let x = simd.sub_f32s(filled(simd, x_tail, 0.0), mean);
    let dy = filled(simd, dy_tail, 0.0);
    let dweight = filled(simd, dweight_tail, 0.0);
    let dweight = simd.mul_add_e_f32s(dy, simd.mul_f32s(x, rstd), dweight);
    simd.partial_store_f32s(dweight_tail, dweight);
    let dbias = simd.add_f32s(filled(simd, dbias_tail, 0.0), dy);
    simd.partial_store_f32s(dbias_tail, dbias);
}

/// `dx = rstd (g - mean(g) - n mean(g n))` with `n = (x - mean) rstd` and `g = dy weight`.
#[inline(always)]
fn row_gradient<S: Simd>(
    simd: S,
    x: &[f32],
    dy: &[f32],
    mean: f32,
    rstd: f32,
    weight: &[f32],
    dx: &mut [f32],
) {
    let share = 1.0 / x.len() as f32;
    let (shift, scale) = (simd.splat_f32s(mean), simd.splat_f32s(rstd));
    let (xs, x_tail) = S::as_simd_f32s(x);
    let (dys, dy_tail) = S::as_simd_f32s(dy);
    let (weights, weight_tail) = S::as_simd_f32s(weight);
    let (dxs, dx_tail) = S::as_mut_simd_f32s(dx);

    let last = simd.sub_f32s(filled(simd, x_tail, mean), shift);
    let last = simd.mul_f32s(last, scale);
    let last_g = simd.mul_f32s(filled(simd, dy_tail, 0.0), filled(simd, weight_tail, 0.0));
    let zero = simd.splat_f32s(0.0);
    // Four chains each, so that an addition need not wait for the one before.
    let mut sums = [last_g, zero, zero, zero];
    let mut products = [simd.mul_f32s(last, last_g), zero, zero, zero];
    let (x_quads, x_rest) = xs.as_chunks::<4>();
    let (dy_quads, dy_rest) = dys.as_chunks::<4>();
    let (weight_quads, weight_rest) = weights.as_chunks::<4>();
    for ((x, dy), weight) in x_quads.iter().zip(dy_quads).zip(weight_quads) {
        for lane in 0..4 {
            let n = simd.mul_f32s(simd.sub_f32s(x[lane], shift), scale);
            let g = simd.mul_f32s(dy[lane], weight[lane]);
            sums[lane] = simd.add_f32s(sums[lane], g);
            products[lane] = simd.mul_add_e_f32s(g, n, products[lane]);
        }
    }
    for ((x, dy), weight) in x_rest.iter().zip(dy_rest).zip(weight_rest) {
        let n = simd.mul_f32s(simd.sub_f32s(*x, shift), scale);
        let g = simd.mul_f32s(*dy, *weight);
        sums[1] = simd.add_f32s(sums[1], g);
        products[1] = simd.mul_add_e_f32s(g, n, products[1]);
    }
    let (sum, product) = (total(simd, sums), total(simd, products));

    // dx = rstd g - (a + b (x - mean)).
    let constant = simd.splat_f32s(-rstd * sum * share);
    let slope = simd.splat_f32s(-rstd * rstd * product * share);
    for (((dx, x), dy), weight) in dxs.iter_mut().zip(xs).zip(dys).zip(weights) {
        let line = simd.mul_add_e_f32s(simd.sub_f32s(*x, shift), slope, constant);
        let g = simd.mul_f32s(*dy, *weight);
        *dx = simd.mul_add_e_f32s(g, scale, line);
    }
    let x = simd.sub_f32s(filled(simd, x_tail, 0.0), shift);
    let line = simd.mul_add_e_f32s(x, slope, constant);
    simd.partial_store_f32s(dx_tail, simd.mul_add_e_f32s(last_g, scale, line));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};
    use pulp::Scalar;

    const EPS: f32 = 1e-6;

    struct Case {
        x: Vec<f32>,
        weight: Vec<f32>,
        bias: Vec<f32>,
        dy: Vec<f32>,
    }

    impl Case {
        fn new(rows: usize, width: usize, scale: f32, shift: f32) -> Self {
            Self {
                x: noise(rows * width, 1)
                    .iter()
                    .map(|x| x * scale + shift)
                    .collect(),
                weight: noise(width, 2).iter().map(|w| 1.0 + 0.5 * w).collect(),
                bias: noise(width, 3),
                dy: noise(rows * width, 4),
            }
        }

        fn width(&self) -> usize {
            self.weight.len()
        }

        /// Normalised rows and each row's rstd.
        fn normalised(&self) -> (Vec<f64>, Vec<f64>) {
            let width = self.width() as f64;
            let mut n: Vec<f64> = self.x.iter().copied().map(f64::from).collect();
            let rstd = n.chunks_exact_mut(self.width()).map(|row| {
                let mean = row.iter().sum::<f64>() / width;
                row.iter_mut().for_each(|x| *x -= mean);
                let variance = row.iter().map(|x| x * x).sum::<f64>() / width;
                let rstd = 1.0 / (variance + f64::from(EPS)).sqrt();
                row.iter_mut().for_each(|x| *x *= rstd);
                rstd
            });
            let rstd = rstd.collect();
            (n, rstd)
        }

        fn y(&self) -> Vec<f64> {
            let scaled = |row: &[f64]| {
                let affine = self.weight.iter().zip(&self.bias);
                row.iter()
                    .zip(affine)
                    .map(|(n, (&w, &b))| n * f64::from(w) + f64::from(b))
                    .collect::<Vec<_>>()
            };
            let (n, _) = self.normalised();
            n.chunks_exact(self.width()).flat_map(scaled).collect()
        }

        /// dx, dweight, dbias.
        fn gradients(&self) -> [Vec<f64>; 3] {
            let width = self.width();
            let (n, rstd) = self.normalised();
            let (mut dx, mut dweight, mut dbias) = (vec![], vec![0.0; width], vec![0.0; width]);
            for ((n, dy), rstd) in n
                .chunks_exact(width)
                .zip(self.dy.chunks_exact(width))
                .zip(rstd)
            {
                let g: Vec<f64> = dy
                    .iter()
                    .zip(&self.weight)
                    .map(|(&dy, &w)| f64::from(dy) * f64::from(w))
                    .collect();
                let mean = g.iter().sum::<f64>() / width as f64;
                let along = g.iter().zip(n).map(|(g, n)| g * n).sum::<f64>() / width as f64;
                for i in 0..width {
                    dx.push(rstd * (g[i] - mean - n[i] * along));
                    dweight[i] += f64::from(dy[i]) * n[i];
                    dbias[i] += f64::from(dy[i]);
                }
            }
            [dx, dweight, dbias]
        }

        fn gradient(&self, normed: &Normed, needs: [bool; 3]) -> NormGradients {
            let Normed { mean, rstd, .. } = normed;
            layer_norm_gradient(&self.x, &self.weight, mean, rstd, &self.dy, needs)
        }
    }

    #[test]
    fn any_width_agrees_with_f64_on_any_number_of_threads() {
        for (rows, width) in [(1, 1), (5, 7), (3, 16), (70, 33), (100, 192), (33, 770)] {
            let case = Case::new(rows, width, 3.0, 0.5);
            let normed = on_threads(|| layer_norm(&case.x, &case.weight, &case.bias, EPS));
            assert_close(&normed.y, &case.y(), 1e-6);
            let want = case.gradients();
            let [dx, dweight, dbias] = on_threads(|| case.gradient(&normed, [true; 3]));
            if width > 1 {
                assert_close(&dx.unwrap(), &want[0], 1e-6);
            }
            assert_close(&dweight.unwrap(), &want[1], 1e-6);
            assert_close(&dbias.unwrap(), &want[2], 1e-6);
        }
    }

    #[test]
    fn what_is_asked_for_does_not_depend_on_the_rest() {
        let case = Case::new(50, 48, 1.0, 0.0);
        let normed = layer_norm(&case.x, &case.weight, &case.bias, EPS);
        let all = case.gradient(&normed, [true; 3]);
        for needs in [
            [true, false, false],
            [false, true, false],
            [false, false, true],
            [false; 3],
        ] {
            let found = case.gradient(&normed, needs);
            for ((found, all), needed) in found.iter().zip(&all).zip(needs) {
                assert_eq!(found.as_ref(), all.as_ref().filter(|_| needed));
            }
        }
    }

    #[test]
    fn a_large_mean_costs_no_more_than_its_rounding() {
        let case = Case::new(4, 384, 1.0, 100.0);
        let normed = layer_norm(&case.x, &case.weight, &case.bias, EPS);
        // The mean is known to half a unit of the last place of 100: 4e-6.
        assert_close(&normed.y, &case.y(), 5e-6);
    }

    #[test]
    fn a_constant_row_gives_the_bias() {
        let case = Case::new(1, 96, 0.0, 3.0);
        let normed = layer_norm(&case.x, &case.weight, &case.bias, EPS);
        assert_eq!(normed.y, case.bias);
        assert_close(&normed.rstd, &[1000.0], 2e-7);
    }

    #[test]
    fn the_portable_path_agrees() {
        let case = Case::new(4, 75, 2.0, 0.1);
        let (mut y, mut mean, mut rstd) = (vec![0.0; 300], [0.0; 4], [0.0; 4]);
        Forward {
            x: &case.x,
            weight: &case.weight,
            bias: &case.bias,
            eps: EPS,
            y: &mut y,
            mean: &mut mean,
            rstd: &mut rstd,
        }
        .with_simd(Scalar);
        assert_close(&y, &case.y(), 1e-6);
        let mut dx = vec![0.0; 300];
        let (mut dweight, mut dbias) = (vec![0.0; 75], vec![0.0; 75]);
        Backward {
            x: &case.x,
            weight: &case.weight,
            mean: &mean,
            rstd: &rstd,
            dy: &case.dy,
            dx: Some(&mut dx),
            sums: Some((&mut dweight, &mut dbias)),
        }
        .with_simd(Scalar);
        let want = case.gradients();
        assert_close(&dx, &want[0], 1e-6);
        assert_close(&dweight, &want[1], 1e-6);
        assert_close(&dbias, &want[2], 1e-6);
    }
}
