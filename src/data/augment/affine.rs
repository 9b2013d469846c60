//! Affine maps of an image, as Pillow 13 makes them, bit for bit (`ImagingGenericTransform`, Pillow
//! `src/libImaging/Geometry.c`).
//!
//! Every value is computed in f64 by the same operations in the same order, because the result is cut
//! off below a whole number, where a last bit decides.

use crate::data::Interpolation;

/// Where an output's pixel is looked up: at the input's `(a x + b y + c, d x + e y + f)` for the
/// output's `(x, y)`, both at the middle of a pixel, with `[a, b, c, d, e, f]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine(pub(super) [f64; 6]);

/// Pixels of an image side by side.
#[derive(Clone, Copy)]
pub(super) struct Extent {
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Affine {
    /// Rotates around the middle, counterclockwise (`Image.rotate`, Pillow `Image.py`).
    ///
    /// degrees: in absolute value below 90, and not a multiple of 360, which Pillow does not map
    pub(super) fn rotation(degrees: f64, extent: Extent) -> Self {
        let angle = -degrees.rem_euclid(360.0).to_radians();
        let [sine, cosine, minus] = [angle.sin(), angle.cos(), -angle.sin()].map(fifteen_digits);
        let (x, y) = (extent.width as f64 / 2.0, extent.height as f64 / 2.0);
        let c = cosine * -x + sine * -y + x;
        let f = minus * -x + cosine * -y + y;
        Self([cosine, sine, c, minus, cosine, f])
    }

    /// Maps an image onto one of the same size; what lies outside of it stays as `out` has it.
    ///
    /// bytes, out: `[H, W, C]`
    pub(super) fn apply<const C: usize>(
        self,
        interpolation: Interpolation,
        bytes: &[u8],
        extent: Extent,
        out: &mut [u8],
    ) {
        let image = Image {
            pixels: bytes.as_chunks::<C>().0,
            extent,
        };
        let (out, _) = out.as_chunks_mut::<C>();
        let arch = pulp::Arch::new();
        match interpolation {
            Interpolation::Bicubic => arch.dispatch(Map {
                affine: self,
                mix: bicubic,
                image,
                out,
            }),
            Interpolation::Bilinear => arch.dispatch(Map {
                affine: self,
                mix: bilinear,
                image,
                out,
            }),
        }
    }
}

/// Python's `round(x, 15)`: both are exact, and take halves to the even digit.
fn fifteen_digits(x: f64) -> f64 {
    format!("{x:.15}").parse().unwrap_or(x)
}

/// Four neighbours and how far from the second to the third to look.
type Values = [f64; 4];

/// `BICUBIC`, Pillow `Geometry.c`.
#[inline(always)]
fn bicubic([a, b, c, d]: Values, at: f64) -> f64 {
    let first = c - a;
    let second = 2.0 * (a - b) + c - d;
    let third = b - a - c + d;
    b + at * (first + at * (second + at * third))
}

/// `BILINEAR`, Pillow `Geometry.c`.
#[inline(always)]
fn bilinear([_, b, c, _]: Values, at: f64) -> f64 {
    b + (c - b) * at
}

#[derive(Clone, Copy)]
struct Image<'a, const C: usize> {
    pixels: &'a [[u8; C]],
    extent: Extent,
}

/// One coordinate of the place that is looked up.
#[derive(Clone, Copy)]
struct Place {
    /// The second of the four neighbours; may be -1.
    base: isize,
    /// How far behind it the place is, from 0 to 1.
    rest: f64,
}

impl Place {
    /// Of a coordinate in an axis of `length` pixels; `None` outside.
    #[inline(always)]
    fn new(coordinate: f64, length: usize) -> Option<Self> {
        if !(coordinate >= 0.0 && coordinate < length as f64) {
            return None;
        }
        let coordinate = coordinate - 0.5;
        let base = coordinate.floor();
        Some(Self {
            base: base as isize,
            rest: coordinate - base,
        })
    }

    /// The four neighbours, which stop at the border.
    #[inline(always)]
    fn neighbours(self, length: usize) -> [usize; 4] {
        [-1, 0, 1, 2].map(|step| (self.base + step).clamp(0, length as isize - 1) as usize)
    }
}

struct Map<'a, F, const C: usize> {
    affine: Affine,
    mix: F,
    image: Image<'a, C>,
    out: &'a mut [[u8; C]],
}

impl<F: Fn(Values, f64) -> f64 + Copy, const C: usize> pulp::WithSimd for Map<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            affine,
            mix,
            image,
            out,
        } = self;
        let Extent { width, height } = image.extent;
        let [a, b, c, d, e, f] = affine.0;
        for (y, line) in out.chunks_exact_mut(width).enumerate() {
            let down = y as f64 + 0.5;
            for (x, pixel) in line.iter_mut().enumerate() {
                let across = x as f64 + 0.5;
                let column = Place::new(a * across + b * down + c, width);
                let row = Place::new(d * across + e * down + f, height);
                let (Some(column), Some(row)) = (column, row) else {
                    continue;
                };
                let columns = column.neighbours(width);
                let rows = row.neighbours(height);
                *pixel = std::array::from_fn(|channel| {
                    let values = rows.map(|row| {
                        let line = &image.pixels[row * width..][..width];
                        let values = columns.map(|column| f64::from(line[column][channel]));
                        mix(values, column.rest)
                    });
                    // The cast stops at 0 and 255, as Pillow does.
                    mix(values, row.rest) as u8
                });
            }
        }
    }
}
