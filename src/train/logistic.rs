//! Multinomial logistic regression of stored features.
//!
//! The objective is scikit-learn's (`LogisticRegression(C, solver="lbfgs")`, `_logistic.py`):
//! `C Σ cross entropy + ||W||² / 2`, biases not penalised, divided by `n C`. Two classes keep one
//! row of weights each, where scikit-learn fits their difference: a strength here is twice it there.

use std::ops::ControlFlow;

use super::lbfgs::{Iterate, LbfgsOptions, Stop, minimise};
use crate::engine::{Engine, EngineError, Precision, Targets};
use crate::metric::{MetricError, Predictions, Ranking, Rows, Side};

/// Features that are in one tensor of the engine: 64 MiB in f32.
const CHUNK: usize = 1 << 24;

/// A regression that cannot be fitted or asked.
#[derive(Debug, thiserror::Error)]
pub enum LogisticError {
    /// Features or labels that are none.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// Nothing to tell apart.
    #[error("every train image is of class {class}")]
    OneClass {
        /// The class.
        class: u32,
    },
    /// A strength that is no positive number.
    #[error("strength {strength} is no positive number")]
    Strength {
        /// What was asked for.
        strength: f64,
    },
    /// A start for other features or classes.
    #[error("a start of {start:?} classes and features for {data:?}")]
    Start {
        /// Classes and features of the start.
        start: [usize; 2],
        /// Those of the data.
        data: [usize; 2],
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl LogisticError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Metric(error) => return error.hint(),
            Self::OneClass { .. } => {
                "a classifier needs images of two classes: check --limit and the train split".into()
            }
            Self::Strength { .. } => "strengths are scikit-learn's C: 0.01, 1, 100".into(),
            Self::Start { .. } => "start from a fit of the same feature and dataset".into(),
            Self::Engine(_) => return None,
        })
    }
}

/// When a fit ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticOptions {
    /// Largest entry of the gradient that counts as zero (scikit-learn's `tol`).
    pub tolerance: f64,
    /// Steps after which it ends.
    pub iterations: u32,
}

impl Default for LogisticOptions {
    /// scikit-learn's tolerance, and ten times its 100 steps.
    fn default() -> Self {
        Self {
            tolerance: 1e-4,
            iterations: 1000,
        }
    }
}

/// What is done to every feature before it is weighed.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Taken from each feature: `[dim]`.
    pub mean: Vec<f64>,
    /// What each is then divided by: `[dim]`.
    pub deviation: Vec<f64>,
}

/// Train features and labels on an engine, for fits of any strength.
#[derive(Debug)]
pub struct LogisticData<E: Engine> {
    engine: E,
    dim: usize,
    rows: usize,
    classes: usize,
    /// Classes that have images, ascending.
    present: Vec<u32>,
    scaling: Scaling,
    chunks: Vec<Chunk<E::Tensor>>,
}

#[derive(Debug)]
struct Chunk<T> {
    /// `[rows, dim]`
    features: T,
    /// Places in `present`.
    labels: Vec<u32>,
}

/// A fitted regression.
#[derive(Clone, Debug, PartialEq)]
pub struct Logistic {
    /// Inverse of the regularisation: scikit-learn's `C`.
    pub strength: f64,
    /// Classes, those without train images included.
    pub classes: usize,
    /// `[classes, dim]`, for scaled features.
    pub weights: Vec<f64>,
    /// `[classes]`; minus infinity for classes without train images, where the objective has its
    /// limit.
    pub bias: Vec<f64>,
    /// How features are scaled first.
    pub scaling: Scaling,
    /// Where the objective ended.
    pub at: Iterate,
    /// Why it ended.
    pub stop: Stop,
}

impl<E: Engine> LogisticData<E> {
    /// Takes features and labels to the engine.
    ///
    /// rows: `[n, dim]`, labels: `[n]`, below `classes`. `standardise` shifts and scales each
    /// feature to mean 0 and standard deviation 1 (`StandardScaler`: the biased one, 1 for
    /// constants). The engine holds all features: `4 n dim` bytes in f32.
    ///
    /// # Errors
    /// Labels that do not fit, features that are not finite, fewer than two classes with images.
    pub fn new(
        engine: &E,
        rows: &dyn Rows,
        labels: &[u32],
        classes: usize,
        standardise: bool,
    ) -> Result<Self, LogisticError> {
        let (len, dim) = (rows.len(), rows.dim());
        if dim == 0 {
            return Err(MetricError::NoFeatures.into());
        }
        if len != labels.len() {
            return Err(MetricError::Mismatch {
                what: "train features and labels",
                left: len,
                right: labels.len(),
            }
            .into());
        }
        let mut place = vec![None; classes];
        for (row, &label) in labels.iter().enumerate() {
            let outside = MetricError::Label {
                side: Side::Train,
                row,
                label,
                classes,
            };
            *place.get_mut(label as usize).ok_or(outside)? = Some(0);
        }
        let mut present = Vec::new();
        for (class, place) in (0..).zip(&mut place) {
            if let Some(place) = place {
                *place = present.len() as u32;
                present.push(class);
            }
        }
        match present[..] {
            [] => return Err(MetricError::NoTrainRows.into()),
            [class] => return Err(LogisticError::OneClass { class }),
            _ => {}
        }
        let scaling = Scaling::new(rows, standardise)?;
        let mut chunks = Vec::new();
        for (first, features) in scaled(rows, &scaling) {
            let count = features.len() / dim;
            let labels = labels[first..first + count].iter();
            chunks.push(Chunk {
                features: engine.tensor(&features[..], &[count, dim])?,
                labels: labels.filter_map(|&label| place[label as usize]).collect(),
            });
        }
        Ok(Self {
            engine: engine.clone(),
            dim,
            rows: len,
            classes,
            present,
            scaling,
            chunks,
        })
    }

    /// Fits one strength, from `start` or from zeros. `watch` sees every step and may end the fit.
    ///
    /// # Errors
    /// A strength that is not positive, a start of another shape, a failure of the engine. A fit
    /// that did not converge is none: [`Logistic::stop`] says why.
    pub fn fit(
        &self,
        strength: f64,
        options: LogisticOptions,
        start: Option<&Logistic>,
        watch: &mut dyn FnMut(&Iterate) -> ControlFlow<()>,
    ) -> Result<Logistic, LogisticError> {
        if !(strength > 0.0 && strength.is_finite()) {
            return Err(LogisticError::Strength { strength });
        }
        let start = match start {
            Some(start) => self.compact(start)?,
            None => vec![0.0; self.present.len() * (self.dim + 1)],
        };
        let options = LbfgsOptions {
            tolerance: options.tolerance,
            iterations: options.iterations,
            rounding: match self.engine.precision() {
                Precision::F64 => 1e-14,
                Precision::F32 | Precision::Bf16 => 1e-7,
            },
        };
        let penalty = (self.rows as f64 * strength).recip();
        let found = minimise(
            start,
            options,
            |point| self.objective(point, penalty),
            watch,
        )?;
        let (weights, bias) = found.point.split_at(self.present.len() * self.dim);
        let mut fitted = Logistic {
            strength,
            classes: self.classes,
            weights: vec![0.0; self.classes * self.dim],
            bias: vec![f64::NEG_INFINITY; self.classes],
            scaling: self.scaling.clone(),
            at: found.at,
            stop: found.stop,
        };
        let rows = weights.chunks_exact(self.dim).zip(bias);
        for (&class, (weights, &bias)) in self.present.iter().zip(rows) {
            let class = class as usize;
            fitted.weights[class * self.dim..][..self.dim].copy_from_slice(weights);
            fitted.bias[class] = bias;
        }
        Ok(fitted)
    }

    /// Fits every strength from the smallest on, each from the one before: in that order.
    ///
    /// # Errors
    /// As [`LogisticData::fit`].
    pub fn path(
        &self,
        strengths: &[f64],
        options: LogisticOptions,
        watch: &mut dyn FnMut(&Iterate) -> ControlFlow<()>,
    ) -> Result<Vec<Logistic>, LogisticError> {
        let mut strengths = strengths.to_vec();
        strengths.sort_by(f64::total_cmp);
        let mut path: Vec<Logistic> = Vec::with_capacity(strengths.len());
        for strength in strengths {
            path.push(self.fit(strength, options, path.last(), watch)?);
        }
        Ok(path)
    }

    /// Weights and biases of the classes that have images.
    fn compact(&self, start: &Logistic) -> Result<Vec<f64>, LogisticError> {
        let (shape, data) = (
            [start.classes, start.scaling.mean.len()],
            [self.classes, self.dim],
        );
        if shape != data {
            return Err(LogisticError::Start { start: shape, data });
        }
        let classes = || self.present.iter().map(|&class| class as usize);
        let weights = classes().flat_map(|class| &start.weights[class * self.dim..][..self.dim]);
        // A class that the start had no images of begins as it does without a start.
        let bias = classes().map(|class| match start.bias[class] {
            bias if bias.is_finite() => bias,
            _ => 0.0,
        });
        Ok(weights.copied().chain(bias).collect())
    }

    /// Mean cross entropy and `penalty ||W||² / 2`, with their gradient.
    ///
    /// point: the weights `[present, dim]`, then the biases.
    fn objective(&self, point: &[f64], penalty: f64) -> Result<(f64, Vec<f64>), EngineError> {
        let (engine, classes) = (&self.engine, self.present.len());
        let (weights, bias) = point.split_at(classes * self.dim);
        let weight = engine.parameter(weights, &[classes, self.dim])?;
        let bias = engine.parameter(bias, &[classes])?;
        let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
        let mut value = 0.5 * penalty * squares;
        let mut gradient = vec![0.0; point.len()];
        for (gradient, weight) in gradient.iter_mut().zip(weights) {
            *gradient = penalty * weight;
        }
        for chunk in &self.chunks {
            let share = chunk.labels.len() as f64 / self.rows as f64;
            let logits = engine.linear(&chunk.features, &weight, Some(&bias))?;
            let loss = engine.cross_entropy(&logits, Targets::Classes(&chunk.labels))?;
            value += share * engine.to_f64(&loss)?.iter().sum::<f64>();
            let (of_weight, of_bias) = gradient.split_at_mut(weights.len());
            let parts = engine.grad(&loss, &[&weight, &bias])?;
            for (sums, part) in [of_weight, of_bias].into_iter().zip(parts.iter().flatten()) {
                for (sum, part) in sums.iter_mut().zip(engine.to_f64(part)?) {
                    *sum += share * part;
                }
            }
        }
        Ok((value, gradient))
    }
}

impl Logistic {
    /// Whether the gradient is zero within the tolerance.
    pub fn converged(&self) -> bool {
        self.stop == Stop::Gradient
    }

    /// The classes of highest score of each row.
    ///
    /// # Errors
    /// Rows of another length, features that are not finite, a failure of the engine.
    pub fn predict<E: Engine>(
        &self,
        engine: &E,
        rows: &dyn Rows,
    ) -> Result<Predictions, LogisticError> {
        let (dim, test) = (self.scaling.mean.len(), rows.dim());
        if dim != test {
            return Err(MetricError::Dim { train: dim, test }.into());
        }
        let weight = engine.tensor(&self.weights[..], &[self.classes, dim])?;
        let bias = engine.tensor(&self.bias[..], &[self.classes])?;
        let mut ranked = Vec::with_capacity(rows.len());
        for (first, features) in scaled(rows, &self.scaling) {
            let bad = features
                .chunks_exact(dim)
                .position(|row| !row.iter().all(|x| x.is_finite()));
            if let Some(row) = bad {
                let (side, row) = (Side::Test, first + row);
                return Err(MetricError::NotFinite { side, row }.into());
            }
            let features = engine.tensor(&features[..], &[features.len() / dim, dim])?;
            let scores = engine.to_f32(&engine.linear(&features, &weight, Some(&bias))?)?;
            ranked.extend(scores.chunks_exact(self.classes).map(Ranking::of_scores));
        }
        Ok(Predictions::of_scores(self.classes, ranked))
    }
}

impl Scaling {
    /// Mean and deviation of the train rows; 0 and 1 where they are not asked for.
    fn new(rows: &dyn Rows, standardise: bool) -> Result<Self, MetricError> {
        let (len, dim) = (rows.len(), rows.dim());
        let mut origin = vec![0.0; dim];
        rows.copy(0, &mut origin);
        let origin: Vec<f64> = origin.into_iter().map(f64::from).collect();
        // Differences from the first row: those of a constant are zero, not nearly so.
        let mut sums = vec![0.0; dim];
        each_row(rows, |row, features| {
            let mut check = 0.0;
            for ((sum, &x), origin) in sums.iter_mut().zip(features).zip(&origin) {
                *sum += f64::from(x) - origin;
                check += 0.0 * x;
            }
            if check != 0.0 {
                return Err(MetricError::NotFiniteRow { row });
            }
            Ok(())
        })?;
        if !standardise {
            return Ok(Self {
                mean: vec![0.0; dim],
                deviation: vec![1.0; dim],
            });
        }
        let means = sums.iter().zip(&origin);
        let mean: Vec<f64> = means
            .map(|(sum, origin)| origin + sum / len as f64)
            .collect();
        let mut squares = vec![0.0; dim];
        each_row(rows, |_, features| {
            for ((square, &x), mean) in squares.iter_mut().zip(features).zip(&mean) {
                let apart = f64::from(x) - mean;
                *square += apart * apart;
            }
            Ok(())
        })?;
        let deviation = squares
            .iter()
            .map(|square| match (square / len as f64).sqrt() {
                0.0 => 1.0,
                deviation => deviation,
            });
        Ok(Self {
            deviation: deviation.collect(),
            mean,
        })
    }
}

/// Rows that are copied at a time where only sums are kept.
const FEW: usize = 256;

/// Calls `visit` with the index and the features of every row.
fn each_row(
    rows: &dyn Rows,
    mut visit: impl FnMut(usize, &[f32]) -> Result<(), MetricError>,
) -> Result<(), MetricError> {
    let (len, dim) = (rows.len(), rows.dim());
    let mut features = vec![0.0; FEW.min(len) * dim];
    for first in (0..len).step_by(FEW) {
        let features = &mut features[..FEW.min(len - first) * dim];
        rows.copy(first, features);
        for (row, features) in features.chunks_exact(dim).enumerate() {
            visit(first + row, features)?;
        }
    }
    Ok(())
}

/// The rows after shift and scale, in pieces of [`CHUNK`] features, each with its first row.
fn scaled<'a>(
    rows: &'a dyn Rows,
    scaling: &'a Scaling,
) -> impl Iterator<Item = (usize, Vec<f32>)> + 'a {
    let (len, dim) = (rows.len(), rows.dim());
    let count = (CHUNK / dim).max(1);
    (0..len).step_by(count).map(move |first| {
        let mut features = vec![0.0; count.min(len - first) * dim];
        rows.copy(first, &mut features);
        for row in features.chunks_exact_mut(dim) {
            let scaling = scaling.mean.iter().zip(&scaling.deviation);
            for (x, (mean, deviation)) in row.iter_mut().zip(scaling) {
                *x = ((f64::from(*x) - mean) / deviation) as f32;
            }
        }
        (first, features)
    })
}
