//! Linear probes: heads trained over a frozen encoder.

mod probe;

use super::Terminal;
use super::training::{self, Course, Trained};
use crate::error::Error;
use crate::features::{EncoderError, Tap};
use crate::plan::{Cell, RunOptions, Subject};
use crate::protocol::linear;
use crate::spec::LinearTask;
use probe::ProbeSettings;

/// Trains the heads of a cell, or goes on where an earlier attempt ended; `stamps` are those of its
/// images' files.
pub(super) fn evaluate(
    cell: &Cell,
    task: &LinearTask,
    stamps: &str,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Trained, Error> {
    let Subject::Checkpoint(checkpoint) = &*cell.subject else {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to probe";
        return Err(EncoderError::NoSuchTap { tap, reason }.into());
    };
    let folder = training::folder(cell, run, terminal)?;
    let heads = linear::heads(&cell.heads, &task.scaled_learning_rates());
    let settings = ProbeSettings {
        task,
        inputs: &cell.heads,
        heads: &heads,
        classes: cell.set.classes.len(),
        seed: cell.seed,
        chunk: run.pass.batch,
    };
    let inputs: Vec<_> = cell.heads.iter().map(ToString::to_string).collect();
    let course = Course {
        recipe: task.recipe(cell.seed),
        at_once: run.pass.batch,
        heads: &heads,
        augment: &task.augment,
        mix: None,
        identity: vec![("list of heads".to_owned(), inputs.join(", "))],
        build: &|| probe::probe(checkpoint, run.compute, settings),
        ended: &|_, _| Ok(None),
    };
    training::train(cell, &course, folder, stamps, run, terminal)
}
