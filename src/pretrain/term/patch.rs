//! Patch tokens against a teacher's.

use serde::{Deserialize, Serialize};

use super::{Heads, Reads, Sides, block_of, check_class_tokens, mean_of, not_negative};
use crate::engine::{Engine, Result};
use crate::pretrain::method::MethodError;
use crate::pretrain::scene::{Positions, Scene, class_token};
use crate::pretrain::target::TargetNorm;

/// The smooth L1 distance of patch tokens under a linear head from a teacher's (MEDiC, eq. 2;
/// MaskDistill, Peng et al. 2022; FD, Wei et al. 2022): the mean over tokens and their numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchDistillationSpec {
    /// What it counts for.
    pub weight: f64,
    /// The teacher's name.
    pub teacher: String,
    /// The teacher's block, counted from 0; the last, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// Whether the teacher's final normalisation comes first, with its scale and shift (FD).
    #[serde(default, skip_serializing_if = "is_false")]
    pub final_norm: bool,
    /// Which patches.
    pub on: Positions,
    /// Whether class tokens are compared too (FD).
    #[serde(default, skip_serializing_if = "is_false")]
    pub class_token: bool,
    /// Where the parabola ends and the lines begin; 0 is L1.
    pub beta: f64,
    /// What is done to the teacher's tokens.
    pub normalise: TargetNorm,
    /// The head over the student's tokens; terms that name the same share it.
    pub head: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl PatchDistillationSpec {
    pub(super) fn reads(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Reads, MethodError> {
        let teacher = sides.teacher(name, &self.teacher)?;
        if self.class_token {
            check_class_tokens(name, sides.student, teacher)?;
        }
        let block = block_of(name, teacher, self.block)?;
        if self.final_norm && block + 1 != teacher.depth {
            return Err(MethodError::Term {
                term: name.to_owned(),
                reason: format!("final_norm comes behind the last block, not behind {block}"),
            });
        }
        if self.final_norm && !teacher.final_norm.over_tokens() {
            return Err(MethodError::Term {
                term: name.to_owned(),
                reason: "final_norm = true, and the teacher's last norm is not over tokens"
                    .to_owned(),
            });
        }
        let blocks = if self.final_norm { vec![] } else { vec![block] };
        Ok(Reads {
            normed: true,
            teacher: Some((self.teacher.clone(), blocks)),
            teacher_normed: self.final_norm,
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
        let taught = match spec.final_norm {
            true => lesson.final_norm()?,
            false => lesson.block(self.block)?,
        };
        let what = (spec.normalise, spec.class_token, Some(spec.on));
        let target = scene.target(engine, (lesson, taught), what)?;
        let normed = scene.normed()?;
        let mut tokens = scene.student_rows(engine, normed, spec.on)?;
        if spec.class_token {
            tokens = engine.cat(&[&class_token(engine, normed)?, &tokens], 0)?;
        }
        let predicted = heads.forward(engine, &spec.head, &tokens)?;
        let difference = engine.sub(&predicted, &target)?;
        mean_of(engine, &engine.smooth_l1(&difference, spec.beta)?)
    }
}
