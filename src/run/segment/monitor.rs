//! What a segmentation is seen by: its notes and the validations so far.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::super::Terminal;
use super::super::training::{Chronicle, Chronicled, KeptChronicle, Ledger, LossKind};
use super::SceneTraining;
use crate::engine::IGNORED;
use crate::error::Error;
use crate::features::Observer;
use crate::metric::{Confusion, PixelPair, SegmentationScore};
use crate::plan::{Cell, Part};
use crate::spec::SegmentTask;
use crate::store::{Elements, NamedTensor};
use crate::train::{Monitor, Recipe, Saved, SceneBatch, TrainError, Update};

/// The run's witness.
pub(super) struct SceneMonitor<'a> {
    chronicle: Chronicle<'a>,
    classes: usize,
    crop: usize,
    validations: Vec<SceneValidation>,
    /// Of the validation under way, or of the last.
    found: Found,
}

/// What was said of validation images.
#[derive(Default)]
pub(super) struct Found {
    /// Of every image, in order.
    pub confusions: Vec<Confusion>,
    /// Images that are smaller than a window.
    pub filled: usize,
}

impl Found {
    /// Takes the classes that an image's pixels were taken for; crop: side of a window.
    pub(super) fn add(
        &mut self,
        batch: &SceneBatch,
        found: &[u32],
        (classes, crop): (usize, usize),
    ) -> Result<(), TrainError> {
        let own = confusion(&batch.labels, found, classes)?;
        self.confusions.push(own);
        let mut sides = batch.views.iter().flat_map(|view| view.size);
        self.filled += usize::from(sides.any(|side| side < crop));
        Ok(())
    }
}

/// What a validation found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SceneValidation {
    /// The epoch after which it was, from 0.
    pub epoch: usize,
    /// Mean IoU over the classes, from 0 to 1.
    pub miou: f64,
}

/// The part of a state that is numbers.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    chronicle: KeptChronicle,
    validations: Vec<SceneValidation>,
    filled: usize,
}

impl<'a> SceneMonitor<'a> {
    pub(super) fn new(
        (cell, task): (&Cell, &SegmentTask),
        recipe: &'a Recipe,
        stamps: &'a str,
        folder: &Path,
        terminal: &'a mut Terminal,
    ) -> Self {
        let ledgers = [Part::Train, Part::Val].map(|part| {
            let list = cell.images(part);
            Ledger::new(part, list.split.clone()).with_masks(list.masks.clone())
        });
        let name = cell.subject.name();
        Self {
            chronicle: Chronicle::new(
                name,
                (recipe, LossKind::Parts),
                (ledgers, stamps),
                folder,
                terminal,
            ),
            classes: cell.set.classes.len(),
            crop: task.crop(),
            validations: Vec::new(),
            found: Found::default(),
        }
    }

    /// Ends the display.
    pub(super) fn rest(&mut self) {
        self.chronicle.rest();
    }

    /// What the run has gone through, its validations, and what the last said of every image.
    pub(super) fn finish(self) -> Result<(Chronicled, Vec<SceneValidation>, Found), Error> {
        Ok((self.chronicle.finish()?, self.validations, self.found))
    }
}

/// What the classes of an image are taken for.
///
/// truth, found: of one length
fn confusion(truth: &[u32], found: &[u32], classes: usize) -> Result<Confusion, TrainError> {
    // Classes beyond 16 bits are no classes, and refused as such.
    let short = |class: &u32| match *class {
        IGNORED => u16::MAX,
        class => u16::try_from(class).unwrap_or(u16::MAX - 1),
    };
    let [truth, found] = [truth, found].map(|map| map.iter().map(short).collect::<Vec<_>>());
    let counted = Confusion::count(&truth, &found, classes, u16::MAX);
    counted.map_err(|error| TrainError::Unfit {
        name: "the validation".to_owned(),
        reason: error.to_string(),
    })
}

impl Monitor<SceneTraining> for SceneMonitor<'_> {
    fn sees(&mut self, batch: &SceneBatch) -> Result<(), TrainError> {
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
        _: usize,
        batch: &SceneBatch,
        found: Vec<u32>,
    ) -> Result<usize, TrainError> {
        self.chronicle.validates(&batch.picks, &batch.contents)?;
        if batch.picks.first().is_some_and(|pick| pick.index == 0) {
            self.found = Found::default();
        }
        self.found.add(batch, &found, (self.classes, self.crop))?;
        Ok(batch.picks.len())
    }

    fn epoch_ended(
        &mut self,
        epoch: usize,
        validated: bool,
        _: &SceneTraining,
    ) -> Result<(), TrainError> {
        let (means, mut line) = self.chronicle.epoch_ended(epoch);
        if validated {
            let score = SegmentationScore::of(&self.found.confusions, self.classes);
            let score = score.map_err(|error| TrainError::Unfit {
                name: "the validation".to_owned(),
                reason: error.to_string(),
            })?;
            line.push_str(&format!("; validation: {:.2} mIoU", 100.0 * score.mean_iou));
            let values = [
                ("miou", 100.0 * score.mean_iou),
                ("aacc", 100.0 * score.accuracy),
                ("macc", 100.0 * score.mean_accuracy),
            ];
            let values = values.map(|(name, value)| (name.to_owned(), value));
            self.chronicle.found((epoch, &means), values.into())?;
            self.validations.push(SceneValidation {
                epoch,
                miou: score.mean_iou,
            });
        }
        self.chronicle.terminal.notice(&line);
        Ok(())
    }

    fn save(&mut self) -> Result<(serde_json::Value, Vec<NamedTensor<'static>>), TrainError> {
        let (chronicle, mut tensors) = self.chronicle.save()?;
        let kept = Kept {
            chronicle,
            validations: self.validations.clone(),
            filled: self.found.filled,
        };
        for (image, confusion) in self.found.confusions.iter().enumerate() {
            let pairs = confusion.pairs().iter();
            let numbers = pairs.flat_map(|pair| [pair.label, pair.prediction, pair.pixels]);
            let numbers: Vec<_> = numbers.collect();
            tensors.push(NamedTensor {
                name: format!("confusions.{image}"),
                shape: vec![numbers.len() / 3, 3],
                elements: Elements::U32(numbers.into()),
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
        self.found = Found {
            confusions: Vec::new(),
            filled: kept.filled,
        };
        for image in 0.. {
            let name = format!("confusions.{image}");
            let Some(tensor) = saved.tensors.get(&name) else {
                break;
            };
            let pair = |&[label, prediction, pixels]: &[u32; 3]| PixelPair {
                label,
                prediction,
                pixels,
            };
            let read = match &tensor.elements {
                Elements::U32(numbers) => {
                    let pairs = numbers.as_chunks().0.iter().map(pair);
                    Confusion::from_pairs(pairs.collect())
                }
                _ => None,
            };
            let confusion = read.ok_or_else(|| unfit(&name, "is no confusion".to_owned()))?;
            self.found.confusions.push(confusion);
        }
        self.validations = kept.validations;
        self.chronicle.resume(kept.chronicle, saved)
    }

    fn notice(&mut self, message: &str) {
        self.chronicle.terminal.notice(message);
    }

    fn cancelled(&self) -> bool {
        self.chronicle.terminal.cancelled()
    }
}
