//! Weights that people published, as they published them.

use serde_json::Value;

use mimbench::checkpoint::source::TensorSource;

use crate::support::{Bench, shared, tensor};

/// A matrix of `golden.json`.
fn matrix(golden: &Value, key: &str) -> Vec<Vec<f64>> {
    serde_json::from_value(golden[key].clone()).unwrap()
}

/// `x Wᵀ + b`.
fn linear(x: &[f64], source: &TensorSource, layer: &str) -> Vec<f64> {
    let weight = tensor(source, &format!("{layer}.weight"));
    let bias = tensor(source, &format!("{layer}.bias"));
    weight
        .data
        .chunks(x.len())
        .zip(&bias.data)
        .map(|(row, bias)| {
            let products = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            products.sum::<f64>() + f64::from(*bias)
        })
        .collect()
}

fn assert_near(what: &str, found: &[f64], expected: &[f64]) {
    let largest = expected.iter().fold(1f64, |m, x| m.max(x.abs()));
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        // The golden's numbers have six decimals.
        assert!(
            (a - b).abs() <= 2e-5 * largest + 1e-6,
            "{what}: {a} for {b}"
        );
    }
}

#[test]
fn torchvisions_names_in_a_pth_give_the_features_and_logits_of_their_author() {
    let Some(folder) = shared("data/weights/mlde_vit") else {
        return;
    };
    let bench = Bench::empty();
    let weights = folder.join("source.pth");
    let run = bench.run(&[
        "features",
        "--quiet",
        "--ckpt",
        weights.to_str().unwrap(),
        "--images",
        folder.join("images").to_str().unwrap(),
        "--out",
        "f.safetensors",
    ]);
    run.ok();
    let features = tensor(
        &TensorSource::open(&bench.path("f.safetensors")).unwrap(),
        "cls",
    );
    let golden = std::fs::read(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let source = TensorSource::open(&weights).unwrap();
    let expected = matrix(&golden, "feature_after_norm");
    let logits = matrix(&golden, "logits");
    assert_eq!(features.shape, [10, 64]);
    for (image, row) in features.data.chunks(64).enumerate() {
        let row: Vec<f64> = row.iter().map(|x| f64::from(*x)).collect();
        assert_near(&format!("image {image}"), &row, &expected[image]);
        let hidden = linear(&row, &source, "heads.pre_logits");
        let hidden: Vec<f64> = hidden.iter().map(|x| x.tanh()).collect();
        let found = linear(&hidden, &source, "heads.head");
        assert_near(&format!("logits of image {image}"), &found, &logits[image]);
    }
}
