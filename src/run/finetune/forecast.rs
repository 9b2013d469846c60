//! What a run of fine-tuning is going to take: counted, and timed by a few real steps.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::super::cells::{Stamps, up_to_date};
use super::super::training::TrainingImages;
use super::super::{Terminal, dispatch, machine};
use super::fitting::{self, of_state, standing};
use super::memory::Memory;
use super::start::{Basis, network};
use super::trial::Trial;
use crate::data::Split;
use crate::engine::Device;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{Prospect, RunOptions};
use crate::spec::{FinetuneTask, Task};
use crate::train::{Progress, Recipe, Solo, Source, Stage};

/// Steps that are timed, at most.
const STEPS: usize = 3;

/// Seconds after which no further step is begun.
const LONG: f64 = 10.0;

/// Seconds of a first step after which it is the measurement, although memory was new to it.
const VERY_LONG: f64 = 60.0;

/// Seconds that decoding is timed for, about.
const DECODING: f64 = 2.0;

/// Generations of a state that stay on the disk.
const GENERATIONS: u64 = 2;

/// Everything that a run is going to take.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast {
    /// Name of what is fine-tuned.
    pub checkpoint: String,
    /// Name of the protocol.
    pub protocol: String,
    /// The images, in words.
    pub data: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Engine with its versions.
    pub engine: String,
    /// Device, and its name where it is known.
    pub device: String,
    /// Element type.
    pub precision: &'static str,
    /// Threads of the engine.
    pub threads: usize,
    /// Threads that decode.
    pub workers: usize,
    /// The recipe's numbers.
    pub recipe: Numbers,
    /// Parameters that are trained.
    pub parameters: usize,
    /// Groups that they learn in.
    pub groups: usize,
    /// Floating point operations.
    pub operations: Operations,
    /// Bytes at the peak by formula.
    pub memory: Memory,
    /// Bytes at the peak of the steps that were timed, where the system tells: of the process on a
    /// processor, of tensors on another device.
    pub measured_memory: Option<u64>,
    /// Bytes on the disk.
    pub disk: Disk,
    /// Seconds, as far as they were measured.
    pub time: Time,
    /// What of it is done.
    pub done: Done,
}

/// Numbers of a recipe.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// Epochs.
    pub epochs: usize,
    /// Epochs of the warm-up.
    pub warmup_epochs: f64,
    /// Updates of an epoch.
    pub updates_per_epoch: usize,
    /// Updates in all.
    pub updates: usize,
    /// Images of an update.
    pub batch: usize,
    /// Images that go through the network together.
    pub at_once: usize,
    /// How many times they do for one update.
    pub parts: usize,
    /// Images that are trained on, in all epochs together.
    pub train_images: usize,
    /// Validations.
    pub validations: usize,
    /// Images that are validated, in all of them together.
    pub val_images: usize,
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

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disk {
    /// One state.
    pub state: u64,
    /// The states that are kept.
    pub states: u64,
    /// The trained weights.
    pub weights: u64,
}

/// Medians of what was timed, and what follows, seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Time {
    /// The images at once, forward and backward.
    pub local_batch: f64,
    /// Moving the parameters.
    pub update: f64,
    /// A batch of the validation.
    pub validation_batch: f64,
    /// Images of it.
    pub validation_images: usize,
    /// Images a second that are decoded and augmented, where they are there.
    pub decoded_per_s: Option<f64>,
    /// Computing, the whole run.
    pub compute: f64,
    /// Decoding and augmenting, the whole run.
    pub decode: Option<f64>,
    /// Both together: added on a processor, which does both, else the longer.
    pub run: f64,
    /// What is left of it.
    pub left: f64,
}

/// What of a run is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing.
    Nothing,
    /// What a state says.
    Part {
        /// Whole epochs, their validation included.
        epochs: usize,
        /// Updates.
        updates: usize,
        /// The images at once that it was made with.
        at_once: Option<usize>,
    },
    /// All of it: the record is up to date.
    All,
}

/// What was timed of a network at some number of images at once.
#[derive(Clone, Copy)]
struct Timing {
    at_once: usize,
    parameters: usize,
    groups: usize,
    memory: Option<u64>,
    local_batch: f64,
    update: f64,
    validation_batch: f64,
    validation_images: usize,
    decoded_per_s: Option<f64>,
}

/// The forecast of every run, in their order; what differs in its seed alone is timed once.
pub fn forecasts(
    prospects: &[Prospect],
    run: &RunOptions,
    terminal: &mut Terminal,
) -> Result<Vec<Forecast>, Error> {
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
        let of_state = match done {
            Done::Part { at_once, .. } => at_once,
            Done::Nothing | Done::All => None,
        };
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
    let Some(cell) = &prospect.cell else {
        return Ok(Done::Nothing);
    };
    if up_to_date(run, cell, &stamps.of(cell)?).is_some() {
        return Ok(Done::All);
    }
    let standing = standing(&run.run_folder(cell), run)?;
    Ok(standing.map_or(Done::Nothing, |standing| {
        let Progress { epoch, stage } = standing.progress;
        let at_once = of_state(&standing);
        let Task::Finetune(task) = &prospect.protocol.task else {
            return Done::Nothing;
        };
        let recipe = task.recipe(prospect.seed, at_once.unwrap_or(task.batch));
        let steps = recipe.updates_per_epoch(prospect.train);
        let of_epoch = match stage {
            Stage::Train { update, .. } => update,
            Stage::Validate { .. } => steps,
        };
        Done::Part {
            epochs: epoch,
            updates: epoch * steps + of_epoch,
            at_once,
        }
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
    let at_once = fitting::at_once(basis, folder.as_deref(), run, terminal)?;
    terminal.notice(&format!(
        "{}: timing real steps of {at_once} images at once, on noise; nothing is kept",
        prospect.origin.name()
    ));
    let forgotten = machine::forget_peak_memory();
    let mut trial = Trial::new(basis, run.compute)?;
    let groups = trial.network().groups();
    let images = trial.images(at_once);
    let parts = basis.task.batch / at_once;
    let (mut local_batches, mut updates) = (Vec::new(), Vec::new());
    let mut start = Instant::now();
    let warm_up = trial.local_batch(&images)?;
    trial.update()?;
    if warm_up < VERY_LONG {
        start = Instant::now();
    } else {
        // So long a step is hardly longer for being the first.
        local_batches.push(warm_up);
    }
    while local_batches.is_empty()
        || (local_batches.len() < STEPS && start.elapsed().as_secs_f64() < LONG)
    {
        local_batches.push(trial.local_batch(&images)?);
        if local_batches.len().is_multiple_of(parts) {
            updates.push(trial.update()?);
        }
    }
    if updates.is_empty() {
        updates.push(trial.update()?);
    }
    let validation_images = run.pass.batch.min(prospect.val).max(1);
    let images = trial.images(validation_images);
    trial.validate(&images)?;
    let start = Instant::now();
    let mut validations = Vec::new();
    while validations.is_empty()
        || (validations.len() < STEPS && start.elapsed().as_secs_f64() < LONG)
    {
        validations.push(trial.validate(&images)?);
    }
    let memory = match run.compute.device {
        Device::Cpu if forgotten => machine::peak_memory(),
        Device::Cpu => None,
        Device::Cuda(_) => dispatch::device_memory(run.compute)?,
    };
    let parameters = groups.iter().map(|group| group.elements).sum();
    let groups = groups.len();
    drop(trial);
    let decoded_per_s = match &prospect.images {
        Some(split) => Some(decoded_per_s(prospect, basis.task, split, run)?),
        None => None,
    };
    Ok(Timing {
        at_once,
        parameters,
        groups,
        memory,
        local_batch: median(local_batches),
        update: median(updates),
        validation_batch: median(validations),
        validation_images,
        decoded_per_s,
    })
}

/// Images a second that the workers decode and augment while nothing else is done.
fn decoded_per_s(
    prospect: &Prospect,
    task: &FinetuneTask,
    split: &Arc<Split>,
    run: &RunOptions,
) -> Result<f64, Error> {
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
    let steps = recipe.sampler(prospect.train).epoch(0, &Solo);
    let batches: Vec<_> = steps.into_iter().flat_map(|step| step.local).collect();
    let (mut first, mut count) = (0, 1);
    loop {
        let end = batches.len().min(first + count);
        let start = Instant::now();
        let mut decoded = 0;
        images.train(&batches[first..end], &mut |batch| {
            decoded += batch.labels.len();
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        // Half the time is enough: to go on would take twice as long.
        if seconds >= DECODING / 2.0 || end == batches.len() {
            return Ok(decoded as f64 / seconds);
        }
        (first, count) = (end, 2 * count);
    }
}

fn forecast(
    prospect: &Prospect,
    basis: &Basis<'_>,
    run: &RunOptions,
    (timing, done): (Timing, Done),
) -> Result<Forecast, Error> {
    let task = basis.task;
    let recipe = task.recipe(prospect.seed, timing.at_once);
    let numbers = Numbers::of(&recipe, [prospect.train, prospect.val]);
    let network = network(basis)?;
    let head = (network.head.width * network.head.classes) as u64;
    let workers = run.pass.workers;
    let parameters = timing.parameters;
    Ok(Forecast {
        checkpoint: prospect.origin.name().to_owned(),
        protocol: prospect.protocol.name.clone(),
        data: prospect.data.clone(),
        seed: prospect.seed,
        engine: run.compute.engine.versions(),
        device: machine::device(run.compute),
        precision: run.compute.precision.name(),
        threads: run.threads,
        workers,
        parameters,
        groups: timing.groups,
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
            (run.compute, workers),
        ),
        measured_memory: timing.memory,
        disk: Disk::of(task, parameters, prospect, &numbers),
        time: Time::of(&timing, &numbers, done, run.compute.device),
        recipe: numbers,
        done,
    })
}

impl Numbers {
    fn of(recipe: &Recipe, [train, val]: [usize; 2]) -> Self {
        let validates = |&epoch: &usize| recipe.validates(epoch);
        let validations = (0..recipe.epochs).filter(validates).count();
        let updates_per_epoch = recipe.updates_per_epoch(train);
        Self {
            epochs: recipe.epochs,
            warmup_epochs: recipe.schedule.warmup_epochs(updates_per_epoch),
            updates_per_epoch,
            updates: recipe.updates(train),
            batch: recipe.batch,
            at_once: recipe.local_batch,
            parts: recipe.batch / recipe.local_batch,
            train_images: recipe.epochs * recipe.images_per_epoch(train),
            validations,
            val_images: validations * val,
        }
    }
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

impl Disk {
    fn of(task: &FinetuneTask, parameters: usize, prospect: &Prospect, numbers: &Numbers) -> Self {
        // Beside each image's half hash, whether it was met; of validation images two answers.
        const IMAGE: usize = 17;
        const ANSWERS: usize = 5;
        let gathered = usize::from(numbers.parts > 1);
        let tensors = parameters * (1 + task.optimizer.remembered() + gathered);
        let images = IMAGE * (prospect.train + prospect.val) + ANSWERS * prospect.val;
        let state = (4 * tensors + images) as u64;
        Self {
            state,
            states: GENERATIONS * state,
            weights: 4 * parameters as u64,
        }
    }
}

impl Time {
    fn of(timing: &Timing, numbers: &Numbers, done: Done, device: Device) -> Self {
        let &Timing {
            local_batch,
            update,
            validation_batch,
            validation_images,
            decoded_per_s,
            at_once,
            ..
        } = timing;
        let local_batches = numbers.train_images as f64 / at_once as f64;
        let training = local_batches * local_batch + numbers.updates as f64 * update;
        let validating = numbers.val_images as f64 / validation_images as f64 * validation_batch;
        let compute = training + validating;
        let images = (numbers.train_images + numbers.val_images) as f64;
        let decode = decoded_per_s.map(|rate| images / rate);
        let run = match (decode, device) {
            (None, _) => compute,
            (Some(decode), Device::Cpu) => compute + decode,
            (Some(decode), Device::Cuda(_)) => compute.max(decode),
        };
        let left = match done {
            Done::Nothing => 1.0,
            Done::Part { updates, .. } => 1.0 - updates as f64 / numbers.updates.max(1) as f64,
            Done::All => 0.0,
        };
        Self {
            local_batch,
            update,
            validation_batch,
            validation_images,
            decoded_per_s,
            compute,
            decode,
            run,
            left: run * left,
        }
    }
}

/// The middle one; of an even number the smaller of the two.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len().saturating_sub(1) / 2;
    seconds.get(middle).copied().unwrap_or(f64::NAN)
}
