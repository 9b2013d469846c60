//! What is minimised, and what trains it.

use crate::engine::{self, Engine};
use crate::store::{NamedTensor, Tensors};

use super::{LearningRate, TrainError};

/// The place of a local batch in its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Samples of the whole update, over all processes: what means are divided by.
    pub samples: f64,
    /// Whether it is the update's first local batch: the one whose BatchNorm statistics are
    /// kept, as those of process 0 are where each process has one.
    pub first: bool,
}

/// A loss over batches, and what it reads beside parameters.
pub trait Objective<E: Engine> {
    /// Samples that go through the network together, on the host.
    type Batch;
    /// What a batch of validation samples gives, on the host.
    type Scores;

    /// What the terms of the loss measure, as in curves and errors.
    fn terms(&self) -> Vec<String>;

    /// The terms of the loss, whose sum is minimised: of each the local batch's part of its mean
    /// over the update, a scalar.
    fn loss(
        &mut self,
        engine: &E,
        batch: &Self::Batch,
        share: Share,
    ) -> engine::Result<Vec<E::Tensor>>;

    /// How good it is on a batch, without a graph.
    fn validate(&self, engine: &E, batch: &Self::Batch) -> engine::Result<Self::Scores>;

    /// Handles to what changes in training without being a parameter, in place: running
    /// statistics.
    fn buffers(&self) -> Vec<(String, E::Tensor)>;
}

/// Names and values of the terms of a loss.
pub type Terms = Vec<(String, f64)>;

/// Parameters with common settings.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSummary {
    /// What they are.
    pub name: String,
    /// Parameters.
    pub tensors: usize,
    /// Their elements.
    pub elements: usize,
    /// Peak of its learning rate over the recipe's.
    pub peak_scale: f64,
    /// Learning rate over what the schedule makes of the peak.
    pub learning_rate_scale: f64,
    /// Weight decay over the recipe's.
    pub weight_decay_scale: f64,
}

/// Something that can be trained, whatever computes it, in plain data.
pub trait Trainable {
    /// Samples that go through the network together.
    type Batch;
    /// What a batch of validation samples gives.
    type Scores;

    /// Its parameter groups.
    fn groups(&self) -> Vec<GroupSummary>;

    /// Names of the terms of its loss.
    fn terms(&self) -> Vec<String>;

    /// Adds the gradients of a local batch to those of the update, and gives the terms of its
    /// loss in their order: the parts that sum to the update's mean. Where one is no number,
    /// nothing is added.
    fn accumulate(&mut self, batch: &Self::Batch, share: Share) -> Result<Vec<f64>, TrainError>;

    /// Applies the gathered gradients and forgets them -> their global norm before clipping; where
    /// that is no number, the parameters are as before.
    ///
    /// Every process is in every update, with gradients of zeros where it had no batch.
    fn update(&mut self, learning_rate: LearningRate, weight_decay: f64)
    -> Result<f64, TrainError>;

    /// Goes back to before the update under way.
    fn discard(&mut self) -> Result<(), TrainError>;

    /// How good it is on a batch.
    fn validate(&mut self, batch: &Self::Batch) -> Result<Self::Scores, TrainError>;

    /// Everything that training changes: parameters, the optimizer's memory, buffers, gathered
    /// gradients.
    fn save(&self) -> Result<Vec<NamedTensor<'static>>, TrainError>;

    /// Puts back what [`Trainable::save`] gave.
    fn load(&mut self, tensors: &Tensors) -> Result<(), TrainError>;
}
