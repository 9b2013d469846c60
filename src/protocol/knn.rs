//! kNN classification of frozen features.

use std::collections::BTreeSet;

use crate::metric::{
    Dense, MetricError, Neighbours, Rows, Vote, accuracy, exact_neighbours, hnsw_neighbours,
    recall_at_k, vote_curve,
};
use crate::report::{ImageOutcomes, Measured};
use crate::spec::{KnnTask, Search, VoteKind};
use crate::stats::{IntervalError, Measure};

/// Raised when search, vote or counting may give another number for the same features: part of
/// every cell's key.
pub const EVALUATION_VERSION: u32 = 1;

/// Queries over which the recall of an index is measured.
const RECALL_QUERIES: usize = 1000;

/// Features that cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum KnnError {
    /// Search, vote or counting failed.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// No interval can be given.
    #[error(transparent)]
    Interval(#[from] IntervalError),
}

impl KnnError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Metric(error) => error.hint(),
            Self::Interval(error) => error.hint(),
        }
    }
}

/// Features of both splits, with labels.
#[derive(Clone, Copy)]
pub struct KnnData<'a> {
    /// Name of the feature.
    pub feature: &'a str,
    /// The block that it is read from, where it is read from one.
    pub layer: Option<usize>,
    /// Train features.
    pub train: &'a dyn Rows,
    /// Their classes.
    pub train_labels: &'a [u32],
    /// Validation features.
    pub val: &'a dyn Rows,
    /// Their classes.
    pub val_labels: &'a [u32],
    /// Number of classes.
    pub classes: usize,
}

/// What one feature gave, or several one after the other.
#[derive(Debug, Default)]
pub struct KnnOutcome {
    /// top-1, top-5 (DINO's) and strict top-5 for every k.
    pub measures: Vec<Measured>,
    /// What happened to every image, for every k.
    pub outcomes: Vec<ImageOutcomes>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// Searches once for the largest k and votes for every k of the task.
pub fn evaluate(
    data: &KnnData<'_>,
    task: &KnnTask,
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<KnnOutcome, KnnError> {
    let largest = task.k.iter().copied().max().unwrap_or_default();
    let mut notes = Vec::new();
    let neighbours = match task.search {
        Search::Exact => exact_neighbours(data.train, data.val, largest, threads, progress)?,
        Search::Hnsw => {
            let found =
                hnsw_neighbours(data.train, data.val, largest, task.hnsw, threads, progress)?;
            notes.push(recall(data, &found, task.headline, threads)?);
            found
        }
    };
    let vote = match task.vote {
        VoteKind::Dino => Vote::Dino {
            temperature: task.temperature,
        },
        VoteKind::Majority => Vote::Majority,
    };
    let mut measures = Vec::new();
    let mut outcomes = Vec::new();
    // A k beyond the train set means all of it.
    let reached: Vec<usize> = task.k.iter().map(|&k| k.min(neighbours.k)).collect();
    let curve = vote_curve(&neighbours, data.train_labels, data.classes, &reached, vote)?;
    for (&k, predictions) in task.k.iter().zip(&curve) {
        if k > neighbours.k {
            notes.push(format!("k = {k} takes all {} train images", neighbours.k));
        }
        let accuracy = accuracy(predictions, data.val_labels)?;
        for (name, hits) in [
            ("top1", &accuracy.top1),
            ("top5", &accuracy.top5),
            ("top5_strict", &accuracy.top5_strict),
        ] {
            measures.push(Measured {
                feature: data.feature.to_owned(),
                layer: data.layer,
                k: Some(k),
                headline: k == task.headline,
                ..Measured::of(Measure::from_hits(name, hits.count, accuracy.n)?)
            });
        }
        outcomes.push(ImageOutcomes {
            name: format!("{}/k{k}", data.feature),
            // Every ranking names a class, because there is at least one.
            top1: predictions
                .ranked
                .iter()
                .filter_map(|ranking| ranking.classes().first().copied())
                .collect(),
            top5: accuracy.top5.by_image,
        });
    }
    Ok(KnnOutcome {
        measures,
        outcomes,
        notes,
    })
}

/// Recall of an index against exact search, over evenly spread queries, among the headline's
/// neighbours and among all that were searched for.
fn recall(
    data: &KnnData<'_>,
    found: &Neighbours,
    headline: usize,
    threads: usize,
) -> Result<String, MetricError> {
    let every = data.val.len().div_ceil(RECALL_QUERIES).max(1);
    let mut rows = Vec::new();
    let mut sample = Neighbours {
        k: found.k,
        index: Vec::new(),
        similarity: Vec::new(),
    };
    let mut row = vec![0.0; data.val.dim()];
    for (query, (index, similarity)) in found.rows().enumerate().step_by(every) {
        data.val.copy(query, &mut row);
        rows.extend_from_slice(&row);
        sample.index.extend_from_slice(index);
        sample.similarity.extend_from_slice(similarity);
    }
    let queries = Dense::new(&rows, data.val.dim())?;
    let exact = exact_neighbours(data.train, &queries, found.k, threads, &|_| {})?;
    let mut recalls = Vec::new();
    for k in BTreeSet::from([headline.min(found.k), found.k]) {
        let recall = recall_at_k(&nearest(&sample, k), &nearest(&exact, k))?;
        recalls.push(format!("recall@{k} {recall:.4}"));
    }
    Ok(format!(
        "{}: hnsw {} against exact search over {} queries",
        data.feature,
        recalls.join(", "),
        exact.len(),
    ))
}

/// The first `k` neighbours of each row.
fn nearest(neighbours: &Neighbours, k: usize) -> Neighbours {
    let rows = || neighbours.rows();
    Neighbours {
        k,
        index: rows().flat_map(|(index, _)| &index[..k]).copied().collect(),
        similarity: rows()
            .flat_map(|(_, similarity)| &similarity[..k])
            .copied()
            .collect(),
    }
}
