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

/// Width and height of an image, in pixels.
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
        let (out, _) = out.as_chunks_mut::<C>();
        let padded = Padded::new(bytes.as_chunks().0, extent);
        let arch = pulp::Arch::new();
        match interpolation {
            Interpolation::Bicubic => arch.dispatch(Map {
                affine: self,
                mix: bicubic,
                padded,
                out,
            }),
            Interpolation::Bilinear => arch.dispatch(Map {
                affine: self,
                mix: bilinear,
                padded,
                out,
            }),
        }
    }
}

/// Python's `round(x, 15)`: both are exact, and take halves to the even digit.
fn fifteen_digits(x: f64) -> f64 {
    format!("{x:.15}").parse().unwrap_or(x)
}

/// Neighbours of a place on an axis: the pixel before it is the second.
const NEIGHBOURS: usize = 4;

/// `BICUBIC`, Pillow `Geometry.c`: the value at `at` of the way from `b` to `c`.
#[inline(always)]
fn bicubic([a, b, c, d]: [f64; NEIGHBOURS], at: f64) -> f64 {
    let first = c - a;
    let second = 2.0 * (a - b) + c - d;
    let third = b - a - c + d;
    b + at * (first + at * (second + at * third))
}

/// `BILINEAR`, Pillow `Geometry.c`.
#[inline(always)]
fn bilinear([_, b, c, _]: [f64; NEIGHBOURS], at: f64) -> f64 {
    b + (c - b) * at
}

/// Cuts a value to a byte as Pillow does: what is behind the point is dropped.
#[inline(always)]
fn byte(value: f64) -> u8 {
    /// Above it the lowest bits of an f64 are a whole number's.
    const WHOLE: f64 = (1_u64 << 52) as f64;
    // The same as `value as u8`, by instructions that there are for several values at once.
    (value.clamp(0.0, 255.0).floor() + WHOLE).to_bits() as u8
}

/// Pixels by which a border is repeated: what a place in an outermost pixel has as neighbours beyond.
const MARGIN: usize = 2;

/// An image whose border is repeated, so that every place in it has all its neighbours.
struct Padded<const C: usize> {
    pixels: Vec<[u8; C]>,
    stride: usize,
    extent: Extent,
}

impl<const C: usize> Padded<C> {
    /// pixels: `[H, W, C]`
    fn new(pixels: &[[u8; C]], extent: Extent) -> Self {
        let stride = extent.width + 2 * MARGIN;
        let mut padded = Vec::with_capacity(stride * (extent.height + 2 * MARGIN));
        for row in 0..extent.height + 2 * MARGIN {
            let row = row.saturating_sub(MARGIN).min(extent.height - 1);
            let line = &pixels[row * extent.width..][..extent.width];
            padded.extend([line[0]; MARGIN]);
            padded.extend_from_slice(line);
            padded.extend([line[extent.width - 1]; MARGIN]);
        }
        Self {
            pixels: padded,
            stride,
            extent,
        }
    }

    /// The first neighbour in both directions of what lies before the middles of these pixels.
    #[inline(always)]
    fn first(&self, column: Place, row: Place) -> usize {
        // A base is -1 at least.
        let behind = |place: Place| (place.base + 1) as usize;
        behind(row) * self.stride + behind(column)
    }
}

/// One coordinate of the place that is looked up.
#[derive(Clone, Copy)]
struct Place {
    /// The pixel whose middle is before it; may be -1.
    base: isize,
    /// How far behind that middle it is, from 0 to 1.
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
}

/// What a row of the output looks up. Everything is laid out one channel after another, so that loops
/// over it are loops over registers.
struct Places<const C: usize> {
    /// First neighbours.
    firsts: Vec<usize>,
    /// Rests of the columns, the same for every channel.
    across: Vec<[f64; C]>,
    /// Rests of the rows, likewise.
    down: Vec<[f64; C]>,
    /// The neighbours on a line.
    taps: [Vec<[u8; C]>; NEIGHBOURS],
}

impl<const C: usize> Places<C> {
    fn new(width: usize) -> Self {
        Self {
            firsts: Vec::with_capacity(width),
            across: Vec::with_capacity(width),
            down: Vec::with_capacity(width),
            taps: std::array::from_fn(|_| vec![[0; C]; width]),
        }
    }

    /// Looks up the places of the `y`-th row, and says at which column they begin.
    #[inline(always)]
    fn find(&mut self, affine: Affine, padded: &Padded<C>, y: usize) -> usize {
        let Affine([a, b, c, d, e, f]) = affine;
        let Extent { width, height } = padded.extent;
        self.firsts.clear();
        self.across.clear();
        self.down.clear();
        let mut start = 0;
        let down = y as f64 + 0.5;
        for x in 0..width {
            let across = x as f64 + 0.5;
            let column = Place::new(a * across + b * down + c, width);
            let row = Place::new(d * across + e * down + f, height);
            if let (Some(column), Some(row)) = (column, row) {
                self.firsts.push(padded.first(column, row));
                self.across.push([column.rest; C]);
                self.down.push([row.rest; C]);
            } else if self.firsts.is_empty() {
                // What is seen of a row is one piece, because places only move on.
                start = x + 1;
            }
        }
        start
    }

    /// Collects neighbours: the one this far behind the first, and the next ones by `step`.
    #[inline(always)]
    fn gather(&mut self, padded: &Padded<C>, behind: usize, step: usize) {
        for (place, &first) in self.firsts.iter().enumerate() {
            let reach = &padded.pixels[first + behind..][..(NEIGHBOURS - 1) * step + 1];
            for (tap, pixel) in self.taps.iter_mut().zip(reach.iter().step_by(step)) {
                tap[place] = *pixel;
            }
        }
    }

    /// The neighbours that were collected.
    #[inline(always)]
    fn taps(&self) -> [&[u8]; NEIGHBOURS] {
        let count = self.firsts.len();
        self.taps.each_ref().map(|tap| tap[..count].as_flattened())
    }
}

/// Mixes four values at a time.
#[inline(always)]
fn mix_all<T: Copy + Into<f64>, U>(
    [a, b, c, d]: [&[T]; NEIGHBOURS],
    rests: &[f64],
    mix: impl Fn([f64; NEIGHBOURS], f64) -> U,
    out: &mut [U],
) {
    let values = a.iter().zip(b).zip(c.iter().zip(d));
    for ((out, ((&a, &b), (&c, &d))), &rest) in out.iter_mut().zip(values).zip(rests) {
        *out = mix([a, b, c, d].map(T::into), rest);
    }
}

struct Map<'a, F, const C: usize> {
    affine: Affine,
    mix: F,
    padded: Padded<C>,
    out: &'a mut [[u8; C]],
}

impl<F: Fn([f64; NEIGHBOURS], f64) -> f64, const C: usize> pulp::WithSimd for Map<'_, F, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            affine,
            mix,
            padded,
            out,
        } = self;
        let width = padded.extent.width;
        let to_byte = |values, rest| byte(mix(values, rest));
        let mut places = Places::<C>::new(width);
        let mut rows = [(); NEIGHBOURS].map(|()| vec![0.0; width * C]);
        for (y, line) in out.chunks_exact_mut(width).enumerate() {
            let start = places.find(affine, &padded, y);
            let out = line[start..start + places.firsts.len()].as_flattened_mut();
            // In the middle of a pixel the others weigh nothing, and mixing gives its very value.
            let between = |rests: &[[f64; C]]| rests.iter().any(|rest| *rest != [0.0; C]);
            if !between(&places.down) {
                places.gather(&padded, padded.stride, 1);
                mix_all(places.taps(), places.across.as_flattened(), to_byte, out);
            } else if !between(&places.across) {
                places.gather(&padded, 1, padded.stride);
                mix_all(places.taps(), places.down.as_flattened(), to_byte, out);
            } else {
                for (behind, row) in rows.iter_mut().enumerate() {
                    places.gather(&padded, behind * padded.stride, 1);
                    mix_all(places.taps(), places.across.as_flattened(), &mix, row);
                }
                let rows = rows.each_ref().map(|row| &row[..out.len()]);
                mix_all(rows, places.down.as_flattened(), to_byte, out);
            }
        }
    }
}
