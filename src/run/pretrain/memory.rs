//! The memory that pre-training takes, by what it keeps.

use serde::Serialize;

use super::super::forecast::waiting;
use super::network::Basis;
use crate::engine::Compute;
use crate::error::Error;
use crate::plan::TeacherOrigin;
use crate::pretrain::StepActivations;

/// Bytes at the peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PretrainMemory {
    /// The student's parameters, its heads' and decoders', and what of them is not trained.
    pub weights: u64,
    /// Gradients: of the images at once, and those gathered before them where an update has several
    /// parts.
    pub gradients: u64,
    /// What the optimizer remembers: of AdamW two moments.
    pub moments: u64,
    /// The moving average of the parameters.
    pub average: u64,
    /// The teachers' parameters.
    pub teachers: u64,
    /// What the student's gradient needs of the images at once.
    pub student: u64,
    /// What the decoders' needs.
    pub decoders: u64,
    /// What the other terms' gradients need.
    pub heads: u64,
    /// What the teachers have said of them.
    pub lessons: u64,
    /// What a network without gradients takes of them while it looks, before the student begins.
    pub looking: u64,
    /// Those images, on the host and as a tensor.
    pub images: u64,
    /// Decoded images that wait for the networks, always in the machine's own memory.
    pub waiting: u64,
}

impl PretrainMemory {
    /// That of networks of which so many parameters are trained, `at_once` images going through
    /// them together and `workers` threads decoding.
    pub(super) fn new(
        basis: &Basis<'_>,
        parameters: usize,
        at_once: usize,
        (compute, workers): (Compute, usize),
    ) -> Result<Self, Error> {
        let training = &basis.recipe.training;
        let elements = basis.blueprint.elements()?;
        let fixed = elements
            .iter()
            .filter(|(name, _)| basis.blueprint.is_fixed(name));
        let fixed: usize = fixed.map(|(_, elements)| elements).sum();
        let trained = 4 * parameters as u64;
        let several = u64::from(at_once < training.batch);
        let images = at_once as u64;
        let StepActivations {
            student,
            decoders,
            heads,
            lessons,
            looking,
        } = (basis.blueprint).activation_bytes(compute.engine, compute.precision);
        Ok(Self {
            weights: trained + 4 * fixed as u64,
            gradients: trained * (1 + several),
            moments: trained * training.optimizer.remembered() as u64,
            average: trained * u64::from(training.ema.is_some()),
            teachers: {
                let elements = basis.teachers.values().map(TeacherOrigin::elements);
                4 * elements.sum::<usize>() as u64
            },
            student: images * student,
            decoders: images * decoders,
            heads: images * heads,
            lessons: images * lessons,
            looking: images * looking,
            images: images * 2 * 4 * basis.input.values() as u64,
            waiting: waiting(basis.input, at_once, workers),
        })
    }

    /// All of it: looking is over when the student begins.
    pub fn total(&self) -> u64 {
        let kept = self.weights + self.gradients + self.moments + self.average + self.teachers;
        let step = self.looking.max(self.student + self.decoders + self.heads);
        kept + step + self.lessons + self.images + self.waiting
    }
}
