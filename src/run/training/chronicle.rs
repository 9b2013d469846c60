//! What every training run of a cell notes: how far it is, its curves, and whether the images are
//! still those that it began with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::super::Terminal;
use super::super::record::Looked;
use super::epoch_means::EpochMeans;
use super::ledger::Ledger;
use crate::data::Pick;
use crate::error::Error;
use crate::features::Observer;
use crate::store::{CurveKind, CurvePoint, LEARNING_RATE, NamedTensor};
use crate::train::{CurveLengths, Curves, Recipe, Saved, TrainError, Update};

/// Points of the training curves of a whole run, at most.
const POINTS: usize = 10_000;

/// What the terms of a loss are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum LossKind {
    /// Losses of heads that learn beside each other.
    Heads,
    /// What one loss is the sum of.
    Parts,
}

/// The notes of a run.
pub(in crate::run) struct Chronicle<'a> {
    pub terminal: &'a mut Terminal,
    pub recipe: &'a Recipe,
    losses: LossKind,
    pub train: Ledger,
    pub val: Ledger,
    /// Hash of the stamps of the images' files.
    stamps: &'a str,
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

/// The part of a state that is numbers.
#[derive(Serialize, Deserialize)]
pub(in crate::run) struct KeptChronicle {
    stamps: String,
    epoch: EpochMeans,
    encoded: usize,
    under_way: usize,
    curves: Option<CurveLengths>,
    seconds: f64,
}

/// What a run has gone through at its end.
pub(in crate::run) struct Chronicled {
    pub looked: Vec<Looked>,
    pub encoded: usize,
    pub seconds: f64,
}

impl<'a> Chronicle<'a> {
    /// Of a run that begins, its curves in `folder`.
    pub(in crate::run) fn new(
        name: &str,
        (recipe, losses): (&'a Recipe, LossKind),
        ([train, val], stamps): ([Ledger; 2], &'a str),
        folder: &Path,
        terminal: &'a mut Terminal,
    ) -> Self {
        terminal.begin(name);
        let updates = recipe.updates(train.split.samples.len());
        Self {
            folder: folder.to_owned(),
            curves: None,
            every: updates.div_ceil(POINTS).max(1),
            terminal,
            recipe,
            losses,
            train,
            val,
            stamps,
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

    /// What there is to say at the end; reads the images that no epoch has met.
    pub(in crate::run) fn finish(self) -> Result<Chronicled, Error> {
        let seconds = self.seconds();
        let images = self.train.count(false) + self.val.count(false);
        let bar = self
            .terminal
            .bar("reading what no epoch has met", images, "images");
        let read = || bar.inc(1);
        let looked = vec![self.train.looked(&read)?, self.val.looked(&read)?];
        bar.finish_and_clear();
        Ok(Chronicled {
            looked,
            encoded: self.encoded,
            seconds,
        })
    }

    /// A batch is about to be learned from.
    pub(in crate::run) fn sees(
        &mut self,
        picks: &[Pick],
        contents: &[[u8; 16]],
    ) -> Result<(), TrainError> {
        self.encoded += picks.len();
        self.under_way += picks.len();
        self.train.meets(picks, contents)?;
        // A folder that they cannot be in is known before anything is computed.
        self.curves().map(drop)
    }

    /// A batch was validated.
    pub(in crate::run) fn validates(
        &mut self,
        picks: &[Pick],
        contents: &[[u8; 16]],
    ) -> Result<(), TrainError> {
        self.encoded += picks.len();
        self.val.meets(picks, contents)
    }

    /// The update under way is lost.
    pub(in crate::run) fn discarded(&mut self) {
        self.encoded -= std::mem::take(&mut self.under_way);
    }

    /// So many samples of an epoch's `of` are done.
    pub(in crate::run) fn progress(&mut self, epoch: usize, samples: usize, of: usize) {
        self.terminal
            .progress(epoch * of + samples, self.recipe.epochs * of);
    }

    /// The parameters were moved.
    pub(in crate::run) fn updated(&mut self, update: &Update) -> Result<(), TrainError> {
        self.under_way = 0;
        self.epoch.add(update);
        let means = &self.epoch;
        let own = [
            (LEARNING_RATE, update.learning_rate),
            ("gradient_norm", update.gradient_norm),
        ];
        let terms = update.terms.iter().map(|(name, loss)| (&name[..], *loss));
        let point = CurvePoint {
            kind: CurveKind::Train,
            step: means.updates as u64,
            epoch: update.epoch,
            images: means.seen as u64,
            values: values(&own, ("loss", self.losses), terms),
        };
        match update.update.is_multiple_of(self.every) {
            true => Ok(self.curves()?.write(&point)?),
            false => Ok(()),
        }
    }

    /// The means of the epoch that ends, and the beginning of a line that says so.
    pub(in crate::run) fn epoch_ended(&mut self, epoch: usize) -> (EpochMeans, String) {
        let means = self.epoch.take();
        let mut line = format!("epoch {} of {}", epoch + 1, self.recipe.epochs);
        let losses = means.terms().map(|(_, mean)| mean);
        let loss = losses.reduce(match self.losses {
            LossKind::Heads => f64::min,
            LossKind::Parts => |sum, loss| sum + loss,
        });
        if let Some(loss) = loss {
            let least = match self.losses {
                LossKind::Heads if means.terms.len() > 1 => "least ",
                _ => "",
            };
            line.push_str(&format!(
                ": {least}loss {loss:.4}, learning rate {:.3e}",
                means.learning_rate
            ));
        }
        (means, line)
    }

    /// What a validation at the end of an epoch found, as a point of the curves.
    pub(in crate::run) fn found(
        &mut self,
        (epoch, means): (usize, &EpochMeans),
        values: BTreeMap<String, f64>,
    ) -> Result<(), TrainError> {
        let point = CurvePoint {
            kind: CurveKind::Val,
            step: means.updates as u64,
            epoch: (epoch + 1) as f64,
            images: means.seen as u64,
            values,
        };
        Ok(self.curves()?.write(&point)?)
    }

    /// What a state keeps of it.
    pub(in crate::run) fn save(
        &mut self,
    ) -> Result<(KeptChronicle, Vec<NamedTensor<'static>>), TrainError> {
        let kept = KeptChronicle {
            stamps: self.stamps.to_owned(),
            epoch: self.epoch.clone(),
            encoded: self.encoded,
            under_way: self.under_way,
            curves: self.curves.as_ref().map(Curves::save).transpose()?,
            seconds: self.seconds(),
        };
        let tensors = self.train.save().into_iter().chain(self.val.save());
        Ok((kept, tensors.collect()))
    }

    /// Goes back to a state; images whose files were written to or moved since are read again.
    pub(in crate::run) fn resume(
        &mut self,
        kept: KeptChronicle,
        saved: &Saved,
    ) -> Result<(), TrainError> {
        self.train.restore(&saved.tensors)?;
        self.val.restore(&saved.tensors)?;
        if kept.stamps != self.stamps {
            self.terminal
                .notice("the images' files were written to or moved since; reading them again");
            let images = self.train.count(true) + self.val.count(true);
            let bar = self.terminal.bar("reading again", images, "images");
            self.train.meets_again(&|| bar.inc(1))?;
            self.val.meets_again(&|| bar.inc(1))?;
            bar.finish_and_clear();
        }
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
            let message = format!("going on with epoch {}", saved.progress.epoch + 1);
            self.terminal.notice(&message);
        }
        Ok(())
    }
}

/// Values of a point: those that have a name of their own, the mean over all heads or the sum of the
/// parts, and where there are several each of them.
pub(in crate::run) fn values<'a>(
    own: &[(&str, f64)],
    (name, losses): (&str, LossKind),
    each: impl Iterator<Item = (&'a str, f64)>,
) -> BTreeMap<String, f64> {
    let each: Vec<_> = each.collect();
    let sum: f64 = each.iter().map(|(_, x)| x).sum();
    let whole = match losses {
        LossKind::Heads => sum / each.len() as f64,
        LossKind::Parts => sum,
    };
    let mut values: BTreeMap<_, _> = own.iter().map(|&(name, x)| (name.to_owned(), x)).collect();
    values.insert(name.to_owned(), whole);
    if each.len() > 1 {
        let named = each.iter().map(|(term, x)| (format!("{name}/{term}"), *x));
        values.extend(named);
    }
    values
}
