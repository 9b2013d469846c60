//! The terms of a pre-training loss: what a student is compared with, and how.

mod alignment;
mod class;
mod heads;
mod patch;
mod pixels;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blank::Blank;
use super::method::MethodError;
use super::scene::{Positions, Scene};
use crate::engine::{Engine, Result};
use crate::nn::{Loader, WeightError};
use crate::vit::VitConfig;

use alignment::Alignment;
pub use alignment::{Adaptor, AlignmentMatrix, AlignmentSpec, MatrixPlace};
use class::ClassDistillation;
pub use class::{ClassDistillationSpec, ClassLoss};
pub use heads::Heads;
pub(super) use heads::{head_blanks, head_widths};
use patch::PatchDistillation;
pub use patch::PatchDistillationSpec;
pub use pixels::{
    DecoderInput, PixelDecoder, PixelLoss, PixelNorm, PixelReconstruction, PixelReconstructionSpec,
};

/// One term, as a recipe has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TermSpec {
    /// The student's patch tokens against a teacher's.
    PatchDistillation(PatchDistillationSpec),
    /// The student's class token against a teacher's.
    ClassDistillation(ClassDistillationSpec),
    /// Pixels out of the student's tokens.
    PixelReconstruction(PixelReconstructionSpec),
    /// Mixtures of all the student's blocks against the last blocks of a teacher.
    Alignment(AlignmentSpec),
}

/// What a term reads of student and teacher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Blocks of the student.
    pub blocks: Vec<usize>,
    /// The student's last block under the final normalisation.
    pub normed: bool,
    /// A teacher, and which of its blocks.
    pub teacher: Option<(String, Vec<usize>)>,
    /// That teacher's last block under its final normalisation.
    pub teacher_normed: bool,
}

impl Reads {
    /// The one block of the teacher.
    fn teacher_block(&self) -> usize {
        let blocks = self.teacher.as_ref().map(|(_, blocks)| blocks);
        blocks
            .and_then(|blocks| blocks.first())
            .copied()
            .unwrap_or_default()
    }
}

/// The networks that terms are between.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// The student's architecture.
    pub student: &'a VitConfig,
    /// Whether patches are hidden.
    pub hides: bool,
    /// Whether the student has no token of a hidden patch.
    pub unseen: bool,
    /// The teachers', by their names.
    pub teachers: &'a BTreeMap<String, VitConfig>,
}

impl<'a> Sides<'a> {
    /// The architecture of a teacher that a term names.
    pub fn teacher(
        &self,
        term: &str,
        name: &str,
    ) -> std::result::Result<&'a VitConfig, MethodError> {
        let teacher = self.teachers.get(name);
        teacher.ok_or_else(|| MethodError::NoTeacher {
            term: term.to_owned(),
            teacher: name.to_owned(),
        })
    }
}

impl TermSpec {
    /// What it counts for; one of 0 is no part of the loss.
    pub fn weight(&self) -> f64 {
        match self {
            Self::PatchDistillation(spec) => spec.weight,
            Self::ClassDistillation(spec) => spec.weight,
            Self::PixelReconstruction(spec) => spec.weight,
            Self::Alignment(spec) => spec.weight,
        }
    }

    /// The teacher that it learns from.
    pub fn teacher(&self) -> Option<&str> {
        match self {
            Self::PatchDistillation(spec) => Some(&spec.teacher),
            Self::ClassDistillation(spec) => Some(&spec.teacher),
            Self::PixelReconstruction(_) => None,
            Self::Alignment(spec) => Some(&spec.teacher),
        }
    }

    /// Which patches it is about, and whether it makes tokens of those that the student lacks.
    pub(super) fn positions(&self) -> Option<(Positions, bool)> {
        match self {
            Self::PatchDistillation(spec) => Some((spec.on, false)),
            Self::ClassDistillation(_) => None,
            Self::PixelReconstruction(spec) => Some((
                spec.on,
                matches!(spec.decoder, PixelDecoder::Transformer { .. }),
            )),
            Self::Alignment(spec) => Some((spec.on, false)),
        }
    }

    /// Whether a decoder of its reads the tokens of seen patches alone, whatever the encoder has.
    pub(super) fn reads_seen(&self) -> bool {
        let Self::PixelReconstruction(spec) = self else {
            return false;
        };
        let seen = DecoderInput::Visible;
        matches!(spec.decoder, PixelDecoder::Transformer { reads, .. } if reads == seen)
    }

    /// Whether its target depends on which images go through the network together.
    pub(super) fn is_joint(&self) -> bool {
        match self {
            Self::PatchDistillation(spec) => spec.normalise.is_joint(),
            Self::ClassDistillation(spec) => spec.normalise.is_joint(),
            Self::PixelReconstruction(_) => false,
            Self::Alignment(spec) => spec.normalise.is_joint(),
        }
    }

    /// The head that it shares with terms of the same, and the width of the teacher that it leads
    /// to.
    pub(super) fn head(&self) -> Option<&str> {
        match self {
            Self::PatchDistillation(spec) => Some(&spec.head),
            Self::ClassDistillation(spec) => Some(&spec.head),
            Self::PixelReconstruction(_) | Self::Alignment(_) => None,
        }
    }

    /// What it reads.
    ///
    /// # Errors
    /// It names a teacher or a block that is not there.
    pub fn reads(&self, name: &str, sides: Sides<'_>) -> std::result::Result<Reads, MethodError> {
        match self {
            Self::PatchDistillation(spec) => spec.reads(name, sides),
            Self::ClassDistillation(spec) => spec.reads(name, sides),
            Self::PixelReconstruction(_) => Ok(PixelReconstructionSpec::reads()),
            Self::Alignment(spec) => spec.reads(name, sides),
        }
    }

    /// Its own tensors before training; heads that terms share are [`Heads`]'.
    pub(super) fn blanks(
        &self,
        name: &str,
        sides: Sides<'_>,
    ) -> std::result::Result<Vec<Blank>, MethodError> {
        match self {
            Self::PatchDistillation(_) | Self::ClassDistillation(_) => Ok(Vec::new()),
            Self::PixelReconstruction(spec) => Ok(spec.blanks(sides)),
            Self::Alignment(spec) => spec.blanks(name, sides),
        }
    }

    /// Refuses numbers that mean nothing.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        match self {
            Self::PatchDistillation(spec) => spec.check(),
            Self::ClassDistillation(spec) => spec.check(),
            Self::PixelReconstruction(spec) => spec.check(),
            Self::Alignment(spec) => spec.check(),
        }
    }
}

/// One term on an engine.
#[derive(Clone, Debug)]
pub enum Term<E: Engine> {
    /// [`TermSpec::PatchDistillation`]
    PatchDistillation(PatchDistillation),
    /// [`TermSpec::ClassDistillation`]
    ClassDistillation(ClassDistillation),
    /// [`TermSpec::PixelReconstruction`]
    PixelReconstruction(Box<PixelReconstruction<E>>),
    /// [`TermSpec::Alignment`]
    Alignment(Alignment<E>),
}

impl<E: Engine> Term<E> {
    /// From tensors below `terms.NAME`, or `decoder`. The specification has been read for these
    /// sides.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        (name, spec): (&str, &TermSpec),
        reads: &Reads,
        sides: Sides<'_>,
    ) -> std::result::Result<Self, WeightError> {
        Ok(match spec {
            TermSpec::PatchDistillation(spec) => {
                Self::PatchDistillation(PatchDistillation::new(spec, reads))
            }
            TermSpec::ClassDistillation(spec) => {
                Self::ClassDistillation(ClassDistillation::new(spec, reads))
            }
            TermSpec::PixelReconstruction(spec) => {
                Self::PixelReconstruction(Box::new(PixelReconstruction::load(loader, spec, sides)?))
            }
            TermSpec::Alignment(spec) => {
                Self::Alignment(Alignment::load(loader, (name, spec), reads, sides)?)
            }
        })
    }

    /// The term of a batch, not weighted: a scalar.
    pub fn loss(&self, engine: &E, scene: &Scene<'_, E>, heads: &Heads<E>) -> Result<E::Tensor> {
        match self {
            Self::PatchDistillation(term) => term.loss(engine, scene, heads),
            Self::ClassDistillation(term) => term.loss(engine, scene, heads),
            Self::PixelReconstruction(term) => term.loss(engine, scene),
            Self::Alignment(term) => term.loss(engine, scene),
        }
    }
}

/// The mean over all elements.
pub(super) fn mean_of<E: Engine>(engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
    let elements = engine.shape(x).iter().product();
    engine.mean(&engine.reshape(x, &[elements])?, &[0])
}

/// Refuses class tokens where a side has none.
fn check_class_tokens(
    term: &str,
    student: &VitConfig,
    teacher: &VitConfig,
) -> std::result::Result<(), MethodError> {
    let sides = [(student, "student"), (teacher, "teacher")];
    match sides.into_iter().find(|(network, _)| !network.class_token) {
        None => Ok(()),
        Some((_, whose)) => Err(MethodError::NoClassToken {
            term: term.to_owned(),
            whose,
        }),
    }
}

/// A block of a teacher: the one that is asked for, counted from 0, or the last.
fn block_of(
    term: &str,
    teacher: &VitConfig,
    block: Option<usize>,
) -> std::result::Result<usize, MethodError> {
    let last = teacher.depth.saturating_sub(1);
    match block {
        Some(block) if block > last => Err(MethodError::NoBlock {
            term: term.to_owned(),
            block,
            blocks: teacher.depth,
        }),
        block => Ok(block.unwrap_or(last)),
    }
}

/// Refuses a weight or another number that is not finite or below 0.
fn not_negative(name: &str, value: f64) -> std::result::Result<(), String> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => Err(format!("{name} must be a number from 0 on, it is {value}")),
    }
}

/// Refuses a number that is not above 0.
fn positive(name: &str, value: f64) -> std::result::Result<(), String> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => Err(format!("{name} must be positive, it is {value}")),
    }
}
