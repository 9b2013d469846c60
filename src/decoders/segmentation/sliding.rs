//! Classes of an image that is larger than the network's input.

use rayon::prelude::*;

use super::SegmentationError;
use super::view_logits::{LineLogits, Lines, Place, ViewLogits};
use crate::engine::{EngineError, HostTensor};

/// Windows of one size that overlap, and whose logits are averaged: mmsegmentation's `slide`
/// (`mmseg/models/segmentors/encoder_decoder.py`, `slide_inference`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sliding {
    crop: [usize; 2],
    stride: [usize; 2],
}

/// An image as the network sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Rows and columns, pixels.
    pub size: [usize; 2],
    /// Whether its columns run from right to left.
    pub mirrored: bool,
}

/// A part of a view, pixels.
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
        let view = View {
            size,
            mirrored: false,
        };
        let places = self.places(&view, Lines::Rows).into_iter();
        places.map(|place| place.window).collect()
    }

    /// The windows over a view, in the order in which lines need them.
    fn places(&self, view: &View, lines: Lines) -> Vec<Place> {
        let [height, width] = self.seen(view);
        let starts = [0, 1].map(|axis| self.starts(axis, view.size[axis]));
        let columns = view.size[1] - width;
        let place = |[top, left]: [usize; 2]| Place {
            window: Window {
                top,
                left: if view.mirrored { columns - left } else { left },
                height,
                width,
            },
            start: lines.across([top, left]),
        };
        // Where the image is mirrored, so are the places of its windows.
        let lefts: Vec<_> = match view.mirrored {
            true => starts[1].iter().rev().map(|left| columns - left).collect(),
            false => starts[1].clone(),
        };
        let [outer, inner] = lines.across([starts[0].clone(), lefts]);
        let line = |&first: &usize| {
            let places = inner.iter();
            let places = places.map(move |&second| place(lines.across([first, second])));
            places.collect::<Vec<_>>()
        };
        outer.iter().flat_map(line).collect()
    }

    /// Rows and columns of a view's windows.
    fn seen(&self, view: &View) -> [usize; 2] {
        [0, 1].map(|axis| self.crop[axis].min(view.size[axis]))
    }

    fn starts(&self, axis: usize, length: usize) -> Vec<usize> {
        let (crop, stride) = (self.crop[axis], self.stride[axis]);
        let last = length.saturating_sub(crop);
        let count = last.div_ceil(stride) + 1;
        (0..count).map(|i| (i * stride).min(last)).collect()
    }

    /// The class of every pixel of `original` rows and columns, row-major: of one view the largest
    /// logit of [`Sliding::lines`], of several the largest sum of probabilities (mmsegmentation 0.x,
    /// `aug_test`), of equal ones the first.
    ///
    /// # Errors
    /// Logits of another shape, a logit that is no number, or what `logits` fails with.
    pub fn classes<F: From<EngineError>>(
        &self,
        (views, original): (&[View], [usize; 2]),
        at_once: usize,
        logits: &mut LogitsOf<'_, F>,
    ) -> Result<Vec<u32>, F> {
        self.lines((views, original), at_once, logits, (1, &largest))
    }

    /// What `line` makes of the logits of every line of an image of `original` rows and columns, so
    /// many numbers for each pixel, row-major: in every view logits of windows, each resized to its
    /// window, averaged, and resized to the original.
    ///
    /// `logits` is asked for at most `at_once` windows of the view at a place, and gives
    /// `[B, h, w, K]` of any height and width. Lines run along the shorter side, and only windows
    /// that lines to come still read are held, at their own height and width: memory does not grow
    /// with an image's longer side. Lines are made by the threads of the current pool, each by one.
    ///
    /// # Errors
    /// Logits of another shape, or what `logits` or `line` fails with.
    pub fn lines<T: Copy + Default + Send, F: From<EngineError>>(
        &self,
        (views, original): (&[View], [usize; 2]),
        at_once: usize,
        logits: &mut LogitsOf<'_, F>,
        (each, line): (usize, &LineOf<'_, T>),
    ) -> Result<Vec<T>, F> {
        let lines = match original[1] > original[0] {
            true => Lines::Columns,
            false => Lines::Rows,
        };
        let [count, length] = lines.across(original);
        let view_logits = |view: &View| {
            let places = self.places(view, lines);
            ViewLogits::new((lines, view.mirrored), places, (view.size, original))
        };
        let mut seen: Vec<_> = views.iter().map(view_logits).collect();
        let mut out = vec![T::default(); count * length * each];
        let mut parts = out.chunks_exact_mut((length * each).max(1));
        let mut done = 0;
        while let Some((_, view)) = furthest_behind(&seen).filter(|&(lines, _)| lines < count) {
            let windows = seen[view].next(at_once.max(1));
            seen[view].add(logits(view, &windows)?, &windows)?;
            let complete = furthest_behind(&seen).map_or(count, |(lines, _)| lines);
            let mut here: Vec<_> = (done..complete).zip(&mut parts).collect();
            here.par_chunks_mut(LINES)
                .map(|parts| {
                    let mut found: Vec<_> = seen.iter().map(|_| LineLogits::default()).collect();
                    for (place, part) in parts {
                        for (found, seen) in found.iter_mut().zip(&seen) {
                            found.update(seen, *place);
                        }
                        line(&found, part)?;
                    }
                    Ok(())
                })
                .collect::<Result<(), EngineError>>()?;
            done = complete;
            seen.iter_mut().for_each(|seen| seen.forget(done));
        }
        Ok(lines.row_major(out, original, each))
    }
}

/// The view of which the fewest lines are complete, behind their number.
fn furthest_behind(views: &[ViewLogits]) -> Option<(usize, usize)> {
    let complete = views.iter().map(ViewLogits::complete).enumerate();
    complete.map(|(view, lines)| (lines, view)).min()
}

/// Lines of the original image that one thread makes one after the other: neighbours read the same
/// averages.
const LINES: usize = 32;

/// What a network says of windows of the view at a place: `[B, h, w, K]`.
pub type LogitsOf<'a, F> = dyn FnMut(usize, &[Window]) -> Result<HostTensor, F> + 'a;

/// What a line's logits in every view are made into.
pub type LineOf<'a, T> = dyn Fn(&[LineLogits], &mut [T]) -> Result<(), EngineError> + Sync + 'a;

/// The class of each pixel of a line.
fn largest(views: &[LineLogits], out: &mut [u32]) -> Result<(), EngineError> {
    if let [view] = views {
        for (found, logits) in out.iter_mut().zip(view.pixels()) {
            if let Some(class) = logits.iter().position(|logit| logit.is_nan()) {
                return Err(refused(format!("the logit of class {class} is no number")));
            }
            *found = place_of_largest(logits);
        }
        return Ok(());
    }
    let mut pixels: Vec<_> = views.iter().map(LineLogits::pixels).collect();
    let mut sums = Vec::new();
    for found in out {
        sums.clear();
        for logits in pixels.iter_mut().flat_map(Iterator::next) {
            add_probabilities(logits, &mut sums)?;
        }
        *found = place_of_largest(&sums);
    }
    Ok(())
}

/// Adds a pixel's probabilities to sums, both `[K]`; of no sums yet they are the first.
fn add_probabilities(logits: &[f32], sums: &mut Vec<f32>) -> Result<(), EngineError> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    if !total.is_finite() {
        return Err(refused("the logits of a pixel are no numbers".to_owned()));
    }
    sums.resize(logits.len(), 0.0);
    for (sum, logit) in sums.iter_mut().zip(logits) {
        *sum += (logit - largest).exp() / total;
    }
    Ok(())
}

/// Of equal ones the first.
fn place_of_largest(values: &[f32]) -> u32 {
    let mut largest = 0;
    for (place, value) in values.iter().enumerate() {
        if *value > values[largest] {
            largest = place;
        }
    }
    largest as u32
}

fn refused(message: String) -> EngineError {
    EngineError {
        op: "sliding windows",
        message,
    }
}
