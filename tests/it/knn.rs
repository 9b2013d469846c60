//! kNN against DINO's `eval_knn.py` and scikit-learn (`tests/goldens/knn`).

use mimbench::metric::{Dense, Neighbours, Vote, accuracy, exact_neighbours, vote_curve};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

const GOLDENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/knn");
const KS: [usize; 5] = [1, 5, 10, 20, 50];
const CLASSES: usize = 10;
const DINO: Vote = Vote::Dino { temperature: 0.07 };

struct Golden {
    bytes: Vec<u8>,
    expected: Value,
}

impl Golden {
    fn read() -> Self {
        let expected = std::fs::read(format!("{GOLDENS}/expected.json")).unwrap();
        Golden {
            bytes: std::fs::read(format!("{GOLDENS}/data.safetensors")).unwrap(),
            expected: serde_json::from_slice(&expected).unwrap(),
        }
    }

    fn f32s(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = file.tensor(name).unwrap().data();
        let values = data.as_chunks::<4>().0.iter();
        values.map(|&value| f32::from_le_bytes(value)).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = file.tensor(name).unwrap().data();
        let values = data.as_chunks::<8>().0.iter();
        values.map(|&id| i64::from_le_bytes(id) as u32).collect()
    }

    fn neighbours(&self, train: &[f32], threads: usize) -> Neighbours {
        let test = self.f32s("test");
        let (train, test) = (
            Dense::new(train, 64).unwrap(),
            Dense::new(&test, 64).unwrap(),
        );
        exact_neighbours(&train, &test, 50, threads, &|_| ()).unwrap()
    }

    fn rows(&self, pointer: &str) -> Vec<u64> {
        let rows = self.expected.pointer(pointer).unwrap().as_array().unwrap();
        rows.iter().map(|row| row.as_u64().unwrap()).collect()
    }
}

#[test]
fn dino_predictions_and_canonical_accuracies() {
    let golden = Golden::read();
    let neighbours = golden.neighbours(&golden.f32s("train"), 2);
    let (train_labels, labels) = (golden.ids("train_labels"), golden.ids("test_labels"));
    let curve = vote_curve(&neighbours, &train_labels, CLASSES, &KS, DINO).unwrap();
    for (predictions, k) in curve.iter().zip(KS) {
        let ambiguous = golden.rows(&format!("/ambiguous/{k}"));
        // Among classes without votes DINO's order is no rule: compare those with votes.
        let want = golden.ids(&format!("pred_top5.k{k}"));
        for (row, (ranking, want)) in predictions.ranked.iter().zip(want.chunks(5)).enumerate() {
            if !ambiguous.contains(&(row as u64)) {
                let voted = ranking.voted();
                assert_eq!(voted, &want[..voted.len()], "k {k} row {row}");
            }
        }
        let got = accuracy(predictions, &labels).unwrap();
        let want = |key| {
            let value = &golden.expected["canonical"][k.to_string()][key];
            value.as_f64().unwrap() as u64
        };
        assert_eq!(got.n, 100);
        assert_eq!(got.top1.count, want("top1"), "k {k}");
        assert_eq!(got.top5.count, want("top5_dino_semantics"), "k {k}");
        let strict = want("top5_only_classes_with_votes");
        assert_eq!(got.top5_strict.count, strict, "k {k}");
        for hits in [&got.top1, &got.top5, &got.top5_strict] {
            let counted = hits.by_image.iter().filter(|&&hit| hit).count();
            assert_eq!(counted as u64, hits.count);
        }
    }
    assert!(accuracy(&curve[0], &labels[1..]).is_err());
    assert!(accuracy(&curve[0], &[10; 100]).is_err());
}

#[test]
fn majority_predictions_match_scikit_learn() {
    let golden = Golden::read();
    let neighbours = golden.neighbours(&golden.f32s("train"), 1);
    let train_labels = golden.ids("train_labels");
    let curve = vote_curve(&neighbours, &train_labels, CLASSES, &KS, Vote::Majority).unwrap();
    for (predictions, k) in curve.iter().zip(KS) {
        let mut unsure = golden.rows(&format!("/ambiguous/{k}"));
        unsure.extend(golden.rows(&format!("/sklearn_majority_cosine/{k}/vote_ties")));
        let want = golden.ids(&format!("sk_pred.k{k}"));
        for (row, (ranking, want)) in predictions.ranked.iter().zip(want).enumerate() {
            if !unsure.contains(&(row as u64)) {
                assert_eq!(ranking.classes()[0], want, "k {k} row {row}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn shuffling_the_train_set_changes_no_prediction(
        order in Just((0..400usize).collect::<Vec<_>>()).prop_shuffle(),
        threads in 1usize..4,
    ) {
        let golden = Golden::read();
        let (train, labels) = (golden.f32s("train"), golden.ids("train_labels"));
        let plain = golden.neighbours(&train, 1);
        let shuffled: Vec<&[f32]> = order.iter().map(|&row| &train[row * 64..][..64]).collect();
        let shuffled_labels: Vec<u32> = order.iter().map(|&row| labels[row]).collect();
        let moved = golden.neighbours(&shuffled.concat(), threads);
        prop_assert_eq!(&plain.similarity, &moved.similarity);
        let plain = vote_curve(&plain, &labels, CLASSES, &KS, DINO).unwrap();
        let moved = vote_curve(&moved, &shuffled_labels, CLASSES, &KS, DINO).unwrap();
        for ((plain, moved), k) in plain.iter().zip(&moved).zip(KS) {
            let tied = golden.rows(&format!("/ambiguous/{k}"));
            for (row, (plain, moved)) in plain.ranked.iter().zip(&moved.ranked).enumerate() {
                prop_assert!(tied.contains(&(row as u64)) || plain == moved);
            }
        }
    }
}
