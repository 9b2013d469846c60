//! How close the images of a class lie.

use std::collections::BTreeMap;

use super::block::{blocks, check_cloud, read_unit};
use super::metric_error::MetricError;
use super::rows::Rows;

/// Rows read at a time.
const BLOCK: usize = 512;

/// What the pairs of a class need of its unit rows.
#[derive(Debug)]
struct ClassSum {
    images: u64,
    /// Their sum: `[dim]`.
    sum: Vec<f64>,
}

/// Alignment of features `[n, dim]` with classes `[n]`: the mean of `|x - y|^2` over positive
/// pairs of rows, each divided by its Euclidean norm (Wang and Isola, "Understanding Contrastive
/// Representation Learning through Alignment and Uniformity on the Hypersphere", ICML 2020,
/// section 4.2, with alpha = 2). Lower is better aligned.
///
/// Their positive pairs are two augmentations of one image. Stored features have one view of
/// each image, so that here a positive pair is two images of one class, and all such pairs count
/// alike: the number tells how tight classes are, not how invariant the encoder is, and is not
/// the paper's. `None` where no class has two images.
///
/// Memory is one row in `f64` a class.
///
/// # Errors
/// Fewer than two rows, no features, another number of labels than of rows, a row that is not
/// finite or zero.
pub fn alignment(features: &dyn Rows, labels: &[u32]) -> Result<Option<f64>, MetricError> {
    check_cloud(features)?;
    if labels.len() != features.len() {
        return Err(MetricError::Mismatch {
            what: "feature rows and labels",
            left: features.len(),
            right: labels.len(),
        });
    }
    let dim = features.dim();
    let mut classes: BTreeMap<u32, ClassSum> = BTreeMap::new();
    for (start, count) in blocks(features.len(), BLOCK) {
        let rows = read_unit(features, start, count)?;
        for (row, &label) in rows.chunks_exact(dim).zip(&labels[start..]) {
            let class = classes.entry(label).or_insert_with(|| ClassSum {
                images: 0,
                sum: vec![0.0; dim],
            });
            class.images += 1;
            for (sum, value) in class.sum.iter_mut().zip(row) {
                *sum += value;
            }
        }
    }
    let (mut squared, mut pairs) = (0.0, 0);
    for ClassSum { images, sum } in classes.values() {
        // Over the pairs of m unit rows, the squared distances add up to m^2 - |sum of the rows|^2;
        // rounding may leave less than nothing.
        let m = *images as f64;
        let length = sum.iter().map(|x| x * x).sum::<f64>();
        squared += (m * m - length).max(0.0);
        pairs += images * (images - 1) / 2;
    }
    Ok((pairs > 0).then(|| squared / pairs as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Dense, sample};

    fn measure(values: &[f32], dim: usize, labels: &[u32]) -> Result<Option<f64>, MetricError> {
        alignment(&Dense::new(values, dim).unwrap(), labels)
    }

    #[test]
    fn values_are_numpys() {
        // The mean of `((x[:, None] - x) ** 2).sum(-1)` over equal labels, in f64.
        for (n, dim, classes, want) in [
            (9, 3, 7, 1.142937119588617),
            (40, 9, 13, 2.1182519351372004),
            (600, 5, 97, 2.13857262327215),
        ] {
            // Classes of different sizes.
            let labels: Vec<u32> = (0..n as u32).map(|i| i * i % classes).collect();
            let got = measure(&sample(n, dim, 0.0), dim, &labels)
                .unwrap()
                .unwrap();
            assert!((got - want).abs() < 1e-11, "{n} x {dim}: {got} {want}");
        }
    }

    #[test]
    fn known_cases() {
        let opposite = [1.0, 0.0, -7.0, 0.0, 0.0, 2.0];
        assert_eq!(measure(&opposite, 2, &[4, 4, 9]), Ok(Some(4.0)));
        assert_eq!(measure(&opposite, 2, &[4, 5, 4]), Ok(Some(2.0)));
        assert_eq!(measure(&opposite, 2, &[1, 2, 3]), Ok(None));
        let collapsed = sample(1, 6, 0.0).repeat(40);
        let got = measure(&collapsed, 6, &[0; 40]).unwrap().unwrap();
        assert!(got < 1e-12, "{got}");
    }

    #[test]
    fn rows_and_labels_must_fit() {
        let error = measure(&[1.0; 6], 2, &[0, 1]).unwrap_err();
        assert_eq!(error.to_string(), "feature rows and labels: 3 against 2");
        let zero = measure(&[1.0, 1.0, 0.0, 0.0], 2, &[0, 1]);
        assert_eq!(zero, Err(MetricError::ZeroRow { row: 1 }));
    }
}
