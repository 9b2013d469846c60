//! A student and the terms of its loss: everything that is trained.

use std::collections::BTreeMap;

use super::{Blueprint, Encoded, Heads, Lesson, Mask, Scene, Student, Term};
use crate::engine::{Engine, Result};
use crate::nn::{Loader, WeightError};
use crate::vit::DropPath;

/// A student, the heads over it, and the terms of its loss.
#[derive(Clone, Debug)]
pub struct Learner<E: Engine> {
    student: Student<E>,
    heads: Heads<E>,
    /// Names, weights and terms.
    terms: Vec<(String, f64, Term<E>)>,
    /// Blocks of the student that terms read.
    blocks: Vec<usize>,
    /// Whether they read its normalised tokens.
    normed: bool,
}

impl<E: Engine> Learner<E> {
    /// From the tensors of [`Blueprint::initial_weights`].
    pub fn load(
        loader: &mut Loader<'_, E>,
        blueprint: &Blueprint,
    ) -> std::result::Result<Self, WeightError> {
        let config = blueprint.student();
        let encoding = blueprint.method().student.encoding;
        let student = Student::load(loader, config, encoding, blueprint.has_mask_token())?;
        let heads = Heads::load(loader, blueprint.heads(), config.width)?;
        let sides = blueprint.sides();
        let mut terms = Vec::new();
        for planned in blueprint.terms() {
            let spec = (planned.name.as_str(), &planned.spec);
            let term = Term::load(loader, spec, &planned.reads, sides)?;
            terms.push((planned.name.clone(), planned.spec.weight(), term));
        }
        let (blocks, normed) = blueprint.reads();
        Ok(Self {
            student,
            heads,
            terms,
            blocks: blocks.to_vec(),
            normed,
        })
    }

    /// Who learns.
    pub fn student(&self) -> &Student<E> {
        &self.student
    }

    /// Names of the terms.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|(name, ..)| name.as_str())
    }

    /// What each term counts for.
    pub fn weights(&self) -> impl Iterator<Item = f64> {
        self.terms.iter().map(|(_, weight, _)| *weight)
    }

    /// The term of this name, if there is one.
    pub fn term(&self, name: &str) -> Option<&Term<E>> {
        let own = self.terms.iter().find(|(own, ..)| own == name);
        own.map(|(_, _, term)| term)
    }

    /// What the terms read of images under a mask.
    ///
    /// images: `[B, C, H, W]`, normalised
    pub fn encode(
        &self,
        engine: &E,
        images: &E::Tensor,
        (mask, dropped): (&Mask, Option<&DropPath<E>>),
    ) -> Result<Encoded<E>> {
        let reads = (self.blocks.as_slice(), self.normed);
        (self.student).encode(engine, images, mask, reads, dropped)
    }

    /// The terms of a scene, as they are without their weights: scalars.
    pub fn terms_of(&self, engine: &E, scene: &Scene<'_, E>) -> Result<Vec<E::Tensor>> {
        let loss = |(_, _, term): &(String, f64, Term<E>)| term.loss(engine, scene, &self.heads);
        self.terms.iter().map(loss).collect()
    }

    /// The terms of images under a mask, as they are without their weights: scalars.
    ///
    /// images: `[B, C, H, W]`, normalised; lessons: of every teacher, over whole images
    pub fn terms(
        &self,
        engine: &E,
        images: &E::Tensor,
        (mask, dropped): (&Mask, Option<&DropPath<E>>),
        lessons: &BTreeMap<String, Lesson<E>>,
    ) -> Result<Vec<E::Tensor>> {
        let scene = Scene {
            images,
            mask,
            encoding: self.student.encoding(),
            student: &self.encode(engine, images, (mask, dropped))?,
            lessons,
        };
        self.terms_of(engine, &scene)
    }
}
