//! The images and masks of a segmentation, on their way into batches.

use crate::data::segmentation::{
    self, CropPreparation, IGNORED_LABEL, LoadedScene, SegmentationDataError, WholePreparation,
    WholeScene, load_scenes,
};
use crate::data::{Colour, InputSpec, Limits, Pick, Pixels, ranged_batches};
use crate::engine::IGNORED;
use crate::error::Error;
use crate::features::PassOptions;
use crate::plan::{Cell, Part};
use crate::spec::SegmentTask;
use crate::train::{SceneBatch, SceneView, Source, Take, TrainError};

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

    /// A validation image as its file has it.
    pub(super) fn image(&self, index: usize, colour: Colour) -> Result<Pixels, TrainError> {
        let Self { val, task, .. } = self;
        let read = || -> Result<Pixels, SegmentationDataError> {
            let scene = val.read(index)?;
            Ok(scene.decode(colour, &task.masks, &Limits::default())?.0)
        };
        Ok(read()?)
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
