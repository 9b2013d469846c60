//! The AdamW step.

use pulp::{Arch, Simd, WithSimd};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::output::{CHUNK, least_chunks};
use super::vector::filled;
use crate::engine::AdamW;

/// One step over one parameter, in place (PyTorch, `torch/optim/adamw.py`).
///
/// All slices have the parameter's length.
pub fn adamw(
    settings: &AdamW,
    parameter: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let least = least_chunks(parameter.len());
    let factors = Factors::new(settings);
    parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(mean.par_chunks_mut(CHUNK))
        .zip(square.par_chunks_mut(CHUNK))
        .with_min_len(least)
        .for_each(|(((parameter, gradient), mean), square)| {
            Arch::new().dispatch(Step {
                factors,
                parameter,
                gradient,
                mean,
                square,
            });
        });
}

/// What a step multiplies with, worked out in f64.
#[derive(Clone, Copy)]
struct Factors {
    /// The part of the parameter that weight decay leaves.
    keep: f32,
    /// The learning rate, corrected for the mean's start at zero.
    rate: f32,
    /// Corrects the root of the mean square for its start at zero.
    root: f32,
    eps: f32,
    betas: [f32; 2],
    /// 1 - betas.
    news: [f32; 2],
}

impl Factors {
    fn new(settings: &AdamW) -> Self {
        let [beta1, beta2] = settings.betas;
        let correction = |beta: f64| 1.0 - beta.powf(settings.step.into());
        Self {
            keep: (1.0 - settings.learning_rate * settings.weight_decay) as f32,
            rate: (settings.learning_rate / correction(beta1)) as f32,
            root: correction(beta2).sqrt().recip() as f32,
            eps: settings.eps as f32,
            betas: [beta1 as f32, beta2 as f32],
            news: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
        }
    }

    /// The parameter, the mean and the mean square after the step.
    #[inline(always)]
    fn step<S: Simd>(
        self,
        simd: S,
        [parameter, gradient, mean, square]: [S::f32s; 4],
    ) -> [S::f32s; 3] {
        let factor = |x| simd.splat_f32s(x);
        let [beta1, beta2] = self.betas.map(factor);
        let [new1, new2] = self.news.map(factor);
        let mean = simd.mul_add_e_f32s(mean, beta1, simd.mul_f32s(gradient, new1));
        let new = simd.mul_f32s(simd.mul_f32s(gradient, gradient), new2);
        let square = simd.mul_add_e_f32s(square, beta2, new);
        let root = simd.sqrt_f32s(square);
        let scale = simd.mul_add_e_f32s(root, factor(self.root), factor(self.eps));
        let change = simd.div_f32s(simd.mul_f32s(mean, factor(self.rate)), scale);
        let kept = simd.mul_f32s(parameter, factor(self.keep));
        [simd.sub_f32s(kept, change), mean, square]
    }
}

struct Step<'a> {
    factors: Factors,
    parameter: &'a mut [f32],
    gradient: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (parameters, parameter_tail) = S::as_mut_simd_f32s(self.parameter);
        let (gradients, gradient_tail) = S::as_simd_f32s(self.gradient);
        let (means, mean_tail) = S::as_mut_simd_f32s(self.mean);
        let (squares, square_tail) = S::as_mut_simd_f32s(self.square);
        let moments = means.iter_mut().zip(squares);
        for ((p, g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            [*p, *m, *v] = self.factors.step(simd, [*p, *g, *m, *v]);
        }
        let tails = [&*parameter_tail, gradient_tail, &*mean_tail, &*square_tail];
        let [p, m, v] = self
            .factors
            .step(simd, tails.map(|tail| filled(simd, tail, 0.0)));
        simd.partial_store_f32s(parameter_tail, p);
        simd.partial_store_f32s(mean_tail, m);
        simd.partial_store_f32s(square_tail, v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};
    use pulp::Scalar;

    const SETTINGS: AdamW = AdamW {
        learning_rate: 1e-2,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.05,
        step: 1,
    };

    /// Parameter, mean and mean square.
    type State<T> = [Vec<T>; 3];

    fn start(n: usize) -> State<f32> {
        [noise(n, 0), vec![0.0; n], vec![0.0; n]]
    }

    /// Steps with a new gradient each, by `step`.
    fn run(
        n: usize,
        mut step: impl FnMut(&AdamW, &mut [f32], &[f32], &mut [f32], &mut [f32]),
    ) -> State<f32> {
        let [mut p, mut m, mut v] = start(n);
        for number in 1..=5 {
            let settings = AdamW {
                step: number,
                ..SETTINGS
            };
            step(&settings, &mut p, &noise(n, number), &mut m, &mut v);
        }
        [p, m, v]
    }

    /// The formula, in f64.
    fn reference(n: usize) -> State<f64> {
        let [mut p, mut m, mut v]: State<f64> =
            start(n).map(|x| x.into_iter().map(f64::from).collect());
        let ([b1, b2], rate) = (SETTINGS.betas, SETTINGS.learning_rate);
        for step in 1..=5 {
            for (i, g) in noise(n, step).into_iter().map(f64::from).enumerate() {
                p[i] *= 1.0 - rate * SETTINGS.weight_decay;
                m[i] = b1 * m[i] + (1.0 - b1) * g;
                v[i] = b2 * v[i] + (1.0 - b2) * g * g;
                let mean = m[i] / (1.0 - b1.powi(step as i32));
                let square = v[i] / (1.0 - b2.powi(step as i32));
                p[i] -= rate * mean / (square.sqrt() + SETTINGS.eps);
            }
        }
        [p, m, v]
    }

    #[test]
    fn steps_agree_with_f64_on_any_number_of_threads_and_instruction_set() {
        for n in [1, 15, 16, 40, 20_001] {
            let want = reference(n);
            let best = on_threads(|| run(n, adamw));
            let portable = run(n, |settings, parameter, gradient, mean, square| {
                Step {
                    factors: Factors::new(settings),
                    parameter,
                    gradient,
                    mean,
                    square,
                }
                .with_simd(Scalar);
            });
            for ((best, portable), want) in best.iter().zip(&portable).zip(&want) {
                assert_close(best, want, 1e-6);
                assert_close(portable, want, 1e-6);
            }
        }
    }

    #[test]
    fn without_a_gradient_only_the_decay_acts() {
        let (mut p, mut m, mut v) = (vec![2.0; 19], vec![0.0; 19], vec![0.0; 19]);
        adamw(&SETTINGS, &mut p, &[0.0; 19], &mut m, &mut v);
        assert_eq!(p, [2.0 * (1.0 - 5e-4); 19]);
        assert_eq!([m, v], [[0.0; 19], [0.0; 19]]);
    }
}
