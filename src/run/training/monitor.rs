//! What a training run is seen by: progress, the validations so far, and whether the images are still
//! those that it began with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::Terminal;
use super::super::record::Looked;
use super::Training;
use super::epoch_means::EpochMeans;
use super::ledger::{Ledger, bytes};
use crate::data::Split;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Cell, Part};
use crate::protocol::classification::{Head, HeadOutcomes, HeadResult, Validation};
use crate::store::{CurveKind, CurvePoint, Elements, LEARNING_RATE, NamedTensor};
use crate::train::{
    CurveLengths, Curves, HeadScores, ImageBatch, Monitor, Recipe, Saved, TrainError, Update,
};

/// The run's witness.
pub(in crate::run) struct TrainingMonitor<'a> {
    terminal: &'a mut Terminal,
    heads: &'a [Head],
    recipe: &'a Recipe,
    train: Ledger,
    val: Ledger,
    /// Hash of the stamps of the images' files.
    stamps: &'a str,
    validations: Vec<Validation>,
    /// What the heads said in the validation under way, or in the last.
    outcomes: Vec<HeadOutcomes>,
    /// Sums of their cross entropies.
    losses: Vec<f64>,
    epoch: EpochMeans,
    encoded: usize,
    /// Those of the update under way.
    under_way: usize,
    folder: PathBuf,
    /// From the first batch on.
    curves: Option<Curves>,
    /// Updates between two points of the curves.
    every: usize,
    /// Seconds of earlier attempts.
    before: f64,
    start: Instant,
}

/// Points of the training curves of a whole run, at most.
const POINTS: usize = 10_000;

/// What the heads ended with.
pub(in crate::run) struct Finished {
    pub validations: Vec<Validation>,
    pub outcomes: Vec<HeadOutcomes>,
    pub looked: Vec<Looked>,
    pub encoded: usize,
    pub seconds: f64,
}

/// The part of a state that is numbers.
#[derive(Serialize, Deserialize)]
struct Kept {
    stamps: String,
    validations: Vec<Validation>,
    losses: Vec<f64>,
    epoch: EpochMeans,
    encoded: usize,
    under_way: usize,
    curves: Option<CurveLengths>,
    seconds: f64,
}

/// Values of a point: those that have a name of their own, the mean over all heads, and where
/// there are several one a head.
fn values<'a>(
    own: &[(&str, f64)],
    name: &str,
    heads: impl Iterator<Item = (&'a str, f64)>,
) -> BTreeMap<String, f64> {
    let heads: Vec<_> = heads.collect();
    let mean = heads.iter().map(|(_, x)| x).sum::<f64>() / heads.len() as f64;
    let mut values: BTreeMap<_, _> = own.iter().map(|&(name, x)| (name.to_owned(), x)).collect();
    values.insert(name.to_owned(), mean);
    if heads.len() > 1 {
        let named = heads.iter().map(|(head, x)| (format!("{name}/{head}"), *x));
        values.extend(named);
    }
    values
}

impl<'a> TrainingMonitor<'a> {
    pub(in crate::run) fn new(
        cell: &Cell,
        heads: &'a [Head],
        recipe: &'a Recipe,
        ([train, val], stamps): ([Arc<Split>; 2], &'a str),
        folder: &Path,
        terminal: &'a mut Terminal,
    ) -> Self {
        terminal.begin(cell.subject.name());
        let updates = recipe.updates(train.samples.len());
        Self {
            folder: folder.to_owned(),
            curves: None,
            every: updates.div_ceil(POINTS).max(1),
            terminal,
            heads,
            recipe,
            train: Ledger::new(Part::Train, train),
            val: Ledger::new(Part::Val, val),
            stamps,
            validations: Vec::new(),
            outcomes: vec![HeadOutcomes::default(); heads.len()],
            losses: vec![0.0; heads.len()],
            epoch: EpochMeans::default(),
            encoded: 0,
            under_way: 0,
            before: 0.0,
            start: Instant::now(),
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    /// The curves, new ones where there are none yet.
    fn curves(&mut self) -> Result<&mut Curves, TrainError> {
        let curves = match self.curves.take() {
            Some(curves) => curves,
            None => Curves::create(&self.folder)?,
        };
        Ok(self.curves.insert(curves))
    }

    /// Ends the display.
    pub(in crate::run) fn rest(&mut self) {
        self.terminal.end();
    }

    /// What there is to report once training has come to its end.
    pub(in crate::run) fn finish(self) -> Result<Finished, Error> {
        let seconds = self.seconds();
        let images = self.train.count(false) + self.val.count(false);
        let bar = self
            .terminal
            .bar("reading what no epoch has met", images, "images");
        let read = || bar.inc(1);
        let looked = vec![self.train.looked(&read)?, self.val.looked(&read)?];
        bar.finish_and_clear();
        Ok(Finished {
            validations: self.validations,
            outcomes: self.outcomes,
            looked,
            encoded: self.encoded,
            seconds,
        })
    }
}

impl Monitor<Training> for TrainingMonitor<'_> {
    fn sees(&mut self, batch: &ImageBatch) -> Result<(), TrainError> {
        self.encoded += batch.labels.len();
        self.under_way += batch.labels.len();
        self.train.meets(batch)?;
        // A folder that they cannot be in is known before anything is computed.
        self.curves().map(drop)
    }

    fn discarded(&mut self) {
        self.encoded -= std::mem::take(&mut self.under_way);
    }

    fn progress(&mut self, epoch: usize, samples: usize, of: usize) {
        self.terminal
            .progress(epoch * of + samples, self.recipe.epochs * of);
    }

    fn updated(&mut self, update: &Update) -> Result<(), TrainError> {
        self.under_way = 0;
        self.epoch.add(update);
        let means = &self.epoch;
        let point = CurvePoint {
            kind: CurveKind::Train,
            step: means.updates as u64,
            epoch: update.epoch,
            images: means.seen as u64,
            values: values(
                &[
                    (LEARNING_RATE, update.learning_rate),
                    ("gradient_norm", update.gradient_norm),
                ],
                "loss",
                update
                    .terms
                    .iter()
                    .map(|(name, loss)| (name.as_str(), *loss)),
            ),
        };
        match update.update.is_multiple_of(self.every) {
            true => Ok(self.curves()?.write(&point)?),
            false => Ok(()),
        }
    }

    fn validated(
        &mut self,
        epoch: usize,
        batch: &ImageBatch,
        scores: Vec<HeadScores>,
    ) -> Result<usize, TrainError> {
        self.encoded += batch.labels.len();
        self.val.meets(batch)?;
        if batch.picks.first().is_some_and(|pick| pick.index == 0) {
            self.outcomes = vec![HeadOutcomes::default(); self.heads.len()];
            self.losses = vec![0.0; self.heads.len()];
        }
        let own = self.outcomes.iter_mut().zip(&mut self.losses);
        for (((outcomes, loss), scores), head) in own.zip(scores).zip(self.heads) {
            if let Some(&value) = scores.losses.iter().find(|loss| !loss.is_finite()) {
                return Err(TrainError::ValidationNotFinite {
                    epoch,
                    term: head.name.clone(),
                    value,
                });
            }
            let ranked = scores.ranked.iter().zip(&batch.labels);
            for (ranking, label) in ranked {
                let classes = ranking.classes();
                outcomes
                    .top1
                    .push(classes.first().copied().unwrap_or_default());
                outcomes.top5.push(classes.contains(label));
            }
            // Image by image, so that the sum is the same however they are cut into batches.
            scores.losses.iter().for_each(|own| *loss += own);
        }
        Ok(batch.labels.len())
    }

    fn epoch_ended(
        &mut self,
        epoch: usize,
        validated: bool,
        _: &Training,
    ) -> Result<(), TrainError> {
        let means = self.epoch.take();
        let mut line = format!("epoch {} of {}", epoch + 1, self.recipe.epochs);
        let losses = means.terms().map(|(_, mean)| mean);
        if let Some(loss) = losses.reduce(f64::min) {
            let least = if means.terms.len() > 1 { "least " } else { "" };
            line.push_str(&format!(
                ": {least}loss {loss:.4}, learning rate {:.3e}",
                means.learning_rate
            ));
        }
        if validated {
            let labels = self.val.split.samples.iter().map(|sample| sample.label);
            let images = self.val.split.samples.len();
            let result = |(outcomes, &loss): (&HeadOutcomes, &f64)| {
                let right = outcomes.top1.iter().zip(labels.clone());
                HeadResult {
                    top1: right.filter(|&(&top1, label)| top1 == label).count() as u64,
                    top5: outcomes.top5.iter().filter(|&&hit| hit).count() as u64,
                    loss: loss / images as f64,
                }
            };
            let heads: Vec<_> = self.outcomes.iter().zip(&self.losses).map(result).collect();
            if let Some((head, result)) = (self.heads.iter().zip(&heads)).reduce(|best, other| {
                if other.1.top1 > best.1.top1 {
                    other
                } else {
                    best
                }
            }) {
                line.push_str(&format!(
                    "; validation: {:.2} % top-1 ({})",
                    100.0 * result.top1 as f64 / images as f64,
                    head.name
                ));
            }
            let percent = |head: &HeadResult| 100.0 * head.top1 as f64 / images as f64;
            let named = self.heads.iter().zip(&heads);
            let losses = named.map(|(head, result)| (head.name.as_str(), result.loss));
            let best = heads.iter().map(percent).fold(0.0, f64::max);
            let mut all = values(&[("top1", best)], "loss", losses);
            if self.heads.len() > 1 {
                let accuracies = self.heads.iter().zip(&heads);
                let top1 =
                    accuracies.map(|(head, of)| (format!("top1/{}", head.name), percent(of)));
                all.extend(top1);
            }
            self.validations.push(Validation {
                epoch,
                images: images as u64,
                heads,
            });
            self.curves()?.write(&CurvePoint {
                kind: CurveKind::Val,
                step: means.updates as u64,
                epoch: (epoch + 1) as f64,
                images: means.seen as u64,
                values: all,
            })?;
        }
        self.terminal.notice(&line);
        Ok(())
    }

    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError> {
        let kept = Kept {
            stamps: self.stamps.to_owned(),
            validations: self.validations.clone(),
            losses: self.losses.clone(),
            epoch: self.epoch.clone(),
            encoded: self.encoded,
            under_way: self.under_way,
            curves: self.curves.as_ref().map(Curves::save).transpose()?,
            seconds: self.seconds(),
        };
        let mut tensors = Vec::new();
        tensors.extend(self.train.save());
        tensors.extend(self.val.save());
        for (i, outcomes) in self.outcomes.iter().enumerate() {
            let images = outcomes.top1.len();
            tensors.push(NamedTensor {
                name: format!("outcomes.{i}.top1"),
                shape: vec![images],
                elements: Elements::U32(outcomes.top1.clone().into()),
            });
            tensors.push(NamedTensor {
                name: format!("outcomes.{i}.top5"),
                shape: vec![images],
                elements: Elements::U8(outcomes.top5.iter().map(|&hit| u8::from(hit)).collect()),
            });
        }
        let value = serde_json::to_value(&kept).map_err(|error| TrainError::Unfit {
            name: "the validations".to_owned(),
            reason: error.to_string(),
        })?;
        Ok((value, tensors))
    }

    fn resume(&mut self, saved: &Saved) -> Result<(), TrainError> {
        let unfit = |name: &str, reason: String| TrainError::Unfit {
            name: name.to_owned(),
            reason,
        };
        let kept: Kept = serde_json::from_value(saved.monitor.clone())
            .map_err(|error| unfit("the validations", error.to_string()))?;
        self.train.restore(&saved.tensors)?;
        self.val.restore(&saved.tensors)?;
        if kept.stamps != self.stamps {
            self.notice("the images' files were written to or moved since; reading them again");
            let images = self.train.count(true) + self.val.count(true);
            let bar = self.terminal.bar("reading again", images, "images");
            self.train.meets_again(&|| bar.inc(1))?;
            self.val.meets_again(&|| bar.inc(1))?;
            bar.finish_and_clear();
        }
        for (i, outcomes) in self.outcomes.iter_mut().enumerate() {
            let name = format!("outcomes.{i}.top1");
            let top1 = match saved.tensors.get(&name).map(|tensor| &tensor.elements) {
                Some(Elements::U32(top1)) => top1.to_vec(),
                _ => return Err(unfit(&name, "is missing".to_owned())),
            };
            let hits = bytes(&saved.tensors, &format!("outcomes.{i}.top5"), top1.len())?;
            outcomes.top5 = hits.iter().map(|&hit| hit != 0).collect();
            outcomes.top1 = top1;
        }
        self.validations = kept.validations;
        self.losses = kept.losses;
        self.epoch = kept.epoch;
        self.encoded = kept.encoded;
        self.under_way = kept.under_way;
        self.before = kept.seconds;
        // The curves of a run that has ended are as they are.
        if saved.progress.epoch < self.recipe.epochs {
            if let Some(lengths) = &kept.curves {
                let mut notice = |message: &str| self.terminal.notice(message);
                self.curves = Some(Curves::resume(&self.folder, lengths, &mut notice)?);
            }
            self.notice(&format!("going on with epoch {}", saved.progress.epoch + 1));
        }
        Ok(())
    }

    fn notice(&mut self, message: &str) {
        self.terminal.notice(message);
    }

    fn cancelled(&self) -> bool {
        self.terminal.cancelled()
    }
}
