//! Linear probes: heads trained over a frozen encoder, and what the validation says of them.

mod images;
mod monitor;
mod probe;
mod run_folder;

use std::sync::Arc;

use super::Terminal;
use super::cells::Outcome;
use super::record::Looked;
use crate::checkpoint::Checkpoint;
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::{EncoderError, Observer, Tap};
use crate::plan::{Cell, Part, RunOptions, Subject};
use crate::protocol::linear;
use crate::spec::LinearTask;
use crate::store::StoreError;
use crate::train::{
    GroupSummary, Identity, Recipe, Solo, StateFolder, TRAINING_VERSION, TrainError, fit,
};
use images::ProbeImages;
use monitor::{Finished, ProbeMonitor};
use probe::ProbeSettings;
use run_folder::RunFolder;
pub(super) use run_folder::recomputes;

/// What training gave, and what it looked at.
pub(super) struct Probed {
    /// The heads' results.
    pub outcome: Outcome,
    /// Images of each request of the cell.
    pub looked: Vec<Looked>,
    /// Images that were encoded, over all epochs and earlier attempts.
    pub encoded: usize,
    /// Seconds of training and validation, earlier attempts included.
    pub seconds: f64,
    /// Where it was trained.
    pub folder: RunFolder,
}

/// Trains the heads of a cell, or goes on where an earlier attempt ended; `stamps` are those of its
/// images' files.
pub(super) fn evaluate(
    cell: &Cell,
    task: &LinearTask,
    stamps: &str,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Probed, Error> {
    let Subject::Checkpoint(checkpoint) = &*cell.subject else {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to probe";
        return Err(EncoderError::NoSuchTap { tap, reason }.into());
    };
    let folder = RunFolder::take(run, cell, &mut |holder, folder| {
        terminal.notice(&format!(
            "{}: process {holder} is training in {}; waiting for it",
            cell.subject.name(),
            folder.display()
        ));
    })?;
    let mut states = StateFolder::new(folder.path(), identity(cell, run), run.states.every);
    let goes_on = states.holds_state()?;
    let settings = ProbeSettings {
        task,
        inputs: &cell.heads,
        heads: &linear::heads(&cell.heads, &task.scaled_learning_rates()),
        classes: cell.set.classes.len(),
        seed: cell.seed,
        chunk: run.pass.batch,
    };
    let attempt = |states: &mut StateFolder, terminal: &mut Terminal| {
        train(cell, checkpoint, settings, stamps, run, states, terminal)
    };
    let mut trained = attempt(&mut states, terminal);
    if let Err(Error::Train(error)) = &trained
        && run.recompute
        && goes_on
        && cannot_go_on(error)
    {
        terminal.notice(&format!("{error}; beginning again"));
        states.clear()?;
        trained = attempt(&mut states, terminal);
    }
    let finished = trained?;
    folder.publish(run, cell)?;
    let found = linear::evaluate(settings.heads, &finished.validations, finished.outcomes)?;
    Ok(Probed {
        outcome: Outcome {
            measures: found.measures,
            notes: found.notes,
            selection: found.selection,
            predictions: found.outcomes,
            ..Outcome::default()
        },
        looked: finished.looked,
        encoded: finished.encoded,
        seconds: finished.seconds,
        folder,
    })
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
fn train(
    cell: &Cell,
    checkpoint: &Checkpoint,
    settings: ProbeSettings<'_>,
    stamps: &str,
    run: &RunOptions,
    states: &mut StateFolder,
    terminal: &mut Terminal,
) -> Result<Finished, Error> {
    let ProbeSettings { task, heads, .. } = settings;
    let recipe = task.recipe(cell.seed);
    let mut probe = probe::probe(checkpoint, run.compute, settings)?;
    for line in groups_text(&probe.groups(), &recipe) {
        terminal.notice(&line);
    }
    let split = |part| Arc::clone(&cell.images(part).split);
    let mut images = ProbeImages {
        train: split(Part::Train),
        val: split(Part::Val),
        input: cell.input.clone(),
        augment: task.augment.clone(),
        seed: cell.seed,
        classes: cell.set.classes.len(),
        pass: run.pass,
    };
    let splits = [split(Part::Train), split(Part::Val)];
    let folder = states.folder().to_owned();
    let mut monitor = ProbeMonitor::new(cell, heads, &recipe, (splits, stamps), &folder, terminal);
    let fitted = fit(
        &mut *probe,
        &mut images,
        &recipe,
        states,
        &Solo,
        &mut monitor,
    );
    monitor.rest();
    fitted?;
    monitor.finish()
}

/// What a run's state must agree in to be gone on from.
fn identity(cell: &Cell, run: &RunOptions) -> Identity {
    let inputs: Vec<_> = cell.heads.iter().map(ToString::to_string).collect();
    let versions = format!("{NUMERICS_VERSION}.{TRAINING_VERSION}");
    [
        ("checkpoint", cell.subject_key.clone()),
        ("protocol", cell.protocol.hash.clone()),
        ("list of heads", inputs.join(", ")),
        ("list of images", cell.data_key.clone()),
        ("seed", cell.seed.to_string()),
        ("engine", run.compute.backend().to_owned()),
        ("precision", run.compute.precision.name().to_owned()),
        ("numerics", versions),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// What is trained, and how fast, in lines for people.
fn groups_text(groups: &[GroupSummary], recipe: &Recipe) -> Vec<String> {
    /// Groups that are named one by one.
    const NAMED: usize = 16;
    let all: usize = groups.iter().map(|group| group.elements).sum();
    let mut lines = vec![format!(
        "training {all} parameters in {} group(s), batches of {} in local batches of {}:",
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
