//! Named tensors a model is built from.

use std::collections::BTreeMap;

use crate::engine::{EngineError, HostTensor};

/// Where a model's tensors come from, under canonical names.
///
/// Building a model takes tensors out one by one, so that a source on disk need never be in memory
/// whole, and what is left afterwards belongs to no layer.
pub trait TensorStore {
    /// Takes `name` out; an error where it is not there, or not any more.
    fn take(&mut self, name: &str) -> Result<HostTensor, WeightError>;

    /// Names that have not been taken, sorted.
    fn left(&self) -> Vec<String>;
}

/// A model's tensors in memory, under canonical (timm) names.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, HostTensor>,
}

/// A tensor the model needs is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// The tensor is not there.
    #[error("{name} is missing")]
    Missing {
        /// Canonical name.
        name: String,
    },
    /// The tensor cannot be read or made of what is stored.
    #[error("{name}: {reason}")]
    Unreadable {
        /// Canonical name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The tensor has other dimensions than the architecture gives it.
    #[error("{name} has shape {found:?}, the architecture needs {expected:?}")]
    Shape {
        /// Canonical name.
        name: String,
        /// Dimensions in the file.
        found: Vec<usize>,
        /// Dimensions the model has.
        expected: Vec<usize>,
    },
    /// A weight that is not a number.
    #[error("{name} holds {value} at element {index}")]
    NotFinite {
        /// Canonical name.
        name: String,
        /// NaN or an infinity.
        value: f32,
        /// Its place, row-major.
        index: usize,
    },
    /// The engine could not take the tensor.
    #[error("{name}: {source}")]
    Engine {
        /// Canonical name.
        name: String,
        /// What the engine said.
        source: EngineError,
    },
}

impl Weights {
    /// Adds a tensor, replacing one of the same name.
    pub fn insert(&mut self, name: String, tensor: HostTensor) {
        self.tensors.insert(name, tensor);
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, name: &str) -> Result<&HostTensor, WeightError> {
        let tensor = self.tensors.get(name);
        tensor.ok_or_else(|| WeightError::Missing {
            name: name.to_owned(),
        })
    }

    /// Takes a tensor out, where there is one of this name.
    pub fn remove(&mut self, name: &str) -> Option<HostTensor> {
        self.tensors.remove(name)
    }

    /// Canonical names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl TensorStore for Weights {
    fn take(&mut self, name: &str) -> Result<HostTensor, WeightError> {
        self.tensors
            .remove(name)
            .ok_or_else(|| WeightError::Missing {
                name: name.to_owned(),
            })
    }

    fn left(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }
}
