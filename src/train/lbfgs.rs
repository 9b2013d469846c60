//! L-BFGS: smooth functions of some thousand to a few million numbers, minimised by their gradients.
//!
//! Liu and Nocedal 1989; the two loops and the strong Wolfe search are algorithms 7.4, 3.5 and 3.6
//! of Nocedal and Wright, "Numerical Optimization", 2nd edition. Where a step changes the value by
//! less than its rounding, the slope alone decides, as in Hager and Zhang 2005, section 2.

use std::collections::VecDeque;
use std::ops::ControlFlow;

/// Pairs of steps and changes of the gradient that are kept (SciPy's `maxcor`).
const MEMORY: usize = 10;
/// Share of the slope by which a step must lower the value (SciPy's `ftol` of the search).
const DECREASE: f64 = 1e-3;
/// Share of the slope that may be left after a step (SciPy's `gtol` of the search).
const CURVATURE: f64 = 0.9;
/// Evaluations after which a search gives up (SciPy's `maxls`).
const SEARCH: u32 = 20;

/// When to stop, and how exact the values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LbfgsOptions {
    /// The largest entry of a gradient, in magnitude, that counts as zero.
    pub tolerance: f64,
    /// Steps after which it ends.
    pub iterations: u32,
    /// Relative error of a value.
    pub rounding: f64,
}

/// Why a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The gradient is zero within the tolerance.
    Gradient,
    /// The limit of steps is reached.
    Iterations,
    /// No step along the gradient lowers the value any more: what is left is rounding, or the
    /// function has no minimum.
    Stalled,
    /// The start has no finite value or gradient.
    NotFinite,
    /// The caller ended it.
    Interrupted,
}

/// Where a minimisation stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iterate {
    /// Steps taken.
    pub iteration: u32,
    /// Evaluations of the function.
    pub evaluations: u32,
    /// The function's value.
    pub value: f64,
    /// Largest magnitude in the gradient.
    pub gradient: f64,
}

/// Where a minimisation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The best point found.
    pub point: Vec<f64>,
    /// What is known there.
    pub at: Iterate,
    /// Why it ended.
    pub stop: Stop,
}

/// Minimises `evaluate`, which gives value and gradient at a point, from `start` on.
///
/// `watch` sees every step and may end the run. The result is a function of the arguments alone.
///
/// # Errors
/// The first error of `evaluate`.
pub fn minimise<E>(
    start: Vec<f64>,
    options: LbfgsOptions,
    mut evaluate: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    watch: &mut dyn FnMut(&Iterate) -> ControlFlow<()>,
) -> Result<Minimum, E> {
    let (value, gradient) = evaluate(&start)?;
    let mut at = Iterate {
        iteration: 0,
        evaluations: 1,
        value,
        gradient: largest(&gradient),
    };
    let (mut point, mut gradient) = (start, gradient);
    let mut memory = Memory::default();
    let stop = loop {
        if !at.value.is_finite() || !at.gradient.is_finite() {
            break Stop::NotFinite;
        }
        if at.gradient <= options.tolerance {
            break Stop::Gradient;
        }
        if at.iteration == options.iterations {
            break Stop::Iterations;
        }
        let mut direction = memory.direction(&gradient);
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            memory.pairs.clear();
            direction = memory.direction(&gradient);
            slope = dot(&direction, &gradient);
        }
        // Nothing is known of the curvature at first: the step has length 1 at most.
        let first = match memory.pairs.is_empty() {
            true => (-slope).sqrt().recip().min(1.0),
            false => 1.0,
        };
        let line = Line {
            point: &point,
            direction: &direction,
            value: at.value,
            slope,
            rounding: options.rounding,
        };
        let found = line.search(first, |point| {
            at.evaluations += 1;
            evaluate(point)
        })?;
        let Some(found) = found else {
            if memory.pairs.is_empty() {
                break Stop::Stalled;
            }
            memory.pairs.clear();
            continue;
        };
        let step: Vec<f64> = direction.iter().map(|d| found.step * d).collect();
        let change = found
            .gradient
            .iter()
            .zip(&gradient)
            .map(|(new, old)| new - old);
        memory.remember(step, change.collect());
        (point, gradient) = (found.point, found.gradient);
        at.iteration += 1;
        at.value = found.value;
        at.gradient = largest(&gradient);
        if watch(&at).is_break() {
            break Stop::Interrupted;
        }
    };
    Ok(Minimum { point, at, stop })
}

/// A step and the change of the gradient along it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// `1 / (step . change)`.
    rho: f64,
}

/// What the last steps tell of the curvature.
#[derive(Default)]
struct Memory {
    /// Oldest first.
    pairs: VecDeque<Pair>,
}

impl Memory {
    /// Keeps a step along which the slope grew; another says nothing of a minimum.
    fn remember(&mut self, step: Vec<f64>, change: Vec<f64>) {
        let along = dot(&step, &change);
        if along <= f64::EPSILON * dot(&change, &change) {
            return;
        }
        if self.pairs.len() == MEMORY {
            self.pairs.pop_front();
        }
        let rho = along.recip();
        self.pairs.push_back(Pair { step, change, rho });
    }

    /// Minus the approximate inverse Hessian times the gradient.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = pair.rho * dot(&pair.step, &direction);
            add(&mut direction, -share, &pair.change);
            shares.push(share);
        }
        if let Some(last) = self.pairs.back() {
            let scale = (last.rho * dot(&last.change, &last.change)).recip();
            direction.iter_mut().for_each(|d| *d *= scale);
        }
        for (pair, share) in self.pairs.iter().zip(shares.into_iter().rev()) {
            let again = pair.rho * dot(&pair.change, &direction);
            add(&mut direction, share - again, &pair.step);
        }
        direction
    }
}

/// The function along a direction.
struct Line<'a> {
    point: &'a [f64],
    direction: &'a [f64],
    value: f64,
    slope: f64,
    rounding: f64,
}

/// A step on a line and what is there.
struct Trial {
    step: f64,
    value: f64,
    slope: f64,
    point: Vec<f64>,
    gradient: Vec<f64>,
}

/// An end of the interval that holds a good step.
#[derive(Clone, Copy)]
struct End {
    step: f64,
    value: f64,
    slope: f64,
}

impl Line<'_> {
    /// A step that lowers the value and leaves little of the slope; `None` when there is none.
    fn search<E>(
        &self,
        first: f64,
        mut evaluate: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    ) -> Result<Option<Trial>, E> {
        let noise = self.rounding * self.value.abs();
        let mut low = End {
            step: 0.0,
            value: self.value,
            slope: self.slope,
        };
        let mut high: Option<End> = None;
        let mut step = first;
        for _ in 0..SEARCH {
            let trial = self.trial(step, &mut evaluate)?;
            let end = End {
                step,
                value: trial.value,
                slope: trial.slope,
            };
            let decrease = -DECREASE * step * self.slope;
            let most = self.value + if decrease > noise { -decrease } else { noise };
            let lowered = end.value <= most && end.value.is_finite() && end.slope.is_finite();
            if lowered && end.slope.abs() <= CURVATURE * -self.slope {
                return Ok(Some(trial));
            }
            if !lowered || end.value > low.value + noise {
                high = Some(end);
            } else {
                let behind = high.map_or(end.slope >= 0.0, |high| {
                    end.slope * (high.step - low.step) >= 0.0
                });
                if behind {
                    high = Some(low);
                }
                low = end;
            }
            step = match high {
                None => 4.0 * step,
                Some(high) => between(low, high),
            };
        }
        Ok(None)
    }

    fn trial<E>(
        &self,
        step: f64,
        evaluate: &mut impl FnMut(&[f64]) -> Result<(f64, Vec<f64>), E>,
    ) -> Result<Trial, E> {
        let mut point = self.point.to_vec();
        add(&mut point, step, self.direction);
        let (value, gradient) = evaluate(&point)?;
        Ok(Trial {
            step,
            value,
            slope: dot(&gradient, self.direction),
            point,
            gradient,
        })
    }
}

/// Where the cubic through values and slopes of both ends is smallest (Nocedal and Wright, equation
/// 3.59), at least a tenth of the interval inside; its middle where there is no such cubic.
fn between(low: End, high: End) -> f64 {
    let width = high.step - low.step;
    let first = low.slope + high.slope - 3.0 * (high.value - low.value) / width;
    let root = (first * first - low.slope * high.slope).sqrt() * width.signum();
    let place = (high.slope + root - first) / (high.slope - low.slope + 2.0 * root);
    let share = 1.0 - place;
    low.step
        + width
            * if share.is_finite() {
                share.clamp(0.1, 0.9)
            } else {
                0.5
            }
}

fn largest(x: &[f64]) -> f64 {
    // Not `max`, which would hide a NaN.
    x.iter().fold(0.0, |largest, x| match x.abs() {
        x if x > largest || x.is_nan() => x,
        _ => largest,
    })
}

/// `Σ x y` in a fixed order.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    /// Sums kept apart so that the compiler can add them side by side.
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in xs.iter().zip(ys) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

/// `x += scale y`.
fn add(x: &mut [f64], scale: f64, y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += scale * y;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const TIGHT: LbfgsOptions = LbfgsOptions {
        tolerance: 1e-9,
        iterations: 1000,
        rounding: 0.0,
    };

    fn run(
        start: Vec<f64>,
        options: LbfgsOptions,
        mut function: impl FnMut(&[f64]) -> (f64, Vec<f64>),
    ) -> Minimum {
        let evaluate = |x: &[f64]| Ok::<_, Infallible>(function(x));
        minimise(start, options, evaluate, &mut |_| ControlFlow::Continue(())).unwrap()
    }

    /// `Σ i (x_i - 1 / i)^2 / 2`.
    fn bowl(x: &[f64]) -> (f64, Vec<f64>) {
        let terms = (1..).map(f64::from).zip(x);
        let value = terms.clone().map(|(i, x)| 0.5 * i * (x - 1.0 / i).powi(2));
        (value.sum(), terms.map(|(i, x)| i * x - 1.0).collect())
    }

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; x.len()];
        let mut value = 0.0;
        for (i, pair) in x.windows(2).enumerate() {
            let (bend, rest) = (pair[1] - pair[0] * pair[0], 1.0 - pair[0]);
            value += 100.0 * bend * bend + rest * rest;
            gradient[i] -= 400.0 * pair[0] * bend + 2.0 * rest;
            gradient[i + 1] += 200.0 * bend;
        }
        (value, gradient)
    }

    #[test]
    fn a_quadratic() {
        let found = run(vec![0.0; 50], TIGHT, bowl);
        assert_eq!(found.stop, Stop::Gradient);
        assert!(found.at.iteration < 80, "{:?}", found.at);
        for (i, x) in (1..).zip(&found.point) {
            assert!((x - 1.0 / f64::from(i)).abs() < 1e-9);
        }
        // A start at the minimum takes no step.
        let again = run(found.point, TIGHT, bowl);
        assert_eq!((again.at.iteration, again.at.evaluations), (0, 1));
    }

    #[test]
    fn rosenbrock_takes_no_more_evaluations_than_scipy() {
        let start = [-1.2, 1.0].repeat(5);
        let found = run(start, TIGHT, rosenbrock);
        assert_eq!(found.stop, Stop::Gradient);
        assert!(found.point.iter().all(|x| (x - 1.0).abs() < 1e-8));
        // SciPy 1.17, minimize(rosen, ..., method="L-BFGS-B", gtol 1e-9): 79 steps, 97 evaluations.
        assert!(found.at.evaluations <= 120, "{:?}", found.at);
    }

    #[test]
    fn a_logistic_loss_as_scipy_minimises_it() {
        let angle = |i: u32, j: u32| (0.37 * f64::from(i + 1) * f64::from(j + 1)).sin();
        let sign = |i: u32| if (i * 7).is_multiple_of(3) { 1.0 } else { -1.0 };
        let found = run(vec![0.0; 6], TIGHT, |w| {
            let mut value = 0.05 * dot(w, w);
            let mut gradient: Vec<f64> = w.iter().map(|w| 0.1 * w).collect();
            for i in 0..40 {
                let row: Vec<f64> = (0..6).map(|j| angle(i, j)).collect();
                let margin = sign(i) * dot(&row, w);
                value += (-margin).exp().ln_1p();
                add(&mut gradient, -sign(i) / (1.0 + margin.exp()), &row);
            }
            (value, gradient)
        });
        // SciPy 1.17, L-BFGS-B with gtol 1e-11.
        let want = [
            -0.087_160_303_255,
            -0.110_298_840_377,
            0.132_197_584_086,
            -0.086_369_182_547,
            0.161_035_884_642,
            -0.558_751_347_900,
        ];
        assert!((found.at.value - 26.805_675_776_169).abs() < 1e-10);
        for (got, want) in found.point.iter().zip(want) {
            assert!((got - want).abs() < 1e-8, "{got} {want}");
        }
        assert!(found.at.iteration <= 12, "{:?}", found.at);
    }

    #[test]
    fn values_with_rounding_do_not_stall() {
        let rounded = |x: &[f64]| {
            let (value, gradient) = bowl(x);
            (f64::from((value + 1.0) as f32), gradient)
        };
        let options = LbfgsOptions {
            rounding: 1e-7,
            ..TIGHT
        };
        let found = run(vec![3.0; 50], options, rounded);
        assert_eq!(found.stop, Stop::Gradient, "{:?}", found.at);
    }

    #[test]
    fn every_end_has_its_name() {
        let few = LbfgsOptions {
            iterations: 3,
            ..TIGHT
        };
        let found = run(vec![0.0; 50], few, bowl);
        assert_eq!((found.stop, found.at.iteration), (Stop::Iterations, 3));
        let found = run(vec![0.0], TIGHT, |_| (f64::NAN, vec![0.0]));
        assert_eq!(found.stop, Stop::NotFinite);
        let found = run(vec![0.0], TIGHT, |_| (0.0, vec![f64::NAN]));
        assert_eq!(found.stop, Stop::NotFinite);
        // A gradient that lies.
        let found = run(vec![1.0], TIGHT, |x| (-x[0], vec![1.0]));
        assert_eq!((found.stop, found.point), (Stop::Stalled, vec![1.0]));
        let evaluate = |x: &[f64]| Ok::<_, Infallible>(bowl(x));
        let mut watch = |at: &Iterate| match at.iteration {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let found = minimise(vec![0.0; 50], TIGHT, evaluate, &mut watch).unwrap();
        assert_eq!((found.stop, found.at.iteration), (Stop::Interrupted, 2));
        let failed = minimise(vec![0.0], TIGHT, |_| Err("no"), &mut |_| {
            ControlFlow::Continue(())
        });
        assert_eq!(failed, Err("no"));
    }

    #[test]
    fn a_step_into_infinity_is_shortened() {
        // A barrier: 1 / x beyond 0, infinite before.
        let found = run(vec![1e-3], TIGHT, |x| match x[0] {
            x if x > 0.0 => (1.0 / x + x, vec![1.0 - 1.0 / (x * x)]),
            _ => (f64::INFINITY, vec![f64::NAN]),
        });
        assert_eq!(found.stop, Stop::Gradient);
        assert!((found.point[0] - 1.0).abs() < 1e-9);
    }
}
