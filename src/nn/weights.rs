//! Named tensors a model is built from.

use std::collections::BTreeMap;

use crate::engine::{EngineError, HostTensor};

/// A model's tensors under canonical (timm) names.
///
/// Building a model takes tensors out, so what is left afterwards belongs to no layer.
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

    /// Whether every tensor has been taken out.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Canonical names and tensors, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Reads a square convolution kernel `[outputs, C, p, p]` as a matrix `[outputs, C p p]`.
    pub fn flatten_kernel(
        &mut self,
        name: &str,
        outputs: usize,
        kernel: [usize; 3],
    ) -> Result<(), WeightError> {
        let Some(tensor) = self.tensors.get_mut(name) else {
            return Ok(());
        };
        let expected = [&[outputs], &kernel[..]].concat();
        if tensor.shape != expected {
            return Err(WeightError::Shape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected,
            });
        }
        tensor.shape = vec![outputs, kernel.iter().product()];
        Ok(())
    }

    /// Takes `name` out, checking its shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<HostTensor, WeightError> {
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| WeightError::Missing {
                name: name.to_owned(),
            })?;
        if tensor.shape != shape {
            return Err(WeightError::Shape {
                name: name.to_owned(),
                found: tensor.shape,
                expected: shape.to_vec(),
            });
        }
        Ok(tensor)
    }
}
