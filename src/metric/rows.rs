//! Feature rows as the metrics read them, and their L2 normalisation.

use super::metric_error::MetricError;

/// A set of feature rows, [len, dim] in `f32`, that need not lie in one piece.
pub trait Rows: Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Features a row.
    fn dim(&self) -> usize;

    /// Copies the rows from `start` on into `out`: `[n, dim]`, row after row, with
    /// `out.len() = n * dim` and `start + n <= len`.
    fn copy(&self, start: usize, out: &mut [f32]);

    /// Whether there are no rows.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows that lie one after another in memory: [len, dim].
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    data: &'a [f32],
    dim: usize,
}

impl<'a> Dense<'a> {
    /// data: [len, dim].
    ///
    /// # Errors
    /// `NoFeatures` when `dim` is 0, `Shape` when `data` is no whole number of rows.
    pub fn new(data: &'a [f32], dim: usize) -> Result<Self, MetricError> {
        if dim == 0 {
            return Err(MetricError::NoFeatures);
        }
        if !data.len().is_multiple_of(dim) {
            let values = data.len();
            return Err(MetricError::Shape { values, dim });
        }
        Ok(Dense { data, dim })
    }
}

impl Rows for Dense<'_> {
    fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn copy(&self, start: usize, out: &mut [f32]) {
        let first = start * self.dim;
        out.copy_from_slice(&self.data[first..first + out.len()]);
    }
}

/// Some rows of others, in an order of their own.
#[derive(Clone, Copy)]
pub struct SomeRows<'a> {
    rows: &'a dyn Rows,
    places: &'a [usize],
}

impl<'a> SomeRows<'a> {
    /// The rows at these places, each below `rows.len()`.
    pub fn new(rows: &'a dyn Rows, places: &'a [usize]) -> Self {
        Self { rows, places }
    }
}

impl Rows for SomeRows<'_> {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn dim(&self) -> usize {
        self.rows.dim()
    }

    fn copy(&self, start: usize, out: &mut [f32]) {
        let dim = self.dim();
        for (out, &place) in out.chunks_exact_mut(dim).zip(&self.places[start..]) {
            self.rows.copy(place, out);
        }
    }
}

/// The smallest norm a row is divided by (`eps` of `torch.nn.functional.normalize`).
const SMALLEST_NORM: f32 = 1e-12;

/// Divides a row by `max(||row||_2, 1e-12)`, as `torch.nn.functional.normalize` does, in place;
/// returns the norm that it had, which is finite exactly when the normalised row holds no NaN and
/// was not flattened by an overflow.
///
/// The squares are added in `f64` in a fixed order and the norm is rounded to `f32` once, so a
/// row's result depends on that row alone.
pub(super) fn normalise_row(row: &mut [f32]) -> f32 {
    /// Sums kept apart so that the compiler can add them side by side.
    const LANES: usize = 8;
    let mut sums = [0f64; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for values in whole {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    for (sum, &value) in sums.iter_mut().zip(rest) {
        *sum += f64::from(value) * f64::from(value);
    }
    let norm = sums.iter().sum::<f64>().sqrt() as f32;
    // Not `max`, which would hide a NaN.
    let divisor = if norm < SMALLEST_NORM {
        SMALLEST_NORM
    } else {
        norm
    };
    for value in row {
        *value /= divisor;
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_unit_length_and_zero_rows_stay_zero() {
        let mut rows = [3.0, 4.0, 0.0, 0.0, 1e-13, 0.0, -2e30, 0.0];
        rows.chunks_exact_mut(2)
            .for_each(|row| _ = normalise_row(row));
        // The third row is divided by eps, not by its norm.
        assert_eq!(rows[..4], [0.6, 0.8, 0.0, 0.0]);
        assert!((rows[4] - 0.1).abs() < 1e-7);
        assert_eq!(rows[6..], [-1.0, 0.0]);
    }

    #[test]
    fn a_row_without_a_finite_norm_is_reported() {
        assert!(!normalise_row(&mut [1.0, f32::NAN]).is_finite());
        assert!(!normalise_row(&mut [1.0, f32::INFINITY]).is_finite());
        assert!(!normalise_row(&mut [3e38, 3e38]).is_finite());
        assert!(normalise_row(&mut [0.0; 11]).is_finite());
    }

    #[test]
    fn dense_refuses_a_broken_shape() {
        assert!(Dense::new(&[0.0; 5], 2).is_err());
        assert!(Dense::new(&[], 0).is_err());
        let rows = Dense::new(&[1.0, 2.0, 3.0, 4.0], 2).unwrap();
        let mut out = [0.0; 2];
        rows.copy(1, &mut out);
        assert_eq!((rows.len(), out), (2, [3.0, 4.0]));
    }
}
