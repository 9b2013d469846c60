//! What a training run of classifiers is seen by: its notes and the validations so far.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::Terminal;
use super::super::record::Looked;
use super::Training;
use super::chronicle::{Chronicle, KeptChronicle, LossKind, values};
use super::ledger::{Ledger, bytes};
use crate::data::Split;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Cell, Part};
use crate::protocol::classification::{Head, HeadOutcomes, HeadResult, Validation};
use crate::store::{Elements, NamedTensor};
use crate::train::{HeadScores, ImageBatch, Monitor, Recipe, Saved, TrainError, Update};

/// The run's witness.
pub(in crate::run) struct TrainingMonitor<'a> {
    chronicle: Chronicle<'a>,
    heads: &'a [Head],
    validations: Vec<Validation>,
    /// What the heads said in the validation under way, or in the last.
    outcomes: Vec<HeadOutcomes>,
    /// Sums of their cross entropies.
    losses: Vec<f64>,
}

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
    #[serde(flatten)]
    chronicle: KeptChronicle,
    validations: Vec<Validation>,
    losses: Vec<f64>,
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
        let ledgers = [Ledger::new(Part::Train, train), Ledger::new(Part::Val, val)];
        let name = cell.subject.name();
        Self {
            chronicle: Chronicle::new(
                name,
                (recipe, LossKind::Heads),
                (ledgers, stamps),
                folder,
                terminal,
            ),
            heads,
            validations: Vec::new(),
            outcomes: vec![HeadOutcomes::default(); heads.len()],
            losses: vec![0.0; heads.len()],
        }
    }

    /// Ends the display.
    pub(in crate::run) fn rest(&mut self) {
        self.chronicle.rest();
    }

    /// What there is to report once training has come to its end.
    pub(in crate::run) fn finish(self) -> Result<Finished, Error> {
        let ended = self.chronicle.finish()?;
        Ok(Finished {
            validations: self.validations,
            outcomes: self.outcomes,
            looked: ended.looked,
            encoded: ended.encoded,
            seconds: ended.seconds,
        })
    }
}

impl Monitor<Training> for TrainingMonitor<'_> {
    fn sees(&mut self, batch: &ImageBatch) -> Result<(), TrainError> {
        self.chronicle.sees(&batch.picks, &batch.contents)
    }

    fn discarded(&mut self) {
        self.chronicle.discarded();
    }

    fn progress(&mut self, epoch: usize, samples: usize, of: usize) {
        self.chronicle.progress(epoch, samples, of);
    }

    fn updated(&mut self, update: &Update) -> Result<(), TrainError> {
        self.chronicle.updated(update)
    }

    fn validated(
        &mut self,
        epoch: usize,
        batch: &ImageBatch,
        scores: Vec<HeadScores>,
    ) -> Result<usize, TrainError> {
        self.chronicle.validates(&batch.picks, &batch.contents)?;
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
        let (means, mut line) = self.chronicle.epoch_ended(epoch);
        if validated {
            let samples = &self.chronicle.val.split.samples;
            let labels = samples.iter().map(|sample| sample.label);
            let images = samples.len();
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
            let mut all = values(&[("top1", best)], ("loss", LossKind::Heads), losses);
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
            self.chronicle.found((epoch, &means), all)?;
        }
        self.chronicle.terminal.notice(&line);
        Ok(())
    }

    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError> {
        let (chronicle, mut tensors) = self.chronicle.save()?;
        let kept = Kept {
            chronicle,
            validations: self.validations.clone(),
            losses: self.losses.clone(),
        };
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
        self.chronicle.resume(kept.chronicle, saved)
    }

    fn notice(&mut self, message: &str) {
        self.chronicle.terminal.notice(message);
    }

    fn cancelled(&self) -> bool {
        self.chronicle.terminal.cancelled()
    }
}
