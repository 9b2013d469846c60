//! A trained model under canonical names, where no class of timm's is the same model.

use std::path::Path;

use super::error::ConvertError;
use super::model::{Model, Pretrained, Trained};
use super::save;
use crate::checkpoint::Checkpoint;
use crate::nn::Weights;

/// A trained model for mimbench alone.
#[derive(Debug)]
pub struct CanonicalModel<'a> {
    model: Model<'a>,
    weights: &'a Weights,
}

impl<'a> CanonicalModel<'a> {
    /// The classifier as it was trained.
    pub fn trained(trained: Trained<'a>) -> Self {
        Self {
            weights: trained.weights,
            model: Model::trained(trained),
        }
    }

    /// The encoder as it was pre-trained.
    pub fn pretrained(pretrained: Pretrained<'a>) -> Self {
        Self {
            weights: pretrained.weights,
            model: Model::pretrained(pretrained),
        }
    }

    /// The first of what its numbers depend on that is not the same where it is read back.
    pub fn difference(&self, again: &Checkpoint) -> Option<&'static str> {
        self.model.difference(self.model.config, again)
    }

    /// Writes the tensors in f32, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), ConvertError> {
        Ok(save(path, self.weights)?)
    }

    /// The card of the file at `path`.
    pub fn card(&self, path: &Path) -> Result<String, ConvertError> {
        Ok(self.model.card(path, self.model.facts(), &[])?)
    }
}
