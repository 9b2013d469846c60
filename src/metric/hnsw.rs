//! Approximate nearest neighbours by a hierarchical navigable small world graph
//! (Malkov and Yashunin, arXiv:1603.09320), with the crate `hnsw_rs`.

use std::collections::HashSet;

use hnsw_rs::anndists::dist::distances::Distance;
use hnsw_rs::hnsw::Hnsw;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::exact::{Neighbours, check_search, index_and_similarity, search_pool, sort_key};
use super::metric_error::{MetricError, Side};
use super::rows::{Rows, normalise_row};
use super::similarity::{GROUP, PANEL, for_each_tile, pack};

/// The graph's options, under the names of the paper and of `hnswlib`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HnswOptions {
    /// Links a node (twice as many on the ground layer): 2..=255.
    pub m: usize,
    /// Candidates kept while a node is linked: 1..=65536.
    pub ef_construction: usize,
    /// Candidates kept while a query is answered: 1..=65536. A search for more than that many
    /// neighbours keeps `k`.
    pub ef_search: usize,
}

impl Default for HnswOptions {
    fn default() -> Self {
        HnswOptions {
            m: 32,
            ef_construction: 200,
            ef_search: 200,
        }
    }
}

impl HnswOptions {
    /// Refuses options out of their range.
    pub fn check(&self) -> Result<(), MetricError> {
        // `hnsw_rs` counts links in a `u8` and divides by the logarithm of `m`.
        let bounds = [
            ("m", self.m, 2, 255),
            ("ef_construction", self.ef_construction, 1, 65536),
            ("ef_search", self.ef_search, 1, 65536),
        ];
        for (option, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(MetricError::HnswOption {
                    option,
                    value,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// The most layers that `hnsw_rs` builds.
const LAYERS: usize = 16;
/// Test rows searched between two calls of `progress`.
const TEST_BLOCK: usize = 256;

/// Probably the `k` train rows of highest cosine similarity for each test row.
///
/// train: `[N, dim]`, test: `[n, dim]`, both normalised here -> `[n, min(k, N)]`, with the order and
/// the similarities of `exact_neighbours`, bit for bit: only which rows are found may differ.
///
/// The graph is built on one thread in train order and `hnsw_rs` draws layers from a fixed
/// seed, so the same inputs on the same kind of processor give the same result for any number
/// of `threads` (0 counts as 1), which share the queries. The graph holds a normalised copy of
/// the train set, N x dim x 4 bytes, and its links: not bounded like the exact search.
///
/// `progress` is called with 0 once the graph is built, then with the test rows answered.
///
/// # Errors
/// Those of `exact_neighbours`; an option out of range; `HnswShort` when the graph reaches
/// fewer than `k` rows from a test row: a shortened or filled-up list would change the vote.
pub fn hnsw_neighbours(
    train: &dyn Rows,
    test: &dyn Rows,
    k: usize,
    options: HnswOptions,
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Neighbours, MetricError> {
    let k = check_search(train, test, k)?;
    options.check()?;
    let mut neighbours = Neighbours::with_room(test.len(), k)?;
    let pool = search_pool(threads)?;
    let graph = build(train, options)?;
    progress(0);
    for start in (0..test.len()).step_by(TEST_BLOCK) {
        let rows = start..test.len().min(start + TEST_BLOCK);
        let done = rows.end;
        let answers: Vec<_> = pool.install(|| {
            rows.into_par_iter()
                .map(|row| answer(&graph, train, test, row, k, options.ef_search))
                .collect()
        });
        for answer in answers {
            for (index, similarity) in answer? {
                neighbours.index.push(index);
                neighbours.similarity.push(similarity);
            }
        }
        progress(done);
    }
    // The graph is dropped in parallel: keep that to our threads.
    pool.install(|| drop(graph));
    Ok(neighbours)
}

fn build(
    train: &dyn Rows,
    options: HnswOptions,
) -> Result<Hnsw<'static, f32, Cosine>, MetricError> {
    let HnswOptions {
        m, ef_construction, ..
    } = options;
    let cosine = Cosine(Arch::new());
    let graph = Hnsw::new(m, train.len(), LAYERS, ef_construction, cosine);
    let mut features = vec![0.0; train.dim()];
    for row in 0..train.len() {
        copy_normalised(train, Side::Train, row, &mut features)?;
        graph.insert_slice((&features, row));
    }
    Ok(graph)
}

fn copy_normalised(
    rows: &dyn Rows,
    side: Side,
    row: usize,
    out: &mut [f32],
) -> Result<(), MetricError> {
    rows.copy(row, out);
    if normalise_row(out).is_finite() {
        Ok(())
    } else {
        Err(MetricError::NotFinite { side, row })
    }
}

/// The neighbours of one test row, best first.
fn answer(
    graph: &Hnsw<'static, f32, Cosine>,
    train: &dyn Rows,
    test: &dyn Rows,
    row: usize,
    k: usize,
    ef_search: usize,
) -> Result<Vec<(u32, f32)>, MetricError> {
    let dim = train.dim();
    let mut features = vec![0.0; dim];
    copy_normalised(test, Side::Test, row, &mut features)?;
    // Train rows are numbered by `u32`: `check_search` saw to it.
    let index: Vec<u32> = graph
        .search(&features, k, ef_search)
        .iter()
        .map(|found| found.d_id as u32)
        .collect();
    if index.len() < k {
        let found = index.len();
        return Err(MetricError::HnswShort { row, found, k });
    }

    let mut group = vec![0.0; dim * GROUP];
    pack::<GROUP>(test, Side::Test, row, 1, &mut group)?;
    let mut keys = Vec::with_capacity(k);
    let mut panel = vec![0.0; dim * PANEL];
    for index in index.chunks(PANEL) {
        let found = Found { train, index };
        pack::<PANEL>(&found, Side::Train, 0, index.len(), &mut panel)?;
        for_each_tile(&group, &panel, dim, |_, _, tile| {
            let pairs = index.iter().zip(&tile[0]);
            keys.extend(pairs.map(|(&index, &similarity)| sort_key(index, similarity)));
        });
    }
    keys.sort_unstable();
    Ok(keys.into_iter().map(index_and_similarity).collect())
}

/// The train rows that the graph found, in its order.
struct Found<'a> {
    train: &'a dyn Rows,
    index: &'a [u32],
}

impl Rows for Found<'_> {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn dim(&self) -> usize {
        self.train.dim()
    }

    fn copy(&self, start: usize, out: &mut [f32]) {
        let rows = out.chunks_exact_mut(self.dim());
        for (&row, out) in self.index[start..].iter().zip(rows) {
            self.train.copy(row as usize, out);
        }
    }
}

/// 1 - cosine of normalised rows, for the walk over the graph only.
struct Cosine(Arch);

impl Distance<f32> for Cosine {
    fn eval(&self, left: &[f32], right: &[f32]) -> f32 {
        // Rounding can take the cosine of a row with itself above 1.
        (1.0 - self.0.dispatch(Dot { left, right })).max(0.0)
    }
}

struct Dot<'a> {
    left: &'a [f32],
    right: &'a [f32],
}

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (left, left_rest) = S::as_simd_f32s(self.left);
        let (right, right_rest) = S::as_simd_f32s(self.right);
        // Four sums: one alone would wait for each multiply-add.
        let mut sums = [simd.splat_f32s(0.0); 4];
        let (left, left_tail) = left.as_chunks::<4>();
        let (right, right_tail) = right.as_chunks::<4>();
        for (left, right) in left.iter().zip(right) {
            for lane in 0..4 {
                sums[lane] = simd.mul_add_f32s(left[lane], right[lane], sums[lane]);
            }
        }
        for (&left, &right) in left_tail.iter().zip(right_tail) {
            sums[0] = simd.mul_add_f32s(left, right, sums[0]);
        }
        let sum = simd.add_f32s(
            simd.add_f32s(sums[0], sums[1]),
            simd.add_f32s(sums[2], sums[3]),
        );
        let rest = left_rest.iter().zip(right_rest);
        rest.fold(simd.reduce_sum_f32s(sum), |sum, (left, right)| {
            sum + left * right
        })
    }
}

/// The share of the exact neighbours that were found: the mean over test rows of
/// `|found ∩ exact| / k`, 0..=1 (1 when there are no test rows).
///
/// # Errors
/// `Mismatch` when the two are of different numbers of rows or different `k`.
pub fn recall_at_k(found: &Neighbours, exact: &Neighbours) -> Result<f64, MetricError> {
    for (what, left, right) in [
        ("neighbours a test row", found.k, exact.k),
        ("test rows", found.len(), exact.len()),
    ] {
        if left != right {
            return Err(MetricError::Mismatch { what, left, right });
        }
    }
    if exact.is_empty() {
        return Ok(1.0);
    }
    let mut hits = 0usize;
    for ((found, _), (exact, _)) in found.rows().zip(exact.rows()) {
        let exact: HashSet<u32> = exact.iter().copied().collect();
        hits += found.iter().filter(|index| exact.contains(index)).count();
    }
    Ok(hits as f64 / exact.index.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::exact::exact_neighbours;
    use crate::metric::rows::Dense;

    const DIM: usize = 19;

    fn noise(rows: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..rows * DIM).map(|_| next()).collect()
    }

    #[test]
    fn what_is_found_has_the_exact_order_and_similarities() {
        let (train, test) = (noise(1500, 1), noise(60, 2));
        let (train, test) = (
            Dense::new(&train, DIM).unwrap(),
            Dense::new(&test, DIM).unwrap(),
        );
        let options = HnswOptions {
            m: 8,
            ef_construction: 40,
            ef_search: 60,
        };
        let exact = exact_neighbours(&train, &test, 1500, 2, &|_| ()).unwrap();
        for k in [5, 50, 60] {
            let found = hnsw_neighbours(&train, &test, k, options, 1, &|_| ()).unwrap();
            let again = hnsw_neighbours(&train, &test, k, options, 2, &|_| ()).unwrap();
            assert_eq!(found, again);
            for ((index, similarity), (all, similarities)) in found.rows().zip(exact.rows()) {
                // A subsequence of all train rows in their exact order.
                let mut exact = all.iter().zip(similarities);
                for pair in index.iter().zip(similarity) {
                    assert!(exact.any(|exact| exact == pair));
                }
            }
            let truth = exact_neighbours(&train, &test, k, 2, &|_| ()).unwrap();
            assert!(recall_at_k(&found, &truth).unwrap() > 0.9);
            assert_eq!(recall_at_k(&truth, &truth), Ok(1.0));
            assert!(recall_at_k(&truth, &exact).is_err());
        }
    }

    #[test]
    fn too_few_found_rows_are_an_error() {
        // A graph of two links loses most of 400 equal rows.
        let options = HnswOptions {
            m: 2,
            ef_construction: 2,
            ef_search: 1,
        };
        let rows = [1.0; 400 * DIM];
        let rows = Dense::new(&rows, DIM).unwrap();
        let error = hnsw_neighbours(&rows, &rows, 400, options, 1, &|_| ()).unwrap_err();
        assert!(matches!(error, MetricError::HnswShort { k: 400, .. }));
        assert!(error.hint().is_some());
        let none = HnswOptions { m: 1, ..options };
        assert!(hnsw_neighbours(&rows, &rows, 1, none, 1, &|_| ()).is_err());
    }
}
