//! kNN cells: search and vote for every feature.

use super::Terminal;
use super::cells::Outcome;
use super::extraction::Features;
use crate::error::Error;
use crate::metric::Rows;
use crate::plan::{Cell, RunOptions};
use crate::protocol::knn::{self, KnnData};
use crate::spec::KnnTask;

/// Votes of train features on validation features, tap by tap.
pub(super) fn evaluate(
    cell: &Cell,
    task: &KnnTask,
    features: &[Features<'_>],
    run: &RunOptions,
    terminal: &Terminal,
) -> Result<Outcome, Error> {
    let mut all = Outcome::default();
    let [train, val] = features else {
        return Ok(all);
    };
    let [train_labels, val_labels] = [train.labels(), val.labels()];
    let matrices = train.matrices.iter().zip(&val.matrices);
    for (tap, (&train, &val)) in cell.taps().zip(matrices) {
        let bar = terminal.bar(
            &format!("{} {tap}", cell.subject.name()),
            val.len(),
            "queries",
        );
        let outcome = knn::evaluate(
            &KnnData {
                feature: &tap.to_string(),
                layer: tap.layer(),
                train,
                train_labels: &train_labels,
                val,
                val_labels: &val_labels,
                classes: cell.set.classes.len(),
            },
            task,
            run.threads,
            &|done| bar.set_position(done as u64),
        );
        bar.finish_and_clear();
        let outcome = outcome?;
        all.measures.extend(outcome.measures);
        all.notes.extend(outcome.notes);
        all.predictions.extend(outcome.outcomes);
    }
    Ok(all)
}
