//! The images and masks of a segmentation, on their way into batches.

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::super::Terminal;
use crate::data::segmentation::{
    self, CropPreparation, IGNORED_LABEL, LabelMap, LoadedScene, SegmentationDataError,
    WholePreparation, WholeScene, load_scenes,
};
use crate::data::{Colour, InputSpec, Limits, Pick, Pixels, ranged_batches};
use crate::engine::IGNORED;
use crate::error::Error;
use crate::features::{ExtractError, Observer, PassOptions};
use crate::plan::{Cell, Part};
use crate::spec::SegmentTask;
use crate::train::{SceneBatch, SceneView, Source, Take, TrainError};

/// Masks that are looked at between two chances of an interruption.
const CHECKED: usize = 32;

/// Train crops, augmented, and whole validation images, one after the other.
pub(super) struct Scenes<'a> {
    train: Option<segmentation::Scenes>,
    val: segmentation::Scenes,
    input: &'a InputSpec,
    task: &'a SegmentTask,
    seed: u64,
    pass: PassOptions,
}

impl<'a> Scenes<'a> {
    /// Those of a cell.
    pub(super) fn new(
        cell: &'a Cell,
        task: &'a SegmentTask,
        pass: PassOptions,
    ) -> Result<Self, Error> {
        let without = || Error::Usage {
            message: format!("{} has no masks", cell.set.root.display()),
            hint: "a segmentation looks at images and annotations".to_owned(),
        };
        let train = cell
            .requests
            .iter()
            .find(|request| request.part == Part::Train);
        let train = train.map(|request| request.images.scene_pairs().ok_or_else(without));
        Ok(Self {
            train: train.transpose()?,
            val: cell.images(Part::Val).scene_pairs().ok_or_else(without)?,
            input: &cell.input,
            task,
            seed: cell.seed,
            pass,
        })
    }

    /// Looks at all validation images and masks, so that what cannot be measured is refused before the
    /// first update.
    ///
    /// # Errors
    /// An image or a mask that cannot be read, masks without a pixel that counts, an interruption.
    pub(super) fn check(&self, terminal: &Terminal) -> Result<(), Error> {
        let masks = &self.val.masks.root;
        let bar = terminal.bar("looking at validation masks", self.val.len(), "masks");
        let any = self.any_counts(terminal, &bar);
        bar.finish_and_clear();
        match any? {
            true => Ok(()),
            false => Err(Error::Usage {
                message: format!("no mask below {} has a pixel that counts", masks.display()),
                hint: "task.masks says how many classes there are, which value is to be ignored, and whether 0 is (reduce_zero_label)".to_owned(),
            }),
        }
    }

    fn any_counts(&self, terminal: &Terminal, bar: &ProgressBar) -> Result<bool, Error> {
        let total = self.val.len();
        let counts = |index: usize| -> Result<bool, SegmentationDataError> {
            let (_, truth) = self.decoded(index, Colour::Rgb)?;
            Ok(truth.labels.iter().any(|&label| label != IGNORED_LABEL))
        };
        let mut any = false;
        for done in (0..total).step_by(CHECKED) {
            if terminal.cancelled() {
                let stored = false;
                return Err(ExtractError::Interrupted {
                    done,
                    total,
                    stored,
                }
                .into());
            }
            let part = done..total.min(done + CHECKED);
            bar.inc(part.len() as u64);
            let found: Vec<_> = part.into_par_iter().map(counts).collect::<Result<_, _>>()?;
            any |= found.contains(&true);
        }
        Ok(any)
    }

    /// A validation image as its file has it.
    pub(super) fn image(&self, index: usize, colour: Colour) -> Result<Pixels, TrainError> {
        Ok(self.decoded(index, colour)?.0)
    }

    /// A validation image and its mask, as their files have them.
    fn decoded(
        &self,
        index: usize,
        colour: Colour,
    ) -> Result<(Pixels, LabelMap), SegmentationDataError> {
        let scene = self.val.read(index)?;
        scene.decode(colour, &self.task.masks, &Limits::default())
    }

    /// Whole validation images, in this order.
    pub(super) fn whole(
        &self,
        places: &[Vec<Pick>],
        take: &mut Take<'_, SceneBatch>,
    ) -> Result<(), TrainError> {
        let test = &self.task.test;
        let preparation = WholePreparation {
            input: self.input.clone(),
            masks: self.task.masks.clone(),
            scale: test.scale,
            ratios: test.ratios.clone(),
            flip: test.flip,
            window: self.task.crop(),
        };
        let workers = self.pass.workers;
        load_scenes(&self.val, &preparation, places, workers, &mut |scenes| {
            for scene in scenes {
                take(whole(scene?))?;
            }
            Ok(())
        })
    }
}

impl Source for Scenes<'_> {
    type Batch = SceneBatch;

    fn samples(&self) -> usize {
        self.train.as_ref().map_or(0, segmentation::Scenes::len)
    }

    fn train(
        &mut self,
        batches: &[Vec<Pick>],
        take: &mut Take<'_, SceneBatch>,
    ) -> Result<(), TrainError> {
        let Some(train) = &self.train else {
            return Ok(());
        };
        let preparation = CropPreparation {
            input: self.input.clone(),
            masks: self.task.masks.clone(),
            augment: self.task.augment.clone(),
            seed: self.seed,
        };
        let mut picks = batches.iter().flatten().copied();
        let size = [self.task.crop(); 2];
        let workers = self.pass.workers;
        load_scenes(train, &preparation, batches, workers, &mut |scenes| {
            let mut view = SceneView {
                pixels: Vec::new(),
                size,
                mirrored: false,
            };
            let mut batch = SceneBatch {
                views: Vec::new(),
                labels: Vec::new(),
                original: size,
                picks: Vec::new(),
                contents: Vec::new(),
            };
            for scene in scenes {
                let LoadedScene { content, scene, .. } = scene?;
                view.pixels.extend(&scene.pixels);
                batch.labels.extend(&scene.labels);
                batch.picks.extend(picks.next());
                batch.contents.push(content);
            }
            batch.views.push(view);
            take(batch)
        })
    }

    fn validate(
        &mut self,
        first: usize,
        take: &mut Take<'_, SceneBatch>,
    ) -> Result<(), TrainError> {
        let left = first..self.val.len();
        self.whole(&ranged_batches(&[left], 1), take)
    }
}

/// One image, whole, as a batch.
fn whole(loaded: LoadedScene<WholeScene>) -> SceneBatch {
    let LoadedScene {
        index,
        content,
        scene: WholeScene { views, truth },
    } = loaded;
    let label = |&label: &u16| match label {
        IGNORED_LABEL => IGNORED,
        label => label.into(),
    };
    let view = |view: segmentation::SceneView| SceneView {
        pixels: view.pixels,
        size: [view.height, view.width],
        mirrored: view.flipped,
    };
    SceneBatch {
        views: views.into_iter().map(view).collect(),
        labels: truth.labels.iter().map(label).collect(),
        original: [truth.height, truth.width],
        picks: vec![Pick {
            index,
            pass: 0,
            group: 0,
        }],
        contents: vec![content],
    }
}
