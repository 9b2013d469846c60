//! What can be wrong with a segmentation before it begins.

use std::sync::Arc;

use super::{AtOnce, EvaluationSet, RunOptions, Subject};
use crate::checkpoint::{Checkpoint, SceneHead};
use crate::decoders::segmentation::SegmenterConfig;
use crate::error::Error;
use crate::spec::{Protocol, ScenePositions, SegmentTask};
use crate::vit::{RelativeBias, VitConfig};

/// What an encoder's input size comes from.
const CROP: &str = "the protocol's crop";

/// Refuses a crop that patches do not cover.
fn check_crop(task: &SegmentTask, checkpoint: &Checkpoint) -> Result<(), Error> {
    let (crop, patch) = (task.crop(), checkpoint.config.patch_size);
    if !crop.is_multiple_of(patch) {
        return Err(Error::Usage {
            message: format!(
                "task.augment.crop is {crop} pixels, and {} has patches of {patch}",
                checkpoint.name
            ),
            hint: format!(
                "--set task.augment.crop={} is the next that they cover, with windows no further apart",
                crop.next_multiple_of(patch)
            ),
        });
    }
    Ok(())
}

/// What is evaluated, its positions brought to the crop.
///
/// # Errors
/// The crop is no multiple of the patches, or positions cannot be brought to it.
pub(super) fn at_crop(subject: Arc<Subject>, task: &SegmentTask) -> Result<Arc<Subject>, Error> {
    if let Some(checkpoint) = subject.architecture() {
        check_crop(task, checkpoint)?;
    }
    let size = [task.crop(); 2];
    let other = |checkpoint: &Checkpoint| checkpoint.config.input_size() != size;
    Ok(match &*subject {
        Subject::Checkpoint(checkpoint) if other(checkpoint) => Arc::new(Subject::Checkpoint(
            Box::new(checkpoint.at_size(size, CROP)?),
        )),
        Subject::Untrained { name, checkpoint } if other(checkpoint) => {
            Arc::new(Subject::Untrained {
                name: name.clone(),
                checkpoint: Box::new(checkpoint.at_size(size, CROP)?),
            })
        }
        _ => subject,
    })
}

/// The encoder's architecture under a protocol's choice of positions and layer scales.
///
/// # Errors
/// It has no place for what the protocol would add.
pub fn segmenting_config(task: &SegmentTask, own: &VitConfig) -> Result<VitConfig, Error> {
    let mut config = own.clone();
    config.pooler = None;
    let tables = match (task.positions, config.relative_bias) {
        (ScenePositions::Checkpoint, own) => own,
        (ScenePositions::PerBlock, None) => None,
        (ScenePositions::PerBlock | ScenePositions::Added, Some(RelativeBias::Both)) => {
            Some(RelativeBias::Both)
        }
        _ => Some(RelativeBias::PerBlock),
    };
    let prefix = own.prefix();
    if tables.is_some() && own.relative_bias.is_none() && !(own.class_token && prefix == 1) {
        return Err(Error::Usage {
            message: format!(
                "tables of relative positions are for a class token and patches, and this encoder has {prefix} tokens before its patches"
            ),
            hint: "--set task.positions=checkpoint leaves its positions as they are".to_owned(),
        });
    }
    config.relative_bias = tables;
    if task.positions == ScenePositions::Anew {
        config.positions = None;
    }
    if task.layer_scale.is_some() {
        config.layer_scale = true;
    }
    Ok(config)
}

/// Refuses what cannot be trained, before anything is read.
///
/// # Errors
/// An encoder of another depth, a head that does not go with it, parts that do not divide a batch.
pub(super) fn check(
    protocol: &Protocol,
    task: &SegmentTask,
    checkpoint: &Checkpoint,
    images: Option<usize>,
    run: &RunOptions,
) -> Result<(), Error> {
    let config = segmenting_config(task, &checkpoint.config)?;
    if let Some(depth) = task.depth.filter(|&depth| depth != config.depth) {
        return Err(Error::Usage {
            message: format!(
                "{} is for encoders of {depth} blocks, and {} has {}",
                protocol.name, checkpoint.name, config.depth
            ),
            hint: format!(
                "--set task.depth={} carries it out all the same, under its layer decay",
                config.depth
            ),
        });
    }
    SegmenterConfig::new(task.head.clone(), task.masks.classes as usize, &config)?;
    let Some(images) = images else {
        return Ok(());
    };
    let at_once = crops_at_once(task, run.at_once)?;
    Ok(task.recipe(run.seed, at_once).check(images)?)
}

/// Refuses a head of another encoder or of other classes.
///
/// # Errors
/// As said.
pub(super) fn check_head(
    head: &SceneHead,
    checkpoint: &Checkpoint,
    set: &EvaluationSet,
) -> Result<(), Error> {
    let refused = |message: String, hint: &str| {
        Err(Error::Usage {
            message,
            hint: hint.to_owned(),
        })
    };
    let path = head.path.display();
    if head.origin.encoder != checkpoint.blake3 {
        return refused(
            format!(
                "{path} is the head of an encoder with the hash {}, and {} has {}",
                head.origin.encoder, checkpoint.name, checkpoint.blake3
            ),
            "a head that was trained with its encoder belongs to the model.safetensors beside it, one of a frozen encoder to the checkpoint that it was trained over",
        );
    }
    let other = |(own, other): &(&String, &String)| own != other;
    let mut pairs = head.origin.classes.iter().zip(&set.classes);
    let (own, found) = (head.origin.classes.len(), set.classes.len());
    if own != found {
        return refused(
            format!(
                "{path} tells {own} classes, and {} has {found}",
                set.root.display()
            ),
            "a head is evaluated on the classes that it was trained for",
        );
    }
    match pairs.find(other) {
        None => Ok(()),
        Some((own, found)) => refused(
            format!(
                "{path} calls a class {own:?} that {} calls {found:?}",
                set.root.display()
            ),
            "a head is evaluated on the classes that it was trained for, in their order",
        ),
    }
}

/// Crops over which a network takes its statistics in training; none where it has none.
///
/// # Errors
/// As [`crops_at_once`].
pub(super) fn normalised_over(task: &SegmentTask, run: &RunOptions) -> Result<usize, Error> {
    let at_once = crops_at_once(task, run.at_once)?;
    let statistics = task.recipe(run.seed, at_once).batch_norm;
    Ok(if statistics { at_once } else { 0 })
}

/// Crops that go through the network together.
///
/// # Errors
/// They do not divide the batch, or nobody knows how many fit.
pub fn crops_at_once(task: &SegmentTask, asked: AtOnce) -> Result<usize, Error> {
    let refused = |message: String| {
        Err(Error::Usage {
            message,
            hint: format!(
                "--batch takes a number that divides task.batch = {}",
                task.batch
            ),
        })
    };
    match asked {
        AtOnce::Usual => Ok(task.batch),
        AtOnce::Images(images) if images > 0 && task.batch.is_multiple_of(images) => Ok(images),
        AtOnce::Images(images) => refused(format!(
            "--batch {images} does not divide the {} crops of an update",
            task.batch
        )),
        AtOnce::Fitting => refused(
            "--batch auto is for fine-tuning: BatchNorm's statistics are those of the crops at once"
                .to_owned(),
        ),
    }
}
