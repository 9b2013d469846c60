//! What a run of training is going to take: counted, and timed by a few real steps.

mod decoding;
mod done;
mod fitting;
mod numbers;
mod table;
mod time;
mod trainee;
mod trial;

use serde::Serialize;

use super::machine;
use crate::data::{InputSpec, most_waiting};
use crate::plan::RunOptions;
use crate::train::OptimizerKind;
pub(super) use decoding::decoded_per_s;
pub use done::Done;
pub(super) use fitting::{at_once, of_state, standing};
pub use numbers::Numbers;
pub(super) use table::{Own, flop, table};
pub use time::Time;
pub(super) use time::Timing;
pub(super) use trainee::Trainee;
pub(super) use trial::Trial;

/// Generations of a state that stay on the disk.
const GENERATIONS: u64 = 2;

/// Everything that a run is going to take.
#[derive(Clone, Debug, Serialize)]
pub struct Forecast<C> {
    /// What is trained, and what is counted of it alone.
    #[serde(flatten)]
    pub costs: C,
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

impl Disk {
    /// Of states of so many trained parameters, of which `average` says whether an average is kept
    /// beside them, and of bytes about images; and of weights of so many bytes.
    pub(super) fn of(
        (parameters, optimizer, average): (usize, OptimizerKind, bool),
        numbers: &Numbers,
        images: usize,
        weights: u64,
    ) -> Self {
        let gathered = usize::from(numbers.parts > 1);
        let tensors = parameters * (1 + optimizer.remembered() + gathered + usize::from(average));
        let state = (4 * tensors + images) as u64;
        Self {
            state,
            states: GENERATIONS * state,
            weights,
        }
    }
}

/// Bytes of decoded images in front of a network through which so many go together.
pub(super) fn waiting(input: &InputSpec, at_once: usize, workers: usize) -> u64 {
    ((most_waiting(at_once) + workers) * 4 * input.values()) as u64
}

impl<C> Forecast<C> {
    /// From what was counted and timed.
    pub(super) fn new(
        costs: C,
        (data, seed): (&str, u64),
        (numbers, disk): (Numbers, Disk),
        (timing, done): (&Timing, Done),
        run: &RunOptions,
    ) -> Self {
        Self {
            costs,
            data: data.to_owned(),
            seed,
            engine: run.compute.engine.versions(),
            device: machine::device(run.compute),
            precision: run.compute.precision.name(),
            threads: run.threads,
            workers: run.pass.workers,
            parameters: timing.parameters,
            groups: timing.groups,
            measured_memory: timing.memory,
            disk,
            time: Time::of(timing, &numbers, done, run.compute.device),
            recipe: numbers,
            done,
        }
    }
}
