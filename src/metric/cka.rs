//! How similar two sets of features of the same images are.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use super::block::{blocks, check_cloud, read};
use super::metric_error::MetricError;
use super::rows::Rows;

/// Rows multiplied at a time.
const BLOCK: usize = 512;

/// Linear CKA of every pair of feature sets.
#[derive(Clone, Debug, PartialEq)]
pub struct CkaMatrix {
    sets: usize,
    /// `[sets, sets]`, symmetric.
    values: Vec<Option<f64>>,
}

impl CkaMatrix {
    /// Number of feature sets.
    pub fn sets(&self) -> usize {
        self.sets
    }

    /// The CKA of sets `left` and `right`, both below [`CkaMatrix::sets`]; `None` where the
    /// features of one of them are the same for all images.
    pub fn get(&self, left: usize, right: usize) -> Option<f64> {
        self.values[left * self.sets + right]
    }
}

/// Linear CKA of features `[n, p]` and `[n, q]` of the same images, as [`cka_matrix`] gives it.
///
/// # Errors
/// As [`cka_matrix`].
pub fn linear_cka(left: &dyn Rows, right: &dyn Rows) -> Result<Option<f64>, MetricError> {
    Ok(cka_matrix(&[left, right])?.get(0, 1))
}

/// Linear CKA of every pair of feature sets of the same images, say one a layer:
/// `|Y^T X|^2 / (|X^T X| |Y^T Y|)` over centred columns, with Frobenius norms (Kornblith et al.,
/// "Similarity of Neural Network Representations Revisited", ICML 2019, section 3; HSIC is the
/// biased estimator, as there). 1 for features that differ by a rotation and a scale.
///
/// Features that vary by no more than `f32` rounds, as a class token does before the first
/// block, have no CKA.
///
/// Work grows with images x pairs x features squared: a small part of the forward pass that
/// made the features. The pairs are shared by the threads of the current pool, whose number
/// changes no bit; each holds one `[p, q]` product and two blocks of 512 rows in `f64`.
///
/// # Errors
/// Fewer than two images, sets of different images (`Mismatch` on their number), and, within
/// `FeatureSet`, sets without features or with a row that is not finite.
pub fn cka_matrix(sets: &[&dyn Rows]) -> Result<CkaMatrix, MetricError> {
    let within = |set| {
        move |source| MetricError::FeatureSet {
            set,
            source: Box::new(source),
        }
    };
    for (set, features) in sets.iter().enumerate() {
        check_cloud(*features).map_err(within(set))?;
        if features.len() != sets[0].len() {
            return Err(MetricError::Mismatch {
                what: "images of two feature sets",
                left: sets[0].len(),
                right: features.len(),
            });
        }
    }
    let centred: Vec<_> = sets.par_iter().map(|set| Centred::new(*set)).collect();
    let mut of = Vec::with_capacity(sets.len());
    for (set, centred) in centred.into_iter().enumerate() {
        of.push(centred.map_err(within(set))?);
    }

    let n = sets.len();
    let pairs: Vec<_> = (0..n)
        .flat_map(|left| (left..n).map(move |right| (left, right)))
        .collect();
    // Only two numbers of each product are kept: all of them would not fit in memory.
    let products: Vec<_> = pairs
        .par_iter()
        .map(|&(left, right)| product(&of[left], &of[right]))
        .map(|product| product.map(|product| (product.squared_norm_l2(), trace(&product))))
        .collect();
    let mut squared = vec![0.0; n * n];
    let mut varies = vec![false; n];
    for (&(left, right), product) in pairs.iter().zip(products) {
        let (norm, variation) = product?;
        squared[left * n + right] = norm;
        if left == right {
            let rounding = f64::from(f32::EPSILON).powi(2) * of[left].squares;
            varies[left] = variation > rounding;
        }
    }
    let mut values = vec![None; n * n];
    for (left, right) in pairs {
        let own = |set: usize| squared[set * n + set].sqrt();
        let value = (varies[left] && varies[right]).then(|| match left == right {
            true => 1.0,
            false => squared[left * n + right] / (own(left) * own(right)),
        });
        values[left * n + right] = value;
        values[right * n + left] = value;
    }
    Ok(CkaMatrix { sets: n, values })
}

/// A feature set with its columns' means taken away.
struct Centred<'a> {
    features: &'a dyn Rows,
    /// `[dim]`.
    means: Vec<f64>,
    /// Sum of the squares of all features before the means are taken away.
    squares: f64,
}

impl<'a> Centred<'a> {
    fn new(features: &'a dyn Rows) -> Result<Self, MetricError> {
        let mut means = vec![0.0; features.dim()];
        let mut squares = 0.0;
        for (start, count) in blocks(features.len(), BLOCK) {
            let rows = read(features, start, count)?;
            for row in rows.chunks_exact(means.len()) {
                for (mean, value) in means.iter_mut().zip(row) {
                    *mean += value;
                    squares += value * value;
                }
            }
        }
        for mean in &mut means {
            *mean /= features.len() as f64;
        }
        Ok(Self {
            features,
            means,
            squares,
        })
    }

    /// `[count, dim]`.
    fn read(&self, start: usize, count: usize) -> Result<Vec<f64>, MetricError> {
        let mut rows = read(self.features, start, count)?;
        for row in rows.chunks_exact_mut(self.means.len()) {
            for (value, mean) in row.iter_mut().zip(&self.means) {
                *value -= mean;
            }
        }
        Ok(rows)
    }
}

/// `left^T right`: `[p, q]`, added up block by block.
fn product(left: &Centred, right: &Centred) -> Result<Mat<f64>, MetricError> {
    let (p, q) = (left.means.len(), right.means.len());
    let mut product = Mat::<f64>::zeros(p, q);
    for (start, count) in blocks(left.features.len(), BLOCK) {
        let lefts = left.read(start, count)?;
        let rights = right.read(start, count)?;
        matmul(
            product.as_mut(),
            Accum::Add,
            MatRef::from_row_major_slice(&lefts, count, p).transpose(),
            MatRef::from_row_major_slice(&rights, count, q),
            1.0,
            Par::Seq,
        );
    }
    Ok(product)
}

/// Sum of the diagonal: of `X^T X`, all squares of X.
fn trace(product: &Mat<f64>) -> f64 {
    product.diagonal().column_vector().iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Dense, sample};
    use rayon::ThreadPoolBuilder;

    fn cka(left: &[f32], p: usize, right: &[f32], q: usize) -> Option<f64> {
        let (left, right) = (Dense::new(left, p).unwrap(), Dense::new(right, q).unwrap());
        linear_cka(&left, &right).unwrap()
    }

    #[test]
    fn values_are_numpys() {
        // Of traces of centred `[n, n]` Gram matrices, in f64.
        for (n, p, q, want) in [
            (3, 2, 4, 0.9773418362316602),
            (40, 9, 5, 0.6619474901973946),
            (600, 6, 11, 0.6272119009677583),
            (20, 30, 25, 0.7195285904582126),
        ] {
            let got = cka(&sample(n, p, 0.0), p, &sample(n, q, 0.7), q).unwrap();
            assert!(
                (got / want - 1.0).abs() < 1e-11,
                "{n} x {p}, {q}: {got} {want}"
            );
        }
    }

    #[test]
    fn rotations_scales_and_shifts_change_nothing() {
        let (n, dim) = (90, 6);
        let values = sample(n, dim, 0.0);
        // A turn in the plane of each two neighbouring features, and a permutation.
        let mut turned = values.clone();
        for row in turned.chunks_exact_mut(dim) {
            for at in [0, 1, 2, 3, 4, 0, 2] {
                let (a, b) = (row[at], row[at + 1]);
                (row[at], row[at + 1]) = (0.6 * a - 0.8 * b, 0.8 * a + 0.6 * b);
            }
            row.rotate_left(2);
            row.iter_mut().for_each(|x| *x = *x * 8.0 + 3.0);
        }
        let got = cka(&values, dim, &turned, dim).unwrap();
        assert!((got - 1.0).abs() < 1e-6, "{got}");
        let same = cka(&values, dim, &values, dim).unwrap();
        assert!((same - 1.0).abs() < 1e-14, "{same}");
        // Another set is not similar, and the order of the sets does not matter.
        let other = sample(n, dim, 0.7);
        let [there, back] = [(&values, &other), (&other, &values)]
            .map(|(left, right)| cka(left, dim, right, dim).unwrap());
        assert!(
            there < 0.99 && (there - back).abs() < 1e-14,
            "{there} {back}"
        );
    }

    #[test]
    fn features_that_vary_in_unrelated_ways_have_no_similarity() {
        let values = [1.0, -1.0, 1.0, -1.0];
        assert_eq!(cka(&values, 1, &[1.0, 1.0, -1.0, -1.0], 1), Some(0.0));
    }

    #[test]
    fn features_that_do_not_vary_have_none() {
        let (n, dim) = (70, 4);
        let values = sample(n, dim, 0.0);
        let mut constant = sample(1, dim, 0.4).repeat(n);
        constant[3] = constant[3].next_up();
        let sets = [&values, &constant, &values].map(|set| Dense::new(set, dim).unwrap());
        let matrix = cka_matrix(&[&sets[0], &sets[1], &sets[2]]).unwrap();
        assert_eq!(matrix.sets(), 3);
        for at in 0..3 {
            assert_eq!((matrix.get(1, at), matrix.get(at, 1)), (None, None));
        }
        assert_eq!(matrix.get(2, 2), Some(1.0));
        assert!((matrix.get(0, 2).unwrap() - 1.0).abs() < 1e-14);
    }

    #[test]
    fn threads_change_no_bit() {
        let n = 700;
        let values = [(5, 0.0), (3, 0.7), (8, 1.1)].map(|(dim, at)| (sample(n, dim, at), dim));
        let of = |threads| {
            let sets = [0, 1, 2].map(|set| Dense::new(&values[set].0, values[set].1).unwrap());
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap()
                .install(|| cka_matrix(&[&sets[0], &sets[1], &sets[2]]).unwrap())
        };
        assert_eq!(of(1), of(3));
    }

    #[test]
    fn errors_name_the_set() {
        let (good, mut bad) = (sample(5, 3, 0.0), sample(5, 3, 0.7));
        bad[10] = f32::NAN;
        let sets = [&good, &bad].map(|set| Dense::new(set, 3).unwrap());
        let error = cka_matrix(&[&sets[0], &sets[1]]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "feature set 1: row 3 holds a NaN or an infinity"
        );
        assert!(error.hint().unwrap().contains("row 3"));
        let short = Dense::new(&good[..12], 3).unwrap();
        let error = linear_cka(&sets[0], &short).unwrap_err();
        assert_eq!(error.to_string(), "images of two feature sets: 5 against 4");
    }
}
