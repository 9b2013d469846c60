//! Clustering by expectation and maximisation over directions.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

use crate::data::augment::normal;
use crate::data::stream::Stream;

/// Added to what is divided by (Evolved Part Masking `model/models_mae_evolved_base.py`, `EM`).
const EPS: f64 = 1e-6;

/// What EM finds.
#[derive(Clone, Debug, PartialEq)]
pub struct EmParts {
    /// How much of a part each patch is: its probability of belonging there over the sum of all
    /// patches', `[N, k]`.
    pub shares: Vec<f64>,
    /// The part that a patch is most of, the first of equal ones: `[N]`. A small part may win over
    /// a more probable large one.
    pub labels: Vec<u32>,
}

/// Parts of similar patches (Evolved Part Masking `model/models_mae_evolved_base.py`, `EM`): a patch
/// belongs to parts with probabilities `softmax(concentration x · mean)`, and a part's mean is the
/// direction of its patches. Features are taken as they are, so that their size counts.
///
/// features: a column a patch, `[F, N]`; means: where they begin, a unit row a part, `[k, F]`
pub fn em_parts(
    features: &[f32],
    means: &[f64],
    parts: usize,
    concentration: f64,
    iterations: usize,
) -> EmParts {
    let size = means.len().checked_div(parts).unwrap_or(0);
    let patches = features.len().checked_div(size).unwrap_or(0);
    let features: Vec<_> = features.iter().copied().map(f64::from).collect();
    let features = MatRef::from_row_major_slice(&features, size, patches);
    let mut means = means.to_vec();
    let mut shares = vec![0.0; patches * parts];
    expect(&mut shares, features, &means, parts, concentration);
    for _ in 0..iterations {
        // Rows of ours are columns of faer's.
        let mixed = MatMut::from_column_major_slice_mut(&mut means, size, parts);
        let of = MatRef::from_column_major_slice(&shares, parts, patches);
        matmul(
            mixed,
            Accum::Replace,
            features,
            of.transpose(),
            1.0,
            Par::Seq,
        );
        means.chunks_exact_mut(size.max(1)).for_each(normalise);
        expect(&mut shares, features, &means, parts, concentration);
    }
    let labels = shares.chunks_exact(parts.max(1)).map(largest).collect();
    EmParts { shares, labels }
}

/// shares: `[N, k]`; features: `[F, N]`; means: `[k, F]`
fn expect(
    shares: &mut [f64],
    features: MatRef<'_, f64>,
    means: &[f64],
    parts: usize,
    concentration: f64,
) {
    let (size, patches) = (features.nrows(), features.ncols());
    let means = MatRef::from_column_major_slice(means, size, parts);
    let logits = MatMut::from_column_major_slice_mut(shares, parts, patches);
    matmul(
        logits,
        Accum::Replace,
        means.transpose(),
        features,
        concentration,
        Par::Seq,
    );
    let mut sums = vec![EPS; parts];
    for patch in shares.chunks_exact_mut(parts.max(1)) {
        softmax(patch);
        sums.iter_mut()
            .zip(patch)
            .for_each(|(sum, share)| *sum += *share);
    }
    for patch in shares.chunks_exact_mut(parts.max(1)) {
        patch
            .iter_mut()
            .zip(&sums)
            .for_each(|(share, sum)| *share /= sum);
    }
}

/// Makes probabilities of logits.
fn softmax(logits: &mut [f64]) {
    let largest = logits
        .iter()
        .fold(f64::NEG_INFINITY, |most, &x| most.max(x));
    let mut sum = 0.0;
    for x in &mut *logits {
        *x = (*x - largest).exp();
        sum += *x;
    }
    logits.iter_mut().for_each(|x| *x /= sum);
}

/// Makes a direction of a vector.
fn normalise(vector: &mut [f64]) {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt() + EPS;
    vector.iter_mut().for_each(|x| *x /= norm);
}

/// Where the largest stands first.
fn largest(shares: &[f64]) -> u32 {
    let mut best = 0;
    for (part, share) in shares.iter().enumerate() {
        if *share > shares[best] {
            best = part;
        }
    }
    best as u32
}

/// Random directions, which EM begins with: `[parts, size]`
pub(super) fn random_means(parts: usize, size: usize, stream: &mut Stream) -> Vec<f64> {
    let numbers = (0..parts * size).map(|_| normal(stream.word() as u32));
    let mut means: Vec<_> = numbers.collect();
    means.chunks_exact_mut(size.max(1)).for_each(normalise);
    means
}
