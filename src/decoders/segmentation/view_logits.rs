//! What a network says of the windows over an image, as long as lines still read it.

use std::collections::VecDeque;

use super::Window;
use crate::engine::{EngineError, HostTensor, linear_taps};

/// What the lines of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    Rows,
    Columns,
}

impl Lines {
    /// What is of rows and columns, of lines and of places in a line; and back.
    pub(super) fn across<T>(self, [rows, columns]: [T; 2]) -> [T; 2] {
        match self {
            Self::Rows => [rows, columns],
            Self::Columns => [columns, rows],
        }
    }

    /// Line after line made row after row, each pixel of so many numbers.
    pub(super) fn row_major<T: Copy>(
        self,
        data: Vec<T>,
        [rows, columns]: [usize; 2],
        each: usize,
    ) -> Vec<T> {
        if self == Self::Rows {
            return data;
        }
        let mut out = Vec::with_capacity(data.len());
        for row in 0..rows {
            for column in 0..columns {
                out.extend_from_slice(&data[(column * rows + row) * each..][..each]);
            }
        }
        out
    }
}

/// A window of a view, and its first line and place in a line of the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) window: Window,
    pub(super) start: [usize; 2],
}

/// How much of which two each of some values is made of.
type Taps = Vec<[(usize, f32); 2]>;

/// The logits of a view: of the windows that were looked at and that lines still read.
pub(super) struct ViewLogits {
    lines: Lines,
    mirrored: bool,
    /// In the order of their first lines.
    places: Vec<Place>,
    asked: usize,
    /// Windows over each line, and over each place in one.
    counts: [Vec<f32>; 2],
    /// The image's lines and places, of the view's.
    taps: [Taps; 2],
    chunks: VecDeque<Chunk>,
}

/// Windows that went through the network together.
struct Chunk {
    starts: Vec<[usize; 2]>,
    /// `[B, lines, places, K]`.
    data: Vec<f32>,
    places: usize,
    classes: usize,
    /// Each window's lines and places, of its logits'.
    taps: [Taps; 2],
}

impl ViewLogits {
    /// Of a view of `size`, for an image of `original` rows and columns.
    pub(super) fn new(
        (lines, mirrored): (Lines, bool),
        places: Vec<Place>,
        (size, original): ([usize; 2], [usize; 2]),
    ) -> Self {
        let (size, original) = (lines.across(size), lines.across(original));
        let counts = [0, 1].map(|axis| {
            let mut counts = vec![0.0; size[axis]];
            let mut windows: Vec<_> = (places.iter())
                .map(|place| (place.start[axis], extent(lines, &place.window)[axis]))
                .collect();
            windows.sort_unstable();
            windows.dedup();
            for (start, length) in windows {
                let counts = counts[start..start + length].iter_mut();
                counts.for_each(|count| *count += 1.0);
            }
            counts
        });
        Self {
            lines,
            mirrored,
            places,
            asked: 0,
            counts,
            taps: [0, 1].map(|axis| linear_taps(size[axis], original[axis]).collect()),
            chunks: VecDeque::new(),
        }
    }

    /// Lines of the image that no window to come touches, counted from the first.
    pub(super) fn complete(&self) -> usize {
        let [lines, _] = &self.taps;
        match self.places.get(self.asked) {
            Some(next) => lines.partition_point(|taps| taps[1].0 < next.start[0]),
            None => lines.len(),
        }
    }

    /// The next windows, at most so many.
    pub(super) fn next(&self, at_most: usize) -> Vec<Window> {
        let places = self.places[self.asked..].iter().take(at_most);
        places.map(|place| place.window).collect()
    }

    /// Takes what the network says of the next windows: `[B, h, w, K]`.
    pub(super) fn add(
        &mut self,
        logits: HostTensor,
        windows: &[Window],
    ) -> Result<(), EngineError> {
        let first = windows.first();
        let (&[batch, height, width, classes], Some(first)) = (&logits.shape[..], first) else {
            return Err(refused(&logits.shape, windows.len()));
        };
        let before = self.chunks.back().map_or(classes, |chunk| chunk.classes);
        if batch != windows.len() || height * width * classes == 0 || classes != before {
            return Err(refused(&logits.shape, windows.len()));
        }
        let to = extent(self.lines, first);
        let [lines, places] = self.lines.across([height, width]);
        let data = match (self.lines, self.mirrored) {
            (Lines::Rows, false) => logits.data,
            _ => {
                let mut data = Vec::with_capacity(logits.data.len());
                for map in logits.data.chunks_exact(height * width * classes) {
                    for at in (0..lines).flat_map(|i| (0..places).map(move |j| [i, j])) {
                        let [row, column] = self.lines.across(at);
                        let column = if self.mirrored {
                            width - 1 - column
                        } else {
                            column
                        };
                        let pixel = (row * width + column) * classes;
                        data.extend_from_slice(&map[pixel..][..classes]);
                    }
                }
                data
            }
        };
        let starts = self.places[self.asked..][..batch].iter();
        self.chunks.push_back(Chunk {
            starts: starts.map(|place| place.start).collect(),
            data,
            places,
            classes,
            taps: [
                linear_taps(lines, to[0]).collect(),
                linear_taps(places, to[1]).collect(),
            ],
        });
        self.asked += batch;
        Ok(())
    }

    /// Lets go of the windows that no line of the image from `line` on reads.
    pub(super) fn forget(&mut self, line: usize) {
        let [lines, _] = &self.taps;
        let first = lines
            .get(line)
            .map_or(self.counts[0].len(), |taps| taps[0].0);
        let over = |chunk: &Chunk| {
            let length = chunk.taps[0].len();
            chunk.starts.iter().all(|start| start[0] + length <= first)
        };
        while self.chunks.front().is_some_and(over) {
            self.chunks.pop_front();
        }
    }
}

impl Chunk {
    /// Adds what the windows say of a view's line to its logits `[W, K]`.
    fn add(&self, line: usize, sums: &mut [f32], blended: &mut Vec<f32>) {
        let [lines, places] = &self.taps;
        let classes = self.classes;
        let length = self.places * classes;
        let maps = self.data.chunks_exact(self.data.len() / self.starts.len());
        for (start, map) in self.starts.iter().zip(maps) {
            let taps = line.checked_sub(start[0]).and_then(|line| lines.get(line));
            let Some(taps) = taps else {
                continue;
            };
            blend(
                blended,
                taps.map(|(line, weight)| (&map[line * length..][..length], weight)),
            );
            let pixels = sums[start[1] * classes..].chunks_exact_mut(classes);
            for (sums, [left, right]) in pixels.zip(places) {
                let (left, c) = (&blended[left.0 * classes..][..classes], left.1);
                let (right, d) = (&blended[right.0 * classes..][..classes], right.1);
                for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
                    *sum += c * left + d * right;
                }
            }
        }
    }
}

/// The logits of one line of an image, of one view of it.
#[derive(Debug, Default)]
pub struct LineLogits {
    classes: usize,
    /// Two lines of the view and the means of the windows there, `[w, K]`.
    means: [(Option<usize>, Vec<f32>); 2],
    blended: Vec<f32>,
    /// `[W, K]`.
    logits: Vec<f32>,
}

impl LineLogits {
    /// The logits of each pixel, `[K]`.
    pub fn pixels(&self) -> impl Iterator<Item = &[f32]> {
        self.logits.chunks_exact(self.classes)
    }

    /// Makes it that of a line of the image. What it read of the view for the line before is read
    /// again.
    pub(super) fn update(&mut self, view: &ViewLogits, line: usize) {
        self.classes = view.chunks.front().map_or(1, |chunk| chunk.classes);
        let classes = self.classes;
        let [lines, places] = &view.taps;
        let taps = lines[line];
        if self.means[1].0 == Some(taps[0].0) {
            self.means.swap(0, 1);
        }
        for ((at, mean), (line, _)) in self.means.iter_mut().zip(taps) {
            if *at == Some(line) {
                continue;
            }
            let [tall, wide] = &view.counts;
            *at = Some(line);
            mean.clear();
            mean.resize(wide.len() * classes, 0.0);
            for chunk in &view.chunks {
                chunk.add(line, mean, &mut self.blended);
            }
            for (sums, count) in mean.chunks_exact_mut(classes).zip(wide) {
                let count = tall[line] * count;
                sums.iter_mut().for_each(|sum| *sum /= count);
            }
        }
        let [(_, above), (_, below)] = &self.means;
        let [(_, a), (_, b)] = taps;
        blend(&mut self.blended, [(above, a), (below, b)]);
        self.logits.clear();
        for [left, right] in places {
            let (left, c) = (&self.blended[left.0 * classes..][..classes], left.1);
            let (right, d) = (&self.blended[right.0 * classes..][..classes], right.1);
            let pixel = left.iter().zip(right);
            self.logits
                .extend(pixel.map(|(left, right)| c * left + d * right));
        }
    }
}

/// Lines and places in one of a window.
fn extent(lines: Lines, window: &Window) -> [usize; 2] {
    lines.across([window.height, window.width])
}

/// `a x + b y` of lines of one length.
fn blend(out: &mut Vec<f32>, [(x, a), (y, b)]: [(&[f32], f32); 2]) {
    out.clear();
    out.extend(x.iter().zip(y).map(|(x, y)| a * x + b * y));
}

fn refused(shape: &[usize], windows: usize) -> EngineError {
    EngineError {
        op: "sliding windows",
        message: format!("logits of shape {shape:?} for {windows} windows"),
    }
}
