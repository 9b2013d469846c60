//! OpenCV's nearest neighbour: which source pixel every pixel is.

use crate::data::Window;

/// Where in an axis of `from` pixels those of a part of the resized axis come from (OpenCV
/// `modules/imgproc/src/resize.cpp`, `resizeNN`).
pub(super) fn sources(from: usize, window: Window) -> impl Iterator<Item = usize> + Clone {
    let step = 1.0 / (window.size as f64 / from as f64);
    let range = window.start..window.start + window.len;
    range.map(move |place| ((place as f64 * step) as usize).min(from - 1))
}

/// [`sources`] with how often each is taken, which are never apart.
pub(super) fn repeats(from: usize, window: Window) -> Vec<(usize, u64)> {
    let mut repeats: Vec<(usize, u64)> = Vec::new();
    for source in sources(from, window) {
        match repeats.last_mut() {
            Some((last, times)) if *last == source => *times += 1,
            _ => repeats.push((source, 1)),
        }
    }
    repeats
}
