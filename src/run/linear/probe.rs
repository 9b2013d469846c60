//! The heads of a probe over a checkpoint's encoder, on any engine.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::super::dispatch::{Job, dispatch, frozen};
use super::super::training::Training;
use crate::checkpoint::Checkpoint;
use crate::decoders::{ProbeHeads, ProbeInput};
use crate::engine::{Compute, Engine, HostTensor};
use crate::error::Error;
use crate::nn::{Loader, ModelError, Weights};
use crate::protocol::classification::Head;
use crate::spec::LinearTask;
use crate::train::{
    Group, LinearProbe, Optimizer, Parameter, TrainError, Trainer, TrainerSettings,
};

/// What heads stand over a checkpoint's encoder, and how they learn.
#[derive(Clone, Copy)]
pub(super) struct ProbeSettings<'a> {
    /// The protocol.
    pub task: &'a LinearTask,
    /// What heads read.
    pub inputs: &'a [ProbeInput],
    /// The heads.
    pub heads: &'a [Head],
    /// Outputs of each.
    pub classes: usize,
    /// Seed of their first weights.
    pub seed: u64,
    /// Images in one forward pass of the encoder.
    pub chunk: usize,
}

/// Heads over the checkpoint's encoder, before their first step.
pub(super) fn probe(
    checkpoint: &Checkpoint,
    compute: Compute,
    settings: ProbeSettings<'_>,
) -> Result<Box<Training>, Error> {
    dispatch(compute, BuildProbe(checkpoint, settings))?
}

struct BuildProbe<'a>(&'a Checkpoint, ProbeSettings<'a>);

impl Job for BuildProbe<'_> {
    type Output = Result<Box<Training>, Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Self(checkpoint, settings) = self;
        let ProbeSettings { task, heads, .. } = settings;
        if task.clip_norm.is_some() && heads.len() > 1 {
            // The norm is that of all heads: each would learn by what the others do.
            return Err(TrainError::Recipe {
                message: format!(
                    "task.clip_norm is for one head, which {} would not be",
                    heads.len()
                ),
                hint: "leave task.clip_norm out, or --set task.inputs and task.learning_rates to one each",
            }
            .into());
        }
        let vit = frozen(checkpoint, &engine)?;
        let mut inputs = Vec::new();
        for input in settings.inputs {
            inputs.push((input.clone(), input.width(&checkpoint.config)?));
        }
        let mut weights = first_weights(&inputs, &settings);
        let of: Vec<_> = heads.iter().map(|head| head.input).collect();
        let mut loader = Loader::trainable(&engine, &mut weights);
        let batch_norm = task.head.batch_norm;
        let probe = ProbeHeads::load(&mut loader, &inputs, &of, settings.classes, batch_norm);
        let probe = probe.map_err(ModelError::from)?;
        let parameters = loader.into_parameters().into_iter();
        let parameters: Vec<_> = parameters
            .map(|(name, tensor)| Parameter { name, tensor })
            .collect();
        let groups = rate_groups(heads, &parameters);
        let optimizer = Optimizer::new(&engine, task.optimizer, &parameters, groups);
        let optimizer = optimizer.map_err(TrainError::from)?;
        let objective = LinearProbe {
            vit,
            heads: probe,
            names: heads.iter().map(|head| head.name.clone()).collect(),
            chunk: settings.chunk,
        };
        let with = TrainerSettings {
            clip_norm: task.clip_norm,
            ..TrainerSettings::default()
        };
        let trainer = Trainer::new(engine, objective, parameters, optimizer, with);
        Ok(Box::new(trainer))
    }
}

/// Heads and statistics as they begin, a function of the seed alone.
fn first_weights(inputs: &[(ProbeInput, usize)], settings: &ProbeSettings<'_>) -> Weights {
    let mut weights = Weights::default();
    let constant = |length, value| HostTensor {
        shape: vec![length],
        data: vec![value; length],
    };
    let classes = settings.classes;
    for (i, head) in settings.heads.iter().enumerate() {
        // A stream a head, so that a head begins alike whatever stands beside it.
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(i as u64);
        let initial = settings.task.head.initial;
        let matrix = initial.tensor(&mut rng, vec![classes, inputs[head.input].1]);
        weights.insert(format!("heads.{i}.weight"), matrix);
        weights.insert(format!("heads.{i}.bias"), constant(classes, 0.0));
    }
    if settings.task.head.batch_norm {
        for (j, &(_, width)) in inputs.iter().enumerate() {
            weights.insert(format!("norms.{j}.running_mean"), constant(width, 0.0));
            weights.insert(format!("norms.{j}.running_var"), constant(width, 1.0));
        }
    }
    weights
}

/// One group a learning rate; a single rate is the recipe's own.
fn rate_groups<E: Engine>(heads: &[Head], parameters: &[Parameter<E>]) -> Vec<Group> {
    let mut rates: Vec<f64> = Vec::new();
    for rate in heads.iter().filter_map(|head| head.learning_rate) {
        if !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    let of_head = |i: usize| {
        let prefix = format!("heads.{i}.");
        let own = parameters.iter().enumerate();
        own.filter(move |(_, parameter)| parameter.name.starts_with(&prefix))
            .map(|(place, _)| place)
            .collect::<Vec<_>>()
    };
    let group = |&rate: &f64| Group {
        name: match rates.len() {
            1 => "heads".to_owned(),
            _ => format!("heads of learning rate {rate}"),
        },
        // Each has its own peak: a schedule's start and end are the same for all.
        peak_scale: if rates.len() > 1 { rate } else { 1.0 },
        learning_rate_scale: 1.0,
        weight_decay_scale: 1.0,
        members: (heads.iter().enumerate())
            .filter(|(_, head)| head.learning_rate == Some(rate))
            .flat_map(|(i, _)| of_head(i))
            .collect(),
    };
    rates.iter().map(group).collect()
}
