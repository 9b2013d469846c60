//! An image and its mask as they lie in files.

use super::orientation::Orientation;
use super::{LabelMap, MaskSpec, SegmentationDataError};
use crate::data::{Colour, Limits, Pixels, decode};

/// The bytes of an image's file and of its mask's, and what the files are called in errors.
#[derive(Clone, Debug)]
pub struct EncodedScene {
    /// The image's file.
    pub image: Vec<u8>,
    /// The mask's.
    pub mask: Vec<u8>,
    /// Path of the image.
    pub image_path: String,
    /// Path of the mask.
    pub mask_path: String,
}

impl EncodedScene {
    /// Decodes both; the image is turned as its EXIF tag says, the mask is not.
    ///
    /// # Errors
    /// What [`decode`] and [`LabelMap::read`] refuse, and a mask of another size than its image.
    pub fn decode(
        &self,
        colour: Colour,
        masks: &MaskSpec,
        limits: &Limits,
    ) -> Result<(Pixels, LabelMap), SegmentationDataError> {
        let pixels = decode(&self.image, colour, limits);
        let pixels = pixels.map_err(|problem| SegmentationDataError::Image {
            path: self.image_path.clone(),
            problem,
        })?;
        let orientation = Orientation::of(&self.image);
        let pixels = orientation.apply(pixels);
        let labels = LabelMap::read(&self.mask, masks, limits, || self.mask_path.clone())?;
        let image_size = [pixels.height, pixels.width];
        let mask_size = [labels.height, labels.width];
        if image_size == mask_size {
            return Ok((pixels, labels));
        }
        Err(SegmentationDataError::Size {
            image: self.image_path.clone(),
            image_size,
            mask: self.mask_path.clone(),
            mask_size,
            turned: orientation.transposed,
        })
    }
}
