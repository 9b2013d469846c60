//! OpenCV's `INTER_LINEAR` on bytes, bit for bit, of any part of the resized image.
//!
//! OpenCV weighs with 11 bits along rows, keeps 4 bits less, and weighs with 11 bits along columns
//! (`modules/imgproc/src/resize.cpp`, `HResizeLinear`, `VResizeLinear`); its vector code gives the
//! same bits. Where both sides are exactly halved it takes the mean of four pixels instead.

use crate::data::{Pixels, Window};

/// One output place of an axis: two source places and their weights in 2048ths.
#[derive(Clone, Copy, Debug)]
struct Tap {
    sources: [usize; 2],
    weights: [i16; 2],
}

/// The taps of a part of an axis that was `from` pixels; `inner` is OpenCV's way along rows, where
/// the ends weigh nothing but the last pixel.
fn taps(from: usize, window: Window, inner: bool) -> impl Iterator<Item = Tap> {
    let step = 1.0 / (window.size as f64 / from as f64);
    let last = from as isize - 1;
    let range = window.start..window.start + window.len;
    range.map(move |place| {
        let at = ((place as f64 + 0.5) * step - 0.5) as f32;
        let (mut first, mut share) = (at.floor() as isize, at - at.floor());
        if inner && first < 0 {
            (first, share) = (0, 0.0);
        }
        if inner && first >= last {
            (first, share) = (last, 0.0);
        }
        Tap {
            sources: [first, first + 1].map(|source| source.clamp(0, last) as usize),
            weights: [1.0 - share, share].map(|w| (w * 2048.0).round_ties_even() as i16),
        }
    })
}

/// Resizes images; keeps its buffers between calls.
#[derive(Debug, Default)]
pub struct BilinearResizer {
    columns: Vec<Tap>,
    /// Two source rows after the horizontal pass, and which they are.
    lines: [Vec<i16>; 2],
    held: [Option<usize>; 2],
}

impl BilinearResizer {
    /// Resizes to `columns.size` x `rows.size` pixels and writes the windows' part to `out`:
    /// `[rows.len, columns.len, channels]`.
    pub fn resize(&mut self, pixels: &Pixels, columns: Window, rows: Window, out: &mut Vec<u8>) {
        match pixels.channels {
            1 => self.resize_channels::<1>(pixels, columns, rows, out),
            _ => self.resize_channels::<3>(pixels, columns, rows, out),
        }
    }

    fn resize_channels<const C: usize>(
        &mut self,
        pixels: &Pixels,
        columns: Window,
        rows: Window,
        out: &mut Vec<u8>,
    ) {
        let source = pixels.data.as_chunks::<C>().0;
        let row = |index: usize| &source[index * pixels.width..][..pixels.width];
        out.clear();
        if pixels.width == 2 * columns.size && pixels.height == 2 * rows.size {
            for y in rows.start..rows.start + rows.len {
                let above = row(2 * y).as_chunks::<2>().0.iter();
                let pairs = above.zip(row(2 * y + 1).as_chunks::<2>().0);
                for ([a, b], [c, d]) in pairs.skip(columns.start).take(columns.len) {
                    out.extend((0..C).map(|channel| {
                        let four = [a, b, c, d].map(|pixel| u16::from(pixel[channel]));
                        ((four.iter().sum::<u16>() + 2) >> 2) as u8
                    }));
                }
            }
            return;
        }
        self.columns.clear();
        self.columns.extend(taps(pixels.width, columns, true));
        self.held = [None; 2];
        for tap in taps(pixels.height, rows, false) {
            if self.held[0] != Some(tap.sources[0]) {
                self.held.swap(0, 1);
                self.lines.swap(0, 1);
            }
            for (line, (held, source)) in self
                .lines
                .iter_mut()
                .zip(self.held.iter_mut().zip(tap.sources))
            {
                if *held != Some(source) {
                    *held = Some(source);
                    across(row(source), &self.columns, line);
                }
            }
            let [above, below] = &self.lines;
            let [one, other] = tap.weights;
            out.extend(above.iter().zip(below).map(|(&above, &below)| {
                let high = |weight: i16, value: i16| (i32::from(weight) * i32::from(value)) >> 16;
                ((high(one, above) + high(other, below) + 2) >> 2) as u8
            }));
        }
    }
}

/// The horizontal pass over one row, without the 4 bits that the vertical one drops.
fn across<const C: usize>(row: &[[u8; C]], taps: &[Tap], line: &mut Vec<i16>) {
    line.clear();
    for tap in taps {
        let [first, second] = tap.sources.map(|source| row[source]);
        let [one, other] = tap.weights.map(i32::from);
        line.extend((0..C).map(|channel| {
            let sum = i32::from(first[channel]) * one + i32::from(second[channel]) * other;
            (sum >> 4) as i16
        }));
    }
}
