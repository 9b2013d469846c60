//! The trained weights, as a checkpoint in the run's folder.

use std::path::Path;

use super::super::pair::Pair;
use super::super::training::{CARD, Training, WEIGHTS, take_parameters, unwritten};
use super::start::{Basis, start};
use crate::checkpoint::{CanonicalModel, Checkpoint, ConvertError, TimmModel, Trained};
use crate::error::Error;
use crate::plan::{Cell, Subject};

/// Writes the trained network and its card into `folder`, under timm's names where timm has such a
/// model; what became of it, where `shown` is the folder's name at the end.
pub(super) fn keep(
    cell: &Cell,
    basis: &Basis<'_>,
    network: &Training,
    folder: &Path,
    shown: &Path,
) -> Result<String, Error> {
    // What is no parameter is as it was before the first update.
    let mut start = start(basis)?;
    take_parameters(&mut start.weights, network.save()?)?;
    let Some(from) = cell.subject.architecture() else {
        return Ok(format!("{}: nothing was trained", cell.subject.name()));
    };
    let trained = Trained {
        from,
        name: format!(
            "{} {} seed {}",
            cell.subject.name(),
            cell.protocol.name,
            cell.seed
        ),
        note: origin(cell, from),
        config: &start.config,
        head: start.head,
        input: &cell.input,
        weights: &start.weights,
        derived: matches!(&*cell.subject, Subject::Checkpoint(_)),
    };
    let output = folder.join(WEIGHTS);
    let place = |folder: &Path| folder.join(WEIGHTS).display().to_string();
    let name = cell.subject.name();
    let reason = match for_timm(&output, trained.clone()) {
        Ok(()) => {
            return Ok(format!(
                "{name}: the trained weights are {}; {CARD} beside it has the call that loads them in timm",
                place(shown)
            ));
        }
        Err(error) => unwritten(error)?,
    };
    let model = CanonicalModel::trained(trained);
    let written = Pair::locked(&output)?.write(
        &output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    );
    Ok(match written {
        Ok(()) => format!(
            "{name}: the trained weights are {}, for mimbench alone: {reason}",
            place(shown)
        ),
        Err(error) => {
            let reason = unwritten(error)?;
            format!("{name}: the trained weights are in the run's state alone: {reason}")
        }
    })
}

/// What the weights come from.
fn origin(cell: &Cell, from: &Checkpoint) -> String {
    let file = from.path.file_name().unwrap_or_default().to_string_lossy();
    let began = match &*cell.subject {
        Subject::Checkpoint(_) => format!("Fine-tuned from {file} (blake3 {})", from.blake3),
        _ => format!("Trained from scratch in the architecture of {file}"),
    };
    let protocol = &cell.protocol;
    let modified = match protocol.modified.is_empty() {
        true => String::new(),
        false => format!(" with {}", protocol.modified.join(", ")),
    };
    format!(
        "{began} by {} version {} (hash {}){modified}, seed {}; {} classes, in the order of the dataset's.",
        protocol.name,
        protocol.version,
        protocol.hash,
        cell.seed,
        cell.set.classes.len()
    )
}

fn for_timm(output: &Path, trained: Trained<'_>) -> Result<(), ConvertError> {
    let model = TimmModel::trained(trained)?;
    Pair::locked(output)?.write(
        output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    )
}
