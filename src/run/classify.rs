//! Cells of a checkpoint's own head, as it is.

use super::cells::Outcome;
use super::extraction::Features;
use crate::error::Error;
use crate::metric::{Ranking, Rows, cross_entropy};
use crate::plan::Cell;
use crate::protocol::classification::{self, Head, HeadOutcomes, HeadResult, Validation};

/// What the logits of the validation images say.
pub(super) fn evaluate(cell: &Cell, features: &[Features<'_>]) -> Result<Outcome, Error> {
    let [val] = features else {
        return Ok(Outcome::default());
    };
    let labels = val.labels();
    let mut outcomes = HeadOutcomes::default();
    let mut result = HeadResult {
        top1: 0,
        top5: 0,
        loss: 0.0,
    };
    for &logits in &val.matrices {
        let mut row = vec![0.0; logits.dim()];
        for (image, label) in labels.iter().enumerate() {
            logits.copy(image, &mut row);
            let ranking = Ranking::of_scores(&row);
            let first = ranking.classes().first().copied().unwrap_or_default();
            let among = ranking.classes().contains(label);
            result.top1 += u64::from(first == *label);
            result.top5 += u64::from(among);
            result.loss += cross_entropy(&row, *label).unwrap_or(f64::NAN);
            outcomes.top1.push(first);
            outcomes.top5.push(among);
        }
    }
    result.loss /= labels.len() as f64;
    let Some(checkpoint) = cell.subject.architecture() else {
        return Ok(Outcome::default());
    };
    let head = Head {
        name: checkpoint.classifier()?.reads.value,
        input: 0,
        layer: Some(checkpoint.config.depth.saturating_sub(1)),
        learning_rate: None,
    };
    let validation = Validation {
        epoch: 0,
        images: labels.len() as u64,
        heads: vec![result],
    };
    let found = classification::evaluate(&[head], &[validation], vec![outcomes])?;
    Ok(Outcome {
        measures: found.measures,
        notes: found.notes,
        selection: found.selection,
        predictions: found.outcomes,
        ..Outcome::default()
    })
}
