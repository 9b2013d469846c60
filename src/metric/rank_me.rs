//! RankMe: the effective rank of features.

use faer::{Mat, MatRef};

use super::block::{blocks, check_cloud, read};
use super::metric_error::MetricError;
use super::rows::Rows;

/// Added to each normalised singular value (Garrido et al., "RankMe", ICML 2023, equation 1 and
/// the text below it, for `f32` features).
const EPSILON: f64 = 1e-7;

/// Rows that join the triangular factor at a time, in multiples of the features: few enough for
/// memory, enough that most of the work is done on new rows.
const ROWS_PER_FEATURE: usize = 2;

/// RankMe of features `[n, dim]`: exp of the entropy of their normalised singular values,
/// between 1 and min(n, dim) but for the epsilon (Garrido et al., "RankMe: Assessing the
/// Downstream Performance of Pretrained Self-Supervised Representations by Their Rank", ICML
/// 2023, equation 1). The matrix is taken as it is, neither centred nor normalised.
///
/// Singular values are those of the triangular factor of a QR decomposition that takes rows in
/// blocks: unlike the eigenvalues of `X^T X` they keep the small ones, and memory is that of
/// `[3 dim, dim]` in `f64`, a few times. Runs on the calling thread.
///
/// # Errors
/// Fewer than two rows, no features, a row that is not finite, or nothing but zeros.
pub fn rank_me(features: &dyn Rows) -> Result<f64, MetricError> {
    let singular = singular_values(features)?;
    let total: f64 = singular.iter().sum();
    if total == 0.0 {
        return Err(MetricError::AllZero);
    }
    let entropy: f64 = singular
        .iter()
        .map(|value| value / total + EPSILON)
        .map(|share| -share * share.ln())
        .sum();
    Ok(entropy.exp())
}

/// The min(n, dim) singular values, largest first.
fn singular_values(features: &dyn Rows) -> Result<Vec<f64>, MetricError> {
    check_cloud(features)?;
    let dim = features.dim();
    let mut factor = Mat::<f64>::zeros(0, dim);
    for (start, count) in blocks(features.len(), ROWS_PER_FEATURE * dim) {
        let rows = read(features, start, count)?;
        let rows = MatRef::from_row_major_slice(&rows, count, dim);
        let mut stacked = Mat::zeros(factor.nrows() + count, dim);
        let (mut above, mut below) = stacked.as_mut().split_at_row_mut(factor.nrows());
        above.copy_from(&factor);
        below.copy_from(rows);
        factor = stacked.qr().thin_R().to_owned();
    }
    let singular = factor.singular_values();
    singular.map_err(|_| MetricError::NoConvergence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Dense, sample};

    fn rank(values: &[f32], dim: usize) -> f64 {
        rank_me(&Dense::new(values, dim).unwrap()).unwrap()
    }

    #[test]
    fn values_are_numpys() {
        // exp of the entropy of what `numpy.linalg.svd` gives in f64.
        for (n, dim, want) in [
            (2, 3, 1.340804362745194),
            (40, 9, 6.768153531617499),
            (64, 64, 8.778896986893598),
            (7, 40, 4.607556359284798),
            (700, 33, 15.652458115007855),
        ] {
            let got = rank(&sample(n, dim, 0.0), dim);
            assert!(
                (got / want - 1.0).abs() < 1e-10,
                "{n} x {dim}: {got} {want}"
            );
        }
    }

    #[test]
    fn equal_singular_values_give_the_rank() {
        // Rows that run through r unit vectors equally often.
        let (n, dim) = (60, 7);
        for r in [1, 2, 3, 5, 6] {
            let mut values = vec![0.0; n * dim];
            for row in 0..n {
                values[row * dim + row % r] = 3.0;
            }
            let got = rank(&values, dim);
            // `dim` times the epsilon, times at most 1 - ln(epsilon).
            assert!((got / r as f64 - 1.0).abs() < 2e-5, "{r}: {got}");
        }
    }

    #[test]
    fn collapsed_features_have_rank_one_and_scale_does_not_matter() {
        let row = sample(1, 9, 0.0);
        let got = rank(&row.repeat(40), 9);
        assert!((got - 1.0).abs() < 2e-5, "{got}");
        let values = sample(40, 9, 0.0);
        let large: Vec<f32> = values.iter().map(|x| x * 1024.0).collect();
        assert!((rank(&large, 9) / rank(&values, 9) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn more_features_than_rows_are_fine() {
        // The singular values of X and of its transpose.
        let (n, dim) = (6, 25);
        let values = sample(n, dim, 0.0);
        let turned: Vec<f32> = (0..dim * n).map(|i| values[i % n * dim + i / n]).collect();
        let (wide, tall) = (rank(&values, dim), rank(&turned, n));
        assert!((wide / tall - 1.0).abs() < 1e-12, "{wide} {tall}");
    }

    #[test]
    fn what_has_no_rank_is_refused() {
        let refused = |values: &[f32], dim| rank_me(&Dense::new(values, dim).unwrap());
        assert_eq!(refused(&[0.0; 6], 2), Err(MetricError::AllZero));
        let images = 1;
        assert_eq!(
            refused(&[1.0; 2], 2),
            Err(MetricError::TooFewImages { images })
        );
        let (nan, row) = ([1.0, 2.0, 3.0, 4.0, f32::NAN, 5.0], 2);
        assert_eq!(refused(&nan, 2), Err(MetricError::NotFiniteRow { row }));
    }
}
