//! A classifier in training, on any engine.

use super::super::dispatch::{Job, dispatch};
use super::super::training::{Training, without_key_bias};
use super::start::{Basis, Start, start};
use crate::engine::{Compute, Engine};
use crate::error::Error;
use crate::nn::{Loader, ModelError, Weights};
use crate::spec::FinetuneTask;
use crate::train::{
    Classification, Optimizer, Parameter, TrainError, Trainer, TrainerSettings, layer_groups,
};
use crate::vit::{Classifier, drop_path_rates, stays_untrained};

/// The network before its first update.
pub(super) fn build(basis: &Basis<'_>, compute: Compute) -> Result<Box<Training>, Error> {
    let start = start(basis)?;
    dispatch(compute, Build(start, basis.task, basis.seed))?
}

struct Build<'a>(Start, &'a FinetuneTask, u64);

impl Job for Build<'_> {
    type Output = Result<Box<Training>, Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Self(start, task, seed) = self;
        let Start {
            config,
            head,
            mut weights,
            key_bias,
        } = start;
        // What no parameter is made of is read again by the network that validates.
        let mut constants = Weights::default();
        for (name, tensor) in weights.iter().filter(|(name, _)| stays_untrained(name)) {
            constants.insert(name.to_owned(), tensor.clone());
        }
        let mut loader = Loader::trainable(&engine, &mut weights);
        let classifier = Classifier::load(&mut loader, &config, head).map_err(ModelError::from)?;
        let parameters = loader.into_parameters();
        let mut sharing =
            Loader::sharing(&engine, &mut constants, &parameters).map_err(TrainError::from)?;
        let frozen = Classifier::load(&mut sharing, &config, head).map_err(ModelError::from)?;
        let parameters: Vec<_> = (parameters.into_iter())
            .map(|(name, tensor)| Parameter { name, tensor })
            .collect();
        let shapes: Vec<_> = (parameters.iter())
            .map(|own| engine.shape(&own.tensor))
            .collect();
        let named: Vec<_> = (parameters.iter().zip(&shapes))
            .map(|(own, shape)| (own.name.as_str(), &shape[..]))
            .collect();
        let rule = task.layer_decay_rule;
        let groups = layer_groups(rule, task.layer_decay, config.depth, &named);
        let optimizer = Optimizer::new(&engine, task.optimizer, &parameters, groups);
        let optimizer = optimizer.map_err(TrainError::from)?;
        let objective = Classification {
            classifier,
            frozen,
            drop_path: drop_path_rates(task.drop_path, config.depth),
            smoothing: task.label_smoothing,
            seed,
        };
        let masks = match key_bias {
            true => Vec::new(),
            false => without_key_bias(&engine, &parameters).map_err(TrainError::from)?,
        };
        let with = TrainerSettings {
            clip_norm: task.clip_norm,
            masks,
            ..TrainerSettings::default()
        };
        let trainer = Trainer::new(engine, objective, parameters, optimizer, with);
        Ok(Box::new(trainer))
    }
}
