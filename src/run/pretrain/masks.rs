//! Masks over a few images, as a run draws them in several epochs.

use std::path::Path;

use super::super::Terminal;
use super::super::dispatch::{Job, dispatch};
use super::super::picture::picture;
use super::network::{Basis, trainer};
use crate::data::{Limits, LoadError, Pick, Preprocessor};
use crate::engine::Engine;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::PretrainPlan;
use crate::report::picture::{MaskedImage, mask_sheet};
use crate::store::write_atomic;
use crate::train::{StateFolder, TrainError, Trainable};

/// Images on a sheet.
const IMAGES: usize = 6;
/// Epochs on a sheet, at most.
const EPOCHS: usize = 6;
/// Side of an image on a sheet, pixels.
const CELL: usize = 112;

/// Draws the masks of the first train image of several classes into a PNG file. Where masks are
/// drawn by the attention of the student, or of the average of its weights, it is that of the run's
/// last state, or of the student before training where it has none yet.
pub fn draw_masks(plan: &PretrainPlan, path: &Path, terminal: &mut Terminal) -> Result<(), Error> {
    let split = &plan.train.split;
    let places = split.stratified(IMAGES, 0);
    let mut preprocessor = Preprocessor::new(plan.input.clone(), Limits::default())?;
    let mut pixels = Vec::new();
    for &place in &places {
        let mut own = vec![0.0; plan.input.values()];
        preprocessor
            .apply(&split.read(place)?, &mut own)
            .map_err(LoadError::from)
            .map_err(TrainError::from)?;
        pixels.extend(own);
    }
    let mut shown: Vec<_> = (0..EPOCHS)
        .map(|i| i * (plan.recipe.recipe.training.epochs - 1) / (EPOCHS - 1))
        .collect();
    shown.dedup();
    let job = Draw {
        plan,
        pixels: &pixels,
        places: &places,
        epochs: &shown,
        terminal,
    };
    let by_epoch = dispatch(plan.run.compute, job)??;
    let config = plan.blueprint.student();
    let patches = config.patches();
    let [height, width] = config.input_size();
    let mut images = Vec::new();
    for (i, own) in pixels.chunks_exact(plan.input.values()).enumerate() {
        let statistics = plan.input.mean.iter().zip(&plan.input.std);
        images.push(MaskedImage {
            image: picture(own, [height, width], statistics)?,
            hidden: (by_epoch.iter())
                .map(|hidden| hidden[i * patches..(i + 1) * patches].to_vec())
                .collect(),
        });
    }
    let captions: Vec<_> = shown
        .iter()
        .map(|epoch| format!("epoch {}", epoch + 1))
        .collect();
    let title = format!("masks of {}, seed {}", plan.recipe.recipe.name, plan.seed);
    let sheet = mask_sheet(&title, &captions, &images, (config.grid, CELL))?;
    write_atomic(path, &sheet.png()?)?;
    terminal.notice(&format!("the masks are drawn in {}", path.display()));
    Ok(())
}

/// What is hidden of a batch in every epoch: `[B, N]`.
struct Draw<'a> {
    plan: &'a PretrainPlan,
    /// `[B, C, H, W]`, normalised.
    pixels: &'a [f32],
    places: &'a [usize],
    epochs: &'a [usize],
    terminal: &'a mut Terminal,
}

impl Job for Draw<'_> {
    type Output = Result<Vec<Vec<bool>>, Error>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        let Self {
            plan,
            pixels,
            places,
            epochs,
            terminal,
        } = self;
        let mut trainer = trainer(&engine, &Basis::of_plan(plan))?;
        if plan.blueprint.own_attention().is_some() {
            let mut states =
                StateFolder::new(&plan.out, super::identity(plan), plan.run.states.every);
            match states.load(&mut |line| terminal.notice(line))? {
                Some(saved) => {
                    trainer.load(&saved.tensors)?;
                    terminal.notice(&format!(
                        "by the attention of the student after {} epochs",
                        saved.progress.epoch
                    ));
                }
                None => terminal.notice("by the attention of the student before training"),
            }
        }
        let mut by_epoch = Vec::new();
        for &epoch in epochs {
            let pick = |&index: &usize| Pick {
                index,
                pass: epoch,
                group: 0,
            };
            let picks: Vec<_> = places.iter().map(pick).collect();
            let hidden = trainer.objective().hidden(&engine, pixels, &picks);
            by_epoch.push(hidden.map_err(TrainError::from)?);
        }
        Ok(by_epoch)
    }
}
