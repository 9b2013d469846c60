//! What a run of fine-tuning is going to take: counted, and timed by a few real steps.

use std::sync::Arc;

use serde::Serialize;

use super::super::Terminal;
use super::super::cells::{Stamps, up_to_date};
use super::super::forecast::{
    self, Disk, Done, Forecast, Numbers, Own, Timing, decoded_per_s, flop, standing,
};
use super::super::training::TrainingImages;
use super::memory::Memory;
use super::start::{Basis, network};
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Prospect, RunOptions};
use crate::report::Table;
use crate::spec::{FinetuneTask, Task};

/// What is counted of a run of fine-tuning alone.
#[derive(Clone, Debug, Serialize)]
pub struct FinetuneCosts {
    /// Name of what is fine-tuned.
    pub checkpoint: String,
    /// Name of the protocol.
    pub protocol: String,
    /// Floating point operations.
    pub operations: Operations,
    /// Bytes at the peak by formula.
    pub memory: Memory,
}

/// Floating point operations: a multiplication and its addition are two.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Operations {
    /// One image's forward pass.
    pub forward: f64,
    /// One image's forward pass and its part of the gradients.
    pub trained: f64,
    /// The whole run with its validations.
    pub run: f64,
}

/// The forecast of every run, in their order; what differs in its seed alone is timed once.
pub fn forecasts(
    prospects: &[Prospect],
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Vec<Forecast<FinetuneCosts>>, Error> {
    let mut forecasts = Vec::new();
    let mut stamps = Stamps::default();
    let mut known: Option<(&Prospect, Option<usize>, Timing)> = None;
    for prospect in prospects {
        let Task::Finetune(task) = &prospect.protocol.task else {
            continue;
        };
        let basis = Basis::of_prospect(prospect, task);
        let done = done(prospect, run, &mut stamps)?;
        // A state has a number of images at once of its own.
        let of_state = done.at_once();
        let alike = |other: &Prospect| {
            let facts = |of: &Prospect| (of.head, of.classes, of.train, of.val);
            other.origin.name() == prospect.origin.name()
                && other.protocol.hash == prospect.protocol.hash
                && other.input == prospect.input
                && facts(other) == facts(prospect)
        };
        let timing = match known {
            Some((other, number, timing)) if alike(other) && number == of_state => timing,
            _ => timing(prospect, &basis, run, terminal)?,
        };
        known = Some((prospect, of_state, timing));
        forecasts.push(forecast(prospect, &basis, run, (timing, done))?);
    }
    Ok(forecasts)
}

/// How far a run is.
fn done(prospect: &Prospect, run: &RunOptions, stamps: &mut Stamps) -> Result<Done, Error> {
    let (Some(cell), Task::Finetune(task)) = (&prospect.cell, &prospect.protocol.task) else {
        return Ok(Done::Nothing);
    };
    if up_to_date(run, cell, &stamps.of(cell)?).is_some() {
        return Ok(Done::All);
    }
    let standing = standing(&run.run_folder(cell), run)?;
    Ok(standing.map_or(Done::Nothing, |standing| {
        Done::of(&standing, prospect.train, &|at_once| {
            task.recipe(prospect.seed, at_once.unwrap_or(task.batch))
        })
    }))
}

/// Times a few real steps, a validation and, where images are there, their decoding.
fn timing(
    prospect: &Prospect,
    basis: &Basis<'_>,
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Timing, Error> {
    let folder = prospect.cell.as_ref().map(|cell| run.run_folder(cell));
    let at_once = forecast::at_once(basis, folder.as_deref(), run, terminal)?;
    terminal.notice(&format!(
        "{}: timing real steps of {at_once} images at once, on noise; nothing is kept",
        prospect.origin.name()
    ));
    let mut timing = Timing::of(basis, (at_once, prospect.val), run)?;
    let Some(split) = &prospect.images else {
        return Ok(timing);
    };
    let task = basis.task;
    let mut images = TrainingImages {
        train: Arc::clone(split),
        val: Arc::clone(split),
        input: prospect.input.clone(),
        augment: task.augment.clone(),
        mix: task.mix,
        seed: prospect.seed,
        classes: prospect.classes,
        pass: run.pass,
    };
    let recipe = task.recipe(prospect.seed, task.local_batch);
    timing.decoded_per_s = Some(decoded_per_s(&mut images, &recipe)?);
    Ok(timing)
}

fn forecast(
    prospect: &Prospect,
    basis: &Basis<'_>,
    run: &RunOptions,
    (timing, done): (Timing, Done),
) -> Result<Forecast<FinetuneCosts>, Error> {
    let task = basis.task;
    let recipe = task.recipe(prospect.seed, timing.at_once);
    let numbers = Numbers::of(&recipe, [prospect.train, prospect.val]);
    let network = network(basis)?;
    let head = (network.head.width * network.head.classes) as u64;
    let parameters = timing.parameters;
    let costs = FinetuneCosts {
        checkpoint: prospect.origin.name().to_owned(),
        protocol: prospect.protocol.name.clone(),
        operations: Operations::of(
            network.config.multiply_adds() + head,
            network.config.training_multiply_adds() + 3 * head,
            &numbers,
        ),
        memory: Memory::new(
            basis,
            &network.config,
            parameters,
            timing.at_once,
            (run.compute, run.pass.workers),
        ),
    };
    let disk = disk(task, parameters, prospect, &numbers);
    let what = (prospect.data.as_str(), prospect.seed);
    let measured = (&timing, done);
    Ok(Forecast::new(costs, what, (numbers, disk), measured, run))
}

impl Operations {
    fn of(forward: u64, trained: u64, numbers: &Numbers) -> Self {
        let [forward, trained] = [forward, trained].map(|products| 2.0 * products as f64);
        let [train, val] = [numbers.train_images, numbers.val_images].map(|n| n as f64);
        Self {
            forward,
            trained,
            run: trained * train + forward * val,
        }
    }
}

fn disk(task: &FinetuneTask, parameters: usize, prospect: &Prospect, numbers: &Numbers) -> Disk {
    // Beside each image's half hash, whether it was met; of validation images two answers.
    const IMAGE: usize = 17;
    const ANSWERS: usize = 5;
    let images = IMAGE * (prospect.train + prospect.val) + ANSWERS * prospect.val;
    let tensors = (parameters, task.optimizer, false);
    Disk::of(tensors, numbers, images, 4 * parameters as u64)
}

/// A forecast for people.
pub fn table(forecast: &Forecast<FinetuneCosts>) -> Table {
    let FinetuneCosts {
        checkpoint,
        protocol,
        operations,
        memory,
    } = &forecast.costs;
    let of_run = format!(
        "{} with {} validations",
        flop(operations.run),
        forecast.recipe.validations
    );
    let rows = [
        ("operations of an image, forward", flop(operations.forward)),
        ("operations of an image, trained", flop(operations.trained)),
        ("operations of the run", of_run),
    ];
    let parts = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.moments),
        ("images at once", memory.activations),
        ("decoded images waiting", memory.waiting),
    ];
    let own = Own {
        title: format!("{checkpoint}, {protocol}"),
        operations: rows.map(|(name, value)| (name.to_owned(), value)).into(),
        memory: memory.total(),
        memory_of: parts.map(|(name, part)| (name.to_owned(), part)).into(),
        timed: Vec::new(),
    };
    forecast::table(forecast, own)
}
