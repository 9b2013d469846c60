//! How images become inputs.

use crate::checkpoint::Checkpoint;
use crate::data::{InputSpec, Interpolation, Resize, Statistics};
use crate::error::Error;
use crate::spec::{InputSection, InterpolationChoice, Normalise, ResizeChoice};

/// Inputs up to this size are taken whole under [`ResizeChoice::Dino`]: networks for CIFAR and
/// MNIST are trained on uncropped images.
pub(super) const WHOLE_INPUT: usize = 64;

/// How images become inputs of a checkpoint under a protocol's `[input]`.
pub fn input_spec(checkpoint: &Checkpoint, section: &InputSection) -> Result<InputSpec, Error> {
    let facts = &checkpoint.input;
    let [height, width] = facts.size;
    let side = height.min(width);
    let shorter = match section.resize {
        ResizeChoice::Whole => side,
        ResizeChoice::Dino if side <= WHOLE_INPUT => side,
        ResizeChoice::Dino => side * 256 / 224,
        ResizeChoice::Card => facts.resize.ok_or_else(|| Error::Usage {
            message: format!(
                "input.resize = \"card\", and neither a card nor config.json of {} says a size",
                checkpoint.name
            ),
            hint: "write a card with [input] resize = PIXELS, or use --set input.resize=dino"
                .to_owned(),
        })?,
    };
    let three = |statistics: Statistics| {
        if facts.channels == 3 {
            let (mean, std) = statistics.values();
            Ok((mean.to_vec(), std.to_vec()))
        } else {
            Err(Error::Usage {
                message: format!(
                    "{} has {} input channels, the protocol's normalisation is for 3",
                    checkpoint.name, facts.channels
                ),
                hint: "--set input.normalise=card uses the checkpoint's own".to_owned(),
            })
        }
    };
    let (mean, std) = match section.normalise {
        Normalise::Card => (facts.mean.clone(), facts.std.clone()),
        Normalise::Imagenet => three(Statistics::Imagenet)?,
        Normalise::Half => (vec![0.5; facts.channels], vec![0.5; facts.channels]),
        Normalise::Clip => three(Statistics::Clip)?,
    };
    Ok(InputSpec {
        height,
        width,
        channels: facts.channels,
        resize: Resize::Shorter(shorter),
        interpolation: match section.interpolation {
            InterpolationChoice::Bicubic => Interpolation::Bicubic,
            InterpolationChoice::Bilinear => Interpolation::Bilinear,
            InterpolationChoice::Card => facts.interpolation.ok_or_else(|| Error::Usage {
                message: format!(
                    "input.interpolation = \"card\", and neither a card nor config.json of {} says one",
                    checkpoint.name
                ),
                hint: "write a card with [input] interpolation, or use --set input.interpolation=bicubic".to_owned(),
            })?,
        },
        mean,
        std,
    })
}

/// Raw pixels as an input of `size` x `size`, normalised with ImageNet's statistics.
pub fn pixel_input(size: usize) -> InputSpec {
    let (mean, std) = Statistics::Imagenet.values();
    InputSpec {
        height: size,
        width: size,
        channels: 3,
        resize: Resize::Shorter(size),
        interpolation: Interpolation::Bicubic,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
}
