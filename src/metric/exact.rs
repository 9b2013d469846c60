//! Exact cosine nearest neighbours.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::metric_error::{MetricError, Side};
use super::rows::Rows;
use super::similarity::{GROUP, PANEL, Tile, for_each_tile, pack};

/// The nearest train rows of each test row, ordered by (similarity descending, train index
/// ascending).
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Neighbours a test row.
    pub k: usize,
    /// Indices of train rows: `[n, k]`.
    pub index: Vec<u32>,
    /// Cosine similarities: `[n, k]`.
    pub similarity: Vec<f32>,
}

impl Neighbours {
    /// Room for the neighbours of `rows` test rows.
    pub(super) fn with_room(rows: usize, k: usize) -> Result<Self, MetricError> {
        let (mut index, mut similarity) = (Vec::new(), Vec::new());
        let reserved = rows.checked_mul(k).is_some_and(|len| {
            index.try_reserve_exact(len).is_ok() && similarity.try_reserve_exact(len).is_ok()
        });
        if !reserved {
            return Err(MetricError::Memory { rows, k });
        }
        Ok(Neighbours {
            k,
            index,
            similarity,
        })
    }

    /// Number of test rows, n.
    pub fn len(&self) -> usize {
        self.index.len() / self.k.max(1)
    }

    /// Whether there are no test rows.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The neighbours of each test row: k train indices and k similarities.
    pub fn rows(&self) -> impl Iterator<Item = (&[u32], &[f32])> {
        let k = self.k.max(1);
        self.index
            .chunks_exact(k)
            .zip(self.similarity.chunks_exact(k))
    }
}

/// The `k` train rows of highest cosine similarity for each test row, by comparing all pairs.
///
/// train: `[N, dim]`, test: `[n, dim]`, both normalised here -> `[n, min(k, N)]`: a `k` above the
/// number of train rows is lowered to it, and `Neighbours::k` says so. Equal similarities are
/// ordered by train index. A zero row has similarity 0 with every row.
///
/// Each similarity is an `f32` chain of fused multiply-adds in feature order: the result
/// depends neither on `threads` (0 counts as 1) nor on the block sizes.
///
/// Besides the result, `[n, k]` x 8 bytes, the search holds at most about 16 MiB of packed train
/// rows and 512 MiB of packed test rows with their candidates (more only when single rows are
/// larger than that). Train rows are read once for each such wave of test rows: at dim 768 and
/// k = 20, once for the first 140 000 of them.
///
/// `progress` is called between blocks with the work done so far, in test rows out of n.
///
/// # Errors
/// Empty, mismatched or oversized inputs, `k = 0`, a row without a finite norm (the error
/// names it), no threads, or no memory for the result.
pub fn exact_neighbours(
    train: &dyn Rows,
    test: &dyn Rows,
    k: usize,
    threads: usize,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Neighbours, MetricError> {
    let k = check_search(train, test, k)?;
    let blocks = Blocks::for_shape(train, k);
    search(train, test, k, &search_pool(threads)?, progress, blocks)
}

/// Checks what every search needs; returns `k` lowered to the number of train rows.
pub(super) fn check_search(
    train: &dyn Rows,
    test: &dyn Rows,
    k: usize,
) -> Result<usize, MetricError> {
    if train.dim() != test.dim() {
        let (train, test) = (train.dim(), test.dim());
        return Err(MetricError::Dim { train, test });
    }
    if train.dim() == 0 {
        return Err(MetricError::NoFeatures);
    }
    if train.is_empty() {
        return Err(MetricError::NoTrainRows);
    }
    if u32::try_from(train.len()).is_err() {
        let rows = train.len();
        return Err(MetricError::TooManyTrainRows { rows });
    }
    if k == 0 {
        return Err(MetricError::NoNeighbours);
    }
    Ok(k.min(train.len()))
}

/// The worker threads of a search; 0 counts as 1.
pub(super) fn search_pool(threads: usize) -> Result<ThreadPool, MetricError> {
    let threads = threads.max(1);
    let pool = ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| MetricError::Threads {
        threads,
        reason: error.to_string(),
    })
}

/// How the pairs are cut up; no size changes a result.
#[derive(Clone, Copy, Debug)]
struct Blocks {
    /// Panels of train rows packed at a time and shared by all threads.
    panels: usize,
    /// Groups of test rows that one thread takes at a time.
    groups: usize,
    /// Groups of test rows that are packed at a time, and keep candidates.
    wave: usize,
}

impl Blocks {
    /// Packed train rows at a time, in bytes.
    const TRAIN_BYTES: usize = 16 << 20;
    /// Packed test rows and their candidates at a time, in bytes.
    const TEST_BYTES: usize = 512 << 20;

    fn for_shape(train: &dyn Rows, k: usize) -> Self {
        let features = train.dim().saturating_mul(size_of::<f32>());
        let panel = features.saturating_mul(PANEL);
        let candidates = Shortlist::room(k, train.len()).saturating_mul(size_of::<u64>());
        let group = features.saturating_add(candidates).saturating_mul(GROUP);
        Blocks {
            panels: (Self::TRAIN_BYTES / panel).max(1),
            groups: 8,
            wave: (Self::TEST_BYTES / group).max(1),
        }
    }
}

fn search(
    train: &dyn Rows,
    test: &dyn Rows,
    k: usize,
    pool: &ThreadPool,
    progress: &(dyn Fn(usize) + Sync),
    blocks: Blocks,
) -> Result<Neighbours, MetricError> {
    let mut neighbours = Neighbours::with_room(test.len(), k)?;
    let wave_rows = blocks.wave * GROUP;
    let block_rows = blocks.panels * PANEL;
    let block_count = train.len().div_ceil(block_rows);
    let mut panels = Vec::new();
    for wave in (0..test.len()).step_by(wave_rows) {
        let rows = wave_rows.min(test.len() - wave);
        let mut groups = Vec::new();
        pool.install(|| pack_all::<GROUP>(test, Side::Test, wave, rows, &mut groups))?;
        let mut shortlists = vec![Shortlist::new(k, train.len()); rows];
        for block in 0..block_count {
            let start = block * block_rows;
            let count = block_rows.min(train.len() - start);
            pool.install(|| {
                pack_all::<PANEL>(train, Side::Train, start, count, &mut panels)?;
                let task = blocks.groups * GROUP;
                shortlists
                    .par_chunks_mut(task)
                    .zip(groups.par_chunks(task * train.dim()))
                    .for_each(|(shortlists, groups)| {
                        for_each_tile(groups, &panels, train.dim(), |group, panel, tile| {
                            let first = start + panel * PANEL;
                            let lanes = PANEL.min(start + count - first);
                            let rows = &mut shortlists[group * GROUP..];
                            offer(rows, tile, first as u32, lanes);
                        });
                    });
                Ok(())
            })?;
            progress(wave + (rows as u64 * (block as u64 + 1) / block_count as u64) as usize);
        }
        pool.install(|| shortlists.par_iter_mut().for_each(Shortlist::finish));
        for key in shortlists.iter().flat_map(|shortlist| &shortlist.keys) {
            let (index, similarity) = index_and_similarity(*key);
            neighbours.index.push(index);
            neighbours.similarity.push(similarity);
        }
    }
    Ok(neighbours)
}

/// Packs `count` rows from `start` on into `out`: [ceil(count / WIDTH), dim, WIDTH].
fn pack_all<const WIDTH: usize>(
    rows: &dyn Rows,
    side: Side,
    start: usize,
    count: usize,
    out: &mut Vec<f32>,
) -> Result<(), MetricError> {
    let len = WIDTH * rows.dim();
    out.resize(count.div_ceil(WIDTH) * len, 0.0);
    let packed: Vec<Result<(), MetricError>> = out
        .par_chunks_exact_mut(len)
        .enumerate()
        .map(|(part, out)| {
            let first = part * WIDTH;
            pack::<WIDTH>(rows, side, start + first, WIDTH.min(count - first), out)
        })
        .collect();
    // In row order, so that the error names the first bad row whichever thread met it.
    packed.into_iter().collect()
}

/// Offers the similarities of train rows `first..first + lanes` to the test rows of a group.
#[inline(always)]
fn offer(rows: &mut [Shortlist], tile: &Tile, first: u32, lanes: usize) {
    for (shortlist, similarities) in rows.iter_mut().zip(tile) {
        // Almost always no lane passes: look at all of them without a branch first.
        let threshold = shortlist.threshold;
        if similarities
            .iter()
            .fold(false, |any, &similarity| any | (similarity > threshold))
        {
            shortlist.offer(&similarities[..lanes], first);
        }
    }
}

/// The best train rows that one test row has met.
#[derive(Clone, Debug)]
struct Shortlist {
    /// Sort keys of candidates; all that could still be among the best `k`.
    keys: Vec<u64>,
    /// Only a higher similarity can still enter: train rows come in ascending order, so that
    /// an equal one would lose to the `k` that are there.
    threshold: f32,
    k: usize,
    /// Candidates kept before the best `k` of them are selected.
    room: usize,
}

impl Shortlist {
    /// Selecting `k` of `2k` costs a few steps a candidate, however large `k` is.
    fn room(k: usize, train_rows: usize) -> usize {
        k.saturating_add(k.max(64)).min(train_rows)
    }

    fn new(k: usize, train_rows: usize) -> Self {
        Shortlist {
            keys: Vec::new(),
            threshold: f32::NEG_INFINITY,
            k,
            room: Self::room(k, train_rows),
        }
    }

    #[cold]
    #[inline(never)]
    fn offer(&mut self, similarities: &[f32], first: u32) {
        for (index, &similarity) in (first..).zip(similarities) {
            if similarity > self.threshold {
                if self.keys.is_empty() {
                    self.keys.reserve_exact(self.room);
                }
                self.keys.push(sort_key(index, similarity));
                if self.keys.len() == self.room && self.room > self.k {
                    self.keep_best();
                }
            }
        }
    }

    /// Keeps the best `k`, in no order, and raises the threshold to the worst of them.
    fn keep_best(&mut self) {
        let (_, &mut worst, _) = self.keys.select_nth_unstable(self.k - 1);
        self.threshold = index_and_similarity(worst).1;
        self.keys.truncate(self.k);
    }

    /// Leaves the best `k`, best first.
    fn finish(&mut self) {
        if self.keys.len() > self.k {
            self.keep_best();
        }
        self.keys.sort_unstable();
    }
}

/// A number that is smaller for a better neighbour: by similarity descending, then by index
/// ascending.
pub(super) fn sort_key(index: u32, similarity: f32) -> u64 {
    // Adding 0 turns -0 into +0: the two are equal similarities.
    let bits = (similarity + 0.0).to_bits();
    // Flipping makes the bits of a float ascend with its value.
    let ascending = if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    };
    u64::from(!ascending) << 32 | u64::from(index)
}

/// What `sort_key` was made of.
pub(super) fn index_and_similarity(key: u64) -> (u32, f32) {
    let ascending = !((key >> 32) as u32);
    let bits = if ascending >> 31 == 1 {
        ascending & !(1 << 31)
    } else {
        !ascending
    };
    (key as u32, f32::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::metric::rows::Dense;

    const BLOCKS: [Blocks; 3] = [
        Blocks {
            panels: 1,
            groups: 1,
            wave: 1,
        },
        Blocks {
            panels: 2,
            groups: 3,
            wave: 4,
        },
        Blocks {
            panels: 100,
            groups: 8,
            wave: 100,
        },
    ];

    /// Rows of few distinct values, so that many are exact duplicates.
    fn rows(dim: usize, most: usize) -> impl Strategy<Value = Vec<f32>> {
        let row = proptest::collection::vec(-2i8..=2, dim);
        proptest::collection::vec(row, 1..most)
            .prop_map(|rows| rows.concat().into_iter().map(f32::from).collect())
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn agrees_with_brute_force_whatever_the_blocks_and_threads(
            train in rows(3, 300),
            test in rows(3, 70),
            k in 1usize..320,
        ) {
            let (dense_train, dense_test) = (
                Dense::new(&train, 3).unwrap(),
                Dense::new(&test, 3).unwrap(),
            );
            let found = exact_neighbours(&dense_train, &dense_test, k, 1, &|_| ()).unwrap();
            prop_assert_eq!(found.k, k.min(dense_train.len()));
            for blocks in BLOCKS {
                let pool = search_pool(2).unwrap();
                let again =
                    search(&dense_train, &dense_test, found.k, &pool, &|_| (), blocks).unwrap();
                prop_assert_eq!(&again, &found);
            }
            for ((index, similarity), test) in found.rows().zip(test.chunks(3)) {
                let all: Vec<f64> = train.chunks(3).map(|row| cosine(row, test)).collect();
                // The order is exact in the similarities reported ...
                let pairs: Vec<_> = index.iter().zip(similarity).collect();
                let ordered = pairs
                    .is_sorted_by(|a, b| a.1 > b.1 || a.1 == b.1 && a.0 < b.0);
                prop_assert!(ordered);
                // ... which are right, for the right rows,
                for (&index, &similarity) in index.iter().zip(similarity) {
                    prop_assert!((f64::from(similarity) - all[index as usize]).abs() < 1e-6);
                }
                // ... and nothing better, or equal and earlier, was left out.
                let (&last, &worst) = (index.last().unwrap(), similarity.last().unwrap());
                for (row, &cosine) in all.iter().enumerate() {
                    if !index.contains(&(row as u32)) {
                        prop_assert!(cosine < f64::from(worst) + 1e-6);
                        let twin = train[3 * row..][..3] == train[3 * last as usize..][..3];
                        prop_assert!(!twin || row > last as usize);
                    }
                }
            }
        }

        #[test]
        fn the_order_of_the_train_rows_changes_no_similarity(
            train in rows(5, 150),
            test in rows(5, 20),
            k in 1usize..40,
        ) {
            let mut reversed: Vec<&[f32]> = train.chunks(5).collect();
            reversed.reverse();
            let reversed = reversed.concat();
            let test = Dense::new(&test, 5).unwrap();
            let search = |train: &[f32]| {
                exact_neighbours(&Dense::new(train, 5).unwrap(), &test, k, 2, &|_| ()).unwrap()
            };
            prop_assert_eq!(search(&train).similarity, search(&reversed).similarity);
        }

        #[test]
        fn sort_keys_order_and_keep_neighbours(
            a in (any::<u32>(), -1.5f32..1.5),
            b in (any::<u32>(), -1.5f32..1.5),
        ) {
            prop_assert_eq!(index_and_similarity(sort_key(a.0, a.1)), a);
            let want = b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0));
            prop_assert_eq!(sort_key(a.0, a.1).cmp(&sort_key(b.0, b.1)), want);
        }
    }

    #[test]
    fn zeros_of_either_sign_are_equal() {
        assert!(sort_key(1, 0.0) < sort_key(2, -0.0));
        assert!(sort_key(1, -0.0) < sort_key(2, 0.0));
    }

    #[test]
    fn ever_better_rows_replace_the_earlier_ones() {
        // Similarities ascend along the train rows: each one enters the shortlist.
        let train: Vec<f32> = (0..5000).flat_map(|i| [i as f32, 5000.0]).collect();
        let train = Dense::new(&train, 2).unwrap();
        let test = Dense::new(&[1.0, 0.0], 2).unwrap();
        let found = exact_neighbours(&train, &test, 7, 1, &|_| ()).unwrap();
        assert_eq!(found.index, [4999, 4998, 4997, 4996, 4995, 4994, 4993]);
    }

    #[test]
    fn progress_ascends_to_the_number_of_test_rows() {
        let (train, test) = ([1.0; 2 * 500], [1.0; 2 * 90]);
        let seen = Mutex::new(Vec::new());
        search(
            &Dense::new(&train, 2).unwrap(),
            &Dense::new(&test, 2).unwrap(),
            3,
            &search_pool(2).unwrap(),
            &|done| seen.lock().unwrap().push(done),
            BLOCKS[1],
        )
        .unwrap();
        let seen = seen.into_inner().unwrap();
        assert!(seen.is_sorted() && seen.last() == Some(&90));
    }

    #[test]
    fn bad_inputs_are_named() {
        let bad = [0.0, 1.0, 2.0, f32::NAN, 1.0, f32::INFINITY];
        let good = [0.0, 1.0, 2.0, 1.0];
        let search = |train: &[f32], test: &[f32], k| {
            let (train, test) = (Dense::new(train, 2).unwrap(), Dense::new(test, 2).unwrap());
            exact_neighbours(&train, &test, k, 2, &|_| ())
        };
        let not_finite = |side| Err(MetricError::NotFinite { side, row: 1 });
        assert_eq!(search(&bad, &good, 1), not_finite(Side::Train));
        assert_eq!(search(&good, &bad, 1), not_finite(Side::Test));
        assert_eq!(search(&good, &good, 0), Err(MetricError::NoNeighbours));
        assert_eq!(search(&[], &good, 1), Err(MetricError::NoTrainRows));
        assert!(search(&good, &[], 1).unwrap().is_empty());
        let (wide, narrow) = (Dense::new(&good, 4).unwrap(), Dense::new(&good, 2).unwrap());
        let dim = exact_neighbours(&wide, &narrow, 1, 1, &|_| ());
        assert_eq!(dim, Err(MetricError::Dim { train: 4, test: 2 }));
        // Zero rows are as near to everything as to nothing.
        let zeros = search(&[0.0; 6], &good, 2).unwrap();
        assert_eq!(
            (zeros.index, zeros.similarity),
            (vec![0, 1, 0, 1], vec![0.0; 4])
        );
    }
}
