//! How evenly features cover the sphere.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use super::block::{blocks, check_cloud, read_unit};
use super::metric_error::MetricError;
use super::rows::Rows;

/// Sharpness of the Gaussian potential (Wang and Isola, ICML 2020, section 4.2 and the defaults
/// of `uniform_loss` in their `align_uniform`).
const T: f64 = 2.0;

/// Rows compared with as many others at a time.
const BLOCK: usize = 512;

/// Uniformity of features `[n, dim]`: the log of the mean of `exp(-2 |x - y|^2)` over all pairs
/// of different rows, each divided by its Euclidean norm (Wang and Isola, "Understanding
/// Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere",
/// ICML 2020, section 4.2). 0 where all point the same way; lower is more uniform.
///
/// Work grows with the square of the images. Blocks are computed by the threads of the current
/// pool and added in order, so that their number changes no bit; each thread holds two blocks of
/// 512 rows in `f64`.
///
/// # Errors
/// Fewer than two rows, no features, a row that is not finite or zero.
pub fn uniformity(features: &dyn Rows) -> Result<f64, MetricError> {
    check_cloud(features)?;
    let blocks = blocks(features.len(), BLOCK);
    let pairs: Vec<_> = blocks
        .clone()
        .flat_map(|left| {
            let rights = blocks.clone().skip_while(move |&right| right < left);
            rights.map(move |right| (left, right))
        })
        .collect();
    let sums: Vec<_> = pairs
        .par_iter()
        .map(|&(left, right)| potential(features, left, right))
        .collect();
    let mut total = 0.0;
    for sum in sums {
        total += sum?;
    }
    let n = features.len() as f64;
    Ok((total / (n * (n - 1.0) / 2.0)).ln())
}

/// Sum of the potentials of the pairs between two blocks, or within one.
fn potential(
    features: &dyn Rows,
    left: (usize, usize),
    right: (usize, usize),
) -> Result<f64, MetricError> {
    let dim = features.dim();
    let rows = read_unit(features, left.0, left.1)?;
    let others;
    let columns = if left == right {
        &rows
    } else {
        others = read_unit(features, right.0, right.1)?;
        &others
    };
    // A column each row of `left`: its cosines with the rows of `right`.
    let mut cosines = Mat::<f64>::zeros(right.1, left.1);
    matmul(
        cosines.as_mut(),
        Accum::Replace,
        MatRef::from_row_major_slice(columns, right.1, dim),
        MatRef::from_row_major_slice(&rows, left.1, dim).transpose(),
        1.0,
        Par::Seq,
    );
    let mut sum = 0.0;
    for row in 0..left.1 {
        // Within a block, the pairs of a row with those after it.
        let first = if left == right { row + 1 } else { 0 };
        for other in first..right.1 {
            // Rounding may take the cosine of equal rows above 1.
            let squared = (2.0 - 2.0 * cosines[(other, row)]).max(0.0);
            sum += (-T * squared).exp();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Dense, sample};
    use rayon::ThreadPoolBuilder;

    fn measure(values: &[f32], dim: usize) -> f64 {
        uniformity(&Dense::new(values, dim).unwrap()).unwrap()
    }

    #[test]
    fn values_are_numpys() {
        // Of all differences, `((x[:, None] - x) ** 2).sum(-1)`, in f64.
        for (n, dim, want) in [
            (2, 3, -0.07546216293005127),
            (40, 9, -2.2364125690772125),
            (512, 4, -1.838209420245517),
            (1100, 7, -2.1135160968074698),
        ] {
            let got = measure(&sample(n, dim, 0.0), dim);
            assert!((got - want).abs() < 1e-11, "{n} x {dim}: {got} {want}");
        }
    }

    #[test]
    fn known_cases() {
        // Collapsed: every distance is 0.
        assert!(measure(&sample(1, 6, 0.0).repeat(700), 6).abs() < 1e-14);
        // Two opposite rows: the squared distance 4; lengths do not matter.
        assert!((measure(&[1.0, 0.0, -7.0, 0.0], 2) + 8.0).abs() < 1e-14);
        // Orthogonal rows: 2 each.
        assert!((measure(&[2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0], 3) + 4.0).abs() < 1e-14);
    }

    #[test]
    fn threads_change_no_bit() {
        let values = sample(1300, 5, 0.0);
        let of = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| measure(&values, 5)).to_bits()
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn rows_without_a_direction_are_refused() {
        let mut values = sample(600, 3, 0.0);
        values[550 * 3..551 * 3].fill(0.0);
        let refused = |values: &[f32]| uniformity(&Dense::new(values, 3).unwrap());
        assert_eq!(refused(&values), Err(MetricError::ZeroRow { row: 550 }));
        values[530 * 3 + 1] = f32::INFINITY;
        assert_eq!(
            refused(&values),
            Err(MetricError::NotFiniteRow { row: 530 })
        );
        let images = 1;
        assert_eq!(
            refused(&values[..3]),
            Err(MetricError::TooFewImages { images })
        );
    }
}
