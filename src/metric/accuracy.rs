//! Top-1 and top-5 accuracy of neighbour votes.

use super::metric_error::{MetricError, Side};
use super::vote::{Predictions, first_outside};

/// Which images a criterion counts as right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// Number of images that are.
    pub count: u64,
    /// Whether each image is: `[n]`.
    pub by_image: Vec<bool>,
}

impl FromIterator<bool> for Hits {
    fn from_iter<I: IntoIterator<Item = bool>>(hits: I) -> Self {
        let by_image: Vec<bool> = hits.into_iter().collect();
        let count = by_image.iter().filter(|&&hit| hit).count() as u64;
        Hits { count, by_image }
    }
}

/// How often `k` neighbours are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// Neighbours that voted.
    pub k: usize,
    /// Number of test images.
    pub n: u64,
    /// The label is the best class.
    pub top1: Hits,
    /// The label is among the best min(5, k) classes, those without votes included by
    /// ascending id (DINO `eval_knn.py`).
    pub top5: Hits,
    /// The label is among the best five classes and had votes.
    pub top5_strict: Hits,
}

/// labels: `[n]`, the true classes of the test images.
///
/// # Errors
/// `Mismatch` when there are not as many labels as predictions, `Label` when one is no class.
pub fn accuracy(predictions: &Predictions, labels: &[u32]) -> Result<Accuracy, MetricError> {
    let Predictions { k, classes, ranked } = predictions;
    if ranked.len() != labels.len() {
        return Err(MetricError::Mismatch {
            what: "predictions and test labels",
            left: ranked.len(),
            right: labels.len(),
        });
    }
    if let Some(row) = first_outside(labels, *classes) {
        return Err(MetricError::Label {
            side: Side::Test,
            row,
            label: labels[row],
            classes: *classes,
        });
    }
    let pairs = || ranked.iter().zip(labels);
    Ok(Accuracy {
        k: *k,
        n: labels.len() as u64,
        top1: pairs()
            .map(|(ranking, label)| ranking.classes().first() == Some(label))
            .collect(),
        top5: pairs()
            .map(|(ranking, label)| ranking.classes().iter().take(*k).any(|c| c == label))
            .collect(),
        top5_strict: pairs()
            .map(|(ranking, label)| ranking.voted().contains(label))
            .collect(),
    })
}
