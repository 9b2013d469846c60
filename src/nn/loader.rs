//! From named weights to the tensors of a model.

use std::collections::BTreeMap;

use super::{TensorStore, WeightError};
use crate::engine::{Engine, HostTensor};

/// Takes tensors out of a [`TensorStore`] onto an engine while a model is built.
pub struct Loader<'a, E: Engine> {
    engine: &'a E,
    weights: &'a mut dyn TensorStore,
    parameters: Option<Vec<(String, E::Tensor)>>,
    shared: BTreeMap<String, E::Tensor>,
}

impl<E: Engine> std::fmt::Debug for Loader<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("left", &self.weights.left())
            .finish_non_exhaustive()
    }
}

impl<'a, E: Engine> Loader<'a, E> {
    /// Every tensor becomes a constant: a model for inference, or a frozen teacher.
    pub fn frozen(engine: &'a E, weights: &'a mut dyn TensorStore) -> Self {
        Self {
            engine,
            weights,
            parameters: None,
            shared: BTreeMap::new(),
        }
    }

    /// The parameters of another model become constants that change with them; `weights` has what
    /// is none.
    pub fn sharing(
        engine: &'a E,
        weights: &'a mut dyn TensorStore,
        parameters: &[(String, E::Tensor)],
    ) -> crate::engine::Result<Self> {
        let shared =
            |(name, tensor): &(String, E::Tensor)| Ok((name.clone(), engine.detach(tensor)?));
        Ok(Self {
            shared: parameters
                .iter()
                .map(shared)
                .collect::<crate::engine::Result<_>>()?,
            ..Self::frozen(engine, weights)
        })
    }

    /// Every tensor becomes a parameter, listed in [`Loader::into_parameters`].
    pub fn trainable(engine: &'a E, weights: &'a mut dyn TensorStore) -> Self {
        Self {
            engine,
            weights,
            parameters: Some(Vec::new()),
            shared: BTreeMap::new(),
        }
    }

    /// Names and handles of what was taken as a parameter, in the order of taking.
    pub fn into_parameters(self) -> Vec<(String, E::Tensor)> {
        self.parameters.unwrap_or_default()
    }

    /// The engine that the model is built on.
    pub fn engine(&self) -> &'a E {
        self.engine
    }

    /// The tensor `name` on the host, never a parameter, checking its shape and that every
    /// element is finite.
    pub fn constant(&mut self, name: &str, shape: &[usize]) -> Result<HostTensor, WeightError> {
        let tensor = self.weights.take(name)?;
        if tensor.shape != shape {
            return Err(WeightError::Shape {
                name: name.to_owned(),
                found: tensor.shape,
                expected: shape.to_vec(),
            });
        }
        match tensor.data.iter().position(|x| !x.is_finite()) {
            None => Ok(tensor),
            Some(index) => Err(WeightError::NotFinite {
                name: name.to_owned(),
                value: tensor.data[index],
                index,
            }),
        }
    }

    /// The tensor `name` on the engine, checking its shape and that every element is finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<E::Tensor, WeightError> {
        self.take_as(name, shape, shape)
    }

    /// [`Loader::take`] of a tensor that is stored under one shape and used under another.
    pub fn take_as(
        &mut self,
        name: &str,
        stored: &[usize],
        shape: &[usize],
    ) -> Result<E::Tensor, WeightError> {
        if let Some(tensor) = self.shared.remove(name) {
            return Ok(tensor);
        }
        let tensor = self.constant(name, stored)?;
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
}
