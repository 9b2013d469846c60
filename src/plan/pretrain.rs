//! A pre-training run, resolved and checked before its first second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{AtOnce, DataRequest, EvaluationSet, ImageList, RunOptions, TeacherOrigin};
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::data::{InputSpec, Interpolation, Resize, Split};
use crate::error::Error;
use crate::pretrain::{Blueprint, Statistics};
use crate::spec::ResolvedRecipe;
use crate::train::TrainError;

/// A teacher as the command line gives it: `NAME=FILE`, or a file alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeacherFile {
    /// Its name in the recipe; the only one of the recipe, where absent.
    pub name: Option<String>,
    /// The checkpoint.
    pub path: PathBuf,
}

/// One run of pre-training.
#[derive(Clone, Debug)]
pub struct PretrainPlan {
    /// What it does.
    pub recipe: ResolvedRecipe,
    /// Its networks.
    pub blueprint: Blueprint,
    /// Its teachers, by their names in the recipe.
    pub teachers: BTreeMap<String, Arc<Checkpoint>>,
    /// Its images.
    pub set: Arc<EvaluationSet>,
    /// The train split.
    pub train: ImageList,
    /// How images become inputs.
    pub input: InputSpec,
    /// Images that kNN looks at on the way, where it does: those that vote, those that are voted on.
    pub watched: Option<[Arc<Split>; 2]>,
    /// Seed of everything random.
    pub seed: u64,
    /// Images that go through the networks together; the usual number where the run is to find out
    /// how many fit.
    pub at_once: usize,
    /// The run's folder.
    pub out: PathBuf,
    /// What its student is called: the folder, and the one above where it is that of a seed.
    pub name: String,
    /// How it runs.
    pub run: RunOptions,
}

/// Images at once where nobody says.
const USUAL_AT_ONCE: usize = 32;

/// Seed of the choice of watched images, which no run's seed changes: curves of several seeds are of
/// the same images.
const WATCHED_SEED: u64 = 0;

impl PretrainPlan {
    /// A run over the images of `request`, whose results go to `out`.
    ///
    /// # Errors
    /// Whatever would keep it from its first step.
    pub fn new(
        recipe: ResolvedRecipe,
        teachers: &[TeacherFile],
        load: &LoadOptions,
        request: &DataRequest,
        (out, run): (&Path, RunOptions),
    ) -> Result<Self, Error> {
        let teachers = open_teachers(&recipe, teachers, load)?;
        let root = request.root(&recipe.recipe.data.dataset)?;
        let set = Arc::new(EvaluationSet::open(&root, request, run.seed)?);
        Self::over(recipe, teachers, set, (out, run))
    }

    /// A run over these images and teachers.
    ///
    /// # Errors
    /// As [`PretrainPlan::new`]'s.
    pub fn over(
        recipe: ResolvedRecipe,
        teachers: BTreeMap<String, Arc<Checkpoint>>,
        set: Arc<EvaluationSet>,
        (out, run): (&Path, RunOptions),
    ) -> Result<Self, Error> {
        let blueprint = blueprint(&recipe, &teachers)?;
        let Some(train) = set.train.clone() else {
            return Err(Error::Usage {
                message: format!("{} has no train images", set.root.display()),
                hint: "pre-training looks at train/<class>/*".to_owned(),
            });
        };
        let monitor = &recipe.recipe.monitor;
        let watched = monitor.every.map(|_| {
            let chosen = |split: &Split, images: usize| {
                Arc::new(split.subset(&split.stratified(images, WATCHED_SEED)))
            };
            [
                chosen(&train.split, monitor.train_images),
                chosen(&set.val.split, monitor.val_images),
            ]
        });
        let at_once = pretrain_at_once(recipe.recipe.training.batch, run.at_once)?;
        Ok(Self {
            input: pretrain_input(&recipe, &blueprint),
            blueprint,
            teachers,
            train,
            set,
            watched,
            seed: run.seed,
            at_once,
            name: name_of(out, run.seed),
            out: out.to_owned(),
            recipe,
            run,
        })
    }

    /// Refuses a length or a batch that the images do not give.
    ///
    /// # Errors
    /// `TrainError::Recipe`, whose hint names the setting.
    pub fn check(&self) -> Result<(), TrainError> {
        let recipe = self.recipe.recipe.recipe(self.seed, self.at_once);
        recipe.check(self.train.split.samples.len())
    }

    /// Mean and standard deviation of the student's input.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            mean: self.input.mean.clone(),
            std: self.input.std.clone(),
        }
    }
}

fn name_of(out: &Path, seed: u64) -> String {
    let last = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    match out.parent().map(last) {
        Some(above) if !above.is_empty() && last(out) == format!("seed-{seed}") => {
            format!("{above} seed {seed}")
        }
        _ => last(out),
    }
}

/// Opens the teachers that a recipe looks at, each at the input that it will see.
///
/// # Errors
/// One is missing or cannot be opened, or one is given that nobody looks at.
pub fn open_teachers(
    recipe: &ResolvedRecipe,
    files: &[TeacherFile],
    load: &LoadOptions,
) -> Result<BTreeMap<String, Arc<Checkpoint>>, Error> {
    let opened = |(name, origin): (String, TeacherOrigin)| match origin {
        TeacherOrigin::Checkpoint(checkpoint) => Ok((name, checkpoint)),
        TeacherOrigin::Architecture { name: of, .. } => Err(Error::Usage {
            message: format!(
                "teacher {name} is the architecture {of} alone, which teaches nothing"
            ),
            hint: format!("--teacher {name}=FILE gives its weights; --plan does without"),
        }),
    };
    let origins = teacher_origins(recipe, files, load)?;
    origins.into_iter().map(opened).collect()
}

/// The teachers that a recipe looks at, each at the input that it will see; `arch:NAME` in place of
/// a file is timm's architecture of this name.
///
/// # Errors
/// As [`open_teachers`]'s.
pub fn teacher_origins(
    recipe: &ResolvedRecipe,
    files: &[TeacherFile],
    load: &LoadOptions,
) -> Result<BTreeMap<String, TeacherOrigin>, Error> {
    let method = recipe.recipe.method();
    let wanted: BTreeMap<_, _> = method.counting_teachers().collect();
    let names = || wanted.keys().copied().collect::<Vec<_>>().join(", ");
    let mut teachers = BTreeMap::new();
    if let (true, Some(file)) = (wanted.is_empty(), files.first()) {
        return Err(Error::Usage {
            message: format!("{} learns from no teacher", recipe.recipe.name),
            hint: format!("leave --teacher {} out", file.path.display()),
        });
    }
    for file in files {
        let only = || match wanted.len() {
            1 => wanted.keys().next().map(|name| (*name).to_owned()),
            _ => None,
        };
        let name = file
            .name
            .clone()
            .or_else(only)
            .ok_or_else(|| Error::Usage {
                message: format!("--teacher {} does not say which", file.path.display()),
                hint: format!(
                    "--teacher NAME=FILE, where {} has {}",
                    recipe.recipe.name,
                    names()
                ),
            })?;
        let Some(spec) = wanted.get(name.as_str()) else {
            return Err(Error::Usage {
                message: format!("{} has no teacher {name}", recipe.recipe.name),
                hint: format!("it has {}", names()),
            });
        };
        let options = LoadOptions {
            input_size: spec.input_size.map(|side| [side; 2]).or(load.input_size),
            ..load.clone()
        };
        let teacher = TeacherOrigin::open(&file.path, &options)?;
        if teachers.insert(name.clone(), teacher).is_some() {
            return Err(Error::Usage {
                message: format!("teacher {name} is given twice"),
                hint: "one --teacher a name".to_owned(),
            });
        }
    }
    match wanted
        .iter()
        .find(|(name, _)| !teachers.contains_key(**name))
    {
        None => Ok(teachers),
        Some((name, spec)) => {
            let what = match spec.what.is_empty() {
                true => String::new(),
                false => format!(", {} in the original", spec.what),
            };
            Err(Error::Usage {
                message: format!("{} learns from a teacher: {name}{what}", recipe.recipe.name),
                hint: format!("--teacher {name}=FILE gives it, any checkpoint of a ViT"),
            })
        }
    }
}

/// The networks of a recipe between these teachers.
pub fn blueprint(
    recipe: &ResolvedRecipe,
    teachers: &BTreeMap<String, Arc<Checkpoint>>,
) -> Result<Blueprint, Error> {
    let configs = teachers.iter();
    let configs = configs.map(|(name, teacher)| (name.clone(), teacher.config.clone()));
    Ok(Blueprint::new(&recipe.recipe.method(), configs.collect())?)
}

/// How images become the inputs of a recipe's student; those of validations are resized whole.
pub fn pretrain_input(recipe: &ResolvedRecipe, blueprint: &Blueprint) -> InputSpec {
    let (mean, std) = recipe.recipe.input.normalise.values();
    let [height, width] = blueprint.student().input_size();
    InputSpec {
        height,
        width,
        channels: blueprint.student().channels,
        resize: Resize::Shorter(shorter(height.min(width))),
        interpolation: Interpolation::Bicubic,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
}

/// Shorter side before the centre crop, as kNN's protocol has it.
fn shorter(side: usize) -> usize {
    match side <= super::input::WHOLE_INPUT {
        true => side,
        false => side * 256 / 224,
    }
}

/// Images at once where their number is not to be found out: what is asked for, or the largest part
/// of the batch up to the usual number.
///
/// # Errors
/// A number that does not divide the batch.
pub fn pretrain_at_once(batch: usize, asked: AtOnce) -> Result<usize, Error> {
    let parts = pretrain_parts(batch);
    match asked {
        AtOnce::Images(images) if parts.contains(&images) => Ok(images),
        AtOnce::Images(images) => Err(Error::Usage {
            message: format!("--batch {images} does not divide training.batch = {batch}"),
            hint: "--batch is how many images of an update go through the networks together; --batch auto finds the largest number that fits"
                .to_owned(),
        }),
        AtOnce::Usual | AtOnce::Fitting => {
            let usual = parts.iter().rfind(|&&images| images <= USUAL_AT_ONCE);
            Ok(usual.copied().unwrap_or(batch))
        }
    }
}

/// Numbers of images that a batch can be cut into, ascending.
pub fn pretrain_parts(batch: usize) -> Vec<usize> {
    let all = 1..=batch;
    all.filter(|images| batch.is_multiple_of(*images)).collect()
}
