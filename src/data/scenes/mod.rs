//! Made-up scenes: a small labelled set of images with nothing to download.
//!
//! A class is a shape with a texture; an image holds one large object of its class on a background
//! that says nothing about it, up to two small plain objects at the border, and light noise. The
//! tones are random, so a mean colour is of no use. With 100 training and 25 validation images a class
//! at 64 px (seed 0), k-NN (k = 20, cosine, majority) on the normalised raw pixels is right for 18 %,
//! on the mean colour for 4 %; chance is 5 % (`tests/scenes.rs` measures it).

mod background;
mod colour;
mod dataset;
mod scene_error;
mod shape;
mod stream;
mod texture;
mod value_noise;

pub use dataset::write_dataset;
pub use scene_error::SceneError;
pub use shape::Shape;
pub use texture::Texture;

use background::Background;
use colour::{Rgb, mix, with_luma};
use stream::Stream;
use texture::Pattern;

/// The version of what is drawn, bumped whenever any pixel may change.
pub const SCENES_VERSION: u32 = 1;

/// The smallest side, in pixels: below it the textures alias.
pub const MIN_SIZE: usize = 32;
/// The largest side, in pixels.
pub const MAX_SIZE: usize = 1024;
/// The most images a class and split: file names have four digits.
pub const MAX_PER_CLASS: usize = 10_000;

/// The side, in pixels, in which the lengths below are given.
const REFERENCE_SIZE: f64 = 64.0;
/// Samples a side in each pixel.
const SUPERSAMPLING: usize = 4;
/// Radius of the disc with the main object's area, in reference pixels.
const OBJECT_RADIUS: [f64; 2] = [15.0, 20.0];
/// How far the main object's centre may lie from the scene's along each axis, in reference pixels.
const OBJECT_OFFSET: f64 = 4.0;
/// Radius of the disc with a distractor's area, in reference pixels.
const DISTRACTOR_RADIUS: [f64; 2] = [3.5, 6.0];
/// Luma of the dark side's backgrounds and of its objects' darker and lighter tone. A light scene
/// has 1 minus these: either way both tones stand out from the background and from each other.
const BACKGROUND_LUMA: [f64; 2] = [0.12, 0.28];
const FIRST_TONE: [f64; 2] = [0.42, 0.5];
const SECOND_TONE: [f64; 2] = [0.90, 1.0];
/// Standard deviation of the pixel noise, on the 0 to 1 scale.
const NOISE: f64 = 0.012;

/// What the scenes of a set have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SceneSpec {
    /// The side of the images, in pixels: [`MIN_SIZE`] to [`MAX_SIZE`].
    pub size: usize,
    /// Another seed gives other images.
    pub seed: u64,
}

/// Which half of the set an image belongs to; the halves share no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For validation.
    Val,
}

impl Split {
    /// The name of the split's folder.
    pub const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
        }
    }
}

/// One image with its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
    /// `[size, size, 3]`, 0 to 255.
    pub rgb: Vec<u8>,
    /// `[size, size]`: 0 for the background, else [`Shape::mask_index`] of the object that covers
    /// most of the pixel.
    pub mask: Vec<u8>,
}

/// The 20 class names, such as `disc-checks`. They are sorted, so that the place of a name is also
/// the label that readers of class folders give it.
pub fn class_names() -> Vec<String> {
    classes()
        .map(|(shape, texture)| format!("{}-{}", shape.name(), texture.name()))
        .collect()
}

/// Shape and texture of every class, in the order of [`class_names`].
fn classes() -> impl Iterator<Item = (Shape, Texture)> {
    Shape::ALL
        .into_iter()
        .flat_map(|shape| Texture::ALL.map(|texture| (shape, texture)))
}

/// Draws image `index` of a class and split: a pure function of its arguments, with the same pixels
/// on every platform (floats are only added, multiplied, divided, rounded and rooted, all of which
/// IEEE 754 fixes).
///
/// # Errors
/// [`SceneError::Size`] and [`SceneError::Class`] when `spec.size` or `class` is out of range.
pub fn draw(spec: &SceneSpec, split: Split, class: usize, index: u64) -> Result<Scene, SceneError> {
    let size = spec.checked_size()?;
    let (shape, texture) = classes().nth(class).ok_or_else(|| SceneError::Class {
        class,
        classes: classes().count(),
    })?;
    let mut stream = Stream::new(
        "mimbench scenes 1",
        &[spec.seed, split as u64, class as u64, index],
    );
    let scale = size as f64 / REFERENCE_SIZE;
    let palette = Palette::new(&mut stream);
    let background = Background::new(&mut stream, palette.background);
    // The main object comes first: it hides the distractors.
    let mut objects = vec![Object::main(&mut stream, &palette, shape, texture, scale)];
    for _ in 0..stream.below(3) {
        objects.push(Object::distractor(&mut stream, &palette, scale));
    }

    let mut rgb = Vec::with_capacity(size * size * 3);
    let mut mask = Vec::with_capacity(size * size);
    for row in 0..size {
        for column in 0..size {
            let (colour, label) = pixel(&background, &objects, size, row, column);
            for channel in colour {
                let noisy = channel + NOISE * stream.bell();
                rgb.push((noisy * 255.0).round().clamp(0.0, 255.0) as u8);
            }
            mask.push(label);
        }
    }
    Ok(Scene { rgb, mask })
}

impl SceneSpec {
    fn checked_size(&self) -> Result<usize, SceneError> {
        if (MIN_SIZE..=MAX_SIZE).contains(&self.size) {
            Ok(self.size)
        } else {
            Err(SceneError::Size { size: self.size })
        }
    }
}

/// Mean colour and most frequent label of a pixel's samples; on a tie the lower label wins.
fn pixel(
    background: &Background,
    objects: &[Object],
    size: usize,
    row: usize,
    column: usize,
) -> (Rgb, u8) {
    const SAMPLES: usize = SUPERSAMPLING * SUPERSAMPLING;
    let side = size as f64;
    let behind = background.at([(column as f64 + 0.5) / side, (row as f64 + 0.5) / side]);
    let mut sum: Rgb = [0.0; 3];
    let mut votes = [0usize; Shape::ALL.len() + 1];
    for sample in 0..SAMPLES {
        let within = |i: usize| (i as f64 + 0.5) / SUPERSAMPLING as f64;
        let x = column as f64 + within(sample % SUPERSAMPLING);
        let y = row as f64 + within(sample / SUPERSAMPLING);
        let front = objects
            .iter()
            .find_map(|object| object.at([x, y]).map(|colour| (object.shape, colour)));
        let colour = match front {
            Some((shape, colour)) => {
                votes[usize::from(shape.mask_index())] += 1;
                colour
            }
            None => {
                votes[0] += 1;
                behind
            }
        };
        sum = std::array::from_fn(|c| sum[c] + colour[c]);
    }
    let mut label = 0;
    for shape in Shape::ALL {
        let index = shape.mask_index();
        if votes[usize::from(index)] > votes[usize::from(label)] {
            label = index;
        }
    }
    (sum.map(|v| v / SAMPLES as f64), label)
}

/// The ranges of luma in one scene.
struct Palette {
    background: [f64; 2],
    first: [f64; 2],
    second: [f64; 2],
}

impl Palette {
    fn new(stream: &mut Stream) -> Self {
        let dark = stream.below(2) == 0;
        let side = |range: [f64; 2]| if dark { range } else { range.map(|v| 1.0 - v) };
        Self {
            background: side(BACKGROUND_LUMA),
            first: side(FIRST_TONE),
            second: side(SECOND_TONE),
        }
    }

    fn colour(stream: &mut Stream, luma: [f64; 2]) -> Rgb {
        let luma = stream.range(luma[0], luma[1]);
        with_luma(stream, luma)
    }
}

/// A shape in its place.
struct Object {
    shape: Shape,
    centre: [f64; 2],
    /// Unit vector over the radius, both in pixels of the scene.
    axis: [f64; 2],
    paint: Paint,
}

enum Paint {
    Plain(Rgb),
    Textured {
        tones: [Rgb; 2],
        pattern: Box<Pattern>,
    },
}

impl Object {
    fn main(
        stream: &mut Stream,
        palette: &Palette,
        shape: Shape,
        texture: Texture,
        scale: f64,
    ) -> Self {
        let tones = [
            Palette::colour(stream, palette.first),
            Palette::colour(stream, palette.second),
        ];
        let middle = REFERENCE_SIZE / 2.0;
        let centre =
            std::array::from_fn(|_| scale * (middle + stream.range(-OBJECT_OFFSET, OBJECT_OFFSET)));
        Self {
            shape,
            centre,
            axis: axis(stream, OBJECT_RADIUS, scale),
            paint: Paint::Textured {
                tones,
                pattern: Box::new(Pattern::new(stream, texture, scale)),
            },
        }
    }

    /// A small plain object of any shape about the border, partly outside.
    fn distractor(stream: &mut Stream, palette: &Palette, scale: f64) -> Self {
        let shape = Shape::ALL[stream.below(Shape::ALL.len() as u32)];
        let luma = [
            palette.first[0].min(palette.second[0]),
            palette.first[1].max(palette.second[1]),
        ];
        let colour = Palette::colour(stream, luma);
        let half = scale * REFERENCE_SIZE / 2.0;
        let direction = stream.direction();
        let longest = direction[0].abs().max(direction[1].abs());
        Self {
            shape,
            centre: direction.map(|v| half * (1.0 + v / longest * 0.95)),
            axis: axis(stream, DISTRACTOR_RADIUS, scale),
            paint: Paint::Plain(colour),
        }
    }

    /// The colour at a point in pixels, if the object covers it.
    fn at(&self, [x, y]: [f64; 2]) -> Option<Rgb> {
        let [dx, dy] = [x - self.centre[0], y - self.centre[1]];
        let [a, b] = self.axis;
        self.shape
            .contains([dx * a + dy * b, dy * a - dx * b])
            .then(|| match &self.paint {
                Paint::Plain(colour) => *colour,
                Paint::Textured { tones, pattern } => mix(tones[0], tones[1], pattern.at([dx, dy])),
            })
    }
}

/// A random direction over a random radius.
fn axis(stream: &mut Stream, radius: [f64; 2], scale: f64) -> [f64; 2] {
    let direction = stream.direction();
    let radius = scale * stream.range(radius[0], radius[1]);
    direction.map(|v| v / radius)
}
