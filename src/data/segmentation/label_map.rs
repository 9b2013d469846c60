//! A class for every pixel, read from a mask.

use png::{BitDepth, ColorType};

use super::{MaskSpec, SegmentationDataError};
use crate::data::Limits;
use crate::data::png_samples::PngSamples;

/// The label of a pixel without a class.
pub const IGNORED_LABEL: u16 = u16::MAX;

/// A class for every pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `[height, width]`, rows from top to bottom; [`IGNORED_LABEL`] where there is no class.
    pub labels: Vec<u16>,
}

impl LabelMap {
    /// Reads a mask: a PNG of 1 to 16 bits grey, whose values are taken as they are stored, or one
    /// with a palette, whose indices are.
    ///
    /// mmsegmentation reads masks by Pillow, which spreads grey values of 2 and 4 bits over 0 to 255
    /// and keeps the low byte of 16 bits.
    ///
    /// path: what the file is called in errors
    ///
    /// # Errors
    /// When it is no PNG, is damaged, larger than `limits` allow, has colours, or has a value that
    /// is neither of a class nor ignored.
    pub fn read(
        bytes: &[u8],
        spec: &MaskSpec,
        limits: &Limits,
        path: impl Fn() -> String,
    ) -> Result<Self, SegmentationDataError> {
        if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
            return Err(SegmentationDataError::NotPng { path: path() });
        }
        let png = PngSamples::read(bytes, limits).map_err(|problem| {
            let path = path();
            SegmentationDataError::Image { path, problem }
        })?;
        let found = match png.color_type {
            ColorType::Grayscale | ColorType::Indexed => None,
            ColorType::Rgb => Some("RGB"),
            ColorType::Rgba => Some("RGB with alpha"),
            ColorType::GrayscaleAlpha => Some("grey with alpha"),
        };
        if let Some(found) = found {
            return Err(SegmentationDataError::ColourMask {
                path: path(),
                found,
            });
        }
        let mut labels = Vec::with_capacity(png.width * png.height);
        let mut label = |raw: u16| match spec.label(raw) {
            Some(label) => {
                labels.push(label);
                Ok(())
            }
            None => Err((raw, labels.len())),
        };
        let read = match png.bit_depth {
            BitDepth::Sixteen => {
                let mut pairs = png.raw.as_chunks().0.iter();
                pairs.try_for_each(|&pair| label(u16::from_be_bytes(pair)))
            }
            _ => png.packed().try_for_each(|raw| label(u16::from(raw))),
        };
        let (height, width) = (png.height, png.width);
        match read {
            Ok(()) => Ok(Self {
                height,
                width,
                labels,
            }),
            Err((value, at)) => Err(SegmentationDataError::MaskValue {
                path: path(),
                value,
                column: at % width,
                row: at / width,
                classes: spec.classes,
            }),
        }
    }

    /// Pixels of each of `classes` classes; those without one are in none.
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        counts
    }
}
