//! Weights that a pre-training run keeps beside its last ones.

use std::path::{Path, PathBuf};

use mimbench::checkpoint::source::TensorSource;
use mimbench::pretrain::Blueprint;
use mimbench::spec::ResolvedRecipe;
use serde_json::Value;

use crate::support::{Bench, tensor};

/// A recipe of three updates an epoch over 24 images of 8 pixels.
const RECIPE: &str = r#"
extends = "maskdistill"
name = "kept"
version = 1
[student]
arch = { width = 12, depth = 1, heads = 2, mlp_width = 24, patch_size = 4, input_size = 8 }
[mask]
minimum = 1
[training]
epochs = 3
batch = 8
[training.schedule]
warmup_epochs = 1
"#;

/// A run of the recipe and what it says of itself.
fn pretrain(bench: &Bench, out: &str, settings: &[&str]) -> Value {
    let mut args = vec!["pretrain", "kept.toml", "--data", "data", "--threads", "1"];
    args.extend(["--teacher", "tiny.safetensors", "--seed", "4", "--out", out]);
    for setting in settings {
        args.extend(["--set", setting]);
    }
    bench.run(&args).ok();
    let record = std::fs::read(bench.path(out).join("pretraining.json")).unwrap();
    serde_json::from_slice(&record).unwrap()
}

fn weights(bench: &Bench, file: impl AsRef<Path>) -> PathBuf {
    bench.path(&file.as_ref().to_string_lossy())
}

#[test]
fn the_first_weights_and_some_epochs_are_kept() {
    let bench = Bench::new();
    bench.write("kept.toml", RECIPE);
    let settings = ["monitor.keep_initial=true", "monitor.keep_every=2"];
    let record = pretrain(&bench, "all", &settings);
    let kept = record["kept"].as_array().unwrap().iter();
    let files = kept.map(|kept| {
        let epoch = kept["epoch"].as_u64().unwrap();
        (epoch, kept["file"].as_str().unwrap())
    });
    assert_eq!(
        files.collect::<Vec<_>>(),
        [
            (0, "epochs/0000/model.safetensors"),
            (2, "epochs/0002/model.safetensors"),
            (3, "model.safetensors"),
        ]
    );

    // The first are those that the seed gives, and no others.
    let recipe = ResolvedRecipe::named(&bench.path("kept.toml"), &[]).unwrap();
    let teachers = [("clip".to_owned(), crate::support::tiny())];
    let blueprint = Blueprint::new(&recipe.recipe.method(), teachers.into()).unwrap();
    let initial = blueprint.initial_weights(4).unwrap();
    let first = weights(&bench, "all/epochs/0000/model.safetensors");
    let first = TensorSource::open(&first).unwrap();
    let last = TensorSource::open(&weights(&bench, "all/model.safetensors")).unwrap();
    let name = "blocks.0.attn.proj.weight";
    let expected = initial.iter().find(|(own, _)| *own == name).unwrap().1;
    assert_eq!(&tensor(&first, name), expected);
    assert_ne!(tensor(&last, name).data, expected.data);

    // What is kept decides nothing, and both are checkpoints.
    let alone = pretrain(&bench, "alone", &[]);
    assert_eq!(alone["weights"], record["weights"]);
    assert_eq!(alone["hash"], record["hash"]);
    assert_eq!(alone["kept"].as_array().unwrap().len(), 1);
    assert!(!bench.path("alone/epochs").exists());
    bench
        .knn_of(&["all", "all/epochs/0000/model.toml"], &[])
        .ok();
}
