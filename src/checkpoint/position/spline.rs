//! The cubic spline through given points, as a matrix.
//!
//! It is "not-a-knot": the second and the last but one point are no knots, so that the first two and
//! the last two pieces are one polynomial each. This is what FITPACK's `regrid` gives for s = 0 and
//! what scipy's `interp2d(kind="cubic")` and `RectBivariateSpline` therefore are, an axis at a time.

use super::Axis;

/// Order of the B-splines: one more than their degree.
const ORDER: usize = 4;

/// Values at `targets` of the spline through any values at `points`, which increase; targets outside
/// them are moved to the nearest one. `None` for fewer than four points.
pub(super) fn axis(points: &[f64], targets: &[f64]) -> Option<Axis> {
    let (&[first, ..], &[.., last]) = (points, points) else {
        return None;
    };
    let count = points.len();
    if count < ORDER {
        return None;
    }
    let mut knots = vec![first; ORDER];
    knots.extend(&points[2..count - 2]);
    knots.extend([last; ORDER]);
    let coefficients = coefficients(&knots, points);
    Some(Axis::clamped(count, targets.len(), |position| {
        let (start, basis) = basis(&knots, targets[position].clamp(first, last));
        let weight = |source: usize| -> f64 {
            let rows = coefficients[start..].iter();
            basis.iter().zip(rows).map(|(b, row)| b * row[source]).sum()
        };
        let weights: Vec<_> = (0..count)
            .map(|source| (source as isize, weight(source)))
            .collect();
        weights
    }))
}

/// The inverse of the matrix of B-splines at the points: `[i][j]` is the `i`-th coefficient of the
/// spline that is 1 at point `j` and 0 at the others.
///
/// The matrix is banded and totally positive, so that elimination needs no pivots (de Boor, A
/// Practical Guide to Splines, chapter XIII).
fn coefficients(knots: &[f64], points: &[f64]) -> Vec<Vec<f64>> {
    let count = points.len();
    let mut matrix = vec![vec![0.0; count]; count];
    let mut inverse = vec![vec![0.0; count]; count];
    for (i, &point) in points.iter().enumerate() {
        let (start, basis) = basis(knots, point);
        matrix[i][start..start + ORDER].copy_from_slice(&basis);
        inverse[i][i] = 1.0;
    }
    for pivot in 0..count {
        let band = pivot..count.min(pivot + ORDER);
        for row in pivot + 1..band.end {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            subtract(&mut matrix, row, factor, pivot, band.clone());
            subtract(&mut inverse, row, factor, pivot, 0..pivot + 1);
        }
    }
    for row in (0..count).rev() {
        let band = row + 1..count.min(row + ORDER);
        for (&factor, solved) in matrix[row][band.clone()].iter().zip(band) {
            subtract(&mut inverse, row, factor, solved, 0..count);
        }
        let diagonal = matrix[row][row];
        inverse[row].iter_mut().for_each(|x| *x /= diagonal);
    }
    inverse
}

/// Subtracts `factor` times row `other` from row `row`, within `columns`.
fn subtract(
    matrix: &mut [Vec<f64>],
    row: usize,
    factor: f64,
    other: usize,
    columns: std::ops::Range<usize>,
) {
    for column in columns {
        matrix[row][column] -= factor * matrix[other][column];
    }
}

/// The four B-splines that do not vanish at `x`, and the index of the first (the recurrence of Cox
/// and de Boor).
fn basis(knots: &[f64], x: f64) -> (usize, [f64; ORDER]) {
    let most = knots.len() - ORDER - 1;
    // The last knot at or before x; at the end of the axis, the beginning of the last piece.
    let piece = knots
        .partition_point(|&knot| knot <= x)
        .saturating_sub(1)
        .min(most);
    let mut values = [0.0; ORDER];
    values[0] = 1.0;
    for degree in 1..ORDER {
        let mut carried = 0.0;
        for i in 0..degree {
            let right = knots[piece + i + 1];
            let left = knots[piece + i + 1 - degree];
            let share = values[i] / (right - left);
            values[i] = carried + (right - x) * share;
            carried = (x - left) * share;
        }
        values[degree] = carried;
    }
    (piece + 1 - ORDER, values)
}
