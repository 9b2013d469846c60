//! Linear probes: heads trained over a frozen encoder, and what the validation says of them.

mod images;
mod monitor;
mod probe;

use std::io::ErrorKind;
use std::sync::Arc;

use super::Terminal;
use super::cells::Outcome;
use super::record::Looked;
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::{EncoderError, Observer, Tap};
use crate::plan::{Cell, Part, RunOptions, Subject};
use crate::protocol::linear;
use crate::report::Record;
use crate::spec::LinearTask;
use crate::store::{Lock, METRICS, StoreError, curves_path, delete, write_atomic};
use crate::train::{GroupSummary, Identity, Recipe, Solo, StateFolder, TRAINING_VERSION, fit};
use images::ProbeImages;
use monitor::ProbeMonitor;
use probe::ProbeSettings;

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
    let heads = linear::heads(&cell.heads, &task.scaled_learning_rates());
    let recipe = recipe(task, &heads, cell.seed);
    let folder = run.run_folder(cell);
    // The cell's lock does not keep other cells out of a folder that --run names.
    let _lock = Lock::take(&folder.join("lock"), &mut |holder| {
        terminal.notice(&format!(
            "{}: process {holder} is training in {}; waiting for it",
            cell.subject.name(),
            folder.display()
        ));
    })?;
    let mut states = StateFolder::new(&folder, identity(cell, run), run.states.every);
    if run.recompute {
        // With its record gone too, the command without --recompute goes on from the new states.
        let record = Record::path(&run.results, &cell.key);
        if record.exists() {
            delete(&record)?;
        }
        states.clear()?;
    }
    let settings = ProbeSettings {
        task,
        inputs: &cell.heads,
        heads: &heads,
        classes: cell.set.classes.len(),
        seed: cell.seed,
        chunk: run.pass.batch,
    };
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
    let mut monitor = ProbeMonitor::new(cell, &heads, &recipe, (splits, stamps), &folder, terminal);
    let fitted = fit(
        &mut *probe,
        &mut images,
        &recipe,
        &mut states,
        &Solo,
        &mut monitor,
    );
    monitor.rest();
    fitted?;
    let finished = monitor.finish()?;
    let curves = curves_path(&run.results, &cell.key);
    if run.states.folder.is_some() {
        // Where the record's readers look for them.
        let path = folder.join(METRICS);
        match std::fs::read(&path) {
            Ok(bytes) => write_atomic(&curves, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                terminal.notice(&format!("{} is gone: no curves are drawn", path.display()));
            }
            Err(source) => {
                let action = "read";
                return Err(StoreError::Io {
                    action,
                    path,
                    source,
                }
                .into());
            }
        }
    }
    let found = linear::evaluate(&heads, &finished.validations, finished.outcomes)?;
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
    })
}

/// How the heads are trained. Several learning rates are peaks over one of 1.
fn recipe(task: &LinearTask, heads: &[linear::Head], seed: u64) -> Recipe {
    let several = task.learning_rates.len() > 1;
    let only = heads.first().map_or(1.0, |head| head.learning_rate);
    Recipe {
        epochs: task.epochs,
        epoch: task.epoch_length(),
        batch: task.batch,
        local_batch: task.local_batch,
        learning_rate: if several { 1.0 } else { only },
        schedule: task.schedule,
        weight_decay: task.weight_decay,
        validate_every: Some(task.validate_every),
        seed,
    }
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
