//! RandAugment's operations, as timm 1.0.31 makes them with Pillow 13 (timm
//! `data/auto_augment.py`), bit for bit.

use super::affine::{Affine, Extent};
use super::colour::Adjustment;
use super::sharpness::sharpness;
use super::tone;
use crate::data::{Colour, Interpolation};

/// An operation with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Stretches the bytes that occur in each channel from 0 to 255.
    AutoContrast,
    /// Makes the bytes that occur in each channel about equally frequent.
    Equalize,
    /// Makes every byte 255 less it.
    Invert,
    /// Turns the image counterclockwise around its middle, in degrees from -30 to 30.
    Rotate(f64),
    /// Keeps this many of the highest bits. Of 0 bits, which timm draws where the magnitude reaches
    /// 10, Pillow 13 makes an error; earlier ones, and mimbench, make the image black.
    Posterize(u32),
    /// Inverts the bytes from this one on.
    Solarize(u32),
    /// Adds this to bytes below 128.
    SolarizeAdd(u8),
    /// A blend of the grey image (0) and the image (1). Grey images stay as they are.
    Color(f64),
    /// A blend of the image's mean grey (0) and the image (1).
    Contrast(f64),
    /// A blend of black (0) and the image (1).
    Brightness(f64),
    /// A blend of the smoothed image (0) and the image (1).
    Sharpness(f64),
    /// Moves rows to the left, by this many pixels more a row.
    ShearX(f64),
    /// Moves columns up, by this many pixels more a column.
    ShearY(f64),
    /// Moves the image to the left by this share of its width.
    TranslateX(f64),
    /// Moves the image up by this share of its height.
    TranslateY(f64),
}

/// The operations without their arguments: timm's `_RAND_INCREASING_TRANSFORMS`, in its order. All
/// that have a strength do more at a greater magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "as the operations of these names")]
pub enum OperationKind {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

/// The greatest magnitude (`_LEVEL_DENOM`, timm `data/auto_augment.py`).
pub(super) const MAX_MAGNITUDE: f64 = 10.0;

impl OperationKind {
    /// Every kind, once.
    pub const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalize,
        Self::Invert,
        Self::Rotate,
        Self::Posterize,
        Self::Solarize,
        Self::SolarizeAdd,
        Self::Color,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// The operation of a magnitude from 0 to 10 (`LEVEL_TO_ARG`, timm `data/auto_augment.py`).
    ///
    /// negative: whether an operation that has two directions goes the other way
    pub fn at(self, magnitude: f64, negative: bool) -> Operation {
        let level = magnitude / MAX_MAGNITUDE;
        let signed = |strength: f64| if negative { -strength } else { strength };
        let factor = || (1.0 + signed(level * 0.9)).max(0.1);
        match self {
            Self::AutoContrast => Operation::AutoContrast,
            Self::Equalize => Operation::Equalize,
            Self::Invert => Operation::Invert,
            Self::Rotate => Operation::Rotate(signed(level * 30.0)),
            Self::Posterize => Operation::Posterize(4 - ((level * 4.0) as u32).min(4)),
            Self::Solarize => Operation::Solarize(256 - ((level * 256.0) as u32).min(256)),
            Self::SolarizeAdd => Operation::SolarizeAdd(((level * 110.0) as u8).min(128)),
            Self::Color => Operation::Color(factor()),
            Self::Contrast => Operation::Contrast(factor()),
            Self::Brightness => Operation::Brightness(factor()),
            Self::Sharpness => Operation::Sharpness(factor()),
            Self::ShearX => Operation::ShearX(signed(level * 0.3)),
            Self::ShearY => Operation::ShearY(signed(level * 0.3)),
            Self::TranslateX => Operation::TranslateX(signed(level * 0.45)),
            Self::TranslateY => Operation::TranslateY(signed(level * 0.45)),
        }
    }
}

/// An image that operations change.
pub(super) struct Canvas<'a> {
    pub(super) colour: Colour,
    pub(super) extent: Extent,
    /// How maps look pixels up.
    pub(super) interpolation: Interpolation,
    /// What is where maps find nothing, a byte a channel.
    pub(super) fill: &'a [u8],
    /// `[H, W, C]`
    pub(super) bytes: &'a mut Vec<u8>,
    /// Where the next image is made.
    pub(super) scratch: &'a mut Vec<u8>,
}

impl Operation {
    /// Changes an image.
    pub(super) fn apply(self, canvas: &mut Canvas<'_>) {
        match canvas.colour {
            Colour::Rgb => self.apply_to::<3>(canvas),
            Colour::Grey => self.apply_to::<1>(canvas),
        }
    }

    /// [`Operation::apply`] to an image of `C` channels.
    fn apply_to<const C: usize>(self, canvas: &mut Canvas<'_>) {
        let extent = canvas.extent;
        let (columns, rows) = (extent.width as f64, extent.height as f64);
        let adjust = |canvas: &mut Canvas<'_>, adjustment: Adjustment| {
            adjustment.apply(canvas.bytes, canvas.colour);
        };
        match self {
            Self::AutoContrast => tone::auto_contrast::<C>(canvas.bytes),
            Self::Equalize => tone::equalize::<C>(canvas.bytes),
            Self::Invert => tone::apply(&tone::invert(), canvas.bytes),
            Self::Posterize(bits) => tone::apply(&tone::posterize(bits), canvas.bytes),
            Self::Solarize(threshold) => tone::apply(&tone::solarize(threshold), canvas.bytes),
            Self::SolarizeAdd(add) => tone::apply(&tone::solarize_add(add), canvas.bytes),
            Self::Color(factor) => adjust(canvas, Adjustment::Saturation(factor)),
            Self::Contrast(factor) => adjust(canvas, Adjustment::Contrast(factor)),
            Self::Brightness(factor) => adjust(canvas, Adjustment::Brightness(factor)),
            Self::Sharpness(factor) => {
                canvas.scratch.resize(canvas.bytes.len(), 0);
                sharpness::<C>(factor, canvas.bytes, extent.width, canvas.scratch);
                std::mem::swap(canvas.bytes, canvas.scratch);
            }
            // Pillow copies an image that is not turned, without looking anything up.
            Self::Rotate(0.0) => {}
            Self::Rotate(degrees) => canvas.map::<C>(Affine::rotation(degrees, extent)),
            Self::ShearX(by) => canvas.map::<C>(Affine([1.0, by, 0.0, 0.0, 1.0, 0.0])),
            Self::ShearY(by) => canvas.map::<C>(Affine([1.0, 0.0, 0.0, by, 1.0, 0.0])),
            Self::TranslateX(share) => {
                canvas.map::<C>(Affine([1.0, 0.0, share * columns, 0.0, 1.0, 0.0]));
            }
            Self::TranslateY(share) => {
                canvas.map::<C>(Affine([1.0, 0.0, 0.0, 0.0, 1.0, share * rows]));
            }
        }
    }
}

impl Canvas<'_> {
    fn map<const C: usize>(&mut self, affine: Affine) {
        self.scratch.clear();
        let pixels = self.extent.width * self.extent.height;
        self.scratch
            .extend(self.fill.iter().cycle().take(pixels * C));
        affine.apply::<C>(self.interpolation, self.bytes, self.extent, self.scratch);
        std::mem::swap(self.bytes, self.scratch);
    }
}
