//! Metrics: pure functions of features and labels.

mod accuracy;
mod alignment;
mod attention;
mod block;
mod cka;
mod exact;
mod hnsw;
mod logits;
mod metric_error;
mod rank_me;
mod rows;
mod segmentation;
mod similarity;
mod uniformity;
mod vote;

pub use accuracy::{Accuracy, Hits, accuracy};
pub use alignment::alignment;
pub use attention::{
    AttentionStatistic, DISTANCE_EPSILON, NMI_EPSILON, PatchGrid, attention_statistics,
};
pub use cka::{CkaMatrix, cka_matrix, linear_cka};
pub use exact::{Neighbours, exact_neighbours};
pub use hnsw::{HnswOptions, hnsw_neighbours, recall_at_k};
pub use logits::{LogitTally, cross_entropy};
pub use metric_error::{MetricError, Side};
pub use rank_me::rank_me;
pub use rows::{Dense, Rows, SomeRows};
pub use segmentation::{ClassAreas, Confusion, PixelPair, SegmentationMeasure, SegmentationScore};
pub use uniformity::uniformity;
pub use vote::{Predictions, Ranking, Vote, vote_curve};

/// Rows `[n, dim]` by a formula that other programs can follow, `phase` apart.
#[cfg(test)]
fn sample(n: usize, dim: usize, phase: f64) -> Vec<f32> {
    (0..n * dim)
        .map(|at| ((at / dim + 1) as f64, (at % dim + 1) as f64))
        .map(|(i, j)| ((0.37 * i * j + phase).sin() / j + 0.2 * (0.11 * i).cos()) as f32)
        .collect()
}
