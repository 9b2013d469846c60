//! The classification head in a fine-tuned file, which an encoder leaves out.

use std::collections::{BTreeMap, BTreeSet};

use super::audit::Fate;
use super::dialect::{Dialect, HEAD};
use super::facts::Reader;
use super::rule::{Mapping, Part};
use super::{Audit, Checkpoint, CheckpointError, Choice, MappedWeights};
use crate::features::{Tap, Token};
use crate::vit::{FinalNorm, HeadConfig, HeadInput, Pooler, tap_shape};

/// A checkpoint with the linear classification head that was trained with it.
#[derive(Debug)]
pub struct ClassifierCheckpoint<'a> {
    checkpoint: &'a Checkpoint,
    /// The head's architecture.
    pub head: HeadConfig,
    /// What the head reads, which the weights do not tell, and who said so.
    pub reads: Choice,
    /// The fate of every key in encoder and head.
    pub audit: Audit,
    parts: BTreeMap<String, Part>,
}

impl Checkpoint {
    /// The same file with its classification head.
    ///
    /// # Errors
    /// There is none, or it is more than one linear layer a token.
    pub fn classifier(&self) -> Result<ClassifierCheckpoint<'_>, CheckpointError> {
        let of_head = |fate: &Fate| matches!(fate, Fate::Dropped { reason } if reason == HEAD);
        let lines = self.audit.lines.iter();
        let keys: BTreeSet<String> = lines
            .filter(|line| of_head(&line.fate))
            .map(|line| line.key.clone())
            .collect();
        if keys.is_empty() {
            return Err(CheckpointError::NoHead {
                path: self.path.clone(),
            });
        }
        let mut mapping = match self.dialect.head_names() {
            Some((names, beside)) => {
                let root = if beside {
                    self.root.above()
                } else {
                    self.root.clone()
                };
                Mapping::new(&self.source, &root, names, &|key| !keys.contains(key))?
            }
            None => Mapping {
                unknown: keys,
                ..Mapping::default()
            },
        };
        if !mapping.unknown.is_empty() {
            return Err(CheckpointError::OtherHead {
                path: self.path.clone(),
                dialect: self.dialect.name(),
                keys: mapping.unknown.into_iter().collect(),
            });
        }
        let (head, reads) = self.head_config(&mapping)?;
        let mut audit = Audit::new(&self.source, Some(&mapping), &[]);
        for (line, before) in audit.lines.iter_mut().zip(&self.audit.lines) {
            if line.fate == Fate::Unknown {
                *line = before.clone();
            }
        }
        let mut parts = self.parts.clone();
        parts.append(&mut mapping.parts);
        Ok(ClassifierCheckpoint {
            checkpoint: self,
            head,
            reads,
            audit,
            parts,
        })
    }

    fn head_config(&self, mapping: &Mapping) -> Result<(HeadConfig, Choice), CheckpointError> {
        let reader = Reader {
            source: &self.source,
            mapping,
            prefix: "",
        };
        let shape = reader.shape("head.weight", 2, "[C, D]")?;
        let (input, from) = self.head_input(mapping.parts.contains_key("head_dist.weight"));
        let (width, reads) = match input {
            HeadInput::ClassAndDistillation => {
                (self.config.width, "cls and distillation token".to_owned())
            }
            HeadInput::Pooled { token, norm } => {
                let tap = Tap::Pooled {
                    layer: self.config.depth.saturating_sub(1),
                    token,
                    norm,
                };
                let width = tap_shape(&self.config, tap);
                let width = width.map_err(|error| reader.unclear(error.to_string(), READS))?;
                let norm = if norm { "norm" } else { "raw" };
                (width.iter().product(), format!("{} {norm}", token.name()))
            }
        };
        if shape[1] != width {
            return Err(reader.unclear(
                format!(
                    "head.weight has shape {shape:?}, and {reads}, which it reads, has {width} numbers"
                ),
                READS,
            ));
        }
        let head = HeadConfig {
            input,
            width,
            classes: shape[0],
        };
        Ok((head, Choice::new("head reads", reads, from)))
    }

    /// What the head of this code base reads, and what says so.
    fn head_input(&self, distilled: bool) -> (HeadInput, &'static str) {
        let pooled = |token, norm| HeadInput::Pooled { token, norm };
        let config = &self.config;
        match self.dialect {
            // `dinov2/hub/classifiers.py`, `_LinearClassifierWrapper` of one layer.
            Dialect::Dinov2 => (pooled(Token::Concat, true), "dinov2's linear classifier"),
            // `models/dinov2/modeling_dinov2.py`
            Dialect::HfDinov2 => (
                pooled(Token::Concat, true),
                "transformers' Dinov2ForImageClassification",
            ),
            // `models/clip/modeling_clip.py`: the tokens are not normalised.
            Dialect::HfClip => (
                pooled(Token::MeanPatch, false),
                "transformers' CLIPForImageClassification",
            ),
            // `models/siglip/modeling_siglip.py`: its attention pooling is not used.
            Dialect::HfSiglip => (
                pooled(Token::MeanPatch, true),
                "transformers' SiglipForImageClassification",
            ),
            _ if distilled => (HeadInput::ClassAndDistillation, "head_dist.weight"),
            _ if config.final_norm == FinalNorm::MeanPatch => {
                (pooled(Token::MeanPatch, true), "fc_norm")
            }
            _ if self.mean_pooling => (pooled(Token::MeanPatch, true), "config.json"),
            _ if matches!(config.pooler, Some(Pooler::Attention { .. })) => {
                (pooled(Token::Pooled, true), "attention pooling")
            }
            _ if config.class_token => (pooled(Token::Cls, true), "class token"),
            _ => (pooled(Token::MeanPatch, true), "no class token"),
        }
    }
}

/// What settles a head that reads something else.
const READS: &str =
    "heads over several blocks and heads of other code bases cannot be evaluated as they are";

impl ClassifierCheckpoint<'_> {
    /// The encoder.
    pub fn encoder(&self) -> &Checkpoint {
        self.checkpoint
    }

    /// The encoder's tensors under timm's names with `head.weight` and `head.bias`, position tables
    /// brought to the input's grid; they are read as they are taken.
    pub fn weights(&self) -> MappedWeights<'_> {
        self.checkpoint.weights_of(self.parts.clone())
    }
}
