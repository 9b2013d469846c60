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

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, patch by patch and number by number.
    fn plainly(x: &[f32], means: &[f64], k: usize, kappa: f64, rounds: usize) -> Vec<Vec<f64>> {
        let size = means.len() / k;
        let n = x.len() / size;
        let x = |feature: usize, patch: usize| f64::from(x[feature * n + patch]);
        let mut means: Vec<Vec<f64>> = means.chunks(size).map(<[f64]>::to_vec).collect();
        let shares = |means: &[Vec<f64>]| {
            let mut shares = vec![vec![0.0; k]; n];
            for (patch, shares) in shares.iter_mut().enumerate() {
                for (part, share) in shares.iter_mut().enumerate() {
                    let dot: f64 = (0..size).map(|f| x(f, patch) * means[part][f]).sum();
                    *share = (kappa * dot).exp();
                }
                let sum: f64 = shares.iter().sum();
                shares.iter_mut().for_each(|share| *share /= sum);
            }
            for part in 0..k {
                let sum: f64 = shares.iter().map(|shares| shares[part]).sum();
                shares
                    .iter_mut()
                    .for_each(|shares| shares[part] /= 1e-6 + sum);
            }
            shares
        };
        for _ in 0..rounds {
            let shares = shares(&means);
            for (part, mean) in means.iter_mut().enumerate() {
                for (f, value) in mean.iter_mut().enumerate() {
                    *value = (0..n).map(|patch| shares[patch][part] * x(f, patch)).sum();
                }
                let norm = mean.iter().map(|value| value.powi(2)).sum::<f64>().sqrt();
                mean.iter_mut().for_each(|value| *value /= 1e-6 + norm);
            }
        }
        shares(&means)
    }

    #[test]
    fn rounds_as_in_plain_loops() {
        let mut stream = Stream::new(b"a test..", [3, 0, 0]);
        for (n, size, k, rounds) in [
            (16, 16, 3, 15),
            (49, 49, 7, 15),
            (20, 5, 4, 1),
            (6, 6, 9, 3),
        ] {
            let x: Vec<f32> = (0..n * size)
                .map(|_| (stream.unit() * 0.1) as f32)
                .collect();
            let means = random_means(k, size, &mut stream);
            for mean in means.chunks(size) {
                let norm: f64 = mean.iter().map(|x| x * x).sum();
                assert!((norm - 1.0).abs() < 1e-4);
            }
            let found = em_parts(&x, &means, k, 40.0, rounds);
            let expected = plainly(&x, &means, k, 40.0, rounds);
            for (patch, expected) in expected.iter().enumerate() {
                let shares = &found.shares[patch * k..][..k];
                for (found, expected) in shares.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
                }
                let label = found.labels[patch] as usize;
                assert!(shares.iter().all(|share| *share <= shares[label]));
            }
        }
    }

    #[test]
    fn patches_that_are_attended_alike_are_one_part() {
        // Four parts of four patches each, which attend to themselves.
        let part = |patch: usize| patch / 4 % 2 * 2 + patch % 4 / 2;
        let x: Vec<f32> = (0..256)
            .map(|i| {
                if part(i / 16) == part(i % 16) {
                    0.25
                } else {
                    0.0
                }
            })
            .collect();
        // Beginnings near one patch of each part.
        let mut means = vec![0.0; 4 * 16];
        for (start, patch) in [0, 2, 4, 6].into_iter().enumerate() {
            means[start * 16 + patch] = 1.0;
        }
        let found = em_parts(&x, &means, 4, 40.0, 15);
        for i in 0..16 {
            for j in 0..16 {
                let same = found.labels[i] == found.labels[j];
                assert_eq!(same, part(i) == part(j), "{i} {j}");
            }
        }
    }
}
