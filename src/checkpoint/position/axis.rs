//! One axis of a resampling as a matrix, and two of them applied to a table.

/// The weights of one target position: of consecutive source positions from `first` on.
#[derive(Clone, Debug, PartialEq)]
struct Span {
    first: usize,
    weights: Vec<f64>,
}

/// For each target position of an axis, weights of source positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    spans: Vec<Span>,
}

impl Axis {
    /// An axis whose `position`-th target is a sum of the `(source, weight)` pairs that `taps`
    /// gives; sources before the first and past the last of `from` are that one.
    pub(super) fn clamped<T: IntoIterator<Item = (isize, f64)>>(
        from: usize,
        to: usize,
        taps: impl Fn(usize) -> T,
    ) -> Self {
        let last = from.saturating_sub(1);
        let span = |position| {
            let taps: Vec<(usize, f64)> = taps(position)
                .into_iter()
                .map(|(source, weight)| (usize::try_from(source).unwrap_or(0).min(last), weight))
                .collect();
            let sources = || taps.iter().map(|&(source, _)| source);
            let first = sources().min().unwrap_or(0);
            let end = sources().max().map_or(first, |last| last + 1);
            let mut weights = vec![0.0; end - first];
            for (source, weight) in taps {
                weights[source - first] += weight;
            }
            Span { first, weights }
        };
        Self {
            spans: (0..to).map(span).collect(),
        }
    }

    /// Number of target positions.
    fn len(&self) -> usize {
        self.spans.len()
    }
}

/// Resamples rows and columns of a grid of vectors.
///
/// grid: `[h, w, depth]` with `size` = `[h, w]` -> `[h', w', depth]`
pub(super) fn resample(grid: &[f32], size: [usize; 2], depth: usize, axes: &[Axis; 2]) -> Vec<f32> {
    let [rows, columns] = axes;
    let source: Vec<f64> = grid.iter().map(|&x| f64::from(x)).collect();
    // A row of the grid is one long vector to the first pass.
    let between = weighted(&source, [1, size[0]], size[1] * depth, rows);
    let resampled = weighted(&between, [rows.len(), size[1]], depth, columns);
    resampled.into_iter().map(|x| x as f32).collect()
}

/// data: `[outer, from, inner]` with `size` = `[outer, from]` -> `[outer, to, inner]`
fn weighted(data: &[f64], size: [usize; 2], inner: usize, axis: &Axis) -> Vec<f64> {
    let [outer, from] = size;
    let mut sums = vec![0.0; outer * axis.len() * inner];
    let blocks = data.chunks_exact(from * inner);
    for (block, sums) in blocks.zip(sums.chunks_exact_mut(axis.len() * inner)) {
        for (span, sums) in axis.spans.iter().zip(sums.chunks_exact_mut(inner)) {
            let vectors = block.chunks_exact(inner).skip(span.first);
            for (&weight, vector) in span.weights.iter().zip(vectors) {
                for (sum, x) in sums.iter_mut().zip(vector) {
                    *sum += weight * x;
                }
            }
        }
    }
    sums
}
