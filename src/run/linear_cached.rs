//! Cached linear probes: a strength chosen on held-out train features, then a fit to all of them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::Terminal;
use super::cells::Outcome;
use super::dispatch::{Job, dispatch};
use super::extraction::Features;
use crate::engine::Engine;
use crate::error::Error;
use crate::features::{ExtractError, FeatureMatrix, Observer};
use crate::metric::{Predictions, SomeRows, accuracy};
use crate::plan::{Cell, RunOptions};
use crate::protocol::linear_cached::{self, CachedResult, LinearCachedError};
use crate::spec::CachedTask;
use crate::train::{LogisticData, LogisticOptions};

/// One classifier a feature.
pub(super) fn evaluate(
    cell: &Cell,
    task: &CachedTask,
    features: &[Features<'_>],
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Outcome, Error> {
    let mut all = Outcome::default();
    let [train, val] = features else {
        return Ok(all);
    };
    let [train_labels, val_labels] = [train.labels(), val.labels()];
    let (_, held_out) = train.split.hold_out(task.hold_out, task.shots_seed);
    let held_out = |row: usize| held_out.binary_search(&(train.kept[row] as usize)).is_ok();
    let fold = Fold::new(&train_labels, held_out);
    if task.strengths.len() > 1 && fold.held_out.is_empty() {
        return Err(LinearCachedError::NothingHeldOut.into());
    }
    terminal.begin(cell.subject.name());
    let matrices = train.matrices.iter().zip(&val.matrices);
    for (tap, (&train, &val)) in cell.taps().zip(matrices) {
        let feature = tap.to_string();
        let fit = Fit {
            task,
            train,
            train_labels: &train_labels,
            val,
            fold: &fold,
            classes: cell.set.classes.len(),
            label: format!("{} {feature}", cell.subject.name()),
            terminal: &*terminal,
        };
        let fitted = dispatch(run.compute, fit)??;
        if terminal.cancelled() {
            terminal.end();
            return Err(Error::Extract(ExtractError::Interrupted {
                done: 0,
                total: 0,
                stored: true,
            }));
        }
        let result = CachedResult {
            feature: &feature,
            layer: tap.layer(),
            predictions: &fitted.predictions,
            strength: fitted.strength,
            held_out: &fitted.held_out,
            converged: fitted.converged,
        };
        let found = linear_cached::evaluate(&result, &val_labels)?;
        all.measures.extend(found.measures);
        all.notes.extend(found.notes);
        all.predictions.push(found.outcomes);
    }
    terminal.end();
    Ok(all)
}

/// Rows to fit strengths on, and rows to choose among them: what is held out of classes that the
/// others have, since of any other class no fit says anything.
#[derive(Debug, PartialEq)]
struct Fold {
    rest: Vec<usize>,
    held_out: Vec<usize>,
}

impl Fold {
    fn new(labels: &[u32], held_out: impl Fn(usize) -> bool) -> Self {
        let (mut out, rest): (Vec<_>, Vec<_>) = (0..labels.len()).partition(|&row| held_out(row));
        let known: BTreeSet<_> = rest.iter().map(|&row| labels[row]).collect();
        out.retain(|&row| known.contains(&labels[row]));
        Self {
            rest,
            held_out: out,
        }
    }
}

/// The fits of one feature, on any engine.
struct Fit<'a> {
    task: &'a CachedTask,
    train: &'a FeatureMatrix,
    train_labels: &'a [u32],
    val: &'a FeatureMatrix,
    fold: &'a Fold,
    classes: usize,
    label: String,
    terminal: &'a Terminal,
}

struct Fitted {
    predictions: Predictions,
    strength: f64,
    held_out: Vec<(f64, f64)>,
    converged: bool,
}

impl Job for Fit<'_> {
    type Output = Result<Fitted, LinearCachedError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Self {
            task,
            train,
            classes,
            ..
        } = self;
        let bar = self.terminal.bar(&self.label, 0, "iterations");
        let mut watch = |_: &_| {
            bar.inc(1);
            match self.terminal.cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let options = LogisticOptions {
            tolerance: task.tolerance,
            iterations: u32::try_from(task.max_iterations).unwrap_or(u32::MAX),
        };
        let labels = |rows: &[usize]| -> Vec<u32> {
            rows.iter().map(|&row| self.train_labels[row]).collect()
        };
        let mut held_out = Vec::new();
        let mut strength = task.strengths.first().copied().unwrap_or(1.0);
        if task.strengths.len() > 1 {
            let Fold {
                rest,
                held_out: out,
            } = self.fold;
            let (of_rest, of_out) = (labels(rest), labels(out));
            let rows = SomeRows::new(train, rest);
            let data = LogisticData::new(&engine, &rows, &of_rest, classes, task.standardise)?;
            let path = data.path(&task.strengths, options, &mut watch)?;
            let out = SomeRows::new(train, out);
            let mut best = f64::NEG_INFINITY;
            for fitted in &path {
                let found = accuracy(&fitted.predict(&engine, &out)?, &of_out)?;
                let share = found.top1.count as f64 / found.n.max(1) as f64;
                held_out.push((fitted.strength, share));
                // Equal ones: the stronger penalty, which came first.
                if share > best {
                    (best, strength) = (share, fitted.strength);
                }
            }
        }
        let data = LogisticData::new(&engine, train, self.train_labels, classes, task.standardise)?;
        let fitted = data.fit(strength, options, None, &mut watch)?;
        bar.finish_and_clear();
        Ok(Fitted {
            predictions: fitted.predict(&engine, self.val)?,
            strength,
            held_out,
            converged: fitted.converged(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_is_held_out_whole_chooses_nothing() {
        let fold = |labels: &[u32], out: &[usize]| Fold::new(labels, |row| out.contains(&row));
        let expected = Fold {
            rest: vec![0, 2, 4],
            held_out: vec![1],
        };
        assert_eq!(fold(&[0, 0, 1, 2, 1], &[1, 3]), expected);
        assert_eq!(fold(&[0, 1, 2], &[1]).held_out, [0; 0]);
    }
}
