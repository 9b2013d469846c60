//! Scenes to training crops.

use super::{
    BilinearResizer, EncodedScene, IGNORED_LABEL, LabelMap, MaskSpec, SceneAugment, SceneDraw,
    SegmentationDataError, nearest,
};
use crate::data::augment::SampleKey;
use crate::data::normalise::Normaliser;
use crate::data::{Colour, InputSpec, Limits, Pixels};

/// The class of a pixel without one, among those of a [`SceneCrop`].
const IGNORED: u32 = u32::MAX;

/// What a network trains on.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneCrop {
    /// `[C, crop, crop]`, normalised; 0 beyond the image.
    pub pixels: Vec<f32>,
    /// `[crop, crop]`; `u32::MAX` where a pixel has no class, and beyond the image.
    pub labels: Vec<u32>,
}

/// Makes crops that differ from pass to pass; keeps its buffers between calls, so hold one per
/// thread.
#[derive(Debug)]
pub struct CropMaker {
    augment: SceneAugment,
    masks: MaskSpec,
    limits: Limits,
    colour: Colour,
    normaliser: Normaliser,
    resizer: BilinearResizer,
    part: Vec<u8>,
    frame: Vec<u8>,
    labels: Vec<u16>,
}

impl CropMaker {
    /// Prepares to carry out `augment`; of `input` the channels, mean and std are taken.
    ///
    /// # Errors
    /// When a value of the three makes no sense.
    pub fn new(
        augment: SceneAugment,
        masks: MaskSpec,
        input: &InputSpec,
        limits: Limits,
    ) -> Result<Self, SegmentationDataError> {
        augment.check()?;
        masks.check()?;
        Ok(Self {
            augment,
            masks,
            limits,
            colour: input.check().map_err(SegmentationDataError::Input)?,
            normaliser: Normaliser::new(input),
            resizer: BilinearResizer::default(),
            part: Vec::new(),
            frame: Vec::new(),
            labels: Vec::new(),
        })
    }

    /// The crop of a scene that `key` says.
    ///
    /// # Errors
    /// As [`EncodedScene::decode`].
    pub fn apply(
        &mut self,
        scene: &EncodedScene,
        key: SampleKey,
    ) -> Result<SceneCrop, SegmentationDataError> {
        let (pixels, labels) = scene.decode(self.colour, &self.masks, &self.limits)?;
        let draw = SceneDraw::new(&self.augment, key, &labels, self.masks.classes as usize);
        Ok(self.tensors(&pixels, &labels, &draw))
    }

    /// The crop of a scene under parameters that are given, before it is normalised: bytes
    /// `[crop, crop, C]`, 0 beyond the image, and labels `[crop, crop]`.
    ///
    /// # Errors
    /// As [`EncodedScene::decode`].
    pub fn bytes(
        &mut self,
        scene: &EncodedScene,
        draw: &SceneDraw,
    ) -> Result<(&[u8], &[u16]), SegmentationDataError> {
        let (pixels, labels) = scene.decode(self.colour, &self.masks, &self.limits)?;
        self.fill(&pixels, &labels, draw);
        Ok((&self.frame, &self.labels))
    }

    fn tensors(&mut self, pixels: &Pixels, labels: &LabelMap, draw: &SceneDraw) -> SceneCrop {
        self.fill(pixels, labels, draw);
        let side = self.augment.crop;
        let mut out = vec![0.0; self.frame.len()];
        self.normaliser.write(&self.frame, &mut out);
        // What is filled up is 0 behind the normalisation: mmsegmentation pads last.
        for plane in out.chunks_exact_mut(side * side) {
            let (seen, below) = plane.split_at_mut(draw.crop.height * side);
            below.fill(0.0);
            for row in seen.chunks_exact_mut(side) {
                row[draw.crop.width..].fill(0.0);
            }
        }
        let widened = self.labels.iter().map(|&label| match label {
            IGNORED_LABEL => IGNORED,
            class => u32::from(class),
        });
        SceneCrop {
            pixels: out,
            labels: widened.collect(),
        }
    }

    /// Puts bytes into `frame` and labels into `labels`.
    fn fill(&mut self, pixels: &Pixels, labels: &LabelMap, draw: &SceneDraw) {
        let side = self.augment.crop;
        let channels = pixels.channels;
        let (columns, rows) = (draw.columns(), draw.rows());
        self.resizer.resize(pixels, columns, rows, &mut self.part);
        if draw.flip {
            for row in self.part.chunks_exact_mut(columns.len * channels) {
                match self.colour {
                    Colour::Rgb => row.as_chunks_mut::<3>().0.reverse(),
                    Colour::Grey => row.reverse(),
                }
            }
        }
        draw.distortion.apply(&mut self.part, channels);
        self.frame.clear();
        for row in self.part.chunks_exact(columns.len * channels) {
            self.frame.extend_from_slice(row);
            self.frame
                .resize(self.frame.len() + (side - columns.len) * channels, 0);
        }
        self.frame.resize(side * side * channels, 0);

        let places: Vec<usize> = nearest::sources(labels.width, columns).collect();
        self.labels.clear();
        for row in nearest::sources(labels.height, rows) {
            let line = &labels.labels[row * labels.width..][..labels.width];
            let seen = places.iter().map(|&column| line[column]);
            if draw.flip {
                self.labels.extend(seen.rev());
            } else {
                self.labels.extend(seen);
            }
            let end = self.labels.len() + side - columns.len;
            self.labels.resize(end, IGNORED_LABEL);
        }
        self.labels.resize(side * side, IGNORED_LABEL);
    }
}
