//! A student and its teachers in training, on any engine.

use std::collections::BTreeMap;

use super::super::dispatch::{Job, dispatch};
use super::super::training::without_key_bias;
use crate::engine::Engine;
use crate::error::Error;
use crate::nn::{Loader, ModelError, Weights};
use crate::plan::PretrainPlan;
use crate::pretrain::{
    Conversion, Learner, OwnAttention, Pretraining, Statistics, Teacher, TeacherClock,
};
use crate::train::{
    Ema, ImageBatch, Optimizer, Parameter, TrainError, Trainable, Trainer, TrainerSettings,
    plain_groups,
};
use crate::vit::{Vit, drop_path_rates};

/// A student in training, whatever computes it.
pub(super) type Training = dyn Trainable<Batch = ImageBatch, Scores = Vec<f32>>;

/// The networks before the first update, and how long the teachers take from then on.
pub(super) fn build(plan: &PretrainPlan) -> Result<(Box<Training>, TeacherClock), Error> {
    dispatch(plan.run.compute, Build(plan))?
}

struct Build<'a>(&'a PretrainPlan);

impl Job for Build<'_> {
    type Output = Result<(Box<Training>, TeacherClock), Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let (trainer, clock) = trainer(&engine, self.0)?;
        Ok((Box::new(trainer), clock))
    }
}

/// [`build`] on an engine.
pub(super) fn trainer<E: Engine + 'static>(
    engine: &E,
    plan: &PretrainPlan,
) -> Result<(Trainer<E, Pretraining<E>>, TeacherClock), Error> {
    let (blueprint, recipe) = (&plan.blueprint, &plan.recipe.recipe);
    let config = blueprint.student();
    let mut weights = blueprint.initial_weights(plan.seed)?;
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
    let clock = TeacherClock::default();
    let objective = Pretraining {
        learner,
        frozen,
        teachers: teachers(engine, plan)?,
        mask: recipe.mask.clone(),
        mask_teacher: recipe.method().mask_teacher().map(str::to_owned),
        attends,
        drop_path: drop_path_rates(recipe.student.drop_path, config.depth),
        epochs: training.epochs,
        seed: plan.seed,
        token: recipe.input.feature.token(),
        clock: clock.clone(),
    };
    let with = TrainerSettings {
        clip_norm: training.clip_norm,
        ema,
        masks,
        ..TrainerSettings::default()
    };
    let trainer = Trainer::new(engine.clone(), objective, parameters, optimizer, with);
    Ok((trainer, clock))
}

/// The teachers, frozen, and what is wanted of each.
#[expect(clippy::type_complexity, reason = "a map as the objective has it")]
fn teachers<E: Engine>(
    engine: &E,
    plan: &PretrainPlan,
) -> Result<BTreeMap<String, (Teacher<E>, crate::pretrain::Wanted)>, Error> {
    let student = (plan.blueprint.student().input_size(), &plan.statistics());
    let mut teachers = BTreeMap::new();
    for (name, wanted) in plan.blueprint.wanted() {
        let Some(checkpoint) = plan.teachers.get(name) else {
            continue;
        };
        let own = Statistics {
            mean: checkpoint.input.mean.clone(),
            std: checkpoint.input.std.clone(),
        };
        let config = &checkpoint.config;
        let conversion = Conversion::new(engine, student, (config.input_size(), &own));
        let conversion = conversion.map_err(TrainError::from)?;
        let mut weights = checkpoint.weights();
        let mut loader = Loader::frozen(engine, &mut weights);
        let teacher = Teacher::load(&mut loader, config, conversion).map_err(ModelError::from)?;
        checkpoint.check_unchanged()?;
        teachers.insert(name.clone(), (teacher, wanted.clone()));
    }
    Ok(teachers)
}
