//! What a pre-training run is seen by: its terms, how fast it is, and what kNN says of it on the way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::super::Terminal;
use super::super::training::{EpochMeans, Ledger};
use super::network::Training;
use crate::data::Split;
use crate::features::Observer;
use crate::metric::{Dense, MetricError, Vote, accuracy, exact_neighbours, vote_curve};
use crate::plan::{Part, PretrainPlan};
use crate::pretrain::TeacherClock;
use crate::report::Look;
use crate::store::{CurveKind, CurvePoint, Elements, LEARNING_RATE, NamedTensor};
use crate::train::{
    CurveLengths, Curves, ImageBatch, Monitor, Recipe, Saved, Stage, TrainError, Update,
};

/// Points of the training curves of a whole run, at most.
const POINTS: usize = 10_000;

/// Temperature of DINO's vote.
const TEMPERATURE: f32 = 0.07;

/// Name of the watched images' features in a state.
const FEATURES: &str = "watched.features";

/// The run's witness.
pub(super) struct PretrainMonitor<'a> {
    plan: &'a PretrainPlan,
    terminal: &'a mut Terminal,
    recipe: &'a Recipe,
    /// What each term counts for.
    weights: Vec<f64>,
    clock: TeacherClock,
    train: Ledger,
    stamps: &'a str,
    epoch: EpochMeans,
    /// The last whole epoch's.
    last: EpochMeans,
    looks: Vec<Look>,
    /// Features of the watched images so far, in the look under way.
    features: Vec<f32>,
    /// Images of the update under way, and of the whole run.
    under_way: usize,
    encoded: usize,
    folder: PathBuf,
    curves: Option<Curves>,
    every: usize,
    /// What of the time is computing, since the last point of the curves.
    busy: Busy,
    /// When the batch in hand was handed over.
    began: Option<Instant>,
    before: f64,
    start: Instant,
    keep: &'a mut Keep<'a>,
}

/// Keeps the weights as an epoch, counted from 1, left them.
pub(super) type Keep<'a> = dyn FnMut(usize, &Training) -> Result<Option<String>, TrainError> + 'a;

/// What a point of the curves says of speed.
#[derive(Clone, Copy, Debug, Default)]
struct Busy {
    images: usize,
    all: Duration,
    /// The teachers' clock at the last point.
    teachers: Duration,
}

/// What there is to say at the end.
pub(super) struct Finished {
    pub looks: Vec<Look>,
    pub means: EpochMeans,
    pub encoded: usize,
    pub seconds: f64,
}

/// The part of a state that is numbers.
#[derive(Serialize, Deserialize)]
struct Kept {
    stamps: String,
    /// Which images are watched.
    watched: String,
    epoch: EpochMeans,
    last: EpochMeans,
    looks: Vec<Look>,
    under_way: usize,
    encoded: usize,
    curves: Option<CurveLengths>,
    seconds: f64,
}

impl<'a> PretrainMonitor<'a> {
    pub(super) fn new(
        plan: &'a PretrainPlan,
        recipe: &'a Recipe,
        (clock, stamps): (TeacherClock, &'a str),
        folder: &Path,
        terminal: &'a mut Terminal,
        keep: &'a mut Keep<'a>,
    ) -> Self {
        terminal.begin(&plan.recipe.recipe.name);
        let split = plan.train.split.clone();
        let updates = recipe.updates(split.samples.len());
        let terms = plan.blueprint.terms().iter();
        Self {
            weights: terms.map(|term| term.spec.weight()).collect(),
            plan,
            recipe,
            clock,
            train: Ledger::new(Part::Train, split),
            stamps,
            epoch: EpochMeans::default(),
            last: EpochMeans::default(),
            looks: Vec::new(),
            features: Vec::new(),
            under_way: 0,
            encoded: 0,
            folder: folder.to_owned(),
            curves: None,
            every: updates.div_ceil(POINTS).max(1),
            busy: Busy::default(),
            began: None,
            before: 0.0,
            start: Instant::now(),
            terminal,
            keep,
        }
    }

    fn seconds(&self) -> f64 {
        self.before + self.start.elapsed().as_secs_f64()
    }

    fn curves(&mut self) -> Result<&mut Curves, TrainError> {
        let curves = match self.curves.take() {
            Some(curves) => curves,
            None => Curves::create(&self.folder)?,
        };
        Ok(self.curves.insert(curves))
    }

    /// Ends the display.
    pub(super) fn rest(&mut self) {
        self.terminal.end();
    }

    /// What there is to report once training has come to its end.
    pub(super) fn finish(self) -> Finished {
        Finished {
            seconds: self.seconds(),
            looks: self.looks,
            means: self.last,
            encoded: self.encoded,
        }
    }
}

impl PretrainMonitor<'_> {
    /// How fast student and teachers were since the last point, and their images counted anew.
    fn speed(&mut self) -> BTreeMap<String, f64> {
        let taught = self.clock.elapsed();
        let teachers = taught - self.busy.teachers;
        let Busy { images, all, .. } = std::mem::take(&mut self.busy);
        self.busy.teachers = taught;
        let rate = |time: Duration| images as f64 / time.as_secs_f64();
        let mut speed = BTreeMap::new();
        if !all.is_zero() {
            let student = all.saturating_sub(teachers);
            speed.insert("student_images_per_s".to_owned(), rate(student));
        }
        if !teachers.is_zero() {
            speed.insert("teacher_images_per_s".to_owned(), rate(teachers));
        }
        speed
    }

    /// Which images are watched, hexadecimal.
    fn watched(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for split in self.plan.watched.iter().flatten() {
            hasher.update(&split.manifest_hash());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// kNN over the watched images' features -> hits and images
    fn look(&self, epoch: usize) -> Result<Look, TrainError> {
        let failed = |error: MetricError| TrainError::Unfit {
            name: "the monitor's kNN".to_owned(),
            reason: error.to_string(),
        };
        let Some([train, val]) = &self.plan.watched else {
            return Ok(Look::default());
        };
        let images = train.samples.len() + val.samples.len();
        let dim = self.features.len() / images.max(1);
        let (voting, voted) = self.features.split_at(train.samples.len() * dim);
        let (voting, voted) = (
            Dense::new(voting, dim).map_err(failed)?,
            Dense::new(voted, dim).map_err(failed)?,
        );
        let labels = |split: &Split| -> Vec<u32> {
            split.samples.iter().map(|sample| sample.label).collect()
        };
        let k = self.plan.recipe.recipe.monitor.k;
        let threads = self.plan.run.threads;
        let neighbours = exact_neighbours(&voting, &voted, k, threads, &|_| ()).map_err(failed)?;
        let vote = Vote::Dino {
            temperature: TEMPERATURE,
        };
        let classes = self.plan.set.classes.len();
        let ks = [neighbours.k];
        let curve = vote_curve(&neighbours, &labels(train), classes, &ks, vote);
        let mut hits = 0;
        for predictions in curve.map_err(failed)? {
            hits = accuracy(&predictions, &labels(val))
                .map_err(failed)?
                .top1
                .count;
        }
        Ok(Look {
            epoch: epoch + 1,
            hits,
            images: val.samples.len() as u64,
        })
    }
}

impl Monitor<Training> for PretrainMonitor<'_> {
    fn sees(&mut self, batch: &ImageBatch) -> Result<(), TrainError> {
        self.encoded += batch.labels.len();
        self.under_way += batch.labels.len();
        self.busy.images += batch.labels.len();
        self.train.meets(&batch.picks, &batch.contents)?;
        // A folder that they cannot be in is known before anything is computed.
        self.curves()?;
        self.began = Some(Instant::now());
        Ok(())
    }

    fn discarded(&mut self) {
        self.encoded -= std::mem::take(&mut self.under_way);
    }

    fn progress(&mut self, epoch: usize, samples: usize, of: usize) {
        if let Some(began) = self.began.take() {
            self.busy.all += began.elapsed();
        }
        self.terminal
            .progress(epoch * of + samples, self.recipe.epochs * of);
    }

    fn updated(&mut self, update: &Update) -> Result<(), TrainError> {
        self.under_way = 0;
        self.epoch.add(update);
        if let Some(began) = self.began.take() {
            self.busy.all += began.elapsed();
        }
        if !update.update.is_multiple_of(self.every) {
            return Ok(());
        }
        let mut values = self.speed();
        values.insert(LEARNING_RATE.to_owned(), update.learning_rate);
        values.insert("gradient_norm".to_owned(), update.gradient_norm);
        let loss = update.terms.iter().map(|(_, value)| value).sum();
        values.insert("loss".to_owned(), loss);
        // Terms as they are, without their weights.
        for ((name, value), weight) in update.terms.iter().zip(&self.weights) {
            values.insert(format!("loss/{name}"), value / weight);
        }
        let point = CurvePoint {
            kind: CurveKind::Train,
            step: self.epoch.updates as u64,
            epoch: update.epoch,
            images: self.epoch.seen as u64,
            values,
        };
        Ok(self.curves()?.write(&point)?)
    }

    fn validated(
        &mut self,
        epoch: usize,
        batch: &ImageBatch,
        features: Vec<f32>,
    ) -> Result<usize, TrainError> {
        if let Some(value) = features.iter().find(|x| !x.is_finite()) {
            return Err(TrainError::ValidationNotFinite {
                epoch,
                term: "watched images, their features,".to_owned(),
                value: f64::from(*value),
            });
        }
        self.features.extend(features);
        Ok(batch.labels.len())
    }

    fn epoch_ended(
        &mut self,
        epoch: usize,
        validated: bool,
        training: &Training,
    ) -> Result<(), TrainError> {
        let means = self.epoch.take();
        let mut line = format!("epoch {} of {}: ", epoch + 1, self.recipe.epochs);
        let terms = means.terms().zip(&self.weights);
        let terms: Vec<_> = terms
            .map(|((name, value), weight)| format!("{name} {:.4}", value / weight))
            .collect();
        line.push_str(&terms.join(", "));
        line.push_str(&format!(", learning rate {:.3e}", means.learning_rate));
        if validated {
            let look = self.look(epoch)?;
            self.features.clear();
            let top1 = look.percent();
            let k = self.plan.recipe.recipe.monitor.k;
            line.push_str(&format!(
                "; kNN (k = {k}) of {} images {top1:.2} %",
                look.images
            ));
            self.looks.push(look);
            self.curves()?.write(&CurvePoint {
                kind: CurveKind::Val,
                step: means.updates as u64,
                epoch: (epoch + 1) as f64,
                images: means.seen as u64,
                values: [("top1".to_owned(), top1)].into(),
            })?;
        }
        self.last = means;
        self.terminal.notice(&line);
        if let Some(line) = (self.keep)(epoch + 1, training)? {
            self.terminal.notice(&line);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError> {
        let kept = Kept {
            stamps: self.stamps.to_owned(),
            watched: self.watched(),
            epoch: self.epoch.clone(),
            last: self.last.clone(),
            looks: self.looks.clone(),
            under_way: self.under_way,
            encoded: self.encoded,
            curves: self.curves.as_ref().map(Curves::save).transpose()?,
            seconds: self.seconds(),
        };
        let mut tensors: Vec<_> = self.train.save().into();
        tensors.push(NamedTensor {
            name: FEATURES.to_owned(),
            shape: vec![self.features.len()],
            elements: Elements::F32(self.features.clone().into()),
        });
        let value = serde_json::to_value(&kept).map_err(|error| TrainError::Unfit {
            name: "the monitor".to_owned(),
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
            .map_err(|error| unfit("the monitor", error.to_string()))?;
        if matches!(saved.progress.stage, Stage::Validate { .. }) && kept.watched != self.watched()
        {
            return Err(TrainError::Recipe {
                message: "the state is of the middle of a look at other images".to_owned(),
                hint: "monitor.train_images and monitor.val_images as they were lead on; after that epoch they may change",
            });
        }
        self.train.restore(&saved.tensors)?;
        if kept.stamps != self.stamps {
            self.notice("the images' files were written to or moved since; reading them again");
            let bar = (self.terminal).bar("reading again", self.train.count(true), "images");
            self.train.meets_again(&|| bar.inc(1))?;
            bar.finish_and_clear();
        }
        self.features = match saved.tensors.get(FEATURES).map(|tensor| &tensor.elements) {
            Some(Elements::F32(features)) => features.to_vec(),
            _ => return Err(unfit(FEATURES, "is missing".to_owned())),
        };
        self.epoch = kept.epoch;
        self.last = kept.last;
        self.looks = kept.looks;
        self.under_way = kept.under_way;
        self.encoded = kept.encoded;
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
