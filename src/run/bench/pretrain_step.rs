//! A step of pre-training on noise.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use serde::Serialize;

use super::{BenchOptions, Timed};
use crate::error::Error;
use crate::plan::{TeacherOrigin, pretrain_input};
use crate::pretrain::{Blueprint, TeacherClock};
use crate::run::dispatch;
use crate::run::forecast::Trial;
use crate::run::pretrain::Basis;
use crate::spec::{PretrainPreset, ResolvedRecipe, Setting};
use crate::train::LearningRate;
use crate::vit::Architecture;

/// A method of pre-training whose step is timed, by its built-in recipe without drop path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// MAE.
    Mae,
    /// MEDiC as its code has it.
    Medic,
}

/// What is timed of pre-training.
#[derive(Clone, Copy, Debug)]
pub struct PretrainStep {
    /// How the student learns.
    pub method: Method,
    /// Its teacher, where the method has one.
    pub teacher: Architecture,
}

/// Learning rate of every step; no time depends on it.
const LEARNING_RATE: f64 = 1e-4;

impl PretrainStep {
    /// Rounds of masks, teacher, student, every term, the gradients and the optimizer.
    pub(super) fn time(
        self,
        options: &BenchOptions,
        rounds: usize,
        bar: &ProgressBar,
    ) -> Result<Timed, Error> {
        let preset = match self.method {
            Method::Mae => PretrainPreset::Mae,
            Method::Medic => PretrainPreset::MedicCode,
        };
        let settings = [
            format!("student.arch={}", options.architecture.name()),
            "student.drop_path=0.0".to_owned(),
            format!("training.batch={}", options.batch),
        ];
        let recipe = ResolvedRecipe::preset(preset, &settings.map(Setting))?;
        let method = recipe.recipe.method();
        let teacher = TeacherOrigin::architecture(self.teacher, None);
        let teachers: BTreeMap<_, _> = (method.counting_teachers())
            .map(|(name, _)| (name.to_owned(), teacher.clone()))
            .collect();
        let configs = teachers.iter();
        let configs = configs.map(|(name, origin)| (name.clone(), origin.config().clone()));
        let blueprint = Blueprint::new(&method, configs.collect())?;
        let basis = Basis {
            input: &pretrain_input(&recipe, &blueprint),
            blueprint: &blueprint,
            recipe: &recipe.recipe,
            teachers,
            classes: 1,
            seed: options.seed,
            clock: TeacherClock::default(),
        };
        let mut trial = Trial::new(&basis, options.compute)?;
        let images = trial.images(options.batch);
        let mut seconds = Vec::new();
        let mut loss = None;
        for _ in 0..rounds {
            let (local_batch, losses) = trial.local_batch(&images)?;
            let update = trial.update_by(LearningRate::constant(LEARNING_RATE))?;
            seconds.push(local_batch + update);
            loss = Some(losses.iter().sum());
            bar.inc(1);
        }
        seconds.drain(..options.warmup.min(rounds));
        Ok(Timed {
            seconds,
            loss,
            device_memory: dispatch::device_memory(options.compute)?,
        })
    }
}
