//! The preprocessing of a protocol: decode, resize, centre crop, normalise, as torchvision's
//! `Resize`, `CenterCrop`, `ToTensor` and `Normalize` on Pillow images, bit for bit.

use serde::{Deserialize, Serialize};

use super::normalise::Normaliser;
use super::{Colour, ImageError, Interpolation, Limits, Pixels, Resizer, Window, decode};

/// Largest side of an input, in pixels.
const MAX_SIDE: usize = 65_535;

/// How an image is resized before the crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// The shorter side becomes this many pixels and the longer one `int(size * long / short)`
    /// (torchvision `transforms/functional.py`, `_compute_resized_output_size`); then a centre crop.
    Shorter(usize),
    /// Straight to height x width, whatever the aspect ratio; nothing is cropped.
    Exact,
}

/// What a model takes and how images become that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Height of the tensor in pixels.
    pub height: usize,
    /// Width of the tensor in pixels.
    pub width: usize,
    /// 3 (red, green, blue) or 1 (luma).
    pub channels: usize,
    /// How the image is brought to size.
    pub resize: Resize,
    /// The resampling kernel.
    pub interpolation: Interpolation,
    /// Subtracted from each channel of the image in `0..=1`.
    pub mean: Vec<f32>,
    /// Each channel is divided by this after the subtraction.
    pub std: Vec<f32>,
}

impl InputSpec {
    /// Values of a tensor.
    pub fn values(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Checks that a tensor fits into `out`.
    pub(super) fn check_length(&self, out: &[f32]) -> Result<(), ImageError> {
        if out.len() != self.values() {
            return Err(ImageError::OutputLength {
                expected: self.values(),
                actual: out.len(),
            });
        }
        Ok(())
    }

    /// Checks that the specification can be carried out.
    pub(super) fn check(&self) -> Result<Colour, ImageError> {
        let spec = |field, problem| Err(ImageError::Spec { field, problem });
        let shorter = match self.resize {
            Resize::Shorter(size) => size,
            Resize::Exact => self.height,
        };
        for (field, side) in [
            ("height", self.height),
            ("width", self.width),
            ("resize", shorter),
        ] {
            if !(1..=MAX_SIDE).contains(&side) {
                return spec(field, format!("is {side} pixels"));
            }
        }
        let colour = match self.channels {
            1 => Colour::Grey,
            3 => Colour::Rgb,
            other => return spec("channels", format!("is {other}, but images have 1 or 3")),
        };
        for (field, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != self.channels {
                let problem = format!("has {} values for {} channels", values.len(), self.channels);
                return spec(field, problem);
            }
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return spec(field, format!("contains {value}"));
            }
        }
        if self.std.contains(&0.0) {
            return spec("std", "contains 0".into());
        }
        Ok(colour)
    }

    /// Width and height of a `width` x `height` image after resizing.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        // Python divides integers to the nearest f64 and `int` truncates.
        let longer = |size: usize, long: usize, short: usize| {
            ((size as u64 * long as u64) as f64 / short as f64) as usize
        };
        match self.resize {
            Resize::Exact => (self.width, self.height),
            Resize::Shorter(size) if width <= height => (size, longer(size, height, width)),
            Resize::Shorter(size) => (longer(size, width, height), size),
        }
    }

    /// Resizes an image and cuts out its centre, `[height, width, channels]`; what the image is too
    /// small for is 0.
    ///
    /// padded: where the bytes of such an image are put together
    pub(super) fn centred<'a>(
        &self,
        pixels: &Pixels,
        resizer: &'a mut Resizer,
        padded: &'a mut Vec<u8>,
        limits: &Limits,
    ) -> Result<&'a [u8], ImageError> {
        let (to_width, to_height) = self.resized(pixels.width, pixels.height);
        let (columns, left) = centre(to_width, self.width);
        let (rows, top) = centre(to_height, self.height);
        let resized = resizer.resize(pixels, self.interpolation, columns, rows, limits)?;
        if (columns.len, rows.len) == (self.width, self.height) {
            return Ok(resized);
        }
        padded.clear();
        padded.resize(self.values(), 0);
        let stride = self.width * self.channels;
        let lines = padded.chunks_exact_mut(stride).skip(top);
        let length = columns.len * self.channels;
        for (line, bytes) in lines.zip(resized.chunks_exact(length)) {
            line[left * self.channels..][..length].copy_from_slice(bytes);
        }
        Ok(padded)
    }
}

/// One axis of torchvision's centre crop: what survives of the image, and the zeros before it when the
/// image is shorter than the crop (`center_crop`, torchvision `transforms/functional.py`).
fn centre(size: usize, crop: usize) -> (Window, usize) {
    if size <= crop {
        let window = Window {
            size,
            start: 0,
            len: size,
        };
        return (window, (crop - size) / 2);
    }
    // Python's `round` takes halves to the even number.
    let start = ((size - crop) as f64 / 2.0).round_ties_even() as usize;
    let window = Window {
        size,
        start,
        len: crop,
    };
    (window, 0)
}

/// Turns image files into tensors; keeps its buffers between calls, so hold one per thread.
#[derive(Debug)]
pub struct Preprocessor {
    spec: InputSpec,
    limits: Limits,
    colour: Colour,
    normaliser: Normaliser,
    resizer: Resizer,
    padded: Vec<u8>,
}

impl Preprocessor {
    /// Prepares to carry out `spec`.
    ///
    /// # Errors
    /// [`ImageError::Spec`] when channels is neither 1 nor 3, a side is 0 or above 65,535 pixels, or
    /// mean or std does not have one finite value a channel (std: other than 0).
    pub fn new(spec: InputSpec, limits: Limits) -> Result<Self, ImageError> {
        let colour = spec.check()?;
        Ok(Self {
            normaliser: Normaliser::new(&spec),
            spec,
            limits,
            colour,
            resizer: Resizer::new(),
            padded: Vec::new(),
        })
    }

    /// Decodes an image file and writes its tensor to `out`: `[channels, height, width]`, normalised.
    ///
    /// # Errors
    /// [`ImageError::OutputLength`] when `out` has another length than the tensor, and whatever
    /// [`decode`] and [`Resizer::resize`] find wrong with the image. `out` is then unspecified.
    pub fn apply(&mut self, bytes: &[u8], out: &mut [f32]) -> Result<(), ImageError> {
        self.spec.check_length(out)?;
        let pixels = decode(bytes, self.colour, &self.limits)?;
        let (resizer, padded) = (&mut self.resizer, &mut self.padded);
        let centre = self.spec.centred(&pixels, resizer, padded, &self.limits)?;
        self.normaliser.write(centre, out);
        Ok(())
    }
}
