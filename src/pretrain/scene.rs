//! What the terms of a loss look at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Encoded, Encoding, Lesson, Mask, TargetNorm};
use crate::engine::{Engine, EngineError, Result};

/// Which patches a term is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Those that the mask hides.
    Masked,
    /// Those that the student sees.
    Visible,
    /// All of them.
    All,
}

impl Positions {
    /// The word in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Visible => "visible",
            Self::All => "all",
        }
    }
}

/// A batch of images as student and teachers have seen it.
#[derive(Debug)]
pub struct Scene<'a, E: Engine> {
    /// `[B, C, H, W]`, by the student's statistics.
    pub images: &'a E::Tensor,
    /// What is hidden.
    pub mask: &'a Mask,
    /// What became of hidden patches.
    pub encoding: Encoding,
    /// What the student makes of it.
    pub student: &'a Encoded<E>,
    /// What each teacher says.
    pub lessons: &'a BTreeMap<String, Lesson<E>>,
}

impl<E: Engine> Scene<'_, E> {
    /// The lesson of a teacher.
    pub(super) fn lesson(&self, teacher: &str) -> Result<&Lesson<E>> {
        let lesson = self.lessons.get(teacher);
        lesson.ok_or_else(|| missing(&format!("no lesson of teacher {teacher}")))
    }

    /// The student's tokens under its final normalisation.
    pub(super) fn normed(&self) -> Result<&E::Tensor> {
        let normed = self.student.normed.as_ref();
        normed.ok_or_else(|| missing("the student's normalised tokens were not kept"))
    }

    /// Rows of the student's patches: `[B, P + M, D]` -> `[rows, D]`, image by image
    pub(super) fn student_rows(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        on: Positions,
    ) -> Result<E::Tensor> {
        let patches = rows_of(engine, tokens, self.student.prefix)?;
        match (self.encoding, on) {
            // They are all that it has.
            (Encoding::Sparse, _) => Ok(patches),
            (Encoding::Dense, on) => self.chosen(engine, &patches, on),
        }
    }

    /// Rows of all patches that belong to [`Scene::student_rows`]: `[B N, D]` -> `[rows, D]`
    pub(super) fn rows(&self, engine: &E, patches: &E::Tensor, on: Positions) -> Result<E::Tensor> {
        match self.encoding {
            Encoding::Sparse => {
                let each = self.mask.patches() as u32;
                let seen = self.mask.seen().unwrap_or_default();
                let kept = self.mask.kept().unwrap_or_default().max(1);
                let row = |(i, patch): (usize, &u32)| (i / kept) as u32 * each + patch;
                let rows: Vec<_> = seen.iter().enumerate().map(row).collect();
                engine.index_select(patches, 0, &rows)
            }
            Encoding::Dense => self.chosen(engine, patches, on),
        }
    }

    /// Tokens of a teacher as a target: normalised, and of it the class tokens, where they are
    /// wanted, and the patches that belong to [`Scene::student_rows`], where some are: `[rows, D]`
    pub(super) fn target(
        &self,
        engine: &E,
        (lesson, tokens): (&Lesson<E>, &E::Tensor),
        (normalise, class, on): (TargetNorm, bool, Option<Positions>),
    ) -> Result<E::Tensor> {
        let mut tokens = tokens.clone();
        // Statistics of a whole layer are taken before any of it is left out.
        let joint = normalise.is_joint();
        if joint {
            tokens = normalise.apply(engine, &tokens)?;
        }
        let classes = class.then(|| class_token(engine, &tokens)).transpose()?;
        let patches = |on| self.rows(engine, &rows_of(engine, &tokens, lesson.prefix)?, on);
        let patches = on.map(patches).transpose()?;
        let rows: Vec<_> = classes.iter().chain(&patches).collect();
        let rows = match rows[..] {
            [only] => only.clone(),
            _ => engine.cat(&rows, 0)?,
        };
        match joint {
            true => Ok(rows),
            false => normalise.apply(engine, &rows),
        }
    }

    /// patches: `[B N, D]`
    pub(super) fn chosen(
        &self,
        engine: &E,
        patches: &E::Tensor,
        on: Positions,
    ) -> Result<E::Tensor> {
        match on {
            Positions::All => Ok(patches.clone()),
            Positions::Masked => engine.index_select(patches, 0, &self.mask.hidden_rows()),
            Positions::Visible => engine.index_select(patches, 0, &self.mask.seen_rows()),
        }
    }
}

/// tokens: `[B, P + M, D]` -> `[B M, D]`
fn rows_of<E: Engine>(engine: &E, tokens: &E::Tensor, prefix: usize) -> Result<E::Tensor> {
    let shape = engine.shape(tokens);
    let [batch, all, width] = shape[..] else {
        return Err(missing(&format!("tokens of shape {shape:?}")));
    };
    let patches = all.saturating_sub(prefix);
    let tokens = engine.narrow(tokens, 1, prefix, patches)?;
    engine.reshape(&tokens, &[batch * patches, width])
}

/// The first token: `[B, T, D]` -> `[B, D]`
pub(super) fn class_token<E: Engine>(engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
    let shape = engine.shape(tokens);
    let class = engine.narrow(tokens, 1, 0, 1)?;
    engine.reshape(&class, &[shape[0], shape[2]])
}

pub(super) fn missing(what: &str) -> EngineError {
    EngineError {
        op: "pre-training",
        message: what.to_owned(),
    }
}
