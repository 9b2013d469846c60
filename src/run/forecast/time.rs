//! A few real steps that are timed, and what follows.

use std::time::Instant;

use serde::Serialize;

use super::{Done, Numbers, Trainee, Trial};
use crate::engine::Device;
use crate::error::Error;
use crate::plan::RunOptions;
use crate::run::{dispatch, machine};

/// Steps that are timed, at most.
const STEPS: usize = 3;

/// Seconds after which no further step is begun.
const LONG: f64 = 10.0;

/// Seconds of a first step after which it is the measurement, although memory was new to it.
const VERY_LONG: f64 = 60.0;

/// What was timed of a network at some number of images at once.
#[derive(Clone, Copy)]
pub(in crate::run) struct Timing {
    /// Images at once.
    pub at_once: usize,
    /// Parameters that are trained.
    pub parameters: usize,
    /// Groups that they learn in.
    pub groups: usize,
    /// Bytes at the peak, where the system tells.
    pub memory: Option<u64>,
    /// Seconds of the images at once.
    pub local_batch: f64,
    /// Seconds of all that were carried out, the first included, whose memory was new.
    pub local_batches: f64,
    /// Seconds of moving the parameters.
    pub update: f64,
    /// Seconds of a batch of the validation.
    pub validation_batch: f64,
    /// Images of it.
    pub validation_images: usize,
    /// Images a second that are decoded, where they are there.
    pub decoded_per_s: Option<f64>,
}

impl Timing {
    /// A few real steps of `at_once` images of noise, and a validation of some of `val`; nothing is
    /// kept.
    pub(in crate::run) fn of<T: Trainee>(
        trainee: &T,
        (at_once, val): (usize, usize),
        run: &RunOptions,
    ) -> Result<Self, Error> {
        let forgotten = machine::forget_peak_memory();
        let mut trial = Trial::new(trainee, run.compute)?;
        let groups = trial.groups();
        let images = trial.images(at_once);
        let parts = trainee.batch() / at_once;
        let (mut seconds, mut updates) = (Vec::new(), Vec::new());
        let mut start = Instant::now();
        let (warm_up, _) = trial.local_batch(&images)?;
        trial.update()?;
        let mut local_batches = warm_up;
        if warm_up < VERY_LONG {
            start = Instant::now();
        } else {
            // So long a step is hardly longer for being the first.
            seconds.push(warm_up);
        }
        while seconds.is_empty() || (seconds.len() < STEPS && start.elapsed().as_secs_f64() < LONG)
        {
            let (local_batch, _) = trial.local_batch(&images)?;
            seconds.push(local_batch);
            local_batches += local_batch;
            if seconds.len().is_multiple_of(parts) {
                updates.push(trial.update()?);
            }
        }
        if updates.is_empty() {
            updates.push(trial.update()?);
        }
        let validation_images = run.pass.batch.min(val).max(1);
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
        Ok(Self {
            at_once,
            parameters: groups.iter().map(|group| group.elements).sum(),
            groups: groups.len(),
            memory,
            local_batch: median(seconds),
            local_batches,
            update: median(updates),
            validation_batch: median(validations),
            validation_images,
            decoded_per_s: None,
        })
    }
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

impl Time {
    pub(super) fn of(timing: &Timing, numbers: &Numbers, done: Done, device: Device) -> Self {
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
