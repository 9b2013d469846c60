//! An objective and its optimizer on an engine, as a [`Trainable`].

use super::clip::{clip, global_norm};
use super::exact::{elements, numbers, stored};
use super::{
    AllReduce, Ema, GroupSummary, LearningRate, Objective, Optimizer, Parameter, Share, Solo,
    TrainError, Trainable,
};
use crate::engine::Engine;
use crate::nn::ModelError;
use crate::store::{Elements, NamedTensor, Tensors};

// Names in a state: the optimizer's steps, the average's updates, and buffers before an update.
const STEPS: &str = "optimizer.steps";
const AVERAGED: &str = "average.updates";
const BEFORE: &str = "before.";

/// An objective, the parameters that its loss depends on, and what updates them.
pub struct Trainer<E: Engine, O> {
    engine: E,
    objective: O,
    parameters: Vec<Parameter<E>>,
    optimizer: Optimizer<E>,
    settings: TrainerSettings<E>,
    /// Sums of the gradients of the update's local batches so far.
    gathered: Option<Vec<E::Tensor>>,
    /// Buffers as they were before the update's first local batch: on the host, because handles
    /// see what training makes of them.
    before: Vec<NamedTensor<'static>>,
}

/// What a [`Trainer`] does beside minimising.
pub struct TrainerSettings<E: Engine> {
    /// Largest global norm of a gradient, where it is limited.
    pub clip_norm: Option<f64>,
    /// A moving average of the parameters, where one is kept.
    pub ema: Option<Ema<E>>,
    /// What gradients are multiplied by, and the places of their parameters: 0 where an element
    /// stays as it is.
    pub masks: Vec<(usize, E::Tensor)>,
    /// With whom it trains.
    pub world: Box<dyn AllReduce<E>>,
}

impl<E: Engine> Default for TrainerSettings<E> {
    fn default() -> Self {
        Self {
            clip_norm: None,
            ema: None,
            masks: Vec::new(),
            world: Box::new(Solo),
        }
    }
}

impl<E: Engine, O: Objective<E>> Trainer<E, O> {
    /// Nothing gathered yet.
    pub fn new(
        engine: E,
        objective: O,
        parameters: Vec<Parameter<E>>,
        optimizer: Optimizer<E>,
        settings: TrainerSettings<E>,
    ) -> Self {
        Self {
            before: Vec::new(),
            engine,
            objective,
            parameters,
            optimizer,
            settings,
            gathered: None,
        }
    }

    /// What is minimised.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// What is trained.
    pub fn parameters(&self) -> &[Parameter<E>] {
        &self.parameters
    }

    /// Gradients of the sum of the terms, one a parameter.
    fn gradients(&self, losses: &[E::Tensor]) -> Result<Vec<E::Tensor>, TrainError> {
        let mut losses = losses.iter();
        let Some(first) = losses.next() else {
            return Err(TrainError::Recipe {
                message: "the loss has no terms".to_owned(),
                hint: "an objective gives at least one",
            });
        };
        let sum = losses.try_fold(first.clone(), |sum, loss| self.engine.add(&sum, loss))?;
        let inputs: Vec<_> = self.parameters.iter().map(|own| &own.tensor).collect();
        let gradients = self.engine.grad(&sum, &inputs)?;
        let found = |(gradient, own): (Option<_>, &Parameter<E>)| {
            gradient.ok_or_else(|| ModelError::NoGradient {
                name: own.name.clone(),
            })
        };
        let gradients = gradients.into_iter().zip(&self.parameters);
        let mut gradients: Vec<_> = gradients.map(found).collect::<Result<_, _>>()?;
        for (place, mask) in &self.settings.masks {
            gradients[*place] = self.engine.mul(&gradients[*place], mask)?;
        }
        Ok(gradients)
    }

    /// The values of scalars, by one copy to the host.
    fn values(&self, losses: &[E::Tensor]) -> Result<Vec<f64>, TrainError> {
        let line = |loss: &E::Tensor| self.engine.reshape(&self.engine.detach(loss)?, &[1]);
        let lines: Vec<_> = losses.iter().map(line).collect::<Result<_, _>>()?;
        let lines: Vec<_> = lines.iter().collect();
        Ok(self.engine.to_f64(&self.engine.cat(&lines, 0)?)?)
    }

    /// The gradients of no sample.
    fn zeros(&self) -> Result<Vec<E::Tensor>, TrainError> {
        let zeros = |own: &Parameter<E>| {
            let shape = self.engine.shape(&own.tensor);
            let zeros = vec![0f32; shape.iter().product()];
            self.engine.tensor(&zeros[..], &shape)
        };
        Ok(self
            .parameters
            .iter()
            .map(zeros)
            .collect::<Result<_, _>>()?)
    }

    /// Buffers, exact.
    fn buffers(&self) -> Result<Vec<NamedTensor<'static>>, TrainError> {
        let buffers = self.objective.buffers().into_iter();
        let host = |(name, buffer): (String, E::Tensor)| {
            stored(&self.engine, format!("buffer.{name}"), &buffer)
        };
        buffers.map(host).collect()
    }

    /// Overwrites the buffers that are among these.
    fn put_back(&self, tensors: &Tensors) -> Result<(), TrainError> {
        for (name, buffer) in self.objective.buffers() {
            let name = format!("buffer.{name}");
            if tensors.contains_key(&name) {
                let shape = self.engine.shape(&buffer);
                let value = self
                    .engine
                    .tensor(elements(tensors, &name, &shape)?, &shape)?;
                self.engine.assign(&buffer, &value)?;
            }
        }
        Ok(())
    }

    /// What a state holds beside the optimizer's count of steps.
    fn tensors(&self) -> Vec<(String, E::Tensor)> {
        let parameter =
            |own: &Parameter<E>| (format!("parameter.{}", own.name), own.tensor.clone());
        let mut tensors: Vec<_> = self.parameters.iter().map(parameter).collect();
        tensors.extend(self.optimizer.slots());
        tensors.extend(self.settings.ema.iter().flat_map(Ema::slots));
        let buffers = self.objective.buffers().into_iter();
        tensors.extend(buffers.map(|(name, buffer)| (format!("buffer.{name}"), buffer)));
        if let Some(gathered) = &self.gathered {
            let gradients = self.parameters.iter().zip(gathered);
            tensors.extend(
                gradients.map(|(own, sum)| (format!("gradient.{}", own.name), sum.clone())),
            );
        }
        tensors
    }
}

impl<E: Engine, O: Objective<E>> Trainable for Trainer<E, O> {
    type Batch = O::Batch;
    type Scores = O::Scores;

    fn groups(&self) -> Vec<GroupSummary> {
        let elements = |&member: &usize| -> usize {
            self.engine
                .shape(&self.parameters[member].tensor)
                .iter()
                .product()
        };
        let groups = self.optimizer.groups().iter();
        let summary = groups.map(|group| GroupSummary {
            name: group.name.clone(),
            tensors: group.members.len(),
            elements: group.members.iter().map(elements).sum(),
            peak_scale: group.peak_scale,
            learning_rate_scale: group.learning_rate_scale,
            weight_decay_scale: group.weight_decay_scale,
        });
        summary.collect()
    }

    fn terms(&self) -> Vec<String> {
        self.objective.terms()
    }

    fn accumulate(&mut self, batch: &Self::Batch, share: Share) -> Result<Vec<f64>, TrainError> {
        if self.gathered.is_none() {
            self.before = self.buffers()?;
        }
        let losses = self.objective.loss(&self.engine, batch, share)?;
        let terms = self.values(&losses)?;
        if terms.iter().any(|value| !value.is_finite()) {
            return Ok(terms);
        }
        let gradients = self.gradients(&losses)?;
        drop(losses);
        self.gathered = Some(match self.gathered.take() {
            None => gradients,
            Some(gathered) => gathered
                .iter()
                .zip(&gradients)
                .map(|(sum, gradient)| self.engine.add(sum, gradient))
                .collect::<Result<_, _>>()?,
        });
        Ok(terms)
    }

    fn update(
        &mut self,
        learning_rate: LearningRate,
        weight_decay: f64,
    ) -> Result<f64, TrainError> {
        let engine = &self.engine;
        let gathered = match self.gathered.take() {
            Some(gathered) => gathered,
            None => {
                self.before.clear();
                self.zeros()?
            }
        };
        let mut gradients = self.settings.world.all_reduce(engine, gathered)?;
        let norm = match self.settings.clip_norm {
            Some(longest) => clip(engine, &mut gradients, longest)?,
            None => global_norm(engine, &gradients)?,
        };
        if !norm.is_finite() {
            return Ok(norm);
        }
        let parameters = &self.parameters;
        self.optimizer
            .step(engine, parameters, &gradients, learning_rate, weight_decay)?;
        if let Some(ema) = &mut self.settings.ema {
            ema.update(engine, parameters)?;
        }
        Ok(norm)
    }

    fn discard(&mut self) -> Result<(), TrainError> {
        self.gathered = None;
        for before in std::mem::take(&mut self.before) {
            self.put_back(&Tensors::from([(before.name.clone(), before)]))?;
        }
        Ok(())
    }

    fn validate(&mut self, batch: &Self::Batch) -> Result<Self::Scores, TrainError> {
        Ok(self.objective.validate(&self.engine, batch)?)
    }

    fn save(&self) -> Result<Vec<NamedTensor<'static>>, TrainError> {
        let named = |(name, tensor): (String, E::Tensor)| stored(&self.engine, name, &tensor);
        let mut tensors: Vec<_> = (self.tensors().into_iter())
            .map(named)
            .collect::<Result<_, _>>()?;
        let averaged = self.settings.ema.as_ref().map(Ema::updates);
        let steps = (STEPS, self.optimizer.steps());
        for (name, count) in [steps].into_iter().chain(averaged.map(|n| (AVERAGED, n))) {
            tensors.push(NamedTensor {
                name: name.to_owned(),
                shape: vec![1],
                elements: Elements::U32(vec![count].into()),
            });
        }
        if self.gathered.is_some() {
            let before = |tensor: &NamedTensor<'static>| NamedTensor {
                name: tensor.name.replacen("buffer.", BEFORE, 1),
                ..tensor.clone()
            };
            tensors.extend(self.before.iter().map(before));
        }
        Ok(tensors)
    }

    fn load(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        let engine = &self.engine;
        let constant = |name: &str, like: &E::Tensor| -> Result<E::Tensor, TrainError> {
            let shape = engine.shape(like);
            Ok(engine.tensor(elements(tensors, name, &shape)?, &shape)?)
        };
        for own in &self.parameters {
            let value = constant(&format!("parameter.{}", own.name), &own.tensor)?;
            engine.assign(&own.tensor, &value)?;
        }
        let slots = |name: &str| numbers(tensors.get(name)?);
        self.optimizer
            .restore(engine, count(tensors, STEPS)?, &slots)?;
        if let Some(ema) = &mut self.settings.ema {
            ema.restore(engine, count(tensors, AVERAGED)?, &slots)?;
        }
        let gradient = |own: &Parameter<E>| format!("gradient.{}", own.name);
        let under_way = self.parameters.first().map(gradient);
        self.gathered = match under_way.filter(|name| tensors.contains_key(name)) {
            None => None,
            Some(_) => Some(
                (self.parameters.iter())
                    .map(|own| constant(&gradient(own), &own.tensor))
                    .collect::<Result<_, _>>()?,
            ),
        };
        let before = tensors.values().filter_map(|tensor| {
            let name = tensor.name.strip_prefix(BEFORE)?;
            Some(NamedTensor {
                name: format!("buffer.{name}"),
                ..tensor.clone()
            })
        });
        self.before = before.collect();
        self.put_back(tensors)
    }
}

/// A count that a state holds.
fn count(tensors: &Tensors, name: &str) -> Result<u32, TrainError> {
    match tensors.get(name).map(|tensor| &tensor.elements) {
        Some(Elements::U32(count)) if count.len() == 1 => Ok(count[0]),
        _ => Err(TrainError::Unfit {
            name: name.to_owned(),
            reason: "is missing".to_owned(),
        }),
    }
}
