//! Segmentation: a head over an encoder, frozen or trained with it, that tells what every pixel shows.

mod monitor;
mod network;
mod pictures;
mod scenes;
mod start;
mod weights;

use super::Terminal;
use super::cells::Outcome;
use super::record::Looked;
use super::training::{self, Ledger, Trained, identity, with_states};
use crate::decoders::segmentation::SegmentationHead;
use crate::error::Error;
use crate::features::{ExtractError, Observer};
use crate::plan::{Cell, Part, RunOptions, crops_at_once};
use crate::protocol::segmentation;
use crate::report::Selection;
use crate::spec::SegmentTask;
use crate::stats::Bootstrap;
use crate::train::{AT_ONCE, SceneBatch, Solo, Source, StateFolder, TrainError, Trainable, fit};
use monitor::{Found, SceneMonitor, SceneValidation};
use scenes::Scenes;
use start::start;

pub(super) use network::build;
pub(super) use start::Start;

/// Windows of a whole image that go through a network together, at most: logits of 512 x 512 pixels
/// and 150 classes are 10 MB each.
const WINDOWS: usize = 8;

/// A segmentation network in training, whatever computes it.
pub(super) type SceneTraining = dyn Trainable<Batch = SceneBatch, Scores = Vec<u32>>;

/// Trains a cell's network, or goes on where an earlier attempt ended; `stamps` are those of its
/// images' files.
pub(super) fn evaluate(
    cell: &Cell,
    task: &SegmentTask,
    stamps: &str,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Trained, Error> {
    let folder = training::folder(cell, run, terminal)?;
    let at_once = crops_at_once(task, run.at_once)?;
    let recipe = task.recipe(cell.seed, at_once);
    let own = vec![(AT_ONCE.to_owned(), at_once.to_string())];
    let identity = identity(cell, &own, run);
    let attempt = |states: &mut StateFolder, terminal: &mut Terminal| {
        let mut network = built(cell, task, run)?;
        for line in training::groups_text(&network.groups(), &recipe) {
            terminal.notice(&line);
        }
        let mut scenes = Scenes::new(cell, task, run.pass)?;
        scenes.check(terminal)?;
        let path = states.folder().to_owned();
        let mut monitor = SceneMonitor::new((cell, task), &recipe, stamps, &path, terminal);
        let fitted = fit(
            &mut *network,
            &mut scenes,
            &recipe,
            states,
            &Solo,
            &mut monitor,
        );
        monitor.rest();
        fitted?;
        let found = monitor.finish()?;
        let line = weights::keep(cell, task, &*network, &path, &run.run_folder(cell))?;
        terminal.notice(&line);
        let said = (&found.2.confusions[..], &*run.results);
        let sheet = pictures::draw(cell, task, &mut *network, &scenes, said)?;
        Ok((found, sheet))
    };
    let ((ended, validations, found), sheet) =
        with_states(&folder, identity, run, terminal, &mut { attempt })?;
    folder.publish(run, cell)?;
    let mut outcome = outcome(cell, task, (found, sheet))?;
    outcome.notes.extend(notes(task, &validations));
    Ok(Trained {
        outcome,
        looked: ended.looked,
        encoded: ended.encoded,
        seconds: ended.seconds,
        batch: at_once,
        folder,
    })
}

/// The network of a cell before its first update.
fn built(cell: &Cell, task: &SegmentTask, run: &RunOptions) -> Result<Box<SceneTraining>, Error> {
    let windows = run.pass.batch.min(WINDOWS);
    build(start(cell, task)?, task, (cell.seed, windows), run.compute)
}

/// What a head that was trained before says of the validation images.
pub(super) struct Seen {
    pub outcome: Outcome,
    pub looked: Looked,
    pub encoded: usize,
}

/// Evaluates a cell's head as it is.
pub(super) fn evaluate_head(
    cell: &Cell,
    task: &SegmentTask,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Seen, Error> {
    let mut network = built(cell, task, run)?;
    let mut scenes = Scenes::new(cell, task, run.pass)?;
    let list = cell.images(Part::Val);
    let mut ledger = Ledger::new(Part::Val, list.split.clone()).with_masks(list.masks.clone());
    let images = list.split.samples.len();
    let bar = terminal.bar("looking at validation images", images, "images");
    let mut found = Found::default();
    let seen = scenes.validate(0, &mut |batch| {
        if terminal.cancelled() {
            // What ends the loading; the user hears of the interruption.
            return Err(TrainError::Unfit {
                name: "the evaluation".to_owned(),
                reason: "was interrupted".to_owned(),
            });
        }
        ledger.meets(&batch.picks, &batch.contents)?;
        let classes = network.validate(&batch)?;
        found.add(&batch, &classes, (cell.set.classes.len(), task.crop()))?;
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    if terminal.cancelled() {
        return Err(ExtractError::Interrupted {
            done: found.confusions.len(),
            total: images,
            stored: false,
        }
        .into());
    }
    seen?;
    let said = (&found.confusions[..], &*run.results);
    let sheet = pictures::draw(cell, task, &mut *network, &scenes, said)?;
    Ok(Seen {
        outcome: outcome(cell, task, (found, sheet))?,
        looked: ledger.looked(&|| ())?,
        encoded: images,
    })
}

/// What a reader must know of the training.
fn notes(task: &SegmentTask, validations: &[SceneValidation]) -> Vec<String> {
    let mut notes = Vec::new();
    let warm_up = task.schedule.warmup_epochs(1);
    if warm_up >= task.updates as f64 {
        notes.push(format!(
            "the learning rate never reached its peak: a warm-up of {warm_up} updates, and {} updates",
            task.updates
        ));
    }
    let best = validations.iter().max_by(|a, b| a.miou.total_cmp(&b.miou));
    if let (Some(best), Some(last)) = (best, validations.last())
        && best.miou > last.miou
    {
        notes.push(format!(
            "after the last update; after part {} of {} it had a mIoU of {:.2}",
            best.epoch + 1,
            last.epoch + 1,
            100.0 * best.miou
        ));
    }
    if !task.not_in_paper.is_empty() {
        notes.push(format!(
            "not in the paper, and as its code's configuration has it: {}",
            task.not_in_paper.join(", ")
        ));
    }
    notes
}

/// What the head is called in tables.
fn name_of_head(task: &SegmentTask) -> &'static str {
    match task.head {
        SegmentationHead::UperNet(_) => "UperNet",
        SegmentationHead::Linear(_) => "linear head",
    }
}

/// What a head says of all validation images, as a record has it, and a sheet of some of them.
fn outcome(
    cell: &Cell,
    task: &SegmentTask,
    (found, sheet): (Found, Vec<u8>),
) -> Result<Outcome, Error> {
    let head = name_of_head(task);
    let bootstrap = Bootstrap::new(cell.seed);
    let (classes, filled) = (&cell.set.classes, found.filled);
    let mut evaluated = segmentation::evaluate(head, classes, found.confusions, &bootstrap)?;
    if filled > 0 {
        evaluated.notes.push(format!(
            "images smaller than a window of {0} x {0} pixels, filled up with the mean: {filled}",
            task.crop()
        ));
    }
    Ok(Outcome {
        measures: evaluated.measures,
        notes: evaluated.notes,
        selection: Selection::None,
        confusions: vec![evaluated.confusions],
        sheet: Some(sheet),
        ..Outcome::default()
    })
}
