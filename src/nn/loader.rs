//! From named weights to the tensors of a model.

use super::{WeightError, Weights};
use crate::engine::Engine;

/// Takes tensors out of [`Weights`] onto an engine while a model is built.
#[derive(Debug)]
pub struct Loader<'a, E: Engine> {
    engine: &'a E,
    weights: &'a mut Weights,
    parameters: Option<Vec<(String, E::Tensor)>>,
}

impl<'a, E: Engine> Loader<'a, E> {
    /// Every tensor becomes a constant: a model for inference, or a frozen teacher.
    pub fn frozen(engine: &'a E, weights: &'a mut Weights) -> Self {
        Self {
            engine,
            weights,
            parameters: None,
        }
    }

    /// Every tensor becomes a parameter, listed in [`Loader::into_parameters`].
    pub fn trainable(engine: &'a E, weights: &'a mut Weights) -> Self {
        Self {
            engine,
            weights,
            parameters: Some(Vec::new()),
        }
    }

    /// Names and handles of what was taken as a parameter, in the order of taking.
    pub fn into_parameters(self) -> Vec<(String, E::Tensor)> {
        self.parameters.unwrap_or_default()
    }

    /// The tensor `name` on the engine, checking its shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<E::Tensor, WeightError> {
        let tensor = self.weights.take(name, shape)?;
        let on_engine = |source| WeightError::Engine {
            name: name.to_owned(),
            source,
        };
        match &mut self.parameters {
            None => self.engine.tensor(&tensor.data[..], shape),
            Some(parameters) => {
                self.engine
                    .parameter(&tensor.data[..], shape)
                    .inspect(|parameter| {
                        parameters.push((name.to_owned(), parameter.clone()));
                    })
            }
        }
        .map_err(on_engine)
    }

    /// [`Weights::flatten_kernel`] before the kernel is taken.
    pub fn flatten_kernel(
        &mut self,
        name: &str,
        outputs: usize,
        kernel: [usize; 3],
    ) -> Result<(), WeightError> {
        self.weights.flatten_kernel(name, outputs, kernel)
    }
}
