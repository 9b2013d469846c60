//! The class token against a teacher's.

use serde::{Deserialize, Serialize};

use super::{Heads, Reads, Sides, block_of, check_class_tokens, mean_of, not_negative, positive};
use crate::engine::{Engine, Result, Targets};
use crate::pretrain::method::MethodError;
use crate::pretrain::scene::{Scene, class_token};
use crate::pretrain::target::TargetNorm;

/// The class token under a linear head against a teacher's (MEDiC, eq. 3): the mean over images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassDistillationSpec {
    /// What it counts for.
    pub weight: f64,
    /// The teacher's name.
    pub teacher: String,
    /// The teacher's block, counted from 0; the last, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// What is done to the teacher's token.
    pub normalise: TargetNorm,
    /// How the two are compared.
    pub loss: ClassLoss,
    /// The head over the student's token; terms that name the same share it.
    pub head: String,
}

/// How two class tokens are compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClassLoss {
    /// `-Σ softmax(t / τ_t) log softmax(s / τ_s)`, without the centring of DINO (MEDiC, eq. 3, which
    /// has no temperatures).
    CrossEntropy {
        /// τ_t
        teacher_temperature: f64,
        /// τ_s
        student_temperature: f64,
    },
    /// `(1 - cos(s, t)) / τ` (aicip/MEDiC).
    Cosine {
        /// τ
        temperature: f64,
    },
}

impl ClassDistillationSpec {
    pub(super) fn reads(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Reads, MethodError> {
        let teacher = sides.teacher(name, &self.teacher)?;
        check_class_tokens(name, sides.student, teacher)?;
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
        match self.loss {
            ClassLoss::CrossEntropy {
                teacher_temperature,
                student_temperature,
            } => {
                positive("loss.teacher_temperature", teacher_temperature)?;
                positive("loss.student_temperature", student_temperature)
            }
            ClassLoss::Cosine { temperature } => positive("loss.temperature", temperature),
        }
    }
}

/// The term, whose only parameters are its head's.
#[derive(Clone, Debug)]
pub struct ClassDistillation {
    spec: ClassDistillationSpec,
    block: usize,
}

impl ClassDistillation {
    pub(super) fn new(spec: &ClassDistillationSpec, reads: &Reads) -> Self {
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
        let target = scene.target(
            engine,
            (lesson, lesson.block(self.block)?),
            (spec.normalise, true, None),
        )?;
        let token = class_token(engine, scene.normed()?)?;
        let predicted = heads.forward(engine, &spec.head, &token)?;
        match spec.loss {
            ClassLoss::CrossEntropy {
                teacher_temperature,
                student_temperature,
            } => {
                let target = engine.affine(&target, 1.0 / teacher_temperature, 0.0)?;
                let logits = engine.affine(&predicted, 1.0 / student_temperature, 0.0)?;
                let target = engine.softmax(&target)?;
                engine.cross_entropy(&logits, Targets::Soft(&target))
            }
            ClassLoss::Cosine { temperature } => {
                let cosine = mean_of(engine, &cosines(engine, &predicted, &target)?)?;
                engine.affine(&cosine, -1.0 / temperature, 1.0 / temperature)
            }
        }
    }
}

/// PyTorch's epsilon of `cosine_similarity`, squared.
const EPS: f64 = 1e-16;

/// x, y: `[B, D]` -> `[B]`
fn cosines<E: Engine>(engine: &E, x: &E::Tensor, y: &E::Tensor) -> Result<E::Tensor> {
    let product = |x: &E::Tensor, y: &E::Tensor| engine.sum(&engine.mul(x, y)?, &[1]);
    let inverse = |x: &E::Tensor| {
        let squares = engine.affine(&product(x, x)?, 1.0, EPS)?;
        engine.pow(&squares, -0.5)
    };
    let scale = engine.mul(&inverse(x)?, &inverse(y)?)?;
    engine.mul(&product(x, y)?, &scale)
}
