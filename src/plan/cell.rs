//! One checkpoint under one protocol on one dataset.

use std::sync::Arc;

use super::dataset::{EvaluationSet, ImageList};
use super::finetune::{self, HeadStart};
use super::segment;
use super::subject::{Subject, subject_key};
use super::{RunOptions, digest, input_spec};
use crate::checkpoint::SceneHead;
use crate::data::{InputSpec, Limits, Preprocessor};
use crate::decoders::ProbeInput;
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::{EncoderError, Stored, Tap};
use crate::protocol::{attention, classification, knn, linear_cached};
use crate::spec::{
    AttentionTask, FeatureChoice, HeadBlocks, Kind, Layers, LinearTask, NormChoice, Protocol,
    Shots, Task,
};
use crate::store::RowType;
use crate::train::TRAINING_VERSION;
use crate::vit::{VitConfig, tap_shape};

/// A cell of a table.
#[derive(Debug)]
pub struct Cell {
    /// What is evaluated.
    pub subject: Arc<Subject>,
    /// Under which rules.
    pub protocol: Arc<Protocol>,
    /// On which images.
    pub set: Arc<EvaluationSet>,
    /// How images become inputs.
    pub input: InputSpec,
    /// Seed of everything random in it.
    pub seed: u64,
    /// What the heads of a probe read.
    pub heads: Vec<ProbeInput>,
    /// What the head of fine-tuning begins as.
    pub head: HeadStart,
    /// The head of a segmentation that is evaluated as it is.
    pub scene_head: Option<Arc<SceneHead>>,
    /// What is read, over which images: train before validation, where both are looked at.
    pub requests: Vec<Request>,
    /// Identity of the network and its input, hexadecimal.
    pub subject_key: String,
    /// Hash of paths, sizes and labels of the images, hexadecimal.
    pub data_key: String,
    /// Identity of the cell, hexadecimal.
    pub key: String,
}

/// Features of some images.
#[derive(Debug)]
pub struct Request {
    /// Which half of the dataset.
    pub part: Part,
    /// The images.
    pub images: ImageList,
    /// What is read and where it is kept; nothing, where training makes the inputs anew.
    pub stored: Vec<Stored>,
    /// Numbers in one image's row, one a tap.
    pub dims: Vec<usize>,
}

/// Half of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Images that are learnt from.
    Train,
    /// Images that are evaluated on.
    Val,
}

impl Part {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

impl Request {
    /// Bytes that its rows take.
    pub fn bytes(&self) -> usize {
        let row = |(stored, dim): (&Stored, &usize)| stored.rows.bytes() * dim;
        let rows = self.stored.iter().zip(&self.dims).map(row);
        self.images.split.samples.len() * rows.sum::<usize>()
    }
}

impl Cell {
    pub(super) fn new(
        subject: Arc<Subject>,
        protocol: Arc<Protocol>,
        set: Arc<EvaluationSet>,
        seed: u64,
        run: &RunOptions,
    ) -> Result<Self, Error> {
        let subject = match &protocol.task {
            Task::Segment(task) => segment::at_crop(subject, task)?,
            _ => subject,
        };
        let input = match &*subject {
            Subject::Checkpoint(checkpoint) | Subject::Untrained { checkpoint, .. } => {
                input_spec(checkpoint, &protocol.input)?
            }
            Subject::Pixels(input) => input.clone(),
        };
        // Refuses inputs that images cannot be brought to.
        Preprocessor::new(input.clone(), Limits::default())?;
        let mut subject_key = subject_key(&subject, &input);
        let mut heads = Vec::new();
        let mut head = HeadStart::New;
        // What decides the numbers of a segmentation beside its protocol.
        let mut basis = None;
        let (parts, taps, evaluation) = match &protocol.task {
            Task::Knn(task) => {
                let taps = pooled_taps(&subject, (task.feature, task.norm), &task.layers);
                (train_and_val(&set, None)?, taps, knn::EVALUATION_VERSION)
            }
            Task::LinearCached(task) => {
                let taps = pooled_taps(&subject, (task.feature, task.norm), &task.layers);
                let shots = Some((task.shots, task.shots_seed));
                let parts = train_and_val(&set, shots)?;
                (parts, taps, linear_cached::EVALUATION_VERSION)
            }
            Task::Linear(task) => {
                heads = probe_inputs(&subject, task)?;
                check_training(&protocol, &set, run)?;
                let shots = Some((task.shots, task.shots_seed));
                let parts = train_and_val(&set, shots)?;
                if let Some((_, train)) = parts.first() {
                    task.recipe(seed).check(train.split.samples.len())?;
                }
                (parts, Vec::new(), TRAINING_VERSION)
            }
            Task::Finetune(task) => {
                let Some(checkpoint) = subject.architecture() else {
                    return Err(no_network());
                };
                check_training(&protocol, &set, run)?;
                let shots = Some((task.shots, task.shots_seed));
                let parts = train_and_val(&set, shots)?;
                if let Some((_, train)) = parts.first() {
                    let encoder = (&checkpoint.name[..], &checkpoint.config);
                    finetune::check(&protocol, task, encoder, train.split.samples.len(), run)?;
                }
                if let Subject::Checkpoint(checkpoint) = &*subject {
                    let data = set.root.display().to_string();
                    let data = (&data[..], set.classes.len());
                    head = finetune::head_start(&protocol, task, checkpoint, data, run)?;
                }
                (parts, Vec::new(), TRAINING_VERSION)
            }
            Task::Segment(task) => {
                let Some(checkpoint) = subject.architecture() else {
                    return Err(no_network());
                };
                let parts = match &run.scene_head {
                    None => {
                        check_training(&protocol, &set, run)?;
                        train_and_val(&set, None)?
                    }
                    Some(head) => {
                        segment::check_head(head, checkpoint, &set)?;
                        subject_key = digest(&(&subject_key, "with the head", &head.blake3));
                        vec![(Part::Val, set.val.clone())]
                    }
                };
                let train = parts.iter().find(|(part, _)| *part == Part::Train);
                let images = train.map(|(_, list)| list.split.samples.len());
                segment::check(&protocol, task, checkpoint, images, run)?;
                if images.is_some() {
                    basis = Some((segment::normalised_over(task, run)?, set.classes.clone()));
                }
                (parts, Vec::new(), TRAINING_VERSION)
            }
            Task::Classify(_) => {
                let Subject::Checkpoint(checkpoint) = &*subject else {
                    return Err(no_network());
                };
                finetune::check_head(checkpoint, &set)?;
                head = HeadStart::Own;
                let parts = vec![(Part::Val, set.val.clone())];
                let taps = vec![Tap::Logits];
                (parts, taps, classification::EVALUATION_VERSION)
            }
            Task::Attention(task) => {
                let images = set.val.chosen(task, seed);
                if images.split.samples.is_empty() {
                    return Err(Error::Usage {
                        message: format!(
                            "{}: task.choice = \"cl-vs-mim\" takes one of 64 images of a class, and no class of {} has 64",
                            protocol.name,
                            set.root.display()
                        ),
                        hint: "--set task.choice=stratified takes any number".to_owned(),
                    });
                }
                let taps = attention_taps(&subject, task)?;
                (
                    vec![(Part::Val, images)],
                    taps,
                    attention::EVALUATION_VERSION,
                )
            }
        };
        if let (HeadStart::Own, Subject::Checkpoint(checkpoint)) = (head, &*subject) {
            // What a head reads may be the word of config.json, which the weights do not tell.
            let own = checkpoint.classifier()?.head;
            subject_key = digest(&(&subject_key, "with its head", own));
        }
        let mut dims = Vec::new();
        for &tap in &taps {
            let shape = match &*subject {
                _ if tap == Tap::Logits => vec![set.classes.len()],
                Subject::Checkpoint(checkpoint) | Subject::Untrained { checkpoint, .. } => {
                    tap_shape(&checkpoint.config, tap)?
                }
                Subject::Pixels(input) => vec![input.channels, input.height, input.width],
            };
            dims.push(shape.iter().product());
        }
        let manifests: Vec<_> = parts.iter().map(|(_, images)| &images.manifest).collect();
        let data_key = digest(&manifests);
        let mut key = digest(&(
            &subject_key,
            // What is read may be the card's word, which the protocol only refers to.
            (&protocol.hash, &taps, &heads),
            &data_key,
            seed,
            (
                run.compute.backend(),
                run.compute.precision,
                rows(&protocol.task, run),
                NUMERICS_VERSION,
                evaluation,
            ),
        ));
        if let Some(basis) = basis {
            key = digest(&(key, basis));
        }
        let request = |(part, images): (Part, ImageList)| Request {
            part,
            stored: taps
                .iter()
                .map(|&tap| stored(tap, (part, &images), &subject_key, run))
                .collect(),
            dims: dims.clone(),
            images,
        };
        let scene_head = match protocol.kind() {
            Kind::Segment => run.scene_head.clone(),
            _ => None,
        };
        Ok(Self {
            requests: parts.into_iter().map(request).collect(),
            subject,
            protocol,
            set,
            seed,
            scene_head,
            heads,
            head,
            input,
            subject_key,
            data_key,
            key,
        })
    }

    /// Its images of one half; the validation images where it looks at no others.
    pub fn images(&self, part: Part) -> &ImageList {
        let request = self.requests.iter().find(|request| request.part == part);
        request.map_or(&self.set.val, |request| &request.images)
    }

    /// Element type of the features that it stores.
    pub fn rows(&self, run: &RunOptions) -> RowType {
        rows(&self.protocol.task, run)
    }

    /// What is read, the same over all images.
    pub fn taps(&self) -> impl Iterator<Item = Tap> {
        let first = self.requests.first().map(|request| &request.stored[..]);
        first.unwrap_or_default().iter().map(|stored| stored.tap)
    }
}

/// Training stores no features: it knows them as they are computed.
fn rows(task: &Task, run: &RunOptions) -> RowType {
    match task {
        Task::Linear(_) | Task::Finetune(_) | Task::Segment(_) => RowType::F32,
        Task::Knn(_) | Task::LinearCached(_) | Task::Classify(_) | Task::Attention(_) => run.rows,
    }
}

/// Both halves, of the train images a choice where one is made.
fn train_and_val(
    set: &EvaluationSet,
    shots: Option<(Shots, u64)>,
) -> Result<Vec<(Part, ImageList)>, Error> {
    let train = set.train.clone().ok_or_else(|| Error::Usage {
        message: format!("{} has no train images", set.root.display()),
        hint: match set.val.masks {
            Some(_) => "it needs images/train/* and annotations/train/*",
            None => "it needs train/<class>/* and val/<class>/*",
        }
        .to_owned(),
    })?;
    let train = match shots {
        Some((shots, seed)) => train.shots(shots, seed),
        None => train,
    };
    Ok(vec![(Part::Train, train), (Part::Val, set.val.clone())])
}

/// One feature a block.
fn pooled_taps(
    subject: &Subject,
    (feature, norm): (FeatureChoice, NormChoice),
    layers: &Layers,
) -> Vec<Tap> {
    match subject {
        Subject::Checkpoint(checkpoint) => {
            let token = feature.token(checkpoint.feature.token);
            let norm = norm.applies(checkpoint.feature.norm);
            let layers = layers.of(checkpoint.config.depth);
            let tap = |layer| Tap::Pooled { layer, token, norm };
            layers.into_iter().map(tap).collect()
        }
        Subject::Untrained { .. } => Vec::new(),
        Subject::Pixels(_) => vec![Tap::Pixels],
    }
}

/// Raw pixels where a network is needed.
fn no_network() -> Error {
    let tap = Tap::Pixels;
    let reason = "raw pixels have no encoder";
    EncoderError::NoSuchTap { tap, reason }.into()
}

/// Refuses what no classifier can be trained on.
fn check_training(protocol: &Protocol, set: &EvaluationSet, run: &RunOptions) -> Result<(), Error> {
    if set.classes.len() < 2 {
        return Err(Error::Usage {
            message: format!("{} has one class only", set.root.display()),
            hint: "a classifier tells classes apart: it needs two".to_owned(),
        });
    }
    if run.pass.skip_bad_images {
        return Err(Error::Usage {
            message: format!(
                "{}: training leaves no image out, and --on-bad-image skip asks for that",
                protocol.name
            ),
            hint: "mend bad images or remove them from the folder (mimbench data check names them); linear-cached can leave them out".to_owned(),
        });
    }
    Ok(())
}

/// What a probe's heads read; an error where the network does not have it.
fn probe_inputs(subject: &Subject, task: &LinearTask) -> Result<Vec<ProbeInput>, Error> {
    let Subject::Checkpoint(checkpoint) = subject else {
        let tap = Tap::Pixels;
        let reason = "raw pixels have no encoder to probe";
        return Err(EncoderError::NoSuchTap { tap, reason }.into());
    };
    let depth = checkpoint.config.depth;
    for input in &task.inputs {
        if let HeadBlocks::Joined { last } = input.blocks
            && last > depth
        {
            return Err(Error::Usage {
                message: format!(
                    "task.inputs joins the last {last} blocks, and {} has {depth}",
                    checkpoint.name
                ),
                hint: "--set task.inputs=[...] says what heads read; protocols/linear-beit.toml explains it"
                    .to_owned(),
            });
        }
    }
    let card = (checkpoint.feature.token, checkpoint.feature.norm);
    let inputs = task.probe_inputs(depth, card);
    for input in &inputs {
        input.width(&checkpoint.config)?;
    }
    Ok(inputs)
}

/// Statistics of every block, then its features where they are asked for.
fn attention_taps(subject: &Subject, task: &AttentionTask) -> Result<Vec<Tap>, Error> {
    let Subject::Checkpoint(checkpoint) = subject else {
        let tap = Tap::AttentionStatistics(0);
        let reason = "raw pixels have no attention";
        return Err(EncoderError::NoSuchTap { tap, reason }.into());
    };
    let VitConfig { depth, .. } = checkpoint.config;
    let token = task.feature.token(checkpoint.feature.token);
    let norm = task.norm.applies(checkpoint.feature.norm);
    let statistics = (0..depth).map(Tap::AttentionStatistics);
    let features = (0..depth).map(|layer| Tap::Pooled { layer, token, norm });
    Ok(match task.diagnostics {
        true => statistics.chain(features).collect(),
        false => statistics.collect(),
    })
}

fn stored(
    tap: Tap,
    (part, images): (Part, &ImageList),
    subject_key: &str,
    run: &RunOptions,
) -> Stored {
    // Files of equal names and sizes may be others in the other half.
    let key = digest(&(
        subject_key,
        tap,
        (part.name(), &images.manifest),
        (
            run.compute.backend(),
            run.compute.precision,
            run.rows,
            NUMERICS_VERSION,
        ),
    ));
    Stored {
        tap,
        folder: run.store.join(key),
        rows: run.rows,
    }
}
