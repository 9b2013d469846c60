//! Axes of PyTorch's `interpolate` with `align_corners=False`: both grids are uniform and share
//! their outer edges.

use super::Axis;

/// Keys' cubic convolution at distance `x` >= 0, with the slope `a` at distance 1.
fn keys(x: f64, a: f64) -> f64 {
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    } else {
        0.0
    }
}

/// Source steps per target step.
fn step(from: usize, to: usize) -> f32 {
    from as f32 / to as f32
}

/// Source coordinate of a target position, rounded once as PyTorch's builds round it.
fn coordinate(position: usize, step: f32) -> f32 {
    step.mul_add(position as f32 + 0.5, -0.5)
}

/// Cubic convolution over the four nearest positions, whatever the reduction (a = -0.75, pytorch
/// `aten/src/ATen/native/UpSample.h`, `get_cubic_upsample_coefficients`).
pub(super) fn cubic(from: usize, to: usize) -> Axis {
    cubic_by(from, to, step(from, to))
}

/// The same with the source step of a scale of (`to` + 0.1) / `from`: the tenth was meant to keep
/// `floor(from * scale)` from falling short of `to`, and PyTorch then computes coordinates from the
/// scale rather than the sizes (facebookresearch/dino `vision_transformer.py`,
/// `interpolate_pos_encoding`).
pub(super) fn cubic_offset(from: usize, to: usize) -> Axis {
    let scale = (to as f64 + 0.1) / from as f64;
    cubic_by(from, to, (1.0 / scale) as f32)
}

fn cubic_by(from: usize, to: usize, step: f32) -> Axis {
    const A: f64 = -0.75;
    Axis::clamped(from, to, |position| {
        let coordinate = coordinate(position, step);
        let first = coordinate.floor();
        let fraction = f64::from(coordinate - first);
        (-1..=2).map(move |tap| {
            let weight = keys((f64::from(tap) - fraction).abs(), A);
            (first as isize + tap as isize, weight)
        })
    })
}

/// Cubic convolution that widens with the reduction, its weights normalised within the table. It has
/// another slope than [`cubic`] even where nothing is reduced (a = -0.5, pytorch
/// `aten/src/ATen/native/cpu/UpSampleKernel.cpp`, `HelperInterpCubic::aa_filter`).
pub(super) fn cubic_antialiased(from: usize, to: usize) -> Axis {
    const A: f64 = -0.5;
    let step = step(from, to);
    let stretch = step.max(1.0);
    let support = 2.0 * stretch;
    Axis::clamped(from, to, |position| {
        let centre = step * (position as f32 + 0.5);
        // Casts truncate, and saturate below zero at zero.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(from);
        let weight = |source: usize| {
            let distance = (source as f64 - f64::from(centre) + 0.5) / f64::from(stretch);
            keys(distance.abs(), A)
        };
        let total: f64 = (first..end).map(weight).sum();
        (first..end)
            .map(|source| (source as isize, weight(source) / total))
            .collect::<Vec<_>>()
    })
}

/// Linear between the two nearest positions (pytorch `aten/src/ATen/native/UpSample.h`,
/// `area_pixel_compute_source_index`, which begins at zero).
pub(super) fn linear(from: usize, to: usize) -> Axis {
    let step = step(from, to);
    Axis::clamped(from, to, |position| {
        let coordinate = coordinate(position, step).max(0.0);
        let first = coordinate.floor();
        let fraction = f64::from(coordinate - first);
        let first = first as isize;
        [(first, 1.0 - fraction), (first + 1, fraction)]
    })
}
