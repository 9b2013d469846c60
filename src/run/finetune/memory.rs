//! The memory that fine-tuning takes, by what it keeps.

use serde::Serialize;

use super::super::forecast::waiting;
use super::start::Basis;
use crate::engine::Compute;
use crate::vit::VitConfig;

/// Bytes at the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Parameters.
    pub weights: u64,
    /// Their gradients: of the local batch, and those gathered before it where an update has
    /// several.
    pub gradients: u64,
    /// What the optimizer remembers: of AdamW two moments.
    pub moments: u64,
    /// What the gradient needs of the images at once, and those images.
    pub activations: u64,
    /// Decoded images that wait for the network, always in the machine's own memory.
    pub waiting: u64,
}

impl Memory {
    /// That of a network of so many parameters, `at_once` images going through it together and
    /// `workers` threads decoding.
    pub(super) fn new(
        basis: &Basis<'_>,
        config: &VitConfig,
        parameters: usize,
        at_once: usize,
        (compute, workers): (Compute, usize),
    ) -> Self {
        let weights = 4 * parameters as u64;
        let image = 4 * basis.input.values() as u64;
        let several = u64::from(at_once < basis.task.batch);
        let kept = config.activation_bytes(compute.engine, compute.precision);
        Self {
            weights,
            gradients: weights * (1 + several),
            moments: weights * basis.task.optimizer.remembered() as u64,
            // The images are there on the host and as a tensor.
            activations: at_once as u64 * (kept + 2 * image),
            waiting: waiting(basis.input, at_once, workers),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations + self.waiting
    }
}
