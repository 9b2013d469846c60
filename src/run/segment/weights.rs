//! What was trained, in the run's folder: the encoder as a checkpoint, the head beside it.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::training::{CARD, HEAD, WEIGHTS, take_parameters, write_encoder};
use super::SceneTraining;
use super::start::{Start, architecture, start};
use crate::checkpoint::{Checkpoint, HeadOrigin, LoadOptions, Pretrained, SceneHead};
use crate::engine::HostTensor;
use crate::error::Error;
use crate::nn::Weights;
use crate::plan::{Cell, segmenting_config};
use crate::spec::SegmentTask;
use crate::store::{Elements, NamedTensor};

/// Names of buffers in a state.
const BUFFER: &str = "buffer.";

/// Writes the head, and the encoder where it was trained, into `folder`; what became of them, where
/// `shown` is the folder's name at the end.
pub(super) fn keep(
    cell: &Cell,
    task: &SegmentTask,
    network: &SceneTraining,
    folder: &Path,
    shown: &Path,
) -> Result<String, Error> {
    let Start { mut weights, .. } = start(cell, task)?;
    let state = network.save()?;
    put_back_buffers(&mut weights, &state);
    take_parameters(&mut weights, state)?;
    let checkpoint = architecture(&cell.subject)?;
    // With the last norm, which the checkpoint's other readers look at.
    let config = segmenting_config(task, &checkpoint.config)?;
    let of_head = |name: &str| {
        let part = name.split('.').next().unwrap_or_default();
        matches!(part, "decode_head" | "auxiliary_head" | "backbone")
    };
    let of_pooler = |name: &str| {
        let part = name.split('.').next().unwrap_or_default();
        matches!(part, "attn_pool" | "projection")
    };
    let (mut own, mut head) = (Weights::default(), BTreeMap::new());
    for (name, tensor) in weights.iter().filter(|(name, _)| !of_pooler(name)) {
        match of_head(name) {
            true => drop(head.insert(name.to_owned(), HostTensor::clone(tensor))),
            false => own.insert(name.to_owned(), tensor.clone()),
        }
    }
    let name = cell.subject.name();
    let head_file = shown.join(HEAD);
    let (encoder_hash, said) = match task.frozen {
        true => (
            checkpoint.blake3.clone(),
            format!("{name}: the head is {}", head_file.display()),
        ),
        false => {
            let output = folder.join(WEIGHTS);
            let trained = Pretrained {
                path: &output,
                name: format!("{name} {} seed {}", cell.protocol.name, cell.seed),
                note: note(cell, checkpoint),
                config: &config,
                input: &cell.input,
                feature: checkpoint.feature,
                weights: &own,
            };
            let reason = write_encoder(&output, trained)?;
            let again = Checkpoint::open(&output, &LoadOptions::default())?;
            let place = shown.join(WEIGHTS);
            let reason = reason.map_or_else(
                || format!("; {CARD} beside it has the call that loads it in timm"),
                |reason| format!(", for mimbench alone: {reason}"),
            );
            let said = format!(
                "{name}: the head is {}, the trained encoder {}{reason}",
                head_file.display(),
                place.display()
            );
            (again.blake3, said)
        }
    };
    let origin = HeadOrigin {
        encoder: encoder_hash,
        protocol: cell.protocol.text.clone(),
        settings: cell.protocol.modified.clone(),
        classes: cell.set.classes.clone(),
    };
    SceneHead::write(&folder.join(HEAD), &origin, &head)?;
    Ok(said)
}

/// Puts running statistics in the place of those that the run began with.
fn put_back_buffers(weights: &mut Weights, state: &[NamedTensor<'static>]) {
    for tensor in state {
        if let (Some(name), Elements::F32(data)) =
            (tensor.name.strip_prefix(BUFFER), &tensor.elements)
        {
            let (shape, data) = (tensor.shape.clone(), data.to_vec());
            weights.insert(name.to_owned(), HostTensor { shape, data });
        }
    }
}

/// What the encoder comes from.
fn note(cell: &Cell, from: &Checkpoint) -> String {
    let protocol = &cell.protocol;
    let modified = match protocol.modified.is_empty() {
        true => String::new(),
        false => format!(" with {}", protocol.modified.join(", ")),
    };
    format!(
        "The encoder of {} (blake3 {}) after its segmentation by {} version {} (hash {}){modified}, seed {}; the head is {HEAD}.",
        from.name, from.blake3, protocol.name, protocol.version, protocol.hash, cell.seed
    )
}
