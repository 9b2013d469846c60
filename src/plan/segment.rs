//! What can be wrong with a segmentation before it begins.

use std::sync::Arc;

use super::{AtOnce, RunOptions, Subject};
use crate::checkpoint::Checkpoint;
use crate::decoders::segmentation::SegmenterConfig;
use crate::error::Error;
use crate::spec::{Protocol, ScenePositions, SegmentTask};
use crate::vit::{RelativeBias, VitConfig};

/// What is evaluated, its positions brought to the crop.
pub(super) fn at_crop(subject: Arc<Subject>, task: &SegmentTask) -> Result<Arc<Subject>, Error> {
    let size = [task.crop(); 2];
    let other = |checkpoint: &Checkpoint| checkpoint.config.input_size() != size;
    Ok(match &*subject {
        Subject::Checkpoint(checkpoint) if other(checkpoint) => {
            Arc::new(Subject::Checkpoint(Box::new(checkpoint.at_size(size)?)))
        }
        Subject::Untrained { name, checkpoint } if other(checkpoint) => {
            Arc::new(Subject::Untrained {
                name: name.clone(),
                checkpoint: Box::new(checkpoint.at_size(size)?),
            })
        }
        _ => subject,
    })
}

/// The encoder's architecture under a protocol's choice of positions and layer scales.
///
/// # Errors
/// It has what the protocol would add.
pub fn segmenting_config(task: &SegmentTask, own: &VitConfig) -> Result<VitConfig, Error> {
    let mut config = own.clone();
    config.pooler = None;
    match task.positions {
        ScenePositions::Checkpoint => {}
        ScenePositions::PerBlock => {
            if config.relative_bias.is_some() {
                config.relative_bias = Some(RelativeBias::PerBlock);
            }
        }
        ScenePositions::Added => config.relative_bias = Some(RelativeBias::PerBlock),
        ScenePositions::Anew => {
            config.relative_bias = Some(RelativeBias::PerBlock);
            config.positions = None;
        }
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
    images: usize,
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
    SegmenterConfig::new(task.head.clone(), task.masks.classes, &config)?;
    let at_once = crops_at_once(task, run.at_once)?;
    Ok(task.recipe(run.seed, at_once).check(images)?)
}

/// Crops that go through the network together.
///
/// # Errors
/// They do not divide the batch, or nobody knows how many fit.
pub fn crops_at_once(task: &SegmentTask, asked: AtOnce) -> Result<usize, Error> {
    let refused = |message: String| Err(Error::Usage {
        message,
        hint: format!("--batch takes a number that divides task.batch = {}", task.batch),
    });
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
