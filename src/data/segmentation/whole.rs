//! Whole scenes as an evaluation sees them.

use super::rescale::{rescaled, rescaled_over, scaled};
use super::spec::{MAX_RATIO, MAX_SIDE};
use super::{BilinearResizer, EncodedScene, LabelMap, SegmentationDataError, WholePreparation};
use crate::data::normalise::Normaliser;
use crate::data::{Colour, ImageError, Limits, Window};

/// An image at one scale.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneView {
    /// `[C, height, width]`, normalised.
    pub pixels: Vec<f32>,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Whether left and right are exchanged: what is found in it has to be exchanged back.
    pub flipped: bool,
}

/// A scene that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct WholeScene {
    /// The image at every scale, each with its mirror image behind it where those are wanted.
    pub views: Vec<SceneView>,
    /// The classes at the original size.
    pub truth: LabelMap,
}

/// Makes whole scenes; keeps its buffers between calls, so hold one per thread.
#[derive(Debug)]
pub struct WholeMaker {
    preparation: WholePreparation,
    limits: Limits,
    colour: Colour,
    normaliser: Normaliser,
    resizer: BilinearResizer,
    bytes: Vec<u8>,
}

impl WholeMaker {
    /// Prepares to make what `preparation` says.
    pub(super) fn new(preparation: WholePreparation) -> Result<Self, SegmentationDataError> {
        preparation.masks.check()?;
        let wrong = |field, reason| Err(SegmentationDataError::Whole { field, reason });
        let mut sides = preparation.scale.iter();
        if let Some(side) = sides.find(|side| !(1..=MAX_SIDE).contains(*side)) {
            return wrong("scale", format!("has {side}, not from 1 to {MAX_SIDE}"));
        }
        if preparation.ratios.is_empty() {
            return wrong("ratios", "has no values".into());
        }
        let mut ratios = preparation.ratios.iter();
        if let Some(ratio) = ratios.find(|&&ratio| !(ratio > 0.0 && ratio <= MAX_RATIO)) {
            let reason = format!("has {ratio}, which is not above 0 and at most {MAX_RATIO}");
            return wrong("ratios", reason);
        }
        Ok(Self {
            limits: Limits::default(),
            colour: preparation
                .input
                .check()
                .map_err(SegmentationDataError::Input)?,
            normaliser: Normaliser::new(&preparation.input),
            preparation,
            resizer: BilinearResizer::default(),
            bytes: Vec::new(),
        })
    }

    /// The views and the classes of a scene.
    ///
    /// # Errors
    /// As [`EncodedScene::decode`], and when a view has more pixels than an image may have.
    pub fn apply(&mut self, scene: &EncodedScene) -> Result<WholeScene, SegmentationDataError> {
        let masks = &self.preparation.masks;
        let (pixels, truth) = scene.decode(self.colour, masks, &self.limits)?;
        let mut views = Vec::new();
        for &ratio in &self.preparation.ratios {
            let scale = scaled(self.preparation.scale, ratio);
            let size = [pixels.height, pixels.width];
            let [height, width] = match self.preparation.ratios.len() {
                1 => rescaled(scale, size),
                _ => rescaled_over(scale, self.preparation.window, size),
            };
            if (height as u64) * (width as u64) > self.limits.max_pixels {
                return Err(SegmentationDataError::Image {
                    path: scene.image_path.clone(),
                    problem: ImageError::ResizeTooLarge {
                        width: pixels.width,
                        height: pixels.height,
                        to_width: width,
                        to_height: height,
                        max_pixels: self.limits.max_pixels,
                    },
                });
            }
            let whole = |size| Window {
                size,
                start: 0,
                len: size,
            };
            let (columns, rows) = (whole(width), whole(height));
            self.resizer.resize(&pixels, columns, rows, &mut self.bytes);
            let mut view = vec![0.0; self.bytes.len()];
            self.normaliser.write(&self.bytes, &mut view);
            let mirror = self.preparation.flip.then(|| {
                let mut mirror = view.clone();
                mirror.chunks_exact_mut(width).for_each(<[f32]>::reverse);
                mirror
            });
            let views_of = [(Some(view), false), (mirror, true)];
            views.extend(views_of.into_iter().filter_map(|(pixels, flipped)| {
                pixels.map(|pixels| SceneView {
                    pixels,
                    height,
                    width,
                    flipped,
                })
            }));
        }
        Ok(WholeScene { views, truth })
    }
}
