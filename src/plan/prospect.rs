//! Fine-tuning that is looked at before it is begun: known by its counts, with or without its images.

use std::sync::Arc;

use super::dataset::{EvaluationSet, ImageList};
use super::finetune::{check, head_start};
use super::{Cell, HeadStart, Part, RunOptions, Subject, input_spec, pixel_input};
use crate::data::check::Published;
use crate::data::{InputSpec, Split};
use crate::error::Error;
use crate::spec::{FinetuneTask, Protocol, Shots, Task};
use crate::vit::{Architecture, VitConfig};

/// What a network begins as.
#[derive(Clone, Debug)]
pub enum Origin {
    /// What is evaluated elsewhere too.
    Subject(Arc<Subject>),
    /// An architecture by name, untrained.
    Architecture(Architecture),
}

impl Origin {
    /// Name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Subject(subject) => subject.name(),
            Self::Architecture(architecture) => architecture.name(),
        }
    }

    /// The encoder's architecture; raw pixels have none.
    fn config(&self) -> Option<VitConfig> {
        match self {
            Self::Subject(subject) => Some(subject.architecture()?.config.clone()),
            Self::Architecture(architecture) => Some(architecture.config()),
        }
    }
}

/// One run of fine-tuning before it begins.
#[derive(Debug)]
pub struct Prospect {
    /// What its network begins as.
    pub origin: Origin,
    /// Under which rules.
    pub protocol: Arc<Protocol>,
    /// Which images, in words.
    pub data: String,
    /// How images become inputs.
    pub input: InputSpec,
    /// Seed of everything random.
    pub seed: u64,
    /// What the head begins as.
    pub head: HeadStart,
    /// Classes of the head.
    pub classes: usize,
    /// Images to train on.
    pub train: usize,
    /// Images that are validated.
    pub val: usize,
    /// The images to train on, where they are there.
    pub images: Option<Arc<Split>>,
    /// The cell that a run would be of, where it could begin.
    pub cell: Option<Cell>,
}

/// Where a prospect's counts come from.
#[derive(Clone, Copy, Debug)]
pub enum Counts<'a> {
    /// The images that are there.
    Set(&'a EvaluationSet),
    /// What was published of a dataset; at most so many images of each half.
    Published(&'static Published, Option<usize>),
}

impl Prospect {
    /// The run of a cell that is fine-tuned.
    pub fn of_cell(cell: Cell) -> Self {
        let images = |part| &cell.images(part).split;
        Self {
            origin: Origin::Subject(Arc::clone(&cell.subject)),
            protocol: Arc::clone(&cell.protocol),
            data: cell.set.root.display().to_string(),
            input: cell.input.clone(),
            seed: cell.seed,
            head: cell.head,
            classes: cell.set.classes.len(),
            train: images(Part::Train).samples.len(),
            val: images(Part::Val).samples.len(),
            images: Some(Arc::clone(images(Part::Train))),
            cell: Some(cell),
        }
    }

    /// A run that cannot begin as things are: its images are not there, or its network is only a
    /// name.
    ///
    /// # Errors
    /// The protocol is not for such a network, or not for so many images.
    pub fn new(
        origin: Origin,
        protocol: &Arc<Protocol>,
        counts: Counts<'_>,
        seed: u64,
        run: &RunOptions,
    ) -> Result<Self, Error> {
        let (Task::Finetune(task), Some(config)) = (&protocol.task, origin.config()) else {
            return Err(Error::Usage {
                message: format!("{}: there is nothing to train", protocol.name),
                hint: "--plan is for protocols of kind finetune and networks".to_owned(),
            });
        };
        let (data, classes, train, val, images) = match counts {
            Counts::Set(set) => {
                let data = set.root.display().to_string();
                let train = set.train.as_ref();
                let train = train.map(|all| all.shots(task.shots, task.shots_seed));
                let count = |list: &ImageList| list.split.samples.len();
                (
                    data,
                    set.classes.len(),
                    train.as_ref().map_or(0, count),
                    count(&set.val),
                    train.map(|train| train.split),
                )
            }
            Counts::Published(published, limit) => {
                let limited = |images: u64| limit.map_or(images, |most| images.min(most as u64));
                let train = shot(task, limited(published.train), published.classes);
                (
                    format!("{} as published", published.name),
                    published.classes,
                    train,
                    limited(published.val) as usize,
                    None,
                )
            }
        };
        check(protocol, task, (origin.name(), &config), train, run)?;
        let (mut head, mut input) = (HeadStart::New, pixel_input(config.input_size()[0]));
        if let Origin::Subject(subject) = &origin {
            if let Subject::Checkpoint(checkpoint) = &**subject {
                head = head_start(protocol, task, checkpoint, (&data, classes), run)?;
            }
            if let Some(checkpoint) = subject.architecture() {
                input = input_spec(checkpoint, &protocol.input)?;
            }
        }
        Ok(Self {
            origin,
            protocol: Arc::clone(protocol),
            data,
            input,
            seed,
            head,
            classes,
            train,
            val,
            images,
            cell: None,
        })
    }
}

/// Train images that a choice leaves of so many; every class has its part.
fn shot(task: &FinetuneTask, images: u64, classes: usize) -> usize {
    let images = images as usize;
    match task.shots {
        Shots::All => images,
        Shots::Percent(percent) => {
            let share = (percent / 100.0 * images as f64).round() as usize;
            share.max(classes).min(images)
        }
        Shots::PerClass(each) => (each * classes).min(images),
    }
}
