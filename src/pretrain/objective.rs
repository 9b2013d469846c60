//! The objective of pre-training: a weighted sum of terms over masked images.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::teacher::look;
use super::{
    EpochOf, Learner, Lesson, Mask, MaskError, MaskSpec, Teacher, Wanted, WantedAttention,
};
use crate::data::Pick;
use crate::data::augment::SampleKey;
use crate::engine::{Engine, EngineError, Result};
use crate::features::Token;
use crate::train::{ImageBatch, Objective, Share, dropped_paths};
use crate::vit::Vit;

/// A student and its teachers.
#[derive(Debug)]
pub struct Pretraining<E: Engine> {
    /// Who learns, and the terms of its loss.
    pub learner: Learner<E>,
    /// The same encoder without a graph: what is validated.
    pub frozen: Vit<E>,
    /// Teachers by name, and what is wanted of each.
    pub teachers: BTreeMap<String, (Teacher<E>, Wanted)>,
    /// What is hidden.
    pub mask: MaskSpec,
    /// The teacher whose attention masks are drawn by.
    pub mask_teacher: Option<String>,
    /// Whose attention to the images masks are drawn by, where it is no teacher's.
    pub attends: Option<(Vit<E>, WantedAttention)>,
    /// How likely each block's branches are left out; empty where none ever is.
    pub drop_path: Vec<f64>,
    /// Passes over the images in the whole run.
    pub epochs: usize,
    /// Seed of masks and branches.
    pub seed: u64,
    /// What of a validation image is its feature.
    pub token: Token,
    /// Time that the teachers take.
    pub clock: TeacherClock,
}

/// How long teachers have computed; handles share the time.
#[derive(Clone, Debug, Default)]
pub struct TeacherClock(Arc<AtomicU64>);

impl TeacherClock {
    /// So far.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, since: Instant) {
        let nanos = since.elapsed().as_nanos() as u64;
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl<E: Engine> Pretraining<E> {
    /// images: `[B, C, H, W]`
    fn images(&self, engine: &E, batch: &ImageBatch) -> Result<E::Tensor> {
        let config = self.frozen.config();
        let [height, width] = config.input_size();
        let shape = [batch.labels.len(), config.channels, height, width];
        engine.tensor(&batch.pixels[..], &shape)
    }

    /// What every teacher says of whole images.
    fn lessons(&self, engine: &E, images: &E::Tensor) -> Result<BTreeMap<String, Lesson<E>>> {
        let start = Instant::now();
        let mut lessons = BTreeMap::new();
        for (name, (teacher, wanted)) in &self.teachers {
            let lesson = teacher.teach(engine, images, wanted)?;
            // A device that computes ahead has finished once a number is on the host.
            if let Some(tokens) = lesson.blocks.values().chain(&lesson.normed).next() {
                let shape = engine.shape(tokens);
                let flat = engine.reshape(tokens, &[shape.iter().product()])?;
                engine.to_f32(&engine.narrow(&flat, 0, 0, 1)?)?;
            }
            lessons.insert(name.clone(), lesson);
        }
        self.clock.add(start);
        Ok(lessons)
    }

    /// What is hidden of each image, a function of the seed, the image and its pass.
    ///
    /// attention: of the whole batch, where masks are drawn by it
    pub fn masks(&self, picks: &[Pick], attention: &[f32]) -> Result<Mask> {
        let config = self.frozen.config();
        let each = attention.len() / picks.len().max(1);
        let draw = |(i, pick): (usize, &Pick)| {
            let key = SampleKey {
                seed: self.seed,
                pass: pick.pass as u64,
                index: pick.index as u64,
            };
            let epoch = EpochOf {
                epoch: pick.pass.min(self.epochs.saturating_sub(1)),
                epochs: self.epochs,
            };
            let own = (each > 0).then(|| &attention[i * each..(i + 1) * each]);
            self.mask.draw(config.grid, key, epoch, own)
        };
        let samples = picks.iter().enumerate().map(draw);
        let samples = samples.collect::<std::result::Result<Vec<_>, _>>();
        let mask = samples.and_then(|samples| Mask::new(config.patches(), samples));
        mask.map_err(|error: MaskError| EngineError {
            op: "mask",
            message: error.to_string(),
        })
    }

    /// The attention that masks are drawn by, where they are.
    fn attention(
        &self,
        engine: &E,
        images: &E::Tensor,
        lessons: &mut BTreeMap<String, Lesson<E>>,
    ) -> Result<Vec<f32>> {
        if let Some((vit, wanted)) = &self.attends {
            let wanted = Wanted {
                attention: Some(*wanted),
                ..Wanted::default()
            };
            return Ok(look(engine, vit, images, &wanted)?.attention);
        }
        let teacher = self.mask_teacher.as_ref();
        let lesson = teacher.and_then(|teacher| lessons.get_mut(teacher));
        Ok(lesson.map_or_else(Vec::new, |lesson| std::mem::take(&mut lesson.attention)))
    }

    /// Which patches of these images are hidden: `[B, N]`.
    ///
    /// pixels: `[B, C, H, W]`, normalised
    pub fn hidden(&self, engine: &E, pixels: &[f32], picks: &[Pick]) -> Result<Vec<bool>> {
        let config = self.frozen.config();
        let [height, width] = config.input_size();
        let images = engine.tensor(pixels, &[picks.len(), config.channels, height, width])?;
        let mut lessons = self.lessons(engine, &images)?;
        let attention = self.attention(engine, &images, &mut lessons)?;
        Ok(self.masks(picks, &attention)?.hidden())
    }
}

impl<E: Engine> Objective<E> for Pretraining<E> {
    type Batch = ImageBatch;
    /// Features: `[B, D]` or, of class token and mean patch, `[B, 2 D]`.
    type Scores = Vec<f32>;

    fn terms(&self) -> Vec<String> {
        self.learner.names().map(str::to_owned).collect()
    }

    fn loss(&mut self, engine: &E, batch: &ImageBatch, share: Share) -> Result<Vec<E::Tensor>> {
        let images = self.images(engine, batch)?;
        let mut lessons = self.lessons(engine, &images)?;
        let attention = self.attention(engine, &images, &mut lessons)?;
        let mask = self.masks(&batch.picks, &attention)?;
        let dropped = dropped_paths(engine, &self.drop_path, self.seed, &batch.picks)?;
        let how = (&mask, dropped.as_ref());
        let terms = self.learner.terms(engine, &images, how, &lessons)?;
        let part = batch.labels.len() as f64 / share.samples;
        let weighted = |(term, weight)| engine.affine(term, weight * part, 0.0);
        terms
            .iter()
            .zip(self.learner.weights())
            .map(weighted)
            .collect()
    }

    fn validate(&self, engine: &E, batch: &ImageBatch) -> Result<Vec<f32>> {
        let images = self.images(engine, batch)?;
        let depth = self.frozen.config().depth;
        let nothing = &mut |_, _: &E::Tensor| Ok(());
        let tokens = (self.frozen).forward(engine, &images, depth, &|_| false, nothing)?;
        let features = self.frozen.pool(engine, &tokens, self.token, true)?;
        engine.to_f32(&features)
    }

    fn buffers(&self) -> Vec<(String, E::Tensor)> {
        Vec::new()
    }
}
