//! Image files to augmented tensors.

use super::{AugmentError, AugmentSpec, Draw, SampleKey};
use crate::data::normalise::Normaliser;
use crate::data::{Colour, ImageError, InputSpec, Limits, Pixels, Resizer, Window, decode};

/// Turns image files into tensors that differ from pass to pass; keeps its buffers between calls,
/// so hold one per thread.
#[derive(Debug)]
pub struct Augmenter {
    spec: AugmentSpec,
    input: InputSpec,
    limits: Limits,
    colour: Colour,
    normaliser: Normaliser,
    resizer: Resizer,
    padded: Vec<u8>,
    frame: Vec<u8>,
}

impl Augmenter {
    /// Prepares to carry out `spec` on the way to `input`.
    ///
    /// # Errors
    /// [`AugmentError`] when either has a value that makes no sense.
    pub fn new(spec: AugmentSpec, input: InputSpec, limits: Limits) -> Result<Self, AugmentError> {
        spec.check()?;
        let colour = input.check()?;
        Ok(Self {
            normaliser: Normaliser::new(&input),
            spec,
            input,
            limits,
            colour,
            resizer: Resizer::new(),
            padded: Vec::new(),
            frame: Vec::new(),
        })
    }

    /// Decodes an image file, augments it as `key` says and writes its tensor to `out`:
    /// `[channels, height, width]`, normalised.
    ///
    /// # Errors
    /// [`ImageError::OutputLength`] when `out` has another length than the tensor, and whatever
    /// [`decode`] and [`Resizer::resize`] find wrong with the image. `out` is then unspecified.
    pub fn apply(
        &mut self,
        bytes: &[u8],
        key: SampleKey,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.input.check_length(out)?;
        let pixels = decode(bytes, self.colour, &self.limits)?;
        let draw = Draw::new(&self.spec, key, pixels.width, pixels.height);
        self.fill_frame(pixels, &draw)?;
        self.normaliser.write(&self.frame, out);
        Ok(())
    }

    /// [`Augmenter::apply`] with parameters that are given.
    ///
    /// # Errors
    /// As there, and [`ImageError::Crop`] when the crop does not lie in the image.
    pub fn apply_draw(
        &mut self,
        bytes: &[u8],
        draw: &Draw,
        out: &mut [f32],
    ) -> Result<(), ImageError> {
        self.input.check_length(out)?;
        let pixels = decode(bytes, self.colour, &self.limits)?;
        self.fill_frame(pixels, draw)?;
        self.normaliser.write(&self.frame, out);
        Ok(())
    }

    /// The bytes that [`Augmenter::apply_draw`] normalises, `[height, width, channels]`.
    ///
    /// # Errors
    /// As there.
    pub fn bytes(&mut self, bytes: &[u8], draw: &Draw) -> Result<&[u8], ImageError> {
        let pixels = decode(bytes, self.colour, &self.limits)?;
        self.fill_frame(pixels, draw)?;
        Ok(&self.frame)
    }

    /// Crops, resizes, mirrors and recolours, in torchvision's order.
    fn fill_frame(&mut self, mut pixels: Pixels, draw: &Draw) -> Result<(), ImageError> {
        let input = &self.input;
        let seen = match draw.crop {
            Some(crop) => {
                crop.cut(&mut pixels)?;
                let (columns, rows) = (whole(input.width), whole(input.height));
                let interpolation = self.spec.interpolation;
                self.resizer
                    .resize(&pixels, interpolation, columns, rows, &self.limits)?
            }
            None => {
                let (resizer, padded) = (&mut self.resizer, &mut self.padded);
                input.centred(&pixels, resizer, padded, &self.limits)?
            }
        };
        self.frame.clear();
        self.frame.extend_from_slice(seen);
        if draw.flip {
            for row in self.frame.chunks_exact_mut(input.width * input.channels) {
                match self.colour {
                    Colour::Rgb => row.as_chunks_mut::<3>().0.reverse(),
                    Colour::Grey => row.reverse(),
                }
            }
        }
        for adjustment in &draw.adjustments {
            adjustment.apply(&mut self.frame, self.colour);
        }
        Ok(())
    }
}

/// A whole axis.
fn whole(size: usize) -> Window {
    Window {
        size,
        start: 0,
        len: size,
    }
}
