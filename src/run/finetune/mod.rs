//! Fine-tuning: a whole encoder and a head, trained with labels.

mod network;
mod start;

use super::Terminal;
use super::training::{self, Course, Trained};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Cell, HeadStart, RunOptions, images_at_once};
use crate::protocol::classification::Head;
use crate::spec::FinetuneTask;

/// Name of the images that go through the network together in a state's identity.
const AT_ONCE: &str = "number of images at once (--batch)";

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
    let at_once = images_at_once(task, run.at_once)?;
    let network = start::network(cell, task)?;
    let heads = [Head {
        name: network.reads(),
        input: 0,
        layer: Some(network.config.depth.saturating_sub(1)),
        learning_rate: None,
    }];
    let course = Course {
        recipe: task.recipe(cell.seed, at_once),
        heads: &heads,
        augment: &task.augment,
        mix: task.mix,
        identity: vec![(AT_ONCE.to_owned(), at_once.to_string())],
        build: &|| network::build(cell, task, run.compute),
        ended: &|_, _| Ok(()),
    };
    training::train(cell, &course, folder, stamps, run, terminal)
}
