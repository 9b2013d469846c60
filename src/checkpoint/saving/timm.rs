//! A checkpoint as a model of timm's.

use std::path::Path;

use super::architecture::{Architecture, Measured};
use super::call::Call;
use super::error::ConvertError;
use super::metadata;
use super::tensors::{Planned, plan};
use crate::checkpoint::card::{Card, CardFile, CardInput, CardModel};
use crate::checkpoint::{Checkpoint, CheckpointError, MappedWeights};
use crate::features::Token;
use crate::store::{Slot, TensorFile};
use crate::vit::{Pooler, Rope, VitConfig};

/// A checkpoint and everything that timm calls otherwise.
#[derive(Debug)]
pub struct TimmModel<'a> {
    checkpoint: &'a Checkpoint,
    architecture: Architecture,
    call: Call,
    tensors: Vec<Planned>,
}

impl<'a> TimmModel<'a> {
    /// The model of timm's that computes what the checkpoint does, or why there is none. The
    /// checkpoint's tensors are known to be those of its configuration.
    pub fn of(checkpoint: &'a Checkpoint) -> Result<Self, ConvertError> {
        let inexpressible = |reason: &str| ConvertError::Inexpressible {
            path: checkpoint.path.clone(),
            reason: reason.to_owned(),
        };
        let unreadable = |source| ConvertError::weight(&checkpoint.path, source);
        let projected = matches!(checkpoint.config.pooler, Some(Pooler::Projection { .. }));
        if projected && checkpoint.feature.token == Token::Pooled {
            return Err(inexpressible(
                "its feature is CLIP's projection, which is a classifier there",
            ));
        }
        let weights = checkpoint.weights();
        let measured = Measured {
            key_bias: key_bias(checkpoint, &weights)?,
            base: base(checkpoint, &weights)?,
        };
        let architecture =
            Architecture::of(checkpoint, measured).map_err(|reason| inexpressible(&reason))?;
        let call = Call::shortest(&architecture)
            .ok_or_else(|| inexpressible("no name of timm's can be given its layers"))?;
        let tensors = plan(&weights, &architecture, &call).map_err(unreadable)?;
        Ok(Self {
            checkpoint,
            architecture,
            call,
            tensors,
        })
    }

    /// The configuration that the file is read back with.
    pub fn config(&self) -> VitConfig {
        let from = &self.checkpoint.config;
        VitConfig {
            positions: match self.architecture.folded {
                true => Some(0),
                false => from.positions,
            },
            pooler: match from.pooler {
                Some(Pooler::Projection { .. }) => None,
                pooler => pooler,
            },
            rope: self.architecture.rope,
            ..from.clone()
        }
    }

    /// Tensors in the file.
    pub fn tensors(&self) -> usize {
        self.tensors.len()
    }

    /// The name of timm's class.
    pub fn class(&self) -> &'static str {
        self.architecture.class.name()
    }

    /// Python that loads the file at `path`.
    pub fn python(&self, path: &Path) -> String {
        self.call.python(path)
    }

    /// What is not as it was in the file that the checkpoint comes from.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.architecture.folded {
            notes.push(
                "The class token holds its position, which no other token before the patches has."
                    .to_owned(),
            );
        }
        if let Some(Pooler::Projection { width }) = self.checkpoint.config.pooler {
            notes.push(format!(
                "The projection to {width} numbers is the classifier, head, which mimbench leaves out."
            ));
        }
        if let (Some(Rope::Normalised { base: None, .. }), Some(rope)) =
            (self.checkpoint.config.rope, self.architecture.rope)
        {
            notes.push(format!(
                "The stored periods of the rotary positions are computed ({rope}); features differ by rounding."
            ));
        }
        notes
    }

    /// Writes the tensors in f32, one at a time, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), ConvertError> {
        let weights = self.checkpoint.weights();
        let slot = |planned: &Planned| Slot {
            name: planned.name.clone(),
            dtype: "F32".to_owned(),
            shape: planned.shape.clone(),
            bytes: 4 * planned.shape.iter().product::<usize>(),
        };
        let slots: Vec<_> = self.tensors.iter().map(slot).collect();
        let mut file = TensorFile::create(path)?.begin(&slots, &metadata())?;
        for planned in &self.tensors {
            let elements = planned
                .elements(&weights)
                .map_err(|source| ConvertError::weight(&self.checkpoint.path, source))?;
            file.append(bytemuck::cast_slice(&elements))?;
        }
        self.checkpoint.check_unchanged()?;
        Ok(file.commit()?)
    }

    /// The card of the file at `path`, with the call above it.
    pub fn card(&self, path: &Path) -> Result<String, ConvertError> {
        let from = self.checkpoint;
        let name = path.file_name().unwrap_or_default();
        let file = from.path.file_name().unwrap_or_default();
        let mut note = format!(
            "Converted from {} (blake3 {}), whose names are those of {}.",
            file.to_string_lossy(),
            from.blake3,
            from.dialect.name()
        );
        for sentence in self.notes() {
            note.push(' ');
            note.push_str(&sentence);
        }
        let card = Card {
            name: from.name.clone(),
            file: CardFile {
                path: name.into(),
                url: None,
                page: None,
                hf: None,
                blake3: None,
            },
            model: CardModel {
                dialect: Some(self.architecture.class.dialect()),
                heads: Some(from.config.heads.clone()),
                norm_eps: Some(from.config.norm_eps),
                activation: Some(from.config.activation),
                position_resize: Some(from.position_resize()),
                class_token: Some(from.config.class_token),
                rope: self.architecture.rope,
            },
            input: CardInput {
                size: Some(from.config.input_size()),
                resize: from.input.resize,
                interpolation: from.input.interpolation,
                mean: Some(from.input.mean.clone()),
                std: Some(from.input.std.clone()),
            },
            feature: Some(from.feature),
            licence: from.licence.clone(),
            note: Some(note),
            published: from.published.clone(),
            // The head is left out, and anchors are its numbers.
            anchors: Vec::new(),
        };
        let card = toml::to_string(&card).map_err(|error| CheckpointError::Card {
            path: path.with_extension("toml"),
            reason: error.to_string(),
        })?;
        let mut text = "# In Python, with timm 1.0.31:\n#\n".to_owned();
        for line in self.python(Path::new(name)).lines() {
            text.push_str(&format!("#     {line}\n"));
        }
        text.push('\n');
        text.push_str(&card);
        Ok(text)
    }
}

/// Whether a bias of keys is other than zero.
fn key_bias(checkpoint: &Checkpoint, weights: &MappedWeights<'_>) -> Result<bool, ConvertError> {
    let blocks = if checkpoint.config.qkv_bias {
        checkpoint.config.depth
    } else {
        0
    };
    for block in 0..blocks {
        let bias = weights
            .tensor(&format!("blocks.{block}.attn.qkv.bias"))
            .map_err(|source| ConvertError::weight(&checkpoint.path, source))?;
        let third = bias.data.len() / 3;
        if bias.data[third..2 * third].iter().any(|&bias| bias != 0.0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The base whose powers the stored periods are, to f32's precision.
fn base(checkpoint: &Checkpoint, weights: &MappedWeights<'_>) -> Result<Option<f64>, ConvertError> {
    if !matches!(
        checkpoint.config.rope,
        Some(Rope::Normalised { base: None, .. })
    ) {
        return Ok(None);
    }
    let periods = weights
        .tensor("rope_embed.periods")
        .map_err(|source| ConvertError::weight(&checkpoint.path, source))?;
    let count = periods.data.len() as f64;
    let last = f64::from(periods.data.last().copied().unwrap_or(1.0));
    // base^((n - 1) / n); of a single period, 1, nothing can be told.
    let base = last.powf(count / (count - 1.0)).round();
    let alike = |(i, period): (usize, &f32)| {
        let expected = base.powf(i as f64 / count);
        (f64::from(*period) - expected).abs() <= 1e-6 * expected
    };
    let powers = base.is_finite() && periods.data.iter().enumerate().all(alike);
    Ok(powers.then_some(base))
}
