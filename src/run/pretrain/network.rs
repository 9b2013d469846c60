//! A student and its teachers in training, on any engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::dispatch::{Job, dispatch};
use super::super::training::without_key_bias;
use crate::checkpoint::Checkpoint;
use crate::data::InputSpec;
use crate::engine::{Compute, Engine};
use crate::error::Error;
use crate::nn::{Loader, ModelError, TensorStore, Weights};
use crate::plan::{PretrainPlan, PretrainProspect, TeacherOrigin};
use crate::pretrain::{
    Blueprint, Conversion, Learner, OwnAttention, Pretraining, Statistics, Teacher, TeacherClock,
};
use crate::spec::PretrainRecipe;
use crate::train::{
    Ema, ImageBatch, Optimizer, Parameter, TrainError, Trainable, Trainer, TrainerSettings,
    plain_groups,
};
use crate::vit::{Vit, drop_path_rates, random_weights};

/// A student in training, whatever computes it.
pub(super) type Training = dyn Trainable<Batch = ImageBatch, Scores = Vec<f32>>;

/// What decides the networks before the first update.
pub(in crate::run) struct Basis<'a> {
    /// Their architectures.
    pub blueprint: &'a Blueprint,
    /// How the student is trained.
    pub recipe: &'a PretrainRecipe,
    /// Where the teachers come from, by name.
    pub teachers: BTreeMap<String, TeacherOrigin>,
    /// How images become the student's inputs.
    pub input: &'a InputSpec,
    /// Classes of the images.
    pub classes: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// How long the teachers take from the first batch on.
    pub clock: TeacherClock,
}

impl<'a> Basis<'a> {
    /// What a run trains.
    pub(super) fn of_plan(plan: &'a PretrainPlan) -> Self {
        let origin = |(name, teacher): (&String, &Arc<Checkpoint>)| {
            (name.clone(), TeacherOrigin::Checkpoint(Arc::clone(teacher)))
        };
        Self {
            blueprint: &plan.blueprint,
            recipe: &plan.recipe.recipe,
            teachers: plan.teachers.iter().map(origin).collect(),
            input: &plan.input,
            classes: plan.set.classes.len(),
            seed: plan.seed,
            clock: TeacherClock::default(),
        }
    }

    /// What a run would train.
    pub(super) fn of_prospect(prospect: &'a PretrainProspect) -> Self {
        Self {
            blueprint: &prospect.blueprint,
            recipe: &prospect.recipe.recipe,
            teachers: prospect.teachers.clone(),
            input: &prospect.input,
            classes: prospect.classes,
            seed: prospect.seed,
            clock: TeacherClock::default(),
        }
    }

    /// The networks before the first update.
    pub(super) fn build(&self, compute: Compute) -> Result<Box<Training>, Error> {
        dispatch(compute, Build(self))?
    }
}

struct Build<'a>(&'a Basis<'a>);

impl Job for Build<'_> {
    type Output = Result<Box<Training>, Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        Ok(Box::new(trainer(&engine, self.0)?))
    }
}

/// [`Basis::build`] on an engine.
pub(super) fn trainer<E: Engine + 'static>(
    engine: &E,
    basis: &Basis<'_>,
) -> Result<Trainer<E, Pretraining<E>>, Error> {
    let (blueprint, recipe) = (basis.blueprint, basis.recipe);
    let config = blueprint.student();
    let mut weights = blueprint.initial_weights(basis.seed)?;
    let names: Vec<_> = weights.iter().map(|(name, _)| name.to_owned()).collect();
    let fixed = || {
        let names = names.iter().map(String::as_str);
        names.filter(|name| blueprint.is_fixed(name))
    };
    // What no parameter is made of is read again by the encoders that only look.
    let mut constants = Weights::default();
    for name in fixed() {
        let tensor = weights.find(name).map_err(ModelError::from)?.clone();
        constants.insert(name.to_owned(), tensor);
    }
    let mut loader = Loader::trainable(engine, &mut weights).fixing(fixed());
    let learner = Learner::load(&mut loader, blueprint).map_err(ModelError::from)?;
    let parameters = loader.into_parameters();
    let looking = |parameters: &[(String, E::Tensor)]| -> Result<Vit<E>, Error> {
        let mut constants = constants.clone();
        let mut sharing =
            Loader::sharing(engine, &mut constants, parameters).map_err(TrainError::from)?;
        Ok(Vit::load(&mut sharing, config).map_err(ModelError::from)?)
    };
    let frozen = looking(&parameters)?;
    let parameters: Vec<_> = (parameters.into_iter())
        .map(|(name, tensor)| Parameter { name, tensor })
        .collect();
    let training = &recipe.training;
    let ema = training.ema.map(|ema| Ema::new(engine, ema, &parameters));
    let ema = ema.transpose().map_err(TrainError::from)?;
    let attends = match blueprint.own_attention() {
        None => None,
        Some((OwnAttention::Student, wanted)) => Some((frozen.clone(), wanted)),
        Some((OwnAttention::Average, wanted)) => {
            let averages = ema.iter().flat_map(|ema| ema.averages());
            let averages: Vec<_> = averages
                .map(|own| (own.name.clone(), own.tensor.clone()))
                .collect();
            Some((looking(&averages)?, wanted))
        }
    };
    let shapes: Vec<_> = (parameters.iter())
        .map(|own| engine.shape(&own.tensor))
        .collect();
    let named: Vec<_> = (parameters.iter().zip(&shapes))
        .map(|(own, shape)| (own.name.as_str(), &shape[..]))
        .collect();
    let groups = plain_groups(training.decay_exclusion, &named);
    let optimizer = Optimizer::new(engine, training.optimizer, &parameters, groups);
    let optimizer = optimizer.map_err(TrainError::from)?;
    let masks = match recipe.student.key_bias {
        true => Vec::new(),
        false => without_key_bias(engine, &parameters).map_err(TrainError::from)?,
    };
    let objective = Pretraining {
        learner,
        frozen,
        teachers: teachers(engine, basis)?,
        mask: recipe.mask.clone(),
        mask_teacher: recipe.method().mask_teacher().map(str::to_owned),
        attends,
        drop_path: drop_path_rates(recipe.student.drop_path, config.depth),
        epochs: training.epochs,
        seed: basis.seed,
        token: recipe.input.feature.token(),
        clock: basis.clock.clone(),
    };
    let with = TrainerSettings {
        clip_norm: training.clip_norm,
        ema,
        masks,
        ..TrainerSettings::default()
    };
    Ok(Trainer::new(
        engine.clone(),
        objective,
        parameters,
        optimizer,
        with,
    ))
}

/// The teachers, frozen, and what is wanted of each.
fn teachers<E: Engine>(
    engine: &E,
    basis: &Basis<'_>,
) -> Result<BTreeMap<String, (Teacher<E>, crate::pretrain::Wanted)>, Error> {
    let input = Statistics {
        mean: basis.input.mean.clone(),
        std: basis.input.std.clone(),
    };
    let student = (basis.blueprint.student().input_size(), &input);
    let mut teachers = BTreeMap::new();
    for (name, wanted) in basis.blueprint.wanted() {
        let Some(origin) = basis.teachers.get(name) else {
            continue;
        };
        let own = match origin {
            TeacherOrigin::Checkpoint(checkpoint) => Statistics {
                mean: checkpoint.input.mean.clone(),
                std: checkpoint.input.std.clone(),
            },
            TeacherOrigin::Architecture { .. } => input.clone(),
        };
        let config = origin.config();
        let conversion = Conversion::new(engine, student, (config.input_size(), &own));
        let conversion = conversion.map_err(TrainError::from)?;
        let load = |weights: &mut dyn TensorStore| {
            let mut loader = Loader::frozen(engine, weights);
            Teacher::load(&mut loader, config, conversion).map_err(ModelError::from)
        };
        let teacher = match origin {
            TeacherOrigin::Checkpoint(checkpoint) => {
                let teacher = load(&mut checkpoint.weights())?;
                checkpoint.check_unchanged()?;
                teacher
            }
            TeacherOrigin::Architecture { .. } => load(&mut random_weights(config, basis.seed))?,
        };
        teachers.insert(name.clone(), (teacher, wanted.clone()));
    }
    Ok(teachers)
}
