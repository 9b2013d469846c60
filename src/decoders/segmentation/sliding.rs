//! Classes of an image that is larger than the network's input.

use std::collections::VecDeque;

use rayon::prelude::*;

use super::SegmentationError;
use crate::engine::{EngineError, HostTensor, linear_taps};

/// Windows of one size that overlap, and whose logits are averaged: mmsegmentation's `slide`
/// (`mmseg/models/segmentors/encoder_decoder.py`, `slide_inference`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    crop: [usize; 2],
    stride: [usize; 2],
}

/// A part of an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Sliding {
    /// Windows of `crop` rows and columns at distances of `stride`, all in pixels. A crop as large as
    /// the image is one window, the whole of it.
    ///
    /// # Errors
    /// Windows without pixels, or with pixels between them that none sees.
    pub fn new(crop: [usize; 2], stride: [usize; 2]) -> Result<Self, SegmentationError> {
        let fits = |(&crop, &stride): (&usize, &usize)| stride > 0 && stride <= crop;
        match crop.iter().zip(&stride).all(fits) {
            true => Ok(Self { crop, stride }),
            false => Err(SegmentationError::Setting {
                name: "the distance of windows",
                value: format!("{} x {}", stride[0], stride[1]),
                range: "at least 1 and at most their size",
            }),
        }
    }

    /// The windows over an image of so many rows and columns, line by line. The last of a line or
    /// column ends with the image, and none is larger than it.
    pub fn windows(&self, size: [usize; 2]) -> Vec<Window> {
        let [tops, lefts] = [0, 1].map(|axis| self.starts(axis, size[axis]));
        let [height, width] = [0, 1].map(|axis| self.crop[axis].min(size[axis]));
        let line = |&top: &usize| {
            let window = move |&left: &usize| Window {
                top,
                left,
                height,
                width,
            };
            lefts.iter().map(window).collect::<Vec<_>>()
        };
        tops.iter().flat_map(line).collect()
    }

    fn starts(&self, axis: usize, length: usize) -> Vec<usize> {
        let (crop, stride) = (self.crop[axis], self.stride[axis]);
        let last = length.saturating_sub(crop);
        let count = last.div_ceil(stride) + 1;
        (0..count).map(|i| (i * stride).min(last)).collect()
    }

    /// How many windows see each row or column.
    fn counts(&self, axis: usize, length: usize) -> Vec<f32> {
        let mut counts = vec![0.0; length];
        for start in self.starts(axis, length) {
            let end = length.min(start + self.crop[axis]);
            counts[start..end]
                .iter_mut()
                .for_each(|count| *count += 1.0);
        }
        counts
    }

    /// The class of every pixel of `original` rows and columns, row-major: the largest logit of
    /// [`Sliding::lines`], of equal ones the first.
    ///
    /// # Errors
    /// Logits of another shape, a logit that is no number, or what `logits` fails with.
    pub fn classes<F: From<EngineError>>(
        &self,
        (size, original): ([usize; 2], [usize; 2]),
        at_once: usize,
        logits: &mut dyn FnMut(&[Window]) -> Result<HostTensor, F>,
    ) -> Result<Vec<u32>, F> {
        let mut classes = vec![0; original[0] * original[1]];
        let sizes = (size, original);
        self.lines(sizes, at_once, logits, (&mut classes, &largest))?;
        Ok(classes)
    }

    /// What `line` makes of the logits of every line of an image of `original` rows and columns,
    /// `[W, K]`, in the equal parts of `out`: logits of windows over the image of `size` that the
    /// network sees, each resized to its window, averaged, and resized to the original.
    ///
    /// `logits` is asked for at most `at_once` windows, in order, and gives `[B, h, w, K]` of any
    /// height and width. No more lines are held than a window has, and those that the last resize
    /// still reads. Lines are made by the threads of the current pool, each by one.
    ///
    /// # Errors
    /// Logits of another shape, or what `logits` or `line` fails with.
    pub fn lines<T: Send, F: From<EngineError>>(
        &self,
        (size, original): ([usize; 2], [usize; 2]),
        at_once: usize,
        logits: &mut dyn FnMut(&[Window]) -> Result<HostTensor, F>,
        (out, line): (&mut [T], &LineOf<'_, T>),
    ) -> Result<(), F> {
        let windows = self.windows(size);
        let at_once = at_once.max(1);
        let [rows, columns] = [0, 1].map(|axis| linear_taps(size[axis], original[axis]));
        let (rows, columns): (Vec<_>, Vec<_>) = (rows.collect(), columns.collect());
        let mut band = Band {
            counts: [0, 1].map(|axis| self.counts(axis, size[axis])),
            first: 0,
            averaged: 0,
            lines: VecDeque::new(),
        };
        let each = out.len() / original[0].max(1);
        let mut parts = out.chunks_exact_mut(each.max(1)).zip(&rows).peekable();
        for (chunk, windows_here) in windows.chunks(at_once).enumerate() {
            let found = Logits::check(logits(windows_here)?, windows_here.len())?;
            band.add(windows_here, &found);
            let next = windows.get((chunk + 1) * at_once);
            band.average(next.map_or(size[0], |window| window.top), found.classes);
            let mut here = Vec::new();
            while let Some(part) = parts.next_if(|(_, taps)| taps[1].0 < band.averaged) {
                here.push(part);
            }
            here.into_par_iter()
                .map_init(
                    || [Vec::new(), Vec::new()],
                    |[blended, resized], (part, taps)| {
                        band.resize(*taps, &columns, found.classes, [blended, resized]);
                        line(resized, found.classes, part)
                    },
                )
                .collect::<Result<(), _>>()?;
            band.forget(parts.peek().map_or(size[0], |(_, taps)| taps[0].0));
        }
        Ok(())
    }
}

/// What a line's logits `[W, K]` of so many classes are made into.
pub type LineOf<'a, T> = dyn Fn(&[f32], usize, &mut [T]) -> Result<(), EngineError> + Sync + 'a;

/// The class of the largest of each pixel's logits.
fn largest(logits: &[f32], classes: usize, out: &mut [u32]) -> Result<(), EngineError> {
    for (found, logits) in out.iter_mut().zip(logits.chunks_exact(classes)) {
        let mut largest = f32::NEG_INFINITY;
        for (class, &logit) in logits.iter().enumerate() {
            if logit.is_nan() {
                return Err(refused(format!("the logit of class {class} is no number")));
            }
            if logit > largest {
                (largest, *found) = (logit, class as u32);
            }
        }
    }
    Ok(())
}

/// What a network says of some windows.
struct Logits {
    data: Vec<f32>,
    /// Of one window.
    height: usize,
    width: usize,
    classes: usize,
}

impl Logits {
    fn check(tensor: HostTensor, windows: usize) -> Result<Self, EngineError> {
        match tensor.shape[..] {
            [batch, height, width, classes] if batch == windows && height * width * classes > 0 => {
                Ok(Self {
                    data: tensor.data,
                    height,
                    width,
                    classes,
                })
            }
            ref shape => Err(refused(format!(
                "logits of shape {shape:?} for {windows} windows"
            ))),
        }
    }

    /// A row of a window's: `[w, K]`.
    fn row(&self, window: usize, row: usize) -> &[f32] {
        let length = self.width * self.classes;
        &self.data[(window * self.height + row) * length..][..length]
    }
}

/// Lines of an image's logits that windows still touch or the last resize still reads.
struct Band {
    /// Windows that see each row, and each column.
    counts: [Vec<f32>; 2],
    /// Place of the first line held.
    first: usize,
    /// Lines before this one are averages, the others sums.
    averaged: usize,
    /// Each `[W, K]`.
    lines: VecDeque<Vec<f32>>,
}

impl Band {
    /// Adds windows in their order; each is resized to its size.
    fn add(&mut self, windows: &[Window], logits: &Logits) {
        let classes = logits.classes;
        let taps = |from, to| linear_taps(from, to).collect::<Vec<_>>();
        let resizes: Vec<_> = (windows.iter())
            .map(|window| {
                let rows = taps(logits.height, window.height);
                (rows, taps(logits.width, window.width))
            })
            .collect();
        let bottom = windows.iter().map(|window| window.top + window.height);
        let length = self.counts[1].len() * classes;
        let held = bottom.max().unwrap_or(0).saturating_sub(self.first);
        while self.lines.len() < held {
            self.lines.push_back(vec![0.0; length]);
        }
        let first = self.first;
        let lines = self.lines.make_contiguous().par_iter_mut().enumerate();
        lines.for_each_init(Vec::new, |blended, (place, line)| {
            for (i, (window, (rows, columns))) in windows.iter().zip(&resizes).enumerate() {
                let Some(row) = (first + place).checked_sub(window.top) else {
                    continue;
                };
                let Some(&[(above, a), (below, b)]) = rows.get(row) else {
                    continue;
                };
                blend(
                    blended,
                    (logits.row(i, above), a),
                    (logits.row(i, below), b),
                );
                let pixels = line[window.left * classes..].chunks_exact_mut(classes);
                for (sums, &[(left, c), (right, d)]) in pixels.zip(columns) {
                    let left = &blended[left * classes..][..classes];
                    let right = &blended[right * classes..][..classes];
                    for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
                        *sum += c * left + d * right;
                    }
                }
            }
        });
    }

    /// Divides the sums of all lines before `end`, which no window touches any more.
    fn average(&mut self, end: usize, classes: usize) {
        let [rows, columns] = &self.counts;
        let (first, done) = (self.first, self.averaged);
        let lines = self.lines.make_contiguous().par_iter_mut().enumerate();
        lines.for_each(|(place, line)| {
            let place = first + place;
            if (done..end).contains(&place) {
                for (sums, count) in line.chunks_exact_mut(classes).zip(columns) {
                    let count = rows[place] * count;
                    sums.iter_mut().for_each(|sum| *sum /= count);
                }
            }
        });
        self.averaged = end;
    }

    /// One line of the original image, `[W, K]`, behind the blend of two lines that it is of.
    fn resize(
        &self,
        [(above, a), (below, b)]: [(usize, f32); 2],
        columns: &[[(usize, f32); 2]],
        classes: usize,
        [blended, resized]: [&mut Vec<f32>; 2],
    ) {
        let line = |place: usize| &self.lines[place - self.first];
        blend(blended, (line(above), a), (line(below), b));
        resized.clear();
        for &[(left, c), (right, d)] in columns {
            let left = &blended[left * classes..][..classes];
            let right = &blended[right * classes..][..classes];
            resized.extend(
                left.iter()
                    .zip(right)
                    .map(|(left, right)| c * left + d * right),
            );
        }
    }

    /// Lets go of lines before `first`.
    fn forget(&mut self, first: usize) {
        let gone = first.min(self.averaged).saturating_sub(self.first);
        self.lines.drain(..gone.min(self.lines.len()));
        self.first += gone;
    }
}

/// `a x + b y` of lines of one length.
fn blend(out: &mut Vec<f32>, (x, a): (&[f32], f32), (y, b): (&[f32], f32)) {
    out.clear();
    out.extend(x.iter().zip(y).map(|(x, y)| a * x + b * y));
}

fn refused(message: String) -> EngineError {
    EngineError {
        op: "sliding windows",
        message,
    }
}
