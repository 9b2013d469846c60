//! Metrics: pure functions of features and labels.

mod accuracy;
mod attention;
mod exact;
mod hnsw;
mod metric_error;
mod rows;
mod similarity;
mod vote;

pub use accuracy::{Accuracy, Hits, accuracy};
pub use attention::{
    AttentionStatistic, DISTANCE_EPSILON, NMI_EPSILON, PatchGrid, attention_statistics,
};
pub use exact::{Neighbours, exact_neighbours};
pub use hnsw::{HnswOptions, hnsw_neighbours, recall_at_k};
pub use metric_error::{MetricError, Side};
pub use rows::{Dense, Rows};
pub use vote::{Predictions, Ranking, Vote, vote_curve};
