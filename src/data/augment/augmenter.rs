//! Image files to augmented tensors.

use super::affine::Extent;
use super::operation::Canvas;
use super::{AugmentError, AugmentSpec, Draw, SampleKey};
use crate::data::normalise::Normaliser;
use crate::data::{Colour, ImageError, InputSpec, Limits, Pixels, Resizer, Window, decode};

/// Turns image files into tensors that differ from pass to pass; keeps its buffers between calls,
/// so hold one per thread.
#[derive(Debug)]
pub struct Augmenter {
    // On the heap, so that an augmenter is not much larger than what prepares for evaluation.
    spec: Box<AugmentSpec>,
    input: InputSpec,
    limits: Limits,
    colour: Colour,
    normaliser: Normaliser,
    resizer: Resizer,
    padded: Vec<u8>,
    frame: Vec<u8>,
    scratch: Vec<u8>,
    /// What operations fill in, a byte a channel.
    fill: Vec<u8>,
}

impl Augmenter {
    /// Prepares to carry out `spec` on the way to `input`.
    ///
    /// # Errors
    /// [`AugmentError`] when either has a value that makes no sense.
    pub fn new(spec: AugmentSpec, input: InputSpec, limits: Limits) -> Result<Self, AugmentError> {
        spec.check()?;
        let colour = input.check()?;
        // timm `data/transforms_factory.py`, `img_mean`; the cast stops at 0 and 255.
        let fill = |mean: &f32| (255.0 * f64::from(*mean)).round_ties_even() as u8;
        Ok(Self {
            normaliser: Normaliser::new(&input),
            fill: input.mean.iter().map(fill).collect(),
            spec: Box::new(spec),
            input,
            limits,
            colour,
            resizer: Resizer::new(),
            padded: Vec::new(),
            frame: Vec::new(),
            scratch: Vec::new(),
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
        let draw = Draw::new(&self.spec, &self.input, key, pixels.width, pixels.height);
        self.write(pixels, &draw, out)
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
        self.write(pixels, draw, out)
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

    /// Everything behind the decoder.
    fn write(&mut self, pixels: Pixels, draw: &Draw, out: &mut [f32]) -> Result<(), ImageError> {
        self.fill_frame(pixels, draw)?;
        self.normaliser.write(&self.frame, out);
        for erasure in &draw.erasures {
            erasure.apply(out, self.input.width, self.input.height);
        }
        Ok(())
    }

    /// Crops, resizes, mirrors and changes the image, in the order of torchvision and timm.
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
        if draw.shift != [0; 2] {
            self.shift(draw.shift);
        }
        if draw.flip {
            let stride = self.input.width * self.input.channels;
            for row in self.frame.chunks_exact_mut(stride) {
                match self.colour {
                    Colour::Rgb => row.as_chunks_mut::<3>().0.reverse(),
                    Colour::Grey => row.reverse(),
                }
            }
        }
        for adjustment in &draw.adjustments {
            adjustment.apply(&mut self.frame, self.colour);
        }
        for operation in &draw.operations {
            operation.apply(&mut Canvas {
                colour: self.colour,
                extent: Extent {
                    width: self.input.width,
                    height: self.input.height,
                },
                interpolation: self.spec.interpolation,
                fill: &self.fill,
                bytes: &mut self.frame,
                scratch: &mut self.scratch,
            });
        }
        Ok(())
    }

    /// Moves the frame to the right and down; zeros come in.
    fn shift(&mut self, [right, down]: [isize; 2]) {
        let InputSpec {
            width, channels, ..
        } = self.input;
        let stride = width * channels;
        // Of an axis that moves by `by`: what the first that is seen goes behind, and comes from.
        let ends = |by: isize, unit: usize, length: usize| {
            let by_abs = (by.unsigned_abs() * unit).min(length);
            let (to, from) = if by < 0 { (0, by_abs) } else { (by_abs, 0) };
            (to, from, length - by_abs)
        };
        let (to, from, length) = ends(right, channels, stride);
        let (to_row, from_row, rows) = ends(down, 1, self.input.height);
        self.scratch.clear();
        self.scratch.resize(self.frame.len(), 0);
        let lines = self.scratch.chunks_exact_mut(stride).skip(to_row);
        let seen = self.frame.chunks_exact(stride).skip(from_row);
        for (line, seen) in lines.zip(seen).take(rows) {
            line[to..to + length].copy_from_slice(&seen[from..from + length]);
        }
        std::mem::swap(&mut self.frame, &mut self.scratch);
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
