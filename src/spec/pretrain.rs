//! Recipes of pre-training: the file, what it extends, what `--set` changes, and every setting
//! resolved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

use super::linear::REFERENCE_BATCH;
use super::overlay::merge;
use super::{DataSection, LearningRateRule, PretrainPreset, RecipeError, Setting, line_of};
use crate::data::Statistics;
use crate::data::augment::AugmentSpec;
use crate::features::Token;
use crate::pretrain::{
    AttentionSource, MaskSpec, Method, MethodError, StudentSpec, TeacherSpec, TermSpec,
};
use crate::train::{DecayExclusion, EmaSettings, EpochLength, OptimizerKind, Recipe, Schedule};

/// A pre-training recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainRecipe {
    /// Name in cards and records.
    pub name: String,
    /// Raised whenever the weights that it leads to may change.
    pub version: u32,
    /// A recipe beside this file, or a built-in one, whose settings hold where this one is silent.
    #[serde(default, skip_serializing, rename = "extends")]
    _extends: Option<String>,
    /// Which images.
    #[serde(default)]
    pub data: DataSection,
    /// How an image becomes an input.
    pub input: PretrainInput,
    /// Who learns.
    pub student: StudentSpec,
    /// What is hidden from it.
    pub mask: MaskSpec,
    /// Whom it learns from.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub teachers: BTreeMap<String, TeacherSpec>,
    /// The terms of the loss.
    pub terms: BTreeMap<String, TermSpec>,
    /// How it is trained.
    pub training: PretrainTraining,
    /// What happens to images.
    pub augment: AugmentSpec,
    /// What is looked at on the way; it changes no weight.
    #[serde(default)]
    pub monitor: PretrainMonitor,
    /// Settings that the paper does not have, or whose values its text lost: they are the code's, or
    /// a reading that the file explains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_in_paper: Vec<String>,
}

/// How an image becomes the student's input, beside its size, which the student has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainInput {
    /// Mean and standard deviation.
    pub normalise: StudentNormalise,
    /// The tokens that are the feature of what comes out, in its card and in the monitor.
    pub feature: PretrainedFeature,
}

/// Mean and standard deviation of a student's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentNormalise {
    /// ImageNet's.
    Imagenet,
    /// 0.5 and 0.5.
    Half,
    /// OpenAI CLIP's.
    Clip,
}

impl StudentNormalise {
    /// Mean and standard deviation of three channels.
    pub fn values(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Imagenet => Statistics::Imagenet.values(),
            Self::Half => ([0.5; 3], [0.5; 3]),
            Self::Clip => Statistics::Clip.values(),
        }
    }
}

/// The feature of a pre-trained encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PretrainedFeature {
    /// The class token under the final normalisation.
    Cls,
    /// The mean of the patch tokens under it.
    MeanPatch,
}

impl PretrainedFeature {
    /// The tokens.
    pub fn token(self) -> Token {
        match self {
            Self::Cls => Token::Cls,
            Self::MeanPatch => Token::MeanPatch,
        }
    }
}

/// How a student is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainTraining {
    /// Epochs.
    pub epochs: usize,
    /// Images of one update.
    pub batch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Whether it is for the batch as it is.
    pub learning_rate_rule: LearningRateRule,
    /// How it moves.
    pub schedule: Schedule,
    /// What moves the weights.
    pub optimizer: OptimizerKind,
    /// Weight decay of what is not spared.
    pub weight_decay: f64,
    /// Where the weight decay ends, by half a cosine over all updates; where it begins, where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay_end: Option<f64>,
    /// What is not decayed.
    pub decay_exclusion: DecayExclusion,
    /// Largest global norm of a gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// A moving average of the weights, for masks that are drawn by its attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaSettings>,
    /// Whether a pass leaves out what makes no whole batch.
    #[serde(default = "yes")]
    pub drop_last: bool,
}

fn yes() -> bool {
    true
}

/// What is looked at while a student is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainMonitor {
    /// Epochs between two looks by kNN; the last epoch always has one. None, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<usize>,
    /// Train images that vote, chosen class by class.
    pub train_images: usize,
    /// Validation images that are voted on, chosen class by class.
    pub val_images: usize,
    /// Neighbours.
    pub k: usize,
    /// Epochs between two files of weights that are kept; the last alone, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_every: Option<usize>,
    /// Whether the weights before the first update are kept too, as a control.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_initial: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Default for PretrainMonitor {
    fn default() -> Self {
        Self {
            every: None,
            train_images: 10_000,
            val_images: 2_000,
            k: 20,
            keep_every: None,
            keep_initial: false,
        }
    }
}

/// A recipe with every setting resolved, and what it is called by.
#[derive(Clone, Debug)]
pub struct ResolvedRecipe {
    /// The recipe.
    pub recipe: PretrainRecipe,
    /// blake3 of all settings that decide the weights, hexadecimal.
    pub hash: String,
    /// All settings as TOML.
    pub text: String,
    /// Settings given on the command line, as given.
    pub modified: Vec<String>,
}

impl ResolvedRecipe {
    /// A recipe that is built in, under `settings`.
    pub fn preset(preset: PretrainPreset, settings: &[Setting]) -> Result<Self, RecipeError> {
        let path = Path::new("built-in recipe");
        Self::resolve(path, preset.text().to_owned(), settings)
    }

    /// The recipe of a file, or of a built-in's name where there is no such file, under `settings`.
    pub fn named(path: &Path, settings: &[Setting]) -> Result<Self, RecipeError> {
        let preset = path.to_str().and_then(PretrainPreset::named);
        match (std::fs::read_to_string(path), preset) {
            (Ok(text), _) => {
                let plain = Self::resolve(path, text.clone(), &[])?;
                plain.check_name(path)?;
                Self::resolve(path, text, settings)
            }
            (Err(_), Some(preset)) => Self::preset(preset, settings),
            (Err(source), None) => Err(RecipeError::Read {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Refuses other settings under the name of a built-in recipe.
    fn check_name(&self, path: &Path) -> Result<(), RecipeError> {
        for preset in PretrainPreset::ALL {
            let known = Self::preset(preset, &[])?;
            let same = (&known.recipe.name, known.recipe.version)
                == (&self.recipe.name, self.recipe.version);
            if same && known.hash != self.hash {
                return Err(RecipeError::TakenName {
                    path: path.to_owned(),
                    name: known.recipe.name,
                });
            }
        }
        Ok(())
    }

    fn resolve(path: &Path, text: String, settings: &[Setting]) -> Result<Self, RecipeError> {
        let mut table = parse(path, &text)?;
        let base = table.remove("extends");
        let alone = base.is_none() && settings.is_empty();
        if let Some(base) = base {
            let (base, text) = base_of(path, base.as_str().unwrap_or_default())?;
            let mut below = parse(&base, &text)?;
            if below.contains_key("extends") {
                return Err(RecipeError::Chain { path: base });
            }
            merge(&mut below, table);
            table = below;
        }
        for setting in settings {
            setting.apply(&mut table).map_err(RecipeError::Setting)?;
        }
        // From its text, where it is all, so that errors know their line.
        let whole = match alone {
            true => text,
            false => toml::to_string(&table).map_err(|error| wrong(path, error.to_string()))?,
        };
        let recipe: PretrainRecipe =
            toml::from_str(&whole).map_err(|error| match settings.is_empty() {
                true => wrong(path, line_of(&error, &whole)),
                false => RecipeError::Set {
                    setting: (settings.iter())
                        .map(|setting| setting.0.as_str())
                        .collect::<Vec<_>>()
                        .join(" --set "),
                    reason: error.message().replace('\n', ", "),
                },
            })?;
        recipe.check().map_err(|error| match error {
            Wrong::Method(source) => RecipeError::Method {
                recipe: recipe.name.clone(),
                source: Box::new(source),
            },
            Wrong::Value { field, reason } => RecipeError::Value {
                recipe: recipe.name.clone(),
                field,
                reason,
            },
        })?;
        let text = toml::to_string(&recipe).map_err(|error| wrong(path, error.to_string()))?;
        Ok(Self {
            hash: recipe.hash().map_err(|error| wrong(path, error))?,
            recipe,
            text,
            modified: settings.iter().map(|setting| setting.0.clone()).collect(),
        })
    }
}

fn wrong(path: &Path, reason: String) -> RecipeError {
    RecipeError::Parse {
        path: path.to_owned(),
        reason,
    }
}

fn parse(path: &Path, text: &str) -> Result<Table, RecipeError> {
    toml::from_str(text).map_err(|error| wrong(path, line_of(&error, text)))
}

/// The recipe that another extends: a file beside it, or a built-in one.
fn base_of(path: &Path, name: &str) -> Result<(PathBuf, String), RecipeError> {
    let base = path.with_file_name(name);
    match (std::fs::read_to_string(&base), PretrainPreset::named(name)) {
        (Ok(text), _) => Ok((base, text)),
        (Err(_), Some(preset)) => Ok((base, preset.text().to_owned())),
        (Err(source), None) => Err(RecipeError::Read { path: base, source }),
    }
}

/// What is wrong with a recipe.
enum Wrong {
    Method(MethodError),
    Value { field: &'static str, reason: String },
}

impl PretrainRecipe {
    /// Who learns what from whom.
    pub fn method(&self) -> Method {
        Method {
            student: self.student.clone(),
            mask: self.mask.clone(),
            teachers: self.teachers.clone(),
            terms: self.terms.clone(),
        }
    }

    /// blake3 of what decides the weights: everything but the monitor.
    ///
    /// # Errors
    /// What cannot be written as TOML.
    pub fn hash(&self) -> Result<String, String> {
        let decisive = Self {
            monitor: PretrainMonitor::default(),
            ..self.clone()
        };
        let text = toml::to_string(&decisive).map_err(|error| error.to_string())?;
        Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
    }

    /// Learning rate of updates of its batch.
    pub fn scaled_learning_rate(&self) -> f64 {
        let training = &self.training;
        match training.learning_rate_rule {
            LearningRateRule::Absolute => training.learning_rate,
            LearningRateRule::Per256 => {
                training.learning_rate * training.batch as f64 / REFERENCE_BATCH
            }
        }
    }

    /// How it is trained by this seed, `at_once` images going through the networks together.
    pub fn recipe(&self, seed: u64, at_once: usize) -> Recipe {
        let training = &self.training;
        Recipe {
            epochs: training.epochs,
            epoch: match training.drop_last {
                true => EpochLength::WholeBatches,
                false => EpochLength::Samples,
            },
            batch: training.batch,
            local_batch: at_once,
            mixed: at_once,
            repeats: 1,
            learning_rate: self.scaled_learning_rate(),
            schedule: training.schedule,
            weight_decay: training.weight_decay,
            weight_decay_schedule: match training.weight_decay_end {
                Some(end) => Schedule::IterationCosine { end },
                None => Schedule::Constant {},
            },
            validate_every: self.monitor.every,
            seed,
            batch_norm: false,
        }
    }

    /// Refuses values that mean nothing.
    fn check(&self) -> Result<(), Wrong> {
        let wrong = |field, reason: String| Err(Wrong::Value { field, reason });
        let training = &self.training;
        let monitor = &self.monitor;
        for (field, count) in [
            ("training.epochs", training.epochs),
            ("training.batch", training.batch),
            ("monitor.every", monitor.every.unwrap_or(1)),
            ("monitor.keep_every", monitor.keep_every.unwrap_or(1)),
            ("monitor.train_images", monitor.train_images),
            ("monitor.val_images", monitor.val_images),
            ("monitor.k", monitor.k),
        ] {
            if count == 0 {
                return wrong(field, "counts from 1".to_owned());
            }
        }
        for (field, value) in [
            ("training.learning_rate", training.learning_rate),
            ("training.clip_norm", training.clip_norm.unwrap_or(1.0)),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(field, format!("must be positive, it is {value}"));
            }
        }
        for (field, value) in [
            ("training.weight_decay", training.weight_decay),
            (
                "training.weight_decay_end",
                training.weight_decay_end.unwrap_or(0.0),
            ),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(field, format!("must not be negative, it is {value}"));
            }
        }
        let value = |field, checked: Result<(), String>| {
            checked.map_err(|reason| Wrong::Value {
                field,
                reason: format!("cannot be: {reason}"),
            })
        };
        value("training.optimizer", training.optimizer.check())?;
        let epochs = training.epochs as u64;
        value("training.schedule", training.schedule.check(epochs))?;
        let augment = self.augment.check().map_err(|error| error.to_string());
        value("augment", augment)?;
        let averaged = matches!(self.mask.attention(), Some(AttentionSource::Ema { .. }));
        if averaged && training.ema.is_none() {
            let reason =
                "is missing: the mask is drawn by the attention of an average of the weights";
            return wrong("training.ema", reason.to_owned());
        }
        self.method().check().map_err(Wrong::Method)
    }
}
