//! Whether a checkpoint can be fine-tuned as a protocol says, and what its head begins as.

use super::{AtOnce, EvaluationSet, RunOptions};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::error::Error;
use crate::features::Token;
use crate::spec::{FinetuneTask, Pool, Protocol};
use crate::vit::{HeadInput, VitConfig};

/// Images that go through the network together where nobody says.
const USUAL_AT_ONCE: usize = 32;

/// What the head of fine-tuning begins as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeadStart {
    /// As the protocol says.
    #[default]
    New,
    /// As the checkpoint has it.
    Own,
}

/// Refuses an encoder that the protocol is not for, and batches that cannot be.
pub(super) fn check(
    protocol: &Protocol,
    task: &FinetuneTask,
    (name, config): (&str, &VitConfig),
    samples: usize,
    run: &RunOptions,
) -> Result<(), Error> {
    if let Some(depth) = task.depth
        && depth != config.depth
    {
        return Err(Error::Usage {
            message: format!(
                "{} is for encoders of {depth} blocks, and {name} has {}",
                protocol.name, config.depth
            ),
            hint: format!(
                "its layer decay and drop path are of that depth: another --preset, or --set task.depth={} with task.layer_decay and task.drop_path of your choice",
                config.depth
            ),
        });
    }
    if task.pool == Pool::Cls && !config.class_token {
        return Err(Error::Usage {
            message: format!(
                "{} reads the class token, and {name} has none",
                protocol.name
            ),
            hint: "--set task.pool=mean_patch reads the mean of the patches".to_owned(),
        });
    }
    if task.mixes() && !task.drop_last && !samples.is_multiple_of(2) {
        return Err(Error::Usage {
            message: format!(
                "{}: mixup and cutmix pair images, and an epoch has {samples}",
                protocol.name
            ),
            hint: "--set task.drop_last=true leaves out what makes no whole batch".to_owned(),
        });
    }
    let at_once = images_at_once(task, run.at_once)?;
    Ok(task.recipe(0, at_once).check(samples)?)
}

/// Images that go through the network together where their number is not to be found out.
///
/// # Errors
/// They do not divide the batch, or leave an image without a partner.
pub fn images_at_once(task: &FinetuneTask, at_once: AtOnce) -> Result<usize, Error> {
    let most = match at_once {
        AtOnce::Images(images) if !is_part(task, images) => {
            let pairs = match task.mixes() {
                true => "even parts, because mixup and cutmix pair images",
                false => "equal parts",
            };
            let parts: Vec<_> = parts(task).iter().map(ToString::to_string).collect();
            return Err(Error::Usage {
                message: format!(
                    "--batch {images} does not cut task.batch = {} into {pairs}",
                    task.batch
                ),
                hint: format!(
                    "it takes {}; --batch auto finds the largest that fits",
                    parts.join(", ")
                ),
            });
        }
        AtOnce::Images(images) => images,
        AtOnce::Usual | AtOnce::Fitting => USUAL_AT_ONCE,
    };
    let parts = parts(task);
    let fitting = parts.iter().rfind(|&&images| images <= most);
    Ok(fitting.copied().unwrap_or(task.batch))
}

/// Numbers of images that a batch can be cut into, ascending.
pub fn parts(task: &FinetuneTask) -> Vec<usize> {
    let all = 1..=task.batch;
    all.filter(|&images| is_part(task, images)).collect()
}

/// The most images at once that stay within `budget` bytes where a step of so many needs
/// `memory(images)`, out of the numbers `parts`, ascending; the fewest, where none does.
pub fn largest_within(
    parts: &[usize],
    budget: u64,
    memory: &dyn Fn(usize) -> u64,
) -> Option<usize> {
    let fits = |images: &&usize| memory(**images) <= budget;
    parts.iter().rev().find(fits).or(parts.first()).copied()
}

/// The most images at once, out of the numbers `parts`, ascending, of which a step is carried out;
/// numbers beyond the first that is not are not tried.
///
/// # Errors
/// Those of `carried_out`.
pub fn largest_carried_out<E>(
    parts: &[usize],
    carried_out: &mut dyn FnMut(usize) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    let mut largest = None;
    for &images in parts {
        if !carried_out(images)? {
            break;
        }
        largest = Some(images);
    }
    Ok(largest)
}

/// Whether a batch can be cut into parts of so many images.
pub fn is_part(task: &FinetuneTask, images: usize) -> bool {
    let paired = !task.mixes() || images.is_multiple_of(2);
    images > 0 && task.batch.is_multiple_of(images) && paired
}

/// What the head begins as: the checkpoint's own where it has one that fits.
///
/// # Errors
/// It has one that does not fit, and nobody asked for a new one.
pub(super) fn head_start(
    protocol: &Protocol,
    task: &FinetuneTask,
    checkpoint: &Checkpoint,
    (data, classes): (&str, usize),
    run: &RunOptions,
) -> Result<HeadStart, Error> {
    if run.reset_head {
        return Ok(HeadStart::New);
    }
    let reset = |message: String| {
        Err(Error::Usage {
            message,
            hint: "--reset-head begins with a new one".to_owned(),
        })
    };
    let classifier = match checkpoint.classifier() {
        Ok(classifier) => classifier,
        Err(CheckpointError::NoHead { .. }) => return Ok(HeadStart::New),
        Err(error) => return reset(error.to_string()),
    };
    if classifier.head.classes != classes {
        return reset(format!(
            "the head of {} has {} classes, and {data} has {classes}",
            checkpoint.name, classifier.head.classes
        ));
    }
    let token = match task.pool {
        Pool::Cls => Token::Cls,
        Pool::MeanPatch => Token::MeanPatch,
    };
    if classifier.head.input != (HeadInput::Pooled { token, norm: true }) {
        return reset(format!(
            "the head of {} reads {}, that of {} reads {} norm",
            checkpoint.name,
            classifier.reads.value,
            protocol.name,
            token.name()
        ));
    }
    Ok(HeadStart::Own)
}

/// Refuses a checkpoint that has no head for these classes.
pub(super) fn check_head(checkpoint: &Checkpoint, set: &EvaluationSet) -> Result<(), Error> {
    let [head, classes] = [checkpoint.classifier()?.head.classes, set.classes.len()];
    if head == classes {
        return Ok(());
    }
    Err(Error::Usage {
        message: format!(
            "the head of {} has {head} classes, and {} has {classes}",
            checkpoint.name,
            set.root.display()
        ),
        hint: "a head is evaluated on the classes that it was trained for".to_owned(),
    })
}
