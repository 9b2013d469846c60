//! What is evaluated.

use std::path::Path;

use serde::Serialize;

use super::digest;
use crate::checkpoint::Checkpoint;
use crate::data::InputSpec;
use crate::error::Error;
use crate::nn::TensorStore;
use crate::vit::{Heads, stays_untrained};

/// What is evaluated.
#[derive(Debug)]
pub enum Subject {
    /// A checkpoint; its weights are read again when they are needed.
    Checkpoint(Box<Checkpoint>),
    /// A checkpoint's architecture, whose weights begin as the run's seed says.
    Untrained {
        /// Name in tables.
        name: String,
        /// Whose architecture.
        checkpoint: Box<Checkpoint>,
    },
    /// The input pixels themselves, at this size.
    Pixels(InputSpec),
}

impl Subject {
    /// The same architecture before any training.
    pub fn untrained(self) -> Self {
        match self {
            Self::Checkpoint(checkpoint) => Self::Untrained {
                name: format!("{} from scratch", checkpoint.name),
                checkpoint,
            },
            other => other,
        }
    }

    /// The checkpoint, whether or not its weights count.
    pub fn architecture(&self) -> Option<&Checkpoint> {
        match self {
            Self::Checkpoint(checkpoint) | Self::Untrained { checkpoint, .. } => Some(checkpoint),
            Self::Pixels(_) => None,
        }
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Checkpoint(checkpoint) => &checkpoint.name,
            Self::Untrained { name, .. } => name,
            Self::Pixels(_) => "raw pixels",
        }
    }
}

/// Weights, how they were read, and the input that they see.
fn reading<'a, I: Serialize>(checkpoint: &'a Checkpoint, input: &'a I) -> impl Serialize + 'a {
    let dropped: Vec<_> = checkpoint.audit.ignored().collect();
    (
        (&checkpoint.blake3, &checkpoint.config, checkpoint.making()),
        dropped,
        input,
    )
}

/// Identity of a teacher: everything that decides what it says of an image but the image.
pub fn teacher_key(teacher: &Checkpoint) -> String {
    let input = &teacher.input;
    digest(&reading(teacher, &(&input.mean, &input.std)))
}

/// Identity of a network and its input: everything that decides its features but the images.
pub(super) fn subject_key(subject: &Subject, input: &InputSpec) -> String {
    match subject {
        Subject::Checkpoint(checkpoint) => digest(&reading(checkpoint, input)),
        Subject::Untrained { checkpoint, .. } => {
            // Its first weights are a function of the names and shapes of the file's, and of the
            // few tensors that no training makes.
            let mut weights = checkpoint.weights();
            let names = weights.left();
            let kept: Vec<_> = (names.iter().filter(|name| stays_untrained(name)))
                .filter_map(|name| weights.take(name).ok())
                .map(|tensor| {
                    tensor
                        .data
                        .into_iter()
                        .map(f32::to_bits)
                        .collect::<Vec<_>>()
                })
                .collect();
            let network = (&checkpoint.config, checkpoint.key_bias());
            digest(&("untrained", network, (names, kept), input))
        }
        Subject::Pixels(_) => digest(&("pixels", input)),
    }
}

/// Names checkpoints that share a name after their folders too.
pub fn tell_apart(checkpoints: &mut [Checkpoint]) {
    let names: Vec<_> = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.name.clone())
        .collect();
    for checkpoint in checkpoints {
        let folder = checkpoint.path.parent().and_then(Path::file_name);
        if let Some(folder) = folder
            && names
                .iter()
                .filter(|name| **name == checkpoint.name)
                .count()
                > 1
        {
            checkpoint.name = format!("{}/{}", folder.to_string_lossy(), checkpoint.name);
        }
    }
}

/// Refuses one number of heads for checkpoints of several widths.
pub fn check_heads(heads: Option<&Heads>, checkpoints: &[Checkpoint]) -> Result<(), Error> {
    let mut widths = checkpoints.iter().map(|checkpoint| checkpoint.config.width);
    let first = widths.next();
    if heads.is_some() && widths.any(|width| Some(width) != first) {
        return Err(Error::Usage {
            message: "--heads was given for checkpoints of different widths".to_owned(),
            hint: "evaluate them one by one, or write a card with [model] heads for each"
                .to_owned(),
        });
    }
    Ok(())
}
