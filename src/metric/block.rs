//! Feature rows read in blocks, in `f64`.

use super::metric_error::MetricError;
use super::rows::Rows;

/// Checks what every metric of a cloud of rows needs.
///
/// # Errors
/// `TooFewImages` below two rows, `NoFeatures` when rows are empty.
pub(super) fn check_cloud(rows: &dyn Rows) -> Result<(), MetricError> {
    if rows.dim() == 0 {
        return Err(MetricError::NoFeatures);
    }
    if rows.len() < 2 {
        let images = rows.len();
        return Err(MetricError::TooFewImages { images });
    }
    Ok(())
}

/// Where the blocks of `size` rows begin, and how many rows each has.
pub(super) fn blocks(len: usize, size: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..len)
        .step_by(size)
        .map(move |start| (start, size.min(len - start)))
}

/// Rows `start..start + count`: `[count, dim]`, row after row.
///
/// # Errors
/// `NotFiniteRow` names the first row that holds a NaN or an infinity.
pub(super) fn read(rows: &dyn Rows, start: usize, count: usize) -> Result<Vec<f64>, MetricError> {
    let dim = rows.dim();
    let mut copied = vec![0f32; count * dim];
    rows.copy(start, &mut copied);
    if let Some(at) = copied.iter().position(|value| !value.is_finite()) {
        let row = start + at / dim;
        return Err(MetricError::NotFiniteRow { row });
    }
    Ok(copied.into_iter().map(f64::from).collect())
}

/// As [`read`], with every row divided by its Euclidean norm.
///
/// # Errors
/// `NotFiniteRow`, and `ZeroRow` for a row without a direction.
pub(super) fn read_unit(
    rows: &dyn Rows,
    start: usize,
    count: usize,
) -> Result<Vec<f64>, MetricError> {
    let mut block = read(rows, start, count)?;
    for (row, features) in block.chunks_exact_mut(rows.dim()).enumerate() {
        let norm = features.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 {
            let row = start + row;
            return Err(MetricError::ZeroRow { row });
        }
        for value in features {
            *value /= norm;
        }
    }
    Ok(block)
}
