//! A model as timm has it.

use std::path::Path;

use super::architecture::{Architecture, Measured};
use super::call::Call;
use super::error::ConvertError;
use super::metadata;
use super::model::{Held, Model, Pretrained, Trained};
use super::tensors::{Planned, plan};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::card::CardModel;
use crate::features::Token;
use crate::store::{Slot, TensorFile};
use crate::vit::{Pooler, Rope, VitConfig};

/// A model and everything that timm calls otherwise.
#[derive(Debug)]
pub struct TimmModel<'a> {
    model: Model<'a>,
    architecture: Architecture,
    call: Call,
    tensors: Vec<Planned>,
}

impl<'a> TimmModel<'a> {
    /// The model of timm's that computes what the checkpoint's encoder does, or why there is none.
    /// The checkpoint's tensors are known to be those of its configuration.
    pub fn of(checkpoint: &'a Checkpoint) -> Result<Self, ConvertError> {
        let projected = matches!(checkpoint.config.pooler, Some(Pooler::Projection { .. }));
        if projected && checkpoint.feature.token == Token::Pooled {
            return Err(ConvertError::Inexpressible {
                path: checkpoint.path.clone(),
                reason: "its feature is CLIP's projection, which is a classifier there".to_owned(),
            });
        }
        Self::new(Model::converted(checkpoint))
    }

    /// The model of timm's that computes the logits of a trained classifier, or why there is none.
    pub fn trained(trained: Trained<'a>) -> Result<Self, ConvertError> {
        Self::new(Model::trained(trained))
    }

    /// The model of timm's that computes what a pre-trained encoder does, without a classifier, or
    /// why there is none.
    pub fn pretrained(pretrained: Pretrained<'a>) -> Result<Self, ConvertError> {
        Self::new(Model::pretrained(pretrained))
    }

    fn new(model: Model<'a>) -> Result<Self, ConvertError> {
        let inexpressible = |reason: &str| ConvertError::Inexpressible {
            path: model.origin.path().to_owned(),
            reason: reason.to_owned(),
        };
        let weights = &*model.weights;
        let measured = Measured {
            key_bias: key_bias(&model, weights)?,
            base: base(&model, weights)?,
        };
        let architecture =
            Architecture::of(&model, measured).map_err(|reason| inexpressible(&reason))?;
        let call = Call::shortest(&architecture)
            .ok_or_else(|| inexpressible("no name of timm's can be given its layers"))?;
        let tensors = plan(weights, &architecture, &call)
            .map_err(|source| ConvertError::weight(model.origin.path(), source))?;
        Ok(Self {
            model,
            architecture,
            call,
            tensors,
        })
    }

    /// The configuration that the file is read back with.
    pub fn config(&self) -> VitConfig {
        let from = self.model.config;
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

    /// The first of what its numbers depend on that is not the same where it is read back.
    pub fn difference(&self, again: &Checkpoint) -> Option<&'static str> {
        self.model.difference(&self.config(), again)
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

    /// What is not as it was where the model comes from.
    pub fn notes(&self) -> Vec<String> {
        let config = self.model.config;
        let mut notes = Vec::new();
        if self.architecture.folded {
            notes.push(
                "The class token holds its position, which no other token before the patches has."
                    .to_owned(),
            );
        }
        if let Some(Pooler::Projection { width }) = config.pooler {
            notes.push(format!(
                "The projection to {width} numbers is the classifier, head, which mimbench leaves out."
            ));
        }
        if let (Some(Rope::Normalised { base: None, .. }), Some(rope)) =
            (config.rope, self.architecture.rope)
        {
            notes.push(format!(
                "The stored periods of the rotary positions are computed ({rope}); features differ by rounding."
            ));
        }
        notes
    }

    /// Writes the tensors in f32, one at a time, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), ConvertError> {
        let origin = self.model.origin;
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
                .elements(&*self.model.weights)
                .map_err(|source| ConvertError::weight(origin.path(), source))?;
            file.append(bytemuck::cast_slice(&elements))?;
        }
        origin.check_unchanged()?;
        Ok(file.commit()?)
    }

    /// The card of the file at `path`, with the call above it.
    pub fn card(&self, path: &Path) -> Result<String, ConvertError> {
        let model = CardModel {
            dialect: Some(self.architecture.class.dialect()),
            rope: self.architecture.rope,
            ..self.model.facts()
        };
        let name = path.file_name().unwrap_or_default();
        let mut text = "# In Python, with timm 1.0.31:\n#\n".to_owned();
        for line in self.python(Path::new(name)).lines() {
            text.push_str(&format!("#     {line}\n"));
        }
        text.push('\n');
        text.push_str(&self.model.card(path, model, &self.notes())?);
        Ok(text)
    }
}

/// Whether a bias of keys is other than zero.
fn key_bias(model: &Model<'_>, weights: &dyn Held) -> Result<bool, ConvertError> {
    let blocks = if model.config.qkv_bias {
        model.config.depth
    } else {
        0
    };
    for block in 0..blocks {
        let bias = weights
            .tensor(&format!("blocks.{block}.attn.qkv.bias"))
            .map_err(|source| ConvertError::weight(model.origin.path(), source))?;
        let third = bias.data.len() / 3;
        if bias.data[third..2 * third].iter().any(|&bias| bias != 0.0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The base whose powers the stored periods are, to f32's precision.
fn base(model: &Model<'_>, weights: &dyn Held) -> Result<Option<f64>, ConvertError> {
    if !matches!(model.config.rope, Some(Rope::Normalised { base: None, .. })) {
        return Ok(None);
    }
    let periods = weights
        .tensor("rope_embed.periods")
        .map_err(|source| ConvertError::weight(model.origin.path(), source))?;
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
