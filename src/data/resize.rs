//! Pillow's antialiased resize of 8-bit images, bit for bit.
//!
//! Two passes, horizontal first unless mostly rows are removed, each a weighted sum of the source pixels under a kernel that
//! widens with the reduction; weights are 22-bit fixed point and the result of each pass is rounded to
//! 8 bits (Pillow `src/libImaging/Resample.c`). All sums are integer, so neither the vector width nor
//! the order of additions can change a bit.

use serde::{Deserialize, Serialize};

use crate::data::{ImageError, Limits, Pixels};

/// Fraction bits of a fixed-point weight (`PRECISION_BITS`, Pillow `Resample.c`: 32 - 8 - 2).
const FRACTION_BITS: u32 = 22;

/// Bytes computed together in the horizontal pass: as many rows as fit, side by side.
const LANES: usize = 32;

/// Bytes of a row computed together in the vertical pass.
const STRIP: usize = 64;

/// Weight tables kept: two axes of the most recent image sizes.
const CACHED_TABLES: usize = 16;

/// Weights of the largest table kept, so that a few huge images do not hold memory for good.
const CACHED_WEIGHTS: usize = 1 << 16;

/// The resampling kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Keys' cubic convolution with a = -0.5, four pixels wide.
    Bicubic,
    /// The triangle, two pixels wide.
    Bilinear,
}

impl Interpolation {
    /// Half the kernel's width in source pixels when nothing is reduced (Pillow `Resample.c`).
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    /// The kernel at distance `x`, evaluated in the order of operations of Pillow's `Resample.c`,
    /// since the last bit of a weight depends on it.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            Self::Bicubic | Self::Bilinear => 0.0,
        }
    }
}

/// One axis of a resize: its full length afterwards, and the part of it that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Length of the whole axis after resizing, in pixels, at least 1.
    pub size: usize,
    /// First wanted position.
    pub start: usize,
    /// Number of wanted positions; `start + len <= size`.
    pub len: usize,
}

/// What a weight table is a function of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    from: usize,
    to: Window,
    interpolation: Interpolation,
}

impl Axis {
    /// Upper bound of the number of weights per position (`ksize`, Pillow `Resample.c`).
    fn taps(&self) -> usize {
        let scale = self.from as f64 / self.to.size as f64;
        (self.interpolation.support() * scale.max(1.0)).ceil() as usize * 2 + 1
    }
}

/// The fixed-point weights of every wanted position of an axis.
#[derive(Debug)]
struct Weights {
    axis: Axis,
    /// For each position: the first source pixel and the number of weights.
    spans: Vec<(usize, usize)>,
    /// The weights of all positions, `taps` apart.
    fixed: Vec<i32>,
    taps: usize,
}

impl Weights {
    fn new(axis: Axis) -> Self {
        let Axis {
            from,
            to,
            interpolation,
        } = axis;
        let scale = from as f64 / to.size as f64;
        let stretch = scale.max(1.0);
        let support = interpolation.support() * stretch;
        let inverse = 1.0 / stretch;
        let taps = axis.taps();
        let mut spans = Vec::with_capacity(to.len);
        let mut fixed = Vec::with_capacity(to.len * taps);
        let mut exact = Vec::with_capacity(taps);
        for position in to.start..to.start + to.len {
            let centre = (position as f64 + 0.5) * scale;
            // A cast from f64 to usize truncates like C's, and saturates below zero at zero.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            exact.clear();
            exact.extend(
                (first..end).map(|x| interpolation.weight((x as f64 - centre + 0.5) * inverse)),
            );
            let total: f64 = exact.iter().sum();
            fixed.extend(exact.iter().map(|&w| {
                let w = if total == 0.0 { w } else { w / total };
                let scaled = w * f64::from(1u32 << FRACTION_BITS);
                (if w < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
            }));
            spans.push((first, exact.len()));
            fixed.resize(spans.len() * taps, 0);
        }
        Self {
            axis,
            spans,
            fixed,
            taps,
        }
    }

    /// The source pixels that any wanted position reads: first and one past the last.
    fn reach(&self) -> (usize, usize) {
        let first = self.spans.first().map_or(0, |s| s.0);
        let end = self.spans.last().map_or(0, |s| s.0 + s.1);
        (first, end)
    }

    /// For each position: the first source pixel and the weights from there on.
    #[inline(always)]
    fn positions(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.spans
            .iter()
            .zip(self.fixed.chunks_exact(self.taps))
            .map(|(&(first, count), weights)| (first, weights.get(..count).unwrap_or(weights)))
    }
}

/// Resizes images; keeps its buffers and weight tables between calls, so hold one per thread.
#[derive(Debug)]
pub struct Resizer {
    arch: pulp::Arch,
    cache: Vec<Weights>,
    /// Rows side by side, one entry a source column: the horizontal pass's input.
    tile: Vec<[u8; LANES]>,
    /// What the first pass leaves for the second.
    between: Vec<u8>,
    out: Vec<u8>,
}

impl Default for Resizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Resizer {
    /// A resizer with empty buffers, using the widest vector instructions of this processor.
    pub fn new() -> Self {
        Self {
            arch: pulp::Arch::new(),
            cache: Vec::new(),
            tile: Vec::new(),
            between: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Resizes `pixels` to `columns.size` x `rows.size` and returns the wanted window of it,
    /// `[rows.len, columns.len, channels]`: the same bytes as resizing everything and cropping, but
    /// only what the window needs is computed. An axis that keeps its length is not filtered.
    ///
    /// # Errors
    /// [`ImageError::ResizeTooLarge`] when the weights or the image between the passes would exceed
    /// `limits.max_pixels` entries (possible only for extreme aspect ratios), and
    /// [`ImageError::Spec`] when a window is empty or reaches beyond its axis.
    pub fn resize(
        &mut self,
        pixels: &Pixels,
        interpolation: Interpolation,
        columns: Window,
        rows: Window,
        limits: &Limits,
    ) -> Result<&[u8], ImageError> {
        for (field, window) in [("width", columns), ("height", rows)] {
            let end = window.start.checked_add(window.len);
            if window.len == 0 || end.is_none_or(|end| end > window.size) {
                return Err(ImageError::Spec {
                    field,
                    problem: format!(
                        "asks for {} pixels from {} on, of {} in all",
                        window.len, window.start, window.size
                    ),
                });
            }
        }
        let axis = |from, to| Axis {
            from,
            to,
            interpolation,
        };
        let horizontal = (columns.size != pixels.width).then(|| axis(pixels.width, columns));
        let vertical = (rows.size != pixels.height).then(|| axis(pixels.height, rows));
        let affordable = |a: usize, b: usize| (a as u128) * (b as u128) <= limits.max_pixels.into();
        let too_large = ImageError::ResizeTooLarge {
            width: pixels.width,
            height: pixels.height,
            to_width: columns.size,
            to_height: rows.size,
            max_pixels: limits.max_pixels,
        };
        if [horizontal, vertical]
            .iter()
            .flatten()
            .any(|a| !affordable(a.taps(), a.to.len))
            || !affordable(columns.len, rows.len)
        {
            return Err(too_large);
        }

        let horizontal = horizontal.map(|axis| self.take_weights(axis));
        let vertical = vertical.map(|axis| self.take_weights(axis));
        let reach = |weights: &Option<Weights>, window: Window| {
            let unfiltered = (window.start, window.start + window.len);
            weights.as_ref().map_or(unfiltered, Weights::reach)
        };
        let (left, right) = reach(&horizontal, columns);
        let (top, bottom) = reach(&vertical, rows);
        let vertical_first = vertical_first(pixels, columns.size, rows.size);
        let between = if vertical_first {
            (right - left, rows.len)
        } else {
            (columns.len, bottom - top)
        };
        if !affordable(between.0, between.1) {
            return Err(too_large);
        }

        let channels = pixels.channels;
        let stride = pixels.width * channels;
        let source = Rows {
            bytes: pixels
                .data
                .get(top * stride..bottom * stride)
                .unwrap_or(&[]),
            stride,
            left: left * channels,
        };
        let out_stride = columns.len * channels;
        self.out.resize(rows.len * out_stride, 0);
        let between_stride = between.0 * channels;
        let (arch, tile, out) = (self.arch, &mut self.tile, &mut self.out);
        let mut narrow = |weights: &Weights, source: Rows, out: &mut [u8]| match channels {
            1 => arch.dispatch(Narrow::<1> {
                weights,
                tile,
                source,
                out,
            }),
            _ => arch.dispatch(Narrow::<3> {
                weights,
                tile,
                source,
                out,
            }),
        };
        let shorten = |weights: &Weights, source: Rows, out: &mut [u8], out_stride: usize| {
            arch.dispatch(Shorten {
                weights,
                source,
                out,
                out_stride,
            });
        };
        match (&horizontal, &vertical) {
            (Some(horizontal), Some(vertical)) => {
                self.between.resize(between.1 * between_stride, 0);
                if vertical_first {
                    shorten(vertical, source, &mut self.between, between_stride);
                } else {
                    narrow(horizontal, source, &mut self.between);
                }
                let between = Rows {
                    bytes: &self.between,
                    stride: between_stride,
                    left: 0,
                };
                if vertical_first {
                    narrow(horizontal, between, out);
                } else {
                    shorten(vertical, between, out, out_stride);
                }
            }
            (Some(horizontal), None) => narrow(horizontal, source, out),
            (None, Some(vertical)) => shorten(vertical, source, out, out_stride),
            (None, None) => {
                let rows = source.bytes.chunks_exact(stride);
                for (from, to) in rows.zip(out.chunks_exact_mut(out_stride)) {
                    to.copy_from_slice(&from[source.left..source.left + out_stride]);
                }
            }
        }
        self.keep_weights([horizontal, vertical]);
        Ok(&self.out)
    }

    /// Takes the weights of an axis out of the cache, or computes them.
    fn take_weights(&mut self, axis: Axis) -> Weights {
        match self.cache.iter().position(|weights| weights.axis == axis) {
            Some(index) => self.cache.remove(index),
            None => Weights::new(axis),
        }
    }

    /// Puts weights back, the most recently used last, and forgets the oldest.
    fn keep_weights(&mut self, weights: [Option<Weights>; 2]) {
        let small = |weights: &Weights| weights.fixed.len() <= CACHED_WEIGHTS;
        self.cache
            .extend(weights.into_iter().flatten().filter(small));
        let surplus = self.cache.len().saturating_sub(CACHED_TABLES);
        self.cache.drain(..surplus);
    }
}

/// Whether the vertical pass comes first: when it removes more than twice as many rows as the
/// horizontal pass removes columns (Pillow 13 `Resample.c`, `ImagingResampleInner`; earlier versions
/// always begin horizontally, so their bytes differ for such images).
fn vertical_first(pixels: &Pixels, to_width: usize, to_height: usize) -> bool {
    let removed = |from: usize, to: usize| from as i128 - to as i128;
    let rows = removed(pixels.height, to_height);
    rows > 0 && rows > 2 * removed(pixels.width, to_width)
}

/// The source of a pass: whole rows, beginning with the first row that matters.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    /// Bytes a row.
    stride: usize,
    /// Bytes of each row before the first that matters.
    left: usize,
}

/// Rounded sums of weighted bytes, back to 8 bits (`clip8`, Pillow `Resample.c`).
#[inline(always)]
fn clip<const N: usize>(sums: &[i32; N]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, sum) in bytes.iter_mut().zip(sums) {
        *byte = (sum >> FRACTION_BITS).clamp(0, 255) as u8;
    }
    bytes
}

/// Adds `weight` x bytes to the sums. Nothing overflows: the weights of a position sum to 1 in
/// absolute value below 2, so a sum stays under 2 x 255 x 2^22 < 2^31; wrapping arithmetic only frees
/// the loop of checks, which would keep it from being vectorised.
#[inline(always)]
fn accumulate<const N: usize>(sums: &mut [i32; N], weight: i32, bytes: &[u8; N]) {
    for (sum, &byte) in sums.iter_mut().zip(bytes) {
        *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(byte)));
    }
}

/// Half a unit of the last place, so that the shift in [`clip`] rounds to nearest.
const HALF: i32 = 1 << (FRACTION_BITS - 1);

/// The horizontal pass: `source` rows -> `out` rows of `spans x C` bytes.
///
/// A tile holds as many rows as fit in [`LANES`] bytes side by side, so that one weight multiplies
/// all of them and the same loop serves one and three channels.
struct Narrow<'a, const C: usize> {
    weights: &'a Weights,
    tile: &'a mut Vec<[u8; LANES]>,
    source: Rows<'a>,
    out: &'a mut [u8],
}

// Both passes are `WithSimd` types rather than closures: only `#[inline(always)]` on the method makes
// the loops part of the function that pulp compiles for the wide instructions.
impl<const C: usize> pulp::WithSimd for Narrow<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            weights,
            tile,
            source,
            out,
        } = self;
        let Rows {
            bytes,
            stride,
            left,
        } = source;
        let rows_per_tile = LANES / C;
        let (first, end) = weights.reach();
        tile.resize(end - first, [0; LANES]);
        let out_stride = weights.spans.len() * C;
        let sources = bytes.chunks(stride * rows_per_tile);
        for (source, out) in sources.zip(out.chunks_mut(out_stride * rows_per_tile)) {
            for (row, bytes) in source.chunks_exact(stride).enumerate() {
                let (columns, _) = bytes[left..left + (end - first) * C].as_chunks::<C>();
                for (lanes, column) in tile.iter_mut().zip(columns) {
                    lanes[row * C..row * C + C].copy_from_slice(column);
                }
            }
            for (position, (start, fixed)) in weights.positions().enumerate() {
                let mut sums = [HALF; LANES];
                for (&weight, lanes) in fixed.iter().zip(&tile[start - first..]) {
                    accumulate(&mut sums, weight, lanes);
                }
                let bytes = clip(&sums);
                for (row, out) in out.chunks_exact_mut(out_stride).enumerate() {
                    out[position * C..position * C + C]
                        .copy_from_slice(&bytes[row * C..row * C + C]);
                }
            }
        }
    }
}

/// The vertical pass: `source` rows -> `out` rows of `out_stride` bytes.
struct Shorten<'a> {
    weights: &'a Weights,
    source: Rows<'a>,
    out: &'a mut [u8],
    out_stride: usize,
}

impl pulp::WithSimd for Shorten<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Rows {
            bytes,
            stride,
            left,
        } = self.source;
        let (top, _) = self.weights.reach();
        let lines = self.out.chunks_exact_mut(self.out_stride);
        for (out, (first, fixed)) in lines.zip(self.weights.positions()) {
            let rows = &bytes[(first - top) * stride..];
            let mut strips = out.chunks_exact_mut(STRIP);
            let mut at = left;
            for strip in &mut strips {
                let mut sums = [HALF; STRIP];
                for (&weight, row) in fixed.iter().zip(rows.chunks(stride)) {
                    if let Some(bytes) = row.get(at..).and_then(<[u8]>::first_chunk) {
                        accumulate(&mut sums, weight, bytes);
                    }
                }
                strip.copy_from_slice(&clip(&sums));
                at += STRIP;
            }
            for byte in strips.into_remainder() {
                let mut sum = [HALF];
                for (&weight, row) in fixed.iter().zip(rows.chunks(stride)) {
                    accumulate(&mut sum, weight, &[row[at]]);
                }
                [*byte] = clip(&sum);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize, channels: usize) -> Pixels {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let data = (0..width * height * channels)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        Pixels {
            width,
            height,
            channels,
            data,
        }
    }

    fn whole(size: usize) -> Window {
        Window {
            size,
            start: 0,
            len: size,
        }
    }

    /// One channel of one pass, written the slow and obvious way.
    fn pass(row: &[u8], to: usize, interpolation: Interpolation) -> Vec<u8> {
        if to == row.len() {
            return row.to_vec();
        }
        let weights = Weights::new(Axis {
            from: row.len(),
            to: whole(to),
            interpolation,
        });
        weights
            .positions()
            .map(|(first, fixed)| {
                let sum: i64 = fixed
                    .iter()
                    .enumerate()
                    .map(|(i, &w)| i64::from(w) * i64::from(row[first + i]))
                    .sum();
                ((sum + i64::from(HALF)) >> FRACTION_BITS).clamp(0, 255) as u8
            })
            .collect()
    }

    fn slow(pixels: &Pixels, width: usize, height: usize, interpolation: Interpolation) -> Vec<u8> {
        let c = pixels.channels;
        let rows_first = 2 * (pixels.width as i64 - width as i64)
            < (pixels.height as i64 - height as i64).max(0)
            && pixels.height > height;
        let mut out = vec![0; width * height * c];
        for channel in 0..c {
            let plane: Vec<u8> = pixels
                .data
                .iter()
                .skip(channel)
                .step_by(c)
                .copied()
                .collect();
            let mut rows: Vec<Vec<u8>> = plane.chunks(pixels.width).map(<[u8]>::to_vec).collect();
            let across = |rows: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
                rows.iter()
                    .map(|row| pass(row, width, interpolation))
                    .collect()
            };
            let down = |rows: Vec<Vec<u8>>| {
                transpose(
                    &transpose(&rows)
                        .iter()
                        .map(|column| pass(column, height, interpolation))
                        .collect::<Vec<_>>(),
                )
            };
            rows = if rows_first {
                across(down(rows))
            } else {
                down(across(rows))
            };
            for (pixel, byte) in rows.concat().into_iter().enumerate() {
                out[pixel * c + channel] = byte;
            }
        }
        out
    }

    fn transpose(rows: &[Vec<u8>]) -> Vec<Vec<u8>> {
        (0..rows[0].len())
            .map(|x| rows.iter().map(|row| row[x]).collect())
            .collect()
    }

    #[test]
    fn every_window_equals_cropping_the_whole() {
        let limits = Limits::default();
        let mut resizer = Resizer::new();
        for (from, to) in [
            ((37, 23), (64, 40)),
            ((64, 48), (21, 16)),
            ((40, 90), (33, 20)),
            ((40, 90), (80, 20)),
            ((50, 30), (50, 11)),
            ((50, 30), (17, 30)),
            ((50, 30), (50, 30)),
            ((1, 1), (9, 5)),
            ((1, 200), (3, 7)),
            ((300, 2), (13, 70)),
        ] {
            for channels in [1, 3] {
                for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
                    let pixels = noise(from.0, from.1, channels);
                    let full = slow(&pixels, to.0, to.1, interpolation);
                    let part = |size: usize| Window {
                        size,
                        start: size / 3,
                        len: (size / 2).max(1),
                    };
                    for (columns, rows) in [(whole(to.0), whole(to.1)), (part(to.0), part(to.1))] {
                        let got = resizer
                            .resize(&pixels, interpolation, columns, rows, &limits)
                            .unwrap();
                        let left = columns.start * channels;
                        let want: Vec<u8> = full
                            .chunks(to.0 * channels)
                            .skip(rows.start)
                            .take(rows.len)
                            .flat_map(|row| &row[left..left + columns.len * channels])
                            .copied()
                            .collect();
                        assert!(got == want, "{from:?} -> {to:?}, {columns:?}, {rows:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_constant_image_stays_constant() {
        let mut resizer = Resizer::new();
        for value in [0, 1, 127, 254, 255] {
            let mut pixels = noise(97, 61, 3);
            pixels.data.fill(value);
            let out = resizer
                .resize(
                    &pixels,
                    Interpolation::Bicubic,
                    whole(33),
                    whole(80),
                    &Limits::default(),
                )
                .unwrap();
            assert!(out.iter().all(|&byte| byte == value));
        }
    }

    #[test]
    fn extreme_shapes_are_refused_before_allocating() {
        let pixels = noise(1, 5000, 1);
        let limits = Limits { max_pixels: 5000 };
        let refused = Resizer::new()
            .resize(
                &pixels,
                Interpolation::Bicubic,
                whole(100),
                whole(10),
                &limits,
            )
            .unwrap_err();
        assert!(
            matches!(refused, ImageError::ResizeTooLarge { .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_window_beyond_its_axis_is_an_error() {
        let pixels = noise(8, 8, 1);
        for (start, len) in [(0, 0), (3, 3), (usize::MAX, 2)] {
            let window = Window {
                size: 5,
                start,
                len,
            };
            let error = Resizer::new()
                .resize(
                    &pixels,
                    Interpolation::Bilinear,
                    whole(5),
                    window,
                    &Limits::default(),
                )
                .unwrap_err();
            assert!(matches!(
                error,
                ImageError::Spec {
                    field: "height",
                    ..
                }
            ));
        }
    }
}
