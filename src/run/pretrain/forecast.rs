//! What a run of pre-training is going to take: counted, and timed by a few real steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::super::Terminal;
use super::super::forecast::{
    self, Disk, Done, Forecast, Numbers, Own, Timing, decoded_per_s, flop, standing,
};
use super::images::PretrainImages;
use super::memory::PretrainMemory;
use super::network::Basis;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{PretrainProspect, RunOptions, TeacherOrigin};
use crate::pretrain::StepProducts;
use crate::report::Table;

/// What is counted of a run of pre-training alone.
#[derive(Clone, Debug, Serialize)]
pub struct PretrainCosts {
    /// Name of the recipe.
    pub method: String,
    /// Names of the teachers by their names in the recipe.
    pub teachers: BTreeMap<String, String>,
    /// Numbers in the teachers' weights.
    pub teacher_parameters: usize,
    /// Floating point operations.
    pub operations: PretrainOperations,
    /// Bytes at the peak by formula.
    pub memory: PretrainMemory,
    /// Seconds that the teachers take of those of the images at once.
    pub teaching: f64,
}

/// Floating point operations: a multiplication and its addition are two.
#[derive(Clone, Debug, Serialize)]
pub struct PretrainOperations {
    /// The student's encoder over the patches that it sees of an image, forward.
    pub student: f64,
    /// That with its part of the gradients.
    pub student_trained: f64,
    /// The decoders, forward.
    pub decoders: f64,
    /// Those with their part of the gradients.
    pub decoders_trained: f64,
    /// Heads, adaptors and mixtures, forward.
    pub heads: f64,
    /// Those with their part of the gradients.
    pub heads_trained: f64,
    /// Each teacher over a whole image.
    pub teachers: BTreeMap<String, f64>,
    /// The student's own look at a whole image, where masks are drawn by its attention.
    pub look: f64,
    /// All of that, of one image.
    pub image: f64,
    /// An update.
    pub update: f64,
    /// The whole run with its looks by kNN.
    pub run: f64,
}

/// The forecast of every run, in their order; what differs in its seed alone is timed once.
pub fn forecasts(
    prospects: &[PretrainProspect],
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Vec<Forecast<PretrainCosts>>, Error> {
    let mut forecasts = Vec::new();
    let mut known: Option<(Option<usize>, Timing, f64)> = None;
    for prospect in prospects {
        let basis = Basis::of_prospect(prospect);
        let done = done(prospect, run)?;
        let (timing, teaching) = match known {
            Some((of_state, timing, teaching)) if of_state == done.at_once() => (timing, teaching),
            _ => timing(prospect, &basis, run, terminal)?,
        };
        known = Some((done.at_once(), timing, teaching));
        forecasts.push(forecast(prospect, &basis, run, (timing, teaching, done))?);
    }
    Ok(forecasts)
}

/// How far a run is.
fn done(prospect: &PretrainProspect, run: &RunOptions) -> Result<Done, Error> {
    let standing = match &prospect.out {
        Some(out) => standing(out, run)?,
        None => None,
    };
    let of_recipe = ("recipe".to_owned(), prospect.recipe.hash.clone());
    let standing = standing.filter(|standing| standing.identity.contains(&of_recipe));
    Ok(standing.map_or(Done::Nothing, |standing| {
        let recipe = &prospect.recipe.recipe;
        let done = Done::of(&standing, prospect.train, &|at_once| {
            recipe.recipe(prospect.seed, at_once.unwrap_or(recipe.training.batch))
        });
        match standing.progress.epoch < recipe.training.epochs {
            true => done,
            false => Done::All,
        }
    }))
}

/// Times a few real steps, a look and, where images are there, their decoding; and the seconds of
/// the teachers in those of the images at once.
fn timing(
    prospect: &PretrainProspect,
    basis: &Basis<'_>,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<(Timing, f64), Error> {
    let at_once = forecast::at_once(basis, prospect.out.as_deref(), run, terminal)?;
    terminal.notice(&format!(
        "{}: timing real steps of {at_once} images at once, on noise; nothing is kept",
        prospect.recipe.recipe.name
    ));
    let taught = basis.clock.elapsed();
    let mut timing = Timing::of(basis, (at_once, prospect.watched), run)?;
    let taught = (basis.clock.elapsed() - taught).as_secs_f64();
    let teaching = taught / timing.local_batches * timing.local_batch;
    if let Some(split) = &prospect.images {
        let recipe = &prospect.recipe.recipe;
        let mut images = PretrainImages {
            train: Arc::clone(split),
            watched: Vec::new(),
            input: prospect.input.clone(),
            augment: recipe.augment.clone(),
            seed: prospect.seed,
            classes: prospect.classes,
            pass: run.pass,
        };
        let recipe = recipe.recipe(prospect.seed, at_once);
        timing.decoded_per_s = Some(decoded_per_s(&mut images, &recipe)?);
    }
    Ok((timing, teaching))
}

fn forecast(
    prospect: &PretrainProspect,
    basis: &Basis<'_>,
    run: &RunOptions,
    (timing, teaching, done): (Timing, f64, Done),
) -> Result<Forecast<PretrainCosts>, Error> {
    let recipe = &prospect.recipe.recipe;
    let schedule = recipe.recipe(prospect.seed, timing.at_once);
    let numbers = Numbers::of(&schedule, [prospect.train, prospect.watched]);
    let teachers = &prospect.teachers;
    let names = teachers.iter();
    let workers = (run.compute, run.pass.workers);
    let blueprint = &prospect.blueprint;
    let look = 2.0 * blueprint.student().multiply_adds() as f64;
    let costs = PretrainCosts {
        method: recipe.name.clone(),
        teachers: names
            .map(|(name, origin)| (name.clone(), origin.name().to_owned()))
            .collect(),
        teacher_parameters: teachers.values().map(TeacherOrigin::elements).sum(),
        operations: PretrainOperations::of(&blueprint.multiply_adds(), look, &numbers),
        memory: PretrainMemory::new(basis, timing.parameters, timing.at_once, workers)?,
        teaching,
    };
    let disk = disk(prospect, timing.parameters, &numbers)?;
    let what = (prospect.data.as_str(), prospect.seed);
    let measured = (&timing, done);
    Ok(Forecast::new(costs, what, (numbers, disk), measured, run))
}

impl PretrainOperations {
    /// Of an image in a step, and of one that is looked at.
    fn of(products: &StepProducts, look: f64, numbers: &Numbers) -> Self {
        let twice = |products: u64| 2.0 * products as f64;
        let StepProducts {
            student,
            decoders,
            heads,
            teachers,
            look: own_look,
        } = products;
        let image = twice(products.total());
        Self {
            student: twice(student.forward),
            student_trained: twice(student.trained),
            decoders: twice(decoders.forward),
            decoders_trained: twice(decoders.trained),
            heads: twice(heads.forward),
            heads_trained: twice(heads.trained),
            teachers: (teachers.iter())
                .map(|(name, products)| (name.clone(), twice(*products)))
                .collect(),
            look: twice(*own_look),
            image,
            update: image * numbers.batch as f64,
            run: image * numbers.train_images as f64 + look * numbers.val_images as f64,
        }
    }
}

fn disk(prospect: &PretrainProspect, parameters: usize, numbers: &Numbers) -> Result<Disk, Error> {
    // Beside each image's half hash, whether it was met.
    const IMAGE: usize = 17;
    let training = &prospect.recipe.recipe.training;
    let elements = prospect.blueprint.elements()?;
    let of_student = elements
        .iter()
        .filter(|(name, _)| super::weights::is_kept(name));
    let student: usize = of_student.map(|(_, elements)| elements).sum();
    let every = prospect.recipe.recipe.monitor.keep_every;
    let files = 1 + every.map_or(0, |every| (training.epochs - 1) / every);
    let tensors = (parameters, training.optimizer, training.ema.is_some());
    let weights = (4 * student * files) as u64;
    Ok(Disk::of(tensors, numbers, IMAGE * prospect.train, weights))
}

/// A forecast for people.
pub fn forecast_table(forecast: &Forecast<PretrainCosts>) -> Table {
    let PretrainCosts {
        method,
        teachers,
        teacher_parameters,
        operations,
        memory,
        teaching,
    } = &forecast.costs;
    let both = |forward: f64, trained: f64| format!("{}, trained {}", flop(forward), flop(trained));
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    if !teachers.is_empty() {
        let names: Vec<_> = teachers.values().map(String::as_str).collect();
        let value = format!("{teacher_parameters} of {}", names.join(", "));
        row("parameters of teachers", value);
    }
    row("operations of an image", flop(operations.image));
    for (name, [forward, trained]) in [
        ("student", [operations.student, operations.student_trained]),
        (
            "decoders",
            [operations.decoders, operations.decoders_trained],
        ),
        (
            "heads and adaptors",
            [operations.heads, operations.heads_trained],
        ),
    ] {
        if forward > 0.0 {
            row(&format!("  {name}"), both(forward, trained));
        }
    }
    for (name, own) in &operations.teachers {
        row(&format!("  teacher {name}"), flop(*own));
    }
    if operations.look > 0.0 {
        row("  look at the whole image", flop(operations.look));
    }
    row("operations of an update", flop(operations.update));
    let looks = forecast.recipe.validations;
    row(
        "operations of the run",
        format!("{} with {looks} looks", flop(operations.run)),
    );
    let parts = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.moments),
        ("moving average", memory.average),
        ("teachers' weights", memory.teachers),
        ("what teachers say", memory.lessons),
        ("teachers while they look", memory.looking),
        ("student", memory.student),
        ("decoders", memory.decoders),
        ("heads and adaptors", memory.heads),
        ("images at once", memory.images),
        ("decoded images waiting", memory.waiting),
    ];
    let shown = parts.into_iter().filter(|(_, bytes)| *bytes > 0);
    let mut timed = Vec::new();
    if !teachers.is_empty() {
        let share = 100.0 * teaching / forecast.time.local_batch;
        let value = format!("{teaching:.3} s, {share:.0} % of the images at once");
        timed.push(("  teachers".to_owned(), value));
    }
    let own = Own {
        title: method.clone(),
        operations: rows,
        memory: memory.total(),
        memory_of: shown.map(|(name, part)| (name.to_owned(), part)).collect(),
        timed,
    };
    forecast::table(forecast, own)
}
