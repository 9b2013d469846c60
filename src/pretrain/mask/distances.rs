//! How far patches are from each other for clustering.

use pulp::{Arch, Simd, WithSimd};

/// Patches whose distances to a run of others are summed together.
const ROWS: usize = 4;

/// Features are followed by zeros up to a multiple of this many patches: two of the widest vectors.
const PANEL: usize = 16;

/// A symmetric matrix of finite distances of points, zeros on its diagonal.
#[derive(Clone, Debug, PartialEq)]
pub struct Distances {
    points: usize,
    /// `[points, points]`
    pub(super) values: Vec<f64>,
}

impl Distances {
    /// `None` where the numbers are no such matrix.
    ///
    /// values: `[points, points]`
    pub fn new(points: usize, values: Vec<f64>) -> Option<Self> {
        let square = values.len() == points * points;
        let valid = square
            && (0..points).all(|i| {
                let row = &values[i * points..][..points];
                let mirrored = |j: usize| row[j].is_finite() && row[j] == values[j * points + i];
                row[i] == 0.0 && (0..i).all(mirrored)
            });
        valid.then_some(Self { points, values })
    }

    /// `ζ |a_i - a_j|² + (1 - ζ) B_ij` of patches i and j (MEDiC equation 6 and algorithm 1), where
    /// the paper leaves B open: here the Euclidean distance of the patches in the grid over the
    /// largest there is.
    ///
    /// features: a column a patch, `[F, rows columns]`
    pub fn of_patches(features: &[f32], [rows, columns]: [usize; 2], zeta: f64) -> Self {
        let points = rows * columns;
        let stride = points.next_multiple_of(PANEL);
        let mut padded = vec![0.0; features.len().checked_div(points).unwrap_or(0) * stride];
        let features = features.chunks_exact(points.max(1));
        for (padded, features) in padded.chunks_exact_mut(stride.max(1)).zip(features) {
            for (padded, feature) in padded.iter_mut().zip(features) {
                *padded = f64::from(*feature);
            }
        }
        let mut sums = vec![0.0; stride * stride];
        Arch::new().dispatch(SquaredDistances {
            features: &padded,
            stride,
            sums: &mut sums,
        });
        let positions = positions([rows, columns]);
        let mut values = vec![0.0; points * points];
        for i in 0..points {
            for j in i + 1..points {
                let down = j / columns - i / columns;
                let across = (j % columns).abs_diff(i % columns);
                let position = positions[down * columns + across];
                let value = zeta * sums[i * stride + j] + (1.0 - zeta) * position;
                values[i * points + j] = value;
                values[j * points + i] = value;
            }
        }
        Self { points, values }
    }

    /// Points.
    pub fn points(&self) -> usize {
        self.points
    }

    /// `[points, points]`
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// The distance of patches that lie so many rows and columns apart, over the largest: `[rows, columns]`
fn positions([rows, columns]: [usize; 2]) -> Vec<f64> {
    let apart = |row: usize, column: usize| ((row * row + column * column) as f64).sqrt();
    let largest = apart(rows.saturating_sub(1), columns.saturating_sub(1)).max(1.0);
    let rows = 0..rows;
    rows.flat_map(|row| (0..columns).map(move |column| apart(row, column) / largest))
        .collect()
}

/// Sums of squared differences of columns: those of `sums[i][j]` with `j >= i`, and of some others.
struct SquaredDistances<'a> {
    /// `[F, stride]`
    features: &'a [f64],
    stride: usize,
    /// `[stride, stride]`
    sums: &'a mut [f64],
}

impl WithSimd for SquaredDistances<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.stride;
        let width = 2 * S::F64_LANES;
        for i in (0..stride).step_by(ROWS) {
            for j in (i / width * width..stride).step_by(width) {
                let mut tile = [[simd.splat_f64s(0.0); 2]; ROWS];
                for features in self.features.chunks_exact(stride) {
                    let columns = S::as_simd_f64s(&features[j..j + width]).0;
                    let columns = [columns[0], columns[1]];
                    let rows = &features[i..i + ROWS];
                    for row in 0..ROWS {
                        let of = simd.splat_f64s(rows[row]);
                        for column in 0..2 {
                            let apart = simd.sub_f64s(columns[column], of);
                            tile[row][column] = simd.mul_add_f64s(apart, apart, tile[row][column]);
                        }
                    }
                }
                for (row, tile) in tile.iter().enumerate() {
                    let sums = &mut self.sums[(i + row) * stride + j..][..width];
                    S::as_mut_simd_f64s(sums).0.copy_from_slice(tile);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_and_positions_as_in_plain_loops() {
        let mut stream = crate::data::stream::Stream::new(b"a test..", [0; 3]);
        for (grid, size) in [
            ([1, 1], 3),
            ([3, 5], 15),
            ([14, 14], 196),
            ([7, 9], 2),
            ([2, 2], 0),
        ] {
            let points = grid[0] * grid[1];
            let features: Vec<f32> = (0..size * points).map(|_| stream.unit() as f32).collect();
            let zeta = 0.3;
            let distances = Distances::of_patches(&features, grid, zeta);
            assert_eq!(distances.points(), points);
            let corner = ((grid[0] - 1) as f64).hypot((grid[1] - 1) as f64);
            for i in 0..points {
                for j in 0..points {
                    let apart = |f: usize| {
                        f64::from(features[f * points + i]) - f64::from(features[f * points + j])
                    };
                    let attention: f64 = (0..size).map(|f| apart(f).powi(2)).sum();
                    let rows = (i / grid[1]) as f64 - (j / grid[1]) as f64;
                    let columns = (i % grid[1]) as f64 - (j % grid[1]) as f64;
                    let position = if i == j {
                        0.0
                    } else {
                        rows.hypot(columns) / corner
                    };
                    let expected = zeta * attention + (1.0 - zeta) * position;
                    let found = distances.values()[i * points + j];
                    assert!(
                        (found - expected).abs() < 1e-12,
                        "{i} {j}: {found} for {expected}"
                    );
                }
            }
            let values = distances.values().to_vec();
            assert_eq!(Distances::new(points, values), Some(distances));
        }
    }

    #[test]
    fn what_is_no_matrix_of_distances() {
        for values in [
            vec![0.0, 1.0, 1.0],
            vec![0.0, 1.0, 2.0, 0.0],
            vec![0.0, 1.0, 1.0, 0.5],
            vec![0.0, f64::INFINITY, f64::INFINITY, 0.0],
            vec![0.0, f64::NAN, f64::NAN, 0.0],
        ] {
            assert_eq!(Distances::new(2, values), None);
        }
    }
}
