//! From named weights to the tensors of a model.

use std::collections::{BTreeMap, BTreeSet};

use super::{TensorStore, WeightError};
use crate::engine::{Engine, HostTensor};

/// Takes tensors out of a [`TensorStore`] onto an engine while a model is built.
pub struct Loader<'a, E: Engine> {
    engine: &'a E,
    weights: &'a mut dyn TensorStore,
    parameters: Option<Vec<(String, E::Tensor)>>,
    fixed: BTreeSet<String>,
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
            fixed: BTreeSet::new(),
            shared: BTreeMap::new(),
        }
    }

    /// The parameters and buffers of another model become constants that change with them; `weights`
    /// has what is neither.
    pub fn sharing(
        engine: &'a E,
        weights: &'a mut dyn TensorStore,
        tensors: &[(String, E::Tensor)],
    ) -> crate::engine::Result<Self> {
        let shared =
            |(name, tensor): &(String, E::Tensor)| Ok((name.clone(), engine.detach(tensor)?));
        Ok(Self {
            shared: tensors
                .iter()
                .map(shared)
                .collect::<crate::engine::Result<_>>()?,
            ..Self::frozen(engine, weights)
        })
    }

    /// Every tensor becomes a parameter, listed in [`Loader::into_parameters`].
    pub fn trainable(engine: &'a E, weights: &'a mut dyn TensorStore) -> Self {
        Self {
            parameters: Some(Vec::new()),
            ..Self::frozen(engine, weights)
        }
    }

    /// These tensors stay constants all the same, as positions that a formula gives.
    pub fn fixing<'n>(mut self, names: impl IntoIterator<Item = &'n str>) -> Self {
        self.fixed.extend(names.into_iter().map(str::to_owned));
        self
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

    /// The tensor `name` on the engine as what training may overwrite without its being a parameter,
    /// checking its shape and that every element is finite.
    pub fn buffer(&mut self, name: &str, shape: &[usize]) -> Result<E::Tensor, WeightError> {
        if let Some(tensor) = self.shared.remove(name) {
            return Ok(tensor);
        }
        let tensor = self.constant(name, shape)?;
        let buffer = self.engine.tensor(&tensor.data[..], shape);
        buffer.map_err(|source| WeightError::Engine {
            name: name.to_owned(),
            source,
        })
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
            Some(parameters) if !self.fixed.contains(name) => self
                .engine
                .parameter(&tensor.data[..], shape)
                .inspect(|parameter| {
                    parameters.push((name.to_owned(), parameter.clone()));
                }),
            _ => self.engine.tensor(&tensor.data[..], shape),
        }
        .map_err(on_engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::candle::Candle;
    use crate::nn::Weights;

    #[test]
    fn what_is_fixed_is_no_parameter() {
        let engine = Candle::new(Precision::F32);
        let mut weights = Weights::default();
        for (name, value) in [("patch_embed", 2.0), ("pos_embed", 3.0)] {
            let tensor = HostTensor {
                shape: vec![1],
                data: vec![value],
            };
            weights.insert(name.to_owned(), tensor);
        }
        let mut loader = Loader::trainable(&engine, &mut weights).fixing(["pos_embed"]);
        let trained = loader.take("patch_embed", &[1]).unwrap();
        let fixed = loader.take("pos_embed", &[1]).unwrap();
        let parameters = loader.into_parameters();
        let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["patch_embed"]);
        let product = engine.sum(&engine.mul(&trained, &fixed).unwrap(), &[0]);
        let gradients = engine.grad(&product.unwrap(), &[&trained, &fixed]).unwrap();
        let slope = gradients[0].as_ref().unwrap();
        assert_eq!(engine.to_f32(slope).unwrap(), [3.0]);
        assert!(gradients[1].is_none());
    }
}
