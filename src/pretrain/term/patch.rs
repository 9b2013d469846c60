//! Patch tokens against a teacher's.

use serde::{Deserialize, Serialize};

use super::{Heads, Reads, Sides, block_of, mean_of, not_negative};
use crate::engine::{Engine, Result};
use crate::pretrain::method::MethodError;
use crate::pretrain::scene::{Positions, Scene};
use crate::pretrain::target::TargetNorm;

/// The smooth L1 distance of patch tokens under a linear head from a teacher's (MEDiC, eq. 2;
/// MaskDistill, Peng et al. 2022; FD, Wei et al. 2022): the mean over patches and their numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchDistillationSpec {
    /// What it counts for.
    pub weight: f64,
    /// The teacher's name.
    pub teacher: String,
    /// The teacher's block, counted from 0; the last, where absent. It is taken before any final
    /// normalisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// Which patches.
    pub on: Positions,
    /// Where the parabola ends and the lines begin; 0 is L1.
    pub beta: f64,
    /// What is done to the teacher's tokens.
    pub normalise: TargetNorm,
    /// The head over the student's tokens; terms that name the same share it.
    pub head: String,
}

impl PatchDistillationSpec {
    pub(super) fn reads(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Reads, MethodError> {
        let teacher = sides.teacher(name, &self.teacher)?;
        Ok(Reads {
            normed: true,
            teacher: Some((
                self.teacher.clone(),
                vec![block_of(name, teacher, self.block)?],
            )),
            ..Reads::default()
        })
    }

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        not_negative("weight", self.weight)?;
        not_negative("beta", self.beta)
    }
}

/// The term, whose only parameters are its head's.
#[derive(Clone, Debug)]
pub struct PatchDistillation {
    spec: PatchDistillationSpec,
    block: usize,
}

impl PatchDistillation {
    pub(super) fn new(spec: &PatchDistillationSpec, reads: &Reads) -> Self {
        Self {
            spec: spec.clone(),
            block: reads.teacher_block(),
        }
    }

    pub(super) fn loss<E: Engine>(
        &self,
        engine: &E,
        scene: &Scene<'_, E>,
        heads: &Heads<E>,
    ) -> Result<E::Tensor> {
        let spec = &self.spec;
        let lesson = scene.lesson(&spec.teacher)?;
        let what = (spec.normalise, false, Some(spec.on));
        let target = scene.target(engine, lesson, self.block, what)?;
        let tokens = scene.student_rows(engine, scene.normed()?, spec.on)?;
        let predicted = heads.forward(engine, &spec.head, &tokens)?;
        let difference = engine.sub(&predicted, &target)?;
        mean_of(engine, &engine.smooth_l1(&difference, spec.beta)?)
    }
}
