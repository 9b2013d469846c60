//! What lies behind the objects; it says nothing about the class.

use super::{
    colour::{Rgb, mix, with_luma},
    stream::Stream,
    value_noise::ValueNoise,
};

/// A smooth random background. Coordinates are relative: 0 to 1 across the scene.
pub(super) enum Background {
    /// From one colour to another along a direction through the centre.
    Gradient { ends: [Rgb; 2], direction: [f64; 2] },
    /// Two fields of noise between three colours.
    Clouds {
        colours: [Rgb; 3],
        cells: f64,
        fields: Box<[ValueNoise; 2]>,
    },
    /// Soft discs of other colours on a plain one.
    Blobs { ground: Rgb, blobs: Vec<Blob> },
}

/// One soft disc.
pub(super) struct Blob {
    centre: [f64; 2],
    radius: f64,
    colour: Rgb,
}

impl Background {
    /// A background whose colours have their luma in `luma`.
    pub(super) fn new(stream: &mut Stream, luma: [f64; 2]) -> Self {
        let colour = |stream: &mut Stream| {
            let luma = stream.range(luma[0], luma[1]);
            with_luma(stream, luma)
        };
        match stream.below(3) {
            0 => Self::Gradient {
                ends: std::array::from_fn(|_| colour(stream)),
                direction: stream.direction(),
            },
            1 => Self::Clouds {
                colours: std::array::from_fn(|_| colour(stream)),
                cells: stream.range(2.0, 6.0),
                fields: Box::new(std::array::from_fn(|_| ValueNoise::new(stream))),
            },
            _ => Self::Blobs {
                ground: colour(stream),
                blobs: (0..3 + stream.below(4))
                    .map(|_| Blob {
                        centre: [stream.unit(), stream.unit()],
                        radius: stream.range(0.2, 0.5),
                        colour: colour(stream),
                    })
                    .collect(),
            },
        }
    }

    /// The colour at a relative position.
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> Rgb {
        match self {
            Self::Gradient { ends, direction } => {
                // The corners lie at most sqrt(1/2) from the centre.
                let along = (x - 0.5) * direction[0] + (y - 0.5) * direction[1];
                mix(
                    ends[0],
                    ends[1],
                    along * std::f64::consts::FRAC_1_SQRT_2 + 0.5,
                )
            }
            Self::Clouds {
                colours,
                cells,
                fields,
            } => {
                let at = [x * cells, y * cells];
                mix(
                    mix(colours[0], colours[1], fields[0].at(at)),
                    colours[2],
                    fields[1].at(at),
                )
            }
            Self::Blobs { ground, blobs } => blobs.iter().fold(*ground, |under, blob| {
                let [dx, dy] = [x - blob.centre[0], y - blob.centre[1]];
                let square = (dx * dx + dy * dy) / (blob.radius * blob.radius);
                let fade = (1.0 - square).max(0.0);
                mix(under, blob.colour, fade * fade)
            }),
        }
    }
}
