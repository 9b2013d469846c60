//! The classes that neighbours vote for.

use super::exact::Neighbours;
use super::metric_error::{MetricError, Side};

/// How the neighbours of a test row vote. Classes are ordered by (score descending, class id
/// ascending).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Vote {
    /// DINO's vote (`eval_knn.py`, `knn_classifier`): each neighbour adds
    /// `exp(similarity / temperature)`, in `f32` and in neighbour order.
    Dino {
        /// The temperature; DINO's is 0.07.
        temperature: f32,
    },
    /// Each neighbour counts once; a tie goes to the smallest class id.
    Majority,
}

/// The first ranks that a top-5 accuracy looks at.
const TOP: usize = 5;

/// The five classes with the highest scores for one test row, or all when there are fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranking {
    class: [u32; TOP],
    ranked: u8,
    voted: u8,
}

impl Ranking {
    /// Class ids, best first: min(5, classes) of them. Classes without a vote follow those
    /// with votes by ascending id, as in DINO, where they are columns of score 0.
    pub fn classes(&self) -> &[u32] {
        &self.class[..usize::from(self.ranked)]
    }

    /// The first of `classes` that had votes. (A vote whose weight is too small for `f32` is
    /// none.)
    pub fn voted(&self) -> &[u32] {
        &self.class[..usize::from(self.voted)]
    }

    /// The best classes by a classifier's scores: every class has one, and so counts as voted for.
    ///
    /// scores: `[classes]`, none of them NaN.
    pub fn of_scores(scores: &[f32]) -> Self {
        let mut best = [0; TOP];
        let mut ranked = 0;
        for (class, &score) in scores.iter().enumerate() {
            // Behind all that are as high: their ids are smaller.
            let place =
                best[..ranked].partition_point(|&other: &u32| scores[other as usize] >= score);
            if place == TOP {
                continue;
            }
            ranked = (ranked + 1).min(TOP);
            best[place..ranked].rotate_right(1);
            best[place] = class as u32;
        }
        Ranking {
            class: best,
            ranked: ranked as u8,
            voted: ranked as u8,
        }
    }
}

/// What `k` neighbours, or a classifier, predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Neighbours that voted; of a classifier, the ranks that are looked at.
    pub k: usize,
    /// Number of classes.
    pub classes: usize,
    /// The best classes of each test row: `[n]`.
    pub ranked: Vec<Ranking>,
}

impl Predictions {
    /// What a classifier predicts, by [`Ranking::of_scores`] of each row: `[n]`.
    pub fn of_scores(classes: usize, ranked: Vec<Ranking>) -> Self {
        Predictions {
            k: TOP,
            classes,
            ranked,
        }
    }
}

/// The predictions of the first `k` neighbours for each of `ks`, in the order of `ks`.
///
/// train_labels: `[N]`, class ids below `classes`. One pass over the neighbours serves all `ks`:
/// scores only grow, so that a new vote moves one class up at most.
///
/// `classes` is the real number of classes. (DINO's script has 1000 columns for every data
/// set, which gives the places behind the classes with votes to other ids.)
///
/// # Errors
/// A `k` that is 0 or above that of the search, labels that do not fit the neighbours or the
/// classes, a temperature that is not positive or makes `f32` weights overflow.
pub fn vote_curve(
    neighbours: &Neighbours,
    train_labels: &[u32],
    classes: usize,
    ks: &[usize],
    vote: Vote,
) -> Result<Vec<Predictions>, MetricError> {
    let largest = ks.iter().copied().max().unwrap_or(0);
    check_votes(neighbours, train_labels, classes, ks, largest, vote)?;
    let mut curve: Vec<Predictions> = ks
        .iter()
        .map(|&k| Predictions {
            k,
            classes,
            ranked: Vec::with_capacity(neighbours.len()),
        })
        .collect();
    // The curve's points in the order in which the pass over the neighbours meets them.
    let mut points: Vec<usize> = (0..ks.len()).collect();
    points.sort_by_key(|&point| ks[point]);

    let mut ballot = Ballot::new(classes);
    for (index, similarity) in neighbours.rows() {
        let mut counted = 0;
        for &point in &points {
            let predictions = &mut curve[point];
            for (&index, &similarity) in index[counted..predictions.k]
                .iter()
                .zip(&similarity[counted..predictions.k])
            {
                ballot.add(train_labels[index as usize], vote.weight(similarity));
            }
            counted = predictions.k;
            predictions.ranked.push(ballot.ranking());
        }
        ballot.clear(index[..counted].iter().map(|&i| train_labels[i as usize]));
    }
    Ok(curve)
}

fn check_votes(
    neighbours: &Neighbours,
    train_labels: &[u32],
    classes: usize,
    ks: &[usize],
    largest: usize,
    vote: Vote,
) -> Result<(), MetricError> {
    if ks.is_empty() || ks.contains(&0) {
        return Err(MetricError::NoNeighbours);
    }
    if largest > neighbours.k {
        let (asked, found) = (largest, neighbours.k);
        return Err(MetricError::TooFewNeighbours { asked, found });
    }
    if neighbours.index.len() != neighbours.similarity.len() {
        return Err(MetricError::Mismatch {
            what: "neighbour indices and similarities",
            left: neighbours.index.len(),
            right: neighbours.similarity.len(),
        });
    }
    if let Some(row) = first_outside(train_labels, classes) {
        return Err(MetricError::Label {
            side: Side::Train,
            row,
            label: train_labels[row],
            classes,
        });
    }
    let labels = train_labels.len();
    for (row, (index, _)) in neighbours.rows().enumerate() {
        if let Some(&index) = index.iter().find(|&&index| index as usize >= labels) {
            return Err(MetricError::Unlabelled { row, index, labels });
        }
    }
    if let Vote::Dino { temperature } = vote {
        let top = neighbours.similarity.iter().copied().fold(0.0, f32::max);
        let sum = f64::from(vote.weight(top)) * largest as f64;
        if !temperature.is_finite() || temperature <= 0.0 || sum > f64::from(f32::MAX) {
            let k = largest;
            return Err(MetricError::Temperature { temperature, k });
        }
    }
    Ok(())
}

/// The first label that is no class.
pub(super) fn first_outside(labels: &[u32], classes: usize) -> Option<usize> {
    labels.iter().position(|&label| label as usize >= classes)
}

impl Vote {
    /// What a neighbour adds to the score of its class.
    fn weight(self, similarity: f32) -> f32 {
        match self {
            // Rounded from `f64`: `f32`'s own exp differs between systems.
            Vote::Dino { temperature } => f64::from(similarity / temperature).exp() as f32,
            Vote::Majority => 1.0,
        }
    }
}

/// The scores of one test row while its neighbours vote.
struct Ballot {
    /// [classes]
    scores: Vec<f32>,
    /// The classes of highest scores above 0, best first.
    best: [u32; TOP],
    voted: usize,
}

impl Ballot {
    fn new(classes: usize) -> Self {
        Ballot {
            scores: vec![0.0; classes],
            best: [0; TOP],
            voted: 0,
        }
    }

    fn add(&mut self, class: u32, weight: f32) {
        let scores = &mut self.scores;
        scores[class as usize] += weight;
        let score = scores[class as usize];
        if score <= 0.0 {
            return;
        }
        let better = |other: u32| {
            let other_score = scores[other as usize];
            score > other_score || score == other_score && class < other
        };
        // The place of the class among the best, or the one behind them.
        let mut place = match self.best[..self.voted].iter().position(|&c| c == class) {
            Some(place) => place,
            None if self.voted < TOP => {
                self.voted += 1;
                self.voted - 1
            }
            None if better(self.best[TOP - 1]) => TOP - 1,
            None => return,
        };
        while place > 0 && better(self.best[place - 1]) {
            self.best[place] = self.best[place - 1];
            place -= 1;
        }
        self.best[place] = class;
    }

    fn ranking(&self) -> Ranking {
        let mut class = self.best;
        let mut ranked = self.voted;
        // 2 x TOP ids hold enough that are not among the best.
        for id in 0..self.scores.len().min(2 * TOP) as u32 {
            if ranked < TOP && !self.best[..self.voted].contains(&id) {
                class[ranked] = id;
                ranked += 1;
            }
        }
        Ranking {
            class,
            ranked: ranked as u8,
            voted: self.voted as u8,
        }
    }

    /// Takes the votes for `classes` back.
    fn clear(&mut self, classes: impl Iterator<Item = u32>) {
        for class in classes {
            self.scores[class as usize] = 0.0;
        }
        self.voted = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    use super::*;
    use crate::metric::exact::exact_neighbours;
    use crate::metric::rows::Dense;

    const DINO: Vote = Vote::Dino { temperature: 0.07 };

    fn neighbours(k: usize, index: Vec<u32>, similarity: Vec<f32>) -> Neighbours {
        Neighbours {
            k,
            index,
            similarity,
        }
    }

    fn f32s(file: &SafeTensors, name: &str) -> Vec<f32> {
        let data = file.tensor(name).unwrap().data();
        let values = data.as_chunks::<4>().0.iter();
        values.map(|&bytes| f32::from_le_bytes(bytes)).collect()
    }

    #[test]
    fn scores_match_dino() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/goldens/knn/data.safetensors"
        );
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (train, test) = (f32s(&file, "train"), f32s(&file, "test"));
        let labels = file.tensor("train_labels").unwrap().data().as_chunks::<8>();
        let labels: Vec<u32> = labels
            .0
            .iter()
            .map(|&l| u64::from_le_bytes(l) as u32)
            .collect();
        let (train, test) = (
            Dense::new(&train, 64).unwrap(),
            Dense::new(&test, 64).unwrap(),
        );
        let found = exact_neighbours(&train, &test, 50, 1, &|_| ()).unwrap();
        // Where the k-th neighbour is ambiguous (`expected.json`) the scores may be another's.
        for (k, ambiguous) in [
            (1, &[0, 1, 3][..]),
            (5, &[3]),
            (10, &[3, 94]),
            (20, &[95]),
            (50, &[1, 30]),
        ] {
            let want = f32s(&file, &format!("votes.k{k}"));
            for (row, (index, similarity)) in found.rows().enumerate() {
                if ambiguous.contains(&row) {
                    continue;
                }
                let mut ballot = Ballot::new(10);
                for (&index, &similarity) in index[..k].iter().zip(similarity) {
                    ballot.add(labels[index as usize], DINO.weight(similarity));
                }
                // exp(s / 0.07) multiplies an error of s by 14.
                for (got, want) in ballot.scores.iter().zip(&want[row * 10..]) {
                    assert!((got - want).abs() <= 1e-5 * want, "{k} {row}: {got} {want}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_curve_is_each_k_sorted_in_full(
            rows in proptest::collection::vec(
                proptest::collection::vec((0u32..12, -1f32..1.0), 9), 1..4),
            labels in proptest::collection::vec(0u32..7, 12),
            ks in proptest::collection::vec(1usize..=9, 1..6),
            majority: bool,
        ) {
            let vote = if majority { Vote::Majority } else { DINO };
            let pairs: Vec<(u32, f32)> = rows.concat();
            let (index, similarity) = pairs.iter().copied().unzip();
            let curve = vote_curve(&neighbours(9, index, similarity), &labels, 7, &ks, vote)
                .unwrap();
            for (predictions, &k) in curve.iter().zip(&ks) {
                prop_assert_eq!(predictions.k, k);
                for (ranking, row) in predictions.ranked.iter().zip(&rows) {
                    let mut scores = [0f32; 7];
                    for &(index, similarity) in &row[..k] {
                        scores[labels[index as usize] as usize] += vote.weight(similarity);
                    }
                    let mut order: Vec<u32> = (0..7).collect();
                    order.sort_by(|&a, &b| {
                        scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b))
                    });
                    prop_assert_eq!(ranking.classes(), &order[..5]);
                    let voted = order[..5].iter().filter(|&&c| scores[c as usize] > 0.0).count();
                    prop_assert_eq!(ranking.voted(), &order[..voted]);
                }
            }
        }
    }

    #[test]
    fn scores_rank_by_height_then_class() {
        let ranking = Ranking::of_scores(&[0.5, -1.0, 2.0, 0.5, f32::NEG_INFINITY, 2.0, 0.75]);
        assert_eq!(ranking.classes(), [2, 5, 6, 0, 3]);
        assert_eq!(ranking.voted(), ranking.classes());
        assert_eq!(Ranking::of_scores(&[-2.0, -1.0]).classes(), [1, 0]);
    }

    #[test]
    fn fewer_classes_than_five_and_votes_too_small_to_count() {
        let two = neighbours(2, vec![0, 1], vec![0.5, -0.9]);
        let vote = Vote::Dino { temperature: 0.008 };
        let curve = vote_curve(&two, &[2, 1], 3, &[2, 1], vote).unwrap();
        assert_eq!(curve[0].ranked[0].classes(), [2, 0, 1]);
        assert_eq!(curve[0].ranked[0].voted(), [2]);
        assert_eq!(curve[0].k, 2);
        assert_eq!(curve[1].ranked[0].voted(), [2]);
    }

    #[test]
    fn bad_votes_are_named() {
        let two = neighbours(2, vec![0, 1], vec![1.0, 0.5]);
        let votes = |labels: &[u32], classes, ks: &[usize], vote| {
            vote_curve(&two, labels, classes, ks, vote).unwrap_err()
        };
        let label = votes(&[0, 3], 3, &[1], DINO);
        assert!(matches!(
            label,
            MetricError::Label {
                row: 1,
                label: 3,
                ..
            }
        ));
        let none = votes(&[0], 3, &[1], DINO);
        assert!(matches!(none, MetricError::Unlabelled { index: 1, .. }));
        let many = votes(&[0, 1], 3, &[3], DINO);
        assert_eq!(many, MetricError::TooFewNeighbours { asked: 3, found: 2 });
        assert_eq!(votes(&[0, 1], 3, &[0], DINO), MetricError::NoNeighbours);
        for temperature in [0.0, -1.0, f32::NAN, 0.01] {
            let error = votes(&[0, 1], 3, &[2], Vote::Dino { temperature });
            assert!(matches!(error, MetricError::Temperature { .. }));
        }
    }
}
