//! Training runs of cells: images on their way, states and curves in a folder, and what validations
//! say at the end.

mod beginning;
mod chronicle;
mod epoch_means;
mod images;
mod key_bias;
mod ledger;
mod monitor;
mod run_folder;
mod written;

use std::path::Path;
use std::sync::Arc;

use super::Terminal;
use super::cells::Outcome;
use super::record::Looked;
use crate::data::MixSpec;
use crate::data::augment::AugmentSpec;
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Cell, Part, RunOptions};
use crate::protocol::classification::{self, Head};
use crate::store::StoreError;
use crate::train::{
    GroupSummary, HeadScores, Identity, ImageBatch, Recipe, Solo, StateFolder, TRAINING_VERSION,
    TrainError, Trainable, fit,
};
pub(super) use beginning::{in_memory, share_out_tables};
pub(super) use chronicle::{Chronicle, Chronicled, KeptChronicle, LossKind};
pub(super) use epoch_means::EpochMeans;
pub(super) use images::{TrainingImages, image_batch};
pub(super) use key_bias::without_key_bias;
pub(super) use ledger::Ledger;
use monitor::{Finished, TrainingMonitor};
use run_folder::RunFolder;
pub(super) use run_folder::{CARD, HEAD, WEIGHTS, lacks_weights, recomputes};
pub(super) use written::{take_parameters, unwritten, write_encoder};

/// A classifier in training, whatever computes it.
pub(super) type Training = dyn Trainable<Batch = ImageBatch, Scores = Vec<HeadScores>>;

/// What is done with a network at its end, and what there is to say of it.
pub(super) type Ended<'a> = dyn Fn(&Training, &Path) -> Result<Option<String>, Error> + 'a;

/// What a run of a cell does.
pub(super) struct Course<'a> {
    /// How it is trained.
    pub recipe: Recipe,
    /// Images in a forward pass of the network.
    pub at_once: usize,
    /// What is validated.
    pub heads: &'a [Head],
    /// What happens to train images.
    pub augment: &'a AugmentSpec,
    /// How they are mixed, where they are.
    pub mix: Option<MixSpec>,
    /// What its state must agree in beside what every run's must.
    pub identity: Identity,
    /// Makes the network as it begins.
    pub build: &'a dyn Fn() -> Result<Box<Training>, Error>,
    /// Keeps of the network at its end what is to be kept, in the folder of the run's files.
    pub ended: &'a Ended<'a>,
}

/// What training gave, and what it looked at.
pub(super) struct Trained {
    /// The heads' results.
    pub outcome: Outcome,
    /// Images of each request of the cell.
    pub looked: Vec<Looked>,
    /// Images that went through the network, over all epochs and earlier attempts.
    pub encoded: usize,
    /// Seconds of training and validation, earlier attempts included.
    pub seconds: f64,
    /// Images in a forward pass of the network.
    pub batch: usize,
    /// Where it was trained.
    pub folder: RunFolder,
}

/// Takes the folder of a cell's run; says so while another process trains in it.
pub(super) fn folder(
    cell: &Cell,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<RunFolder, Error> {
    RunFolder::take(run, cell, &mut |holder, folder| {
        terminal.notice(&format!(
            "{}: process {holder} is training in {}; waiting for it",
            cell.subject.name(),
            folder.display()
        ));
    })
}

/// Trains what a cell trains, or goes on where an earlier attempt ended; `stamps` are those of its
/// images' files.
pub(super) fn train(
    cell: &Cell,
    course: &Course<'_>,
    folder: RunFolder,
    stamps: &str,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Trained, Error> {
    let identity = identity(cell, &course.identity, run);
    let finished = with_states(&folder, identity, run, terminal, &mut |states, terminal| {
        attempt(cell, course, stamps, run, states, terminal)
    })?;
    folder.publish(run, cell)?;
    let (heads, validations) = (course.heads, &finished.validations);
    let found = classification::evaluate(heads, validations, finished.outcomes)?;
    Ok(Trained {
        outcome: Outcome {
            measures: found.measures,
            notes: found.notes,
            selection: found.selection,
            predictions: found.outcomes,
            ..Outcome::default()
        },
        looked: finished.looked,
        encoded: finished.encoded,
        batch: course.at_once,
        seconds: finished.seconds,
        folder,
    })
}

/// Carries out an attempt over the states of a run's folder; one that cannot go on from what is
/// there begins again where that is asked for.
pub(super) fn with_states<T>(
    folder: &RunFolder,
    identity: Identity,
    run: &RunOptions,
    terminal: &mut Terminal,
    attempt: &mut dyn FnMut(&mut StateFolder, &mut Terminal) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut states = StateFolder::new(folder.path(), identity, run.states.every);
    let goes_on = states.holds_state()?;
    let trained = attempt(&mut states, terminal);
    if let Err(Error::Train(error)) = &trained
        && run.recompute
        && goes_on
        && cannot_go_on(error)
    {
        terminal.notice(&format!("{error}; beginning again"));
        states.clear()?;
        return attempt(&mut states, terminal);
    }
    trained
}

/// Whether --recompute alone leads on from states that end in this error.
fn cannot_go_on(error: &TrainError) -> bool {
    matches!(
        error,
        TrainError::OtherRun { .. }
            | TrainError::Unfit { .. }
            | TrainError::ImageChanged { .. }
            | TrainError::Store(StoreError::Damaged { .. })
    )
}

/// Trains to the end, from the last of the states where there is one.
fn attempt(
    cell: &Cell,
    course: &Course<'_>,
    stamps: &str,
    run: &RunOptions,
    states: &mut StateFolder,
    terminal: &mut Terminal,
) -> Result<Finished, Error> {
    let recipe = &course.recipe;
    let mut network = (course.build)()?;
    for line in groups_text(&network.groups(), recipe) {
        terminal.notice(&line);
    }
    let split = |part| Arc::clone(&cell.images(part).split);
    let mut images = TrainingImages {
        train: split(Part::Train),
        val: split(Part::Val),
        input: cell.input.clone(),
        augment: course.augment.clone(),
        mix: course.mix,
        seed: cell.seed,
        classes: cell.set.classes.len(),
        pass: run.pass,
    };
    let splits = [split(Part::Train), split(Part::Val)];
    let folder = states.folder().to_owned();
    let heads = course.heads;
    let mut monitor =
        TrainingMonitor::new(cell, heads, recipe, (splits, stamps), &folder, terminal);
    let fitted = fit(
        &mut *network,
        &mut images,
        recipe,
        states,
        &Solo,
        &mut monitor,
    );
    monitor.rest();
    fitted?;
    let finished = monitor.finish()?;
    if let Some(line) = (course.ended)(&*network, &folder)? {
        terminal.notice(&line);
    }
    Ok(finished)
}

/// What a run's state must agree in to be gone on from.
pub(super) fn identity(cell: &Cell, own: &Identity, run: &RunOptions) -> Identity {
    let versions = format!("{NUMERICS_VERSION}.{TRAINING_VERSION}");
    let common = [
        ("checkpoint", cell.subject_key.clone()),
        ("protocol", cell.protocol.hash.clone()),
        ("list of images", cell.data_key.clone()),
        ("seed", cell.seed.to_string()),
        ("engine", run.compute.backend().to_owned()),
        ("precision", run.compute.precision.name().to_owned()),
        ("numerics", versions),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    common.into_iter().chain(own.iter().cloned()).collect()
}

/// What is trained, and how fast, in lines for people.
pub(super) fn groups_text(groups: &[GroupSummary], recipe: &Recipe) -> Vec<String> {
    /// Groups that are named one by one.
    const NAMED: usize = 16;
    let all: usize = groups.iter().map(|group| group.elements).sum();
    let mut lines = vec![format!(
        "training {all} parameters in {} group(s), updates of {} images, {} at once:",
        groups.len(),
        recipe.batch,
        recipe.local_batch
    )];
    for group in groups.iter().take(NAMED) {
        lines.push(format!(
            "  {}: {} tensors, {} parameters, learning rate {:.3e}, weight decay {}",
            group.name,
            group.tensors,
            group.elements,
            recipe.learning_rate * group.peak_scale * group.learning_rate_scale,
            recipe.weight_decay * group.weight_decay_scale,
        ));
    }
    if groups.len() > NAMED {
        lines.push(format!("  and {} more", groups.len() - NAMED));
    }
    lines
}
