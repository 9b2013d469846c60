//! Logistic regression of stored features: what is reported of it.

use crate::metric::{MetricError, Predictions, accuracy};
use crate::report::{ImageOutcomes, Measured};
use crate::stats::{IntervalError, Measure};
use crate::train::LogisticError;

/// Raised when fitting, choosing or counting may give another number for the same features: part
/// of every cell's key.
pub const EVALUATION_VERSION: u32 = 1;

/// Features that cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum LinearCachedError {
    /// The regression failed.
    #[error(transparent)]
    Logistic(#[from] LogisticError),
    /// Counting failed.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// No interval can be given.
    #[error(transparent)]
    Interval(#[from] IntervalError),
    /// Every held-out image is the last of its class.
    #[error("no strength can be chosen: no class has a train image held out and another to fit")]
    NothingHeldOut,
}

impl LinearCachedError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Logistic(error) => error.hint(),
            Self::Metric(error) => error.hint(),
            Self::Interval(error) => error.hint(),
            Self::NothingHeldOut => Some(
                "name one, as in --set 'task.strengths=[1.0]', or take more train images"
                    .to_owned(),
            ),
        }
    }
}

/// How a classifier over one feature did.
#[derive(Clone, Debug)]
pub struct CachedResult<'a> {
    /// Name of the feature.
    pub feature: &'a str,
    /// The block that it is read from, where it is read from one.
    pub layer: Option<usize>,
    /// Its classes for every validation image.
    pub predictions: &'a Predictions,
    /// The strength that it was fitted with.
    pub strength: f64,
    /// Each strength and its share of right answers on held-out train images.
    pub held_out: &'a [(f64, f64)],
    /// Whether the fit came to its end.
    pub converged: bool,
}

/// What one feature gave.
#[derive(Debug)]
pub struct CachedOutcome {
    /// top-1 and top-5.
    pub measures: Vec<Measured>,
    /// What happened to every image.
    pub outcomes: ImageOutcomes,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Accuracies on the validation images, whose classes are `labels`.
pub fn evaluate(
    result: &CachedResult<'_>,
    labels: &[u32],
) -> Result<CachedOutcome, LinearCachedError> {
    let CachedResult {
        feature,
        layer,
        strength,
        ..
    } = *result;
    let accuracy = accuracy(result.predictions, labels)?;
    let mut measures = Vec::new();
    for (name, hits) in [("top1", &accuracy.top1), ("top5", &accuracy.top5)] {
        measures.push(Measured {
            feature: feature.to_owned(),
            layer,
            headline: true,
            ..Measured::of(Measure::from_hits(name, hits.count, accuracy.n)?)
        });
    }
    let mut notes = vec![match result.held_out {
        [] => format!("{feature}: C = {strength}, the only one of task.strengths"),
        [(_, first), rest @ ..] if rest.iter().all(|(_, share)| share == first) => format!(
            "{feature}: C = {strength}, the strongest penalty of task.strengths: all are right on as many held-out train images"
        ),
        [..] => format!("{feature}: C = {strength}, chosen on held-out train images"),
    }];
    let ends = [result.held_out.first(), result.held_out.last()];
    if ends.iter().flatten().any(|(end, _)| *end == strength) {
        notes.push(format!(
            "{feature}: C = {strength} is at the end of task.strengths; another may be better"
        ));
    }
    if !result.converged {
        notes.push(format!(
            "{feature}: the fit ended after task.max_iterations before its gradient vanished"
        ));
    }
    let ranked = result.predictions.ranked.iter();
    Ok(CachedOutcome {
        measures,
        outcomes: ImageOutcomes {
            name: feature.to_owned(),
            top1: ranked
                .filter_map(|ranking| ranking.classes().first().copied())
                .collect(),
            top5: accuracy.top5.by_image,
        },
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Ranking;

    fn notes(held_out: &[(f64, f64)], strength: f64) -> Vec<String> {
        let ranked = vec![Ranking::of_scores(&[0.1, 0.9])];
        let predictions = Predictions::of_scores(2, ranked);
        let result = CachedResult {
            feature: "cls",
            layer: None,
            predictions: &predictions,
            strength,
            held_out,
            converged: true,
        };
        evaluate(&result, &[1]).unwrap().notes
    }

    #[test]
    fn how_the_strength_came_about_is_said() {
        assert_eq!(
            notes(&[], 1.0),
            ["cls: C = 1, the only one of task.strengths"]
        );
        let chosen = notes(&[(0.1, 0.5), (1.0, 0.75), (10.0, 0.5)], 1.0);
        assert_eq!(chosen, ["cls: C = 1, chosen on held-out train images"]);
        let equal = notes(&[(0.1, 0.5), (1.0, 0.5)], 0.1);
        assert!(equal[0].contains("the strongest penalty"), "{equal:?}");
        assert!(equal[1].contains("at the end"), "{equal:?}");
    }
}
