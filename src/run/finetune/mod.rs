//! Fine-tuning: a whole encoder and a head, trained with labels.

mod forecast;
mod memory;
mod network;
mod start;
mod trainee;
mod weights;

use super::Terminal;
use super::training::{self, Course, Trained};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Cell, HeadStart, RunOptions, Subject};
use crate::protocol::classification::Head;
use crate::spec::FinetuneTask;
use crate::train::AT_ONCE;
use start::Basis;

pub use forecast::{FinetuneCosts, Operations, forecasts, table};
pub use memory::Memory;

/// Trains a cell's network, or goes on where an earlier attempt ended; `stamps` are those of its
/// images' files.
pub(super) fn evaluate(
    cell: &Cell,
    task: &FinetuneTask,
    stamps: &str,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Trained, Error> {
    let folder = training::folder(cell, run, terminal)?;
    if cell.head == HeadStart::Own {
        terminal.notice(&format!(
            "{}: training goes on with its own head of {} classes; --reset-head begins with a new one",
            cell.subject.name(),
            cell.set.classes.len()
        ));
    }
    let basis = Basis::of_cell(cell, task);
    let at_once = super::forecast::at_once(&basis, Some(folder.path()), run, terminal)?;
    let network = start::network(&basis)?;
    let heads = [Head {
        name: network.reads(),
        input: 0,
        layer: Some(network.config.depth.saturating_sub(1)),
        learning_rate: None,
    }];
    let course = Course {
        recipe: task.recipe(cell.seed, at_once),
        at_once,
        heads: &heads,
        augment: &task.augment,
        mix: task.mix,
        identity: vec![(AT_ONCE.to_owned(), at_once.to_string())],
        build: &|| network::build(&basis, run.compute),
        ended: &|trained, folder| {
            let line = weights::keep(cell, &basis, trained, folder, &run.run_folder(cell))?;
            Ok(Some(line))
        },
    };
    let mut trained = training::train(cell, &course, folder, stamps, run, terminal)?;
    let notes = &mut trained.outcome.notes;
    match (cell.head, &*cell.subject) {
        (HeadStart::Own, _) => {
            notes.push("training went on with the checkpoint's own head".to_owned())
        }
        (HeadStart::New, Subject::Checkpoint(checkpoint)) if checkpoint.classifier().is_ok() => {
            notes.push("the checkpoint's own head was left out (--reset-head)".to_owned());
        }
        (HeadStart::New, _) => {}
    }
    if !task.not_in_paper.is_empty() {
        notes.push(format!(
            "not in the paper, and as its code has it: {}",
            task.not_in_paper.join(", ")
        ));
    }
    Ok(trained)
}
