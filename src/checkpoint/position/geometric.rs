//! Distances between patches in steps that grow geometrically: near distances stay what they were,
//! far ones are stretched to the new extent (microsoft/unilm `beit/run_class_finetuning.py`; timm
//! `timm/layers/pos_embed_rel.py`, `resize_rel_pos_bias_table`).

use super::{Axis, spline};

/// Where the distances `-(from - 1) ..= from - 1` of a row of `from` patches lie among those of a
/// row of `to`, in patches.
///
/// The ratio of adjacent steps is found by bisection between 1.01 and 1.5, the last midpoint tried;
/// where `to` is not larger it ends near 1.01, and the old extent exceeds the new one.
fn distances(from: usize, to: usize) -> Vec<f64> {
    let (steps, extent) = (from as f64 - 1.0, to as f64 - 1.0);
    let (mut low, mut high) = (1.01f64, 1.5f64);
    let mut ratio = low;
    while high - low > 1e-6 {
        ratio = f64::midpoint(low, high);
        if (1.0 - ratio.powf(steps)) / (1.0 - ratio) > extent {
            high = ratio;
        } else {
            low = ratio;
        }
    }
    let mut reached = 0.0;
    let positive: Vec<f64> = (0..from.saturating_sub(1))
        .map(|step| {
            reached += ratio.powf(step as f64);
            reached
        })
        .collect();
    let negative = positive.iter().rev().map(|distance| -distance);
    let mut all: Vec<f64> = negative.collect();
    all.push(0.0);
    all.extend(positive);
    all
}

/// The new distances: `-(to - 1) ..= to - 1`.
fn targets(to: usize) -> Vec<f64> {
    (1..2 * to).map(|i| i as f64 - to as f64).collect()
}

/// Linear between neighbouring distances, constant beyond the outermost. The old distances are
/// rounded to f32 as in timm (`timm/layers/interpolate.py`, `RegularGridInterpolator`).
pub(super) fn linear(from: usize, to: usize) -> Axis {
    let points: Vec<f32> = distances(from, to).into_iter().map(|x| x as f32).collect();
    let targets = targets(to);
    Axis::clamped(points.len(), targets.len(), |position| {
        let target = targets[position] as f32;
        let right = points.partition_point(|&point| point < target);
        let between = right.checked_sub(1).zip(points.get(right));
        let fraction = between.map_or(1.0, |(left, &right)| {
            let left = points[left];
            f64::from(target - left) / (f64::from(target - left) + f64::from(right - target))
        });
        let right = right as isize;
        [(right - 1, 1.0 - fraction), (right, fraction)]
    })
}

/// A cubic spline through all points, constant beyond the outermost; `None` for fewer than four
/// points.
pub(super) fn cubic(from: usize, to: usize) -> Option<Axis> {
    spline::axis(&distances(from, to), &targets(to))
}
