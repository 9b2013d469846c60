//! A model on its way into a file, wherever its tensors are.

use std::fmt::Debug;
use std::path::Path;

use super::origin::Origin;
use crate::checkpoint::card::{Card, CardFile, CardInput, CardModel, Published};
use crate::checkpoint::{Checkpoint, CheckpointError, Feature, MappedWeights};
use crate::data::{InputSpec, Resize};
use crate::engine::HostTensor;
use crate::nn::{WeightError, Weights};
use crate::vit::{HeadConfig, HeadInput, VitConfig};

/// Tensors under canonical names, which stay where they are.
pub(super) trait Held: Debug {
    /// Their names, sorted.
    fn names(&self) -> Vec<String>;

    /// The dimensions of one.
    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightError>;

    /// One of them.
    fn tensor(&self, name: &str) -> Result<HostTensor, WeightError>;
}

impl Held for MappedWeights<'_> {
    fn names(&self) -> Vec<String> {
        MappedWeights::names(self).map(str::to_owned).collect()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightError> {
        MappedWeights::shape(self, name)
    }

    fn tensor(&self, name: &str) -> Result<HostTensor, WeightError> {
        MappedWeights::tensor(self, name)
    }
}

impl Held for &Weights {
    fn names(&self) -> Vec<String> {
        self.iter().map(|(name, _)| name.to_owned()).collect()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, WeightError> {
        Ok(self.find(name)?.shape.clone())
    }

    fn tensor(&self, name: &str) -> Result<HostTensor, WeightError> {
        Ok(self.find(name)?.clone())
    }
}

/// A classifier that was trained from a checkpoint.
#[derive(Clone, Debug)]
pub struct Trained<'a> {
    /// Whose architecture it began with.
    pub from: &'a Checkpoint,
    /// Name in tables.
    pub name: String,
    /// What it comes from, in a sentence.
    pub note: String,
    /// The encoder's architecture.
    pub config: &'a VitConfig,
    /// The head's.
    pub head: HeadConfig,
    /// The inputs that it was trained with.
    pub input: &'a InputSpec,
    /// Every tensor, under canonical names.
    pub weights: &'a Weights,
    /// Whether it began with the checkpoint's weights.
    pub derived: bool,
}

/// An encoder that was trained from nothing, without what it was trained with: decoders, heads,
/// teachers.
#[derive(Clone, Debug)]
pub struct Pretrained<'a> {
    /// Where it is to be, for errors.
    pub path: &'a Path,
    /// Name in tables.
    pub name: String,
    /// What it comes from, in a sentence.
    pub note: String,
    /// The encoder's architecture.
    pub config: &'a VitConfig,
    /// The inputs that it was trained with.
    pub input: &'a InputSpec,
    /// The feature that it is evaluated by.
    pub feature: Feature,
    /// Every tensor, under canonical names.
    pub weights: &'a Weights,
}

/// What is known about a model before it is written.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub origin: Origin<'a>,
    pub name: String,
    pub note: String,
    pub config: &'a VitConfig,
    /// The head that is written with it.
    pub head: Option<HeadConfig>,
    pub feature: Feature,
    pub input: CardInput,
    pub licence: Option<String>,
    pub published: Vec<Published>,
    pub weights: Box<dyn Held + 'a>,
}

impl<'a> Model<'a> {
    /// A checkpoint's encoder.
    pub(super) fn converted(from: &'a Checkpoint) -> Self {
        let file = from.path.file_name().unwrap_or_default();
        Self {
            origin: Origin::Checkpoint(from),
            name: from.name.clone(),
            note: format!(
                "Converted from {} (blake3 {}), whose names are those of {}.",
                file.to_string_lossy(),
                from.blake3,
                from.dialect.name()
            ),
            config: &from.config,
            head: None,
            feature: from.feature,
            input: CardInput {
                size: Some(from.config.input_size()),
                resize: from.input.resize,
                interpolation: from.input.interpolation,
                mean: Some(from.input.mean.clone()),
                std: Some(from.input.std.clone()),
            },
            licence: from.licence.clone(),
            published: from.published.clone(),
            weights: Box::new(from.weights()),
        }
    }

    /// A trained classifier.
    pub(super) fn trained(trained: Trained<'a>) -> Self {
        let from = trained.from;
        let feature = match trained.head.input {
            HeadInput::Pooled { token, norm } => Feature { token, norm },
            HeadInput::ClassAndDistillation => from.feature,
        };
        Self {
            origin: Origin::Checkpoint(from),
            name: trained.name,
            note: trained.note,
            config: trained.config,
            head: Some(trained.head),
            feature,
            input: seen(trained.input),
            licence: from.licence.clone().filter(|_| trained.derived),
            published: Vec::new(),
            weights: Box::new(trained.weights),
        }
    }

    /// An encoder that was trained from nothing.
    pub(super) fn pretrained(pretrained: Pretrained<'a>) -> Self {
        Self {
            origin: Origin::Nothing(pretrained.path),
            name: pretrained.name,
            note: pretrained.note,
            config: pretrained.config,
            head: None,
            feature: pretrained.feature,
            input: seen(pretrained.input),
            licence: None,
            published: Vec::new(),
            weights: Box::new(pretrained.weights),
        }
    }

    /// The first of what its numbers depend on that is not the same where it is read back; its
    /// configuration there is to be `config`.
    pub(super) fn difference(
        &self,
        config: &VitConfig,
        again: &Checkpoint,
    ) -> Option<&'static str> {
        let (input, read) = (&self.input, &again.input);
        // What a head reads is its own affair: pooling is for who has none.
        let pooler = match self.head {
            Some(_) => config.pooler,
            None => again.config.pooler,
        };
        let read_as = VitConfig {
            pooler,
            ..again.config.clone()
        };
        let head = || again.classifier().ok().map(|classifier| classifier.head);
        let same = [
            ("architecture", read_as == *config),
            ("head", self.head.is_none() || head() == self.head),
            ("feature", again.feature == self.feature),
            ("input size", Some(read.size) == input.size),
            ("resize", read.resize == input.resize),
            ("interpolation", read.interpolation == input.interpolation),
            ("mean", Some(&read.mean) == input.mean.as_ref()),
            ("standard deviation", Some(&read.std) == input.std.as_ref()),
            (
                "way of resizing position tables",
                again.position_resize() == self.origin.position_resize(),
            ),
        ];
        same.iter().find(|(_, same)| !same).map(|&(what, _)| what)
    }

    /// What a card says of the architecture.
    pub(super) fn facts(&self) -> CardModel {
        CardModel {
            dialect: None,
            heads: Some(self.config.heads.clone()),
            norm_eps: Some(self.config.norm_eps),
            activation: Some(self.config.activation),
            position_resize: Some(self.origin.position_resize()),
            class_token: Some(self.config.class_token),
            rope: self.config.rope,
        }
    }

    /// The card of the file at `path`.
    pub(super) fn card(
        &self,
        path: &Path,
        model: CardModel,
        notes: &[String],
    ) -> Result<String, CheckpointError> {
        let mut note = self.note.clone();
        for sentence in notes {
            note.push(' ');
            note.push_str(sentence);
        }
        let card = Card {
            name: self.name.clone(),
            file: CardFile {
                path: path.file_name().unwrap_or_default().into(),
                url: None,
                page: None,
                hf: None,
                blake3: None,
            },
            model,
            input: self.input.clone(),
            feature: Some(self.feature),
            licence: self.licence.clone(),
            note: Some(note),
            published: self.published.clone(),
            // They are numbers of a head that is left out, or of other weights.
            anchors: Vec::new(),
        };
        toml::to_string(&card).map_err(|error| CheckpointError::Card {
            path: path.with_extension("toml"),
            reason: error.to_string(),
        })
    }
}

/// The inputs of training as a card says them.
fn seen(input: &InputSpec) -> CardInput {
    CardInput {
        size: Some([input.height, input.width]),
        resize: match input.resize {
            Resize::Shorter(side) => Some(side),
            Resize::Exact => None,
        },
        interpolation: Some(input.interpolation),
        mean: Some(input.mean.clone()),
        std: Some(input.std.clone()),
    }
}
