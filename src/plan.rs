//! Arguments, protocol, cards and defaults resolved, checked and hashed before the first second
//! of compute.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::data::check::complete_copy;
use crate::data::{
    Dataset, InputSpec, Interpolation, Limits, OpenOptions, Preprocessor, Resize, Split, Statistics,
};
use crate::engine::{Compute, NUMERICS_VERSION};
use crate::error::Error;
use crate::features::{PassOptions, Stored, Tap};
use crate::protocol::knn::EVALUATION_VERSION;
use crate::spec::{
    InputSection, InterpolationChoice, KnnProtocol, Normalise, Protocol, ResizeChoice,
};
use crate::store::RowType;
use crate::vit::{Heads, tap_shape};

/// Inputs up to this size are taken whole under [`ResizeChoice::Dino`]: networks for CIFAR and
/// MNIST are trained on uncropped images.
const WHOLE_INPUT: usize = 64;

/// How and where a command runs, in values that need no further default.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Engine, device and element type of the forward pass.
    pub compute: Compute,
    /// Threads of the forward pass and of the search.
    pub threads: usize,
    /// Batch, decoding threads and what to do with bad images.
    pub pass: PassOptions,
    /// Element type of stored features.
    pub rows: RowType,
    /// Seed of everything random.
    pub seed: u64,
    /// Where records go.
    pub results: PathBuf,
    /// Where features are kept.
    pub store: PathBuf,
    /// Whether to evaluate again where a record is up to date.
    pub recompute: bool,
}

/// What is evaluated.
#[derive(Debug)]
pub enum Subject {
    /// A checkpoint; its weights are read again when they are needed.
    Checkpoint(Box<Checkpoint>),
    /// The input pixels themselves, at this size.
    Pixels(InputSpec),
}

impl Subject {
    /// Name in tables.
    pub fn name(&self) -> &str {
        match self {
            Self::Checkpoint(checkpoint) => &checkpoint.name,
            Self::Pixels(_) => "raw pixels",
        }
    }
}

/// One row of a kNN table.
#[derive(Debug)]
pub struct KnnCell {
    /// What is evaluated.
    pub subject: Subject,
    /// How images become its inputs.
    pub input: InputSpec,
    /// Which features are read.
    pub taps: Vec<Tap>,
    /// Numbers in one image's feature, one a tap.
    pub dims: Vec<usize>,
    /// Identity of the network and its input, hexadecimal.
    pub subject_key: String,
    /// Identity of the cell, hexadecimal.
    pub key: String,
    /// Where train features are kept, one a tap.
    pub train: Vec<Stored>,
    /// Where validation features are kept, one a tap.
    pub val: Vec<Stored>,
}

/// Everything `mimbench knn` is going to do.
#[derive(Debug)]
pub struct KnnPlan {
    /// The protocol.
    pub protocol: Protocol<KnnProtocol>,
    /// The images.
    pub dataset: Dataset,
    /// The public dataset that they are, where they are all of it.
    pub dataset_name: Option<String>,
    /// Class-stratified limit a split.
    pub limit: Option<usize>,
    /// Hash of paths, sizes and labels of both splits.
    pub data_key: String,
    /// One cell a subject.
    pub cells: Vec<KnnCell>,
    /// How it runs.
    pub run: RunOptions,
}

/// Which dataset a command was pointed at.
#[derive(Clone, Debug)]
pub struct DataRequest {
    /// `--data`.
    pub folder: Option<PathBuf>,
    /// `$MIMBENCH_DATA`.
    pub collection: Option<PathBuf>,
    /// Label file of a flat validation folder.
    pub val_labels: Option<PathBuf>,
    /// Class-stratified limit a split.
    pub limit: Option<usize>,
}

impl DataRequest {
    /// The folder of `dataset`, or an error that says what was looked for.
    fn root(&self, dataset: &str) -> Result<PathBuf, Error> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let hint = "a dataset is a folder with train/<class>/* and val/<class>/*; ImageNet-1K is at https://image-net.org (registration needed), and `mimbench demo` needs no download".to_owned();
        match &self.collection {
            Some(collection) => {
                let root = collection.join(dataset);
                if root.is_dir() {
                    Ok(root)
                } else {
                    let message =
                        format!("no --data was given and {} is no folder", root.display());
                    Err(Error::Usage { message, hint })
                }
            }
            None => Err(Error::Usage {
                message: format!(
                    "no --data was given and $MIMBENCH_DATA is not set ($MIMBENCH_DATA/{dataset} was looked for)"
                ),
                hint,
            }),
        }
    }
}

impl KnnPlan {
    /// Resolves a kNN run of `subjects` over one dataset.
    pub fn new(
        protocol: Protocol<KnnProtocol>,
        data: &DataRequest,
        subjects: Vec<Subject>,
        run: RunOptions,
    ) -> Result<Self, Error> {
        protocol.spec.check()?;
        let root = data.root(&protocol.spec.data.dataset)?;
        let options = OpenOptions {
            val_labels: data.val_labels.clone(),
        };
        let mut dataset = Dataset::open(&root, &options)?;
        let dataset_name = complete_copy(&dataset);
        // A limit that leaves every image in is none.
        let largest = dataset.train.samples.len().max(dataset.val.samples.len());
        let limit = data.limit.filter(|&limit| limit < largest);
        if let Some(limit) = limit {
            let classes = dataset.classes.len();
            if limit < classes {
                return Err(Error::Usage {
                    message: format!("--limit {limit} is below the {classes} classes of {}", root.display()),
                    hint: "a class without train images could not be found: take at least one image a class".to_owned(),
                });
            }
            dataset.train = dataset.train.limited(limit, run.seed);
            dataset.val = dataset.val.limited(limit, run.seed);
        }
        let data_key = digest(&[dataset.train.manifest_hash(), dataset.val.manifest_hash()]);
        let mut plan = Self {
            protocol,
            dataset,
            dataset_name,
            limit,
            data_key,
            cells: Vec::new(),
            run,
        };
        for subject in subjects {
            let cell = plan.cell(subject)?;
            plan.cells.push(cell);
        }
        Ok(plan)
    }

    fn cell(&self, subject: Subject) -> Result<KnnCell, Error> {
        let spec = &self.protocol.spec;
        let task = &spec.task;
        let (input, taps): (_, Vec<Tap>) = match &subject {
            Subject::Checkpoint(checkpoint) => {
                let token = task.feature.token(checkpoint.feature.token);
                let norm = task.norm.applies(checkpoint.feature.norm);
                let layers = task.layers.of(checkpoint.config.depth);
                let taps = layers
                    .into_iter()
                    .map(|layer| Tap::Pooled { layer, token, norm });
                (input_spec(checkpoint, &spec.input)?, taps.collect())
            }
            Subject::Pixels(input) => (input.clone(), vec![Tap::Pixels]),
        };
        // Refuses inputs that images cannot be brought to.
        Preprocessor::new(input.clone(), Limits::default())?;
        let mut dims = Vec::new();
        for &tap in &taps {
            let shape = match &subject {
                Subject::Checkpoint(checkpoint) => tap_shape(&checkpoint.config, tap)?,
                Subject::Pixels(input) => vec![input.channels, input.height, input.width],
            };
            dims.push(shape.iter().product());
        }
        let subject_key = subject_key(&subject, &input);
        let key = digest(&(
            &subject_key,
            &self.protocol.hash,
            &self.data_key,
            self.run.seed,
            (
                self.run.compute.backend(),
                self.run.compute.precision,
                self.run.rows,
                NUMERICS_VERSION,
                EVALUATION_VERSION,
            ),
        ));
        let stored = |split: &Split| {
            taps.iter()
                .map(|&tap| self.stored(tap, split, &subject_key))
                .collect::<Vec<_>>()
        };
        Ok(KnnCell {
            train: stored(&self.dataset.train),
            val: stored(&self.dataset.val),
            subject,
            input,
            taps,
            dims,
            subject_key,
            key,
        })
    }

    fn stored(&self, tap: Tap, split: &Split, subject_key: &str) -> Stored {
        let RunOptions { compute, rows, .. } = self.run;
        let key = digest(&(
            subject_key,
            tap,
            split.manifest_hash(),
            (compute.backend(), compute.precision, rows, NUMERICS_VERSION),
        ));
        Stored {
            tap,
            folder: self.run.store.join(key),
            rows,
        }
    }
}

/// Identity of a network and its input: everything that decides its features but the images.
fn subject_key(subject: &Subject, input: &InputSpec) -> String {
    match subject {
        Subject::Checkpoint(checkpoint) => {
            let making = checkpoint.making();
            let dropped: Vec<_> = checkpoint.audit.ignored().collect();
            digest(&(
                (&checkpoint.blake3, &checkpoint.config, making),
                dropped,
                input,
            ))
        }
        Subject::Pixels(_) => digest(&("pixels", input)),
    }
}

/// blake3 of a value's JSON, hexadecimal.
fn digest(value: &impl Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers in plain structures serialise"
    )]
    let json = serde_json::to_vec(value).expect("a key serialises");
    blake3::hash(&json).to_hex()[..32].to_owned()
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

/// How images become inputs of a checkpoint under a protocol's `[input]`.
pub fn input_spec(checkpoint: &Checkpoint, section: &InputSection) -> Result<InputSpec, Error> {
    let facts = &checkpoint.input;
    let [height, width] = facts.size;
    let side = height.min(width);
    let shorter = match section.resize {
        ResizeChoice::Whole => side,
        ResizeChoice::Dino if side <= WHOLE_INPUT => side,
        ResizeChoice::Dino => side * 256 / 224,
        ResizeChoice::Card => facts.resize.ok_or_else(|| Error::Usage {
            message: format!(
                "input.resize = \"card\", and neither a card nor config.json of {} says a size",
                checkpoint.name
            ),
            hint: "write a card with [input] resize = PIXELS, or use --set input.resize=dino"
                .to_owned(),
        })?,
    };
    let three = |statistics: Statistics| {
        if facts.channels == 3 {
            let (mean, std) = statistics.values();
            Ok((mean.to_vec(), std.to_vec()))
        } else {
            Err(Error::Usage {
                message: format!(
                    "{} has {} input channels, the protocol's normalisation is for 3",
                    checkpoint.name, facts.channels
                ),
                hint: "--set input.normalise=card uses the checkpoint's own".to_owned(),
            })
        }
    };
    let (mean, std) = match section.normalise {
        Normalise::Card => (facts.mean.clone(), facts.std.clone()),
        Normalise::Imagenet => three(Statistics::Imagenet)?,
        Normalise::Half => (vec![0.5; facts.channels], vec![0.5; facts.channels]),
        Normalise::Clip => three(Statistics::Clip)?,
    };
    Ok(InputSpec {
        height,
        width,
        channels: facts.channels,
        resize: Resize::Shorter(shorter),
        interpolation: match section.interpolation {
            InterpolationChoice::Bicubic => Interpolation::Bicubic,
            InterpolationChoice::Bilinear => Interpolation::Bilinear,
            InterpolationChoice::Card => facts.interpolation.ok_or_else(|| Error::Usage {
                message: format!(
                    "input.interpolation = \"card\", and neither a card nor config.json of {} says one",
                    checkpoint.name
                ),
                hint: "write a card with [input] interpolation, or use --set input.interpolation=bicubic".to_owned(),
            })?,
        },
        mean,
        std,
    })
}

/// Raw pixels as an input of `size` x `size`, normalised with ImageNet's statistics.
pub fn pixel_input(size: usize) -> InputSpec {
    let (mean, std) = Statistics::Imagenet.values();
    InputSpec {
        height: size,
        width: size,
        channels: 3,
        resize: Resize::Shorter(size),
        interpolation: Interpolation::Bicubic,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
}

/// Where features of a command go when `--store` is not given.
pub fn default_store(results: &Path) -> PathBuf {
    results.join("store")
}
