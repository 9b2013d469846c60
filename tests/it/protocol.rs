//! What the kNN protocol promises, from a dataset on disk to the record.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Bench, CLASSES, Run, curve, headline, noisy_png, shared, tiny};

impl Bench {
    #[track_caller]
    fn record(&self, more: &[&str]) -> Value {
        let mut records = self.knn(&[&["--json"], more].concat()).records();
        assert_eq!(records.len(), 1);
        records.remove(0)
    }

    /// Features of a run with these settings, in order.
    #[track_caller]
    fn features(&self, settings: &[&str]) -> Vec<String> {
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        features(&self.record(&set.collect::<Vec<_>>()))
    }
}

/// Features of a record, each once, in order.
fn features(record: &Value) -> Vec<String> {
    let mut features: Vec<String> = Vec::new();
    for measure in record["measures"].as_array().unwrap() {
        let feature = measure["feature"].as_str().unwrap();
        if features.last().is_none_or(|last| last != feature) {
            features.push(feature.to_owned());
        }
    }
    features
}

fn notes(record: &Value) -> Vec<&str> {
    let notes = record["notes"].as_array().unwrap().iter();
    notes.map(|note| note.as_str().unwrap()).collect()
}

/// The results depend on the images: a dataset that is neither trivial nor hopeless.
#[track_caller]
fn assert_telling(record: &Value) {
    let curve = curve(record);
    let telling = |&value: &f64| value > 40.0 && value < 100.0;
    assert!(curve.iter().any(telling), "{curve:?}");
}

#[test]
fn a_limit_is_stratified_seeded_and_marked() {
    let bench = Bench::new();
    let limited = bench.record(&["--limit", "6"]);
    for split in ["train", "val"] {
        assert_eq!(limited["data"][split]["images"], 6);
    }
    assert_eq!(limited["data"]["limit"], 6);
    let again = bench.record(&["--limit", "6", "--recompute"]);
    assert_eq!(limited["data"], again["data"]);
    let other = bench.record(&["--limit", "6", "--seed", "1"]);
    let fingerprint = |record: &Value| record["data"]["train"]["fingerprint"].clone();
    assert_ne!(fingerprint(&limited), fingerprint(&other));
    let key = limited["cell"]["key"].as_str().unwrap();
    let outcomes = bench.path(&format!("results/records/{key}.outcomes.safetensors"));
    let outcomes = std::fs::read(outcomes).unwrap();
    let outcomes = safetensors::SafeTensors::deserialize(&outcomes).unwrap();
    let labels = outcomes.tensor("labels").unwrap().data().chunks(4);
    let labels: Vec<_> = labels.map(|label| label[0]).collect();
    assert_eq!(labels, [0, 0, 1, 1, 2, 2]);
    let table = bench.knn(&["--limit", "6"]).ok().stdout;
    assert!(table.contains("* ["), "{table}");
    assert!(table.contains("tiny: --limit 6 images a split"), "{table}");
}

#[test]
fn every_checkpoint_has_a_row_and_its_own_name() {
    let bench = Bench::new();
    for (folder, seed) in [("one", 2), ("two", 3)] {
        std::fs::create_dir(bench.path(folder)).unwrap();
        bench.model(&format!("{folder}/vit.safetensors"), &tiny(), seed);
    }
    // A copy: the same cell under another name.
    std::fs::create_dir(bench.path("three")).unwrap();
    let copy = bench.path("three/vit.safetensors");
    std::fs::copy(bench.path("one/vit.safetensors"), copy).unwrap();
    let vits = [
        "tiny.safetensors",
        "one/vit.safetensors",
        "two/vit.safetensors",
        "three/vit.safetensors",
    ];
    let records = bench.knn_of(&vits, &["--json"]).records();
    let names: Vec<_> = records
        .iter()
        .map(|record| &record["subject"]["name"])
        .collect();
    assert_eq!(names, ["tiny", "one/vit", "two/vit", "three/vit"]);
    assert_eq!(
        records[1]["subject"]["blake3"],
        records[3]["subject"]["blake3"]
    );
    assert_eq!(records[1]["measures"], records[3]["measures"]);
    assert_ne!(records[1]["measures"], records[2]["measures"]);
}

#[test]
fn all_layers_are_read_in_one_pass() {
    let bench = Bench::new();
    let all = bench.record(&["--set", "task.layers=all"]);
    assert_eq!(features(&all), ["block 0 cls norm", "block 1 cls norm"]);
    assert_eq!(all["compute"]["encoded"], 36);
    let last = bench.record(&[]);
    assert_eq!(
        last["compute"]["encoded"], 0,
        "the store has the last block"
    );
    let of_last: Vec<_> = all["measures"].as_array().unwrap()[21..].to_vec();
    assert_eq!(last["measures"], Value::from(of_last));
    let first = bench.record(&["--set", "task.layers=[0]"]);
    assert_eq!(first["compute"]["encoded"], 0);
    assert_ne!(first["measures"][0]["value"], Value::Null);
}

#[test]
fn the_protocol_chooses_the_feature() {
    let bench = Bench::new();
    assert_eq!(bench.features(&[]), ["block 1 cls norm"]);
    assert_eq!(
        bench.features(&["task.feature=mean_patch"]),
        ["block 1 mean_patch norm"]
    );
    let raw = ["task.feature=concat", "task.norm=raw"];
    assert_eq!(bench.features(&raw), ["block 1 concat raw"]);
    let dims = |record: &Value| {
        let text = record["protocol"]["text"].as_str().unwrap();
        toml::from_str::<toml::Table>(text).unwrap()["task"]["feature"].clone()
    };
    let record = bench.record(&["--set", "task.feature=concat"]);
    assert_eq!(dims(&record), toml::Value::from("concat"));
    assert_eq!(
        record["protocol"]["modified"],
        serde_json::json!(["task.feature=concat"])
    );
}

#[test]
fn features_differ_as_their_names_say() {
    let bench = Bench::new();
    let mut stored = BTreeMap::new();
    for feature in ["cls", "mean_patch", "concat"] {
        for norm in ["norm", "raw"] {
            let store = format!("{feature}-{norm}");
            let feature = format!("task.feature={feature}");
            let norm = format!("task.norm={norm}");
            bench.record(&["--store", &store, "--set", &feature, "--set", &norm]);
            let sizes: u64 = bench
                .files(&store)
                .keys()
                .filter(|name| name.ends_with(".part"))
                .map(|name| {
                    let part = mimbench::store::Part::open(&bench.path(name)).unwrap();
                    part.header.dim as u64
                })
                .max()
                .unwrap();
            stored.insert(
                store.clone(),
                (sizes, bench.files(&store).into_values().collect::<Vec<_>>()),
            );
        }
    }
    let contents: std::collections::BTreeSet<Vec<String>> =
        stored.values().map(|(_, files)| files.clone()).collect();
    assert_eq!(contents.len(), 6);
    for (name, (dim, _)) in stored {
        assert_eq!(
            dim,
            if name.starts_with("concat") { 128 } else { 64 },
            "{name}"
        );
    }
}

#[test]
fn a_vote_of_one_neighbour_has_no_weights() {
    let bench = Bench::new();
    let dino = bench.record(&[]);
    let majority = bench.record(&["--set", "task.vote=majority"]);
    assert_telling(&dino);
    assert_eq!(curve(&dino)[0], curve(&majority)[0]);
    assert_ne!(dino["protocol"]["hash"], majority["protocol"]["hash"]);
    assert_ne!(dino["cell"]["key"], majority["cell"]["key"]);
    assert_eq!(majority["compute"]["encoded"], 0);
    // All 24 neighbours, 8 a class: every class has as many votes, and weights decide alone.
    assert!(
        (curve(&majority)[4] - 100.0 / 3.0).abs() < 1e-9,
        "{:?}",
        curve(&majority)
    );
    assert_ne!(curve(&dino)[4], curve(&majority)[4]);
}

#[test]
fn an_index_says_its_recall() {
    let bench = Bench::new();
    let exact = bench.record(&[]);
    assert!(!notes(&exact).iter().any(|note| note.contains("recall")));
    let found = bench.record(&["--set", "task.search=hnsw"]);
    let note = "block 1 cls norm: hnsw recall@20 1.0000, recall@24 1.0000 against exact search over 12 queries";
    assert!(notes(&found).contains(&note), "{:?}", notes(&found));
    assert_eq!(curve(&found), curve(&exact));
}

#[test]
fn more_neighbours_than_train_images_are_all_of_them() {
    let bench = Bench::new();
    let record = bench.record(&[]);
    let said = ["k = 50", "k = 100", "k = 200"].map(|k| format!("{k} takes all 24 train images"));
    assert_eq!(notes(&record), said);
    let curve = curve(&record);
    assert_eq!(curve.len(), 7);
    assert!(curve[4] == curve[5] && curve[5] == curve[6]);
    let all = bench.record(&["--set", "task.k=[24]", "--set", "task.headline=24"]);
    assert_eq!(headline(&all, "top1"), [curve[4]]);
    assert!(notes(&all).is_empty());
}

#[test]
fn the_order_of_the_train_images_changes_nothing() {
    let bench = Bench::new();
    let plain = bench.record(&[]);
    assert_telling(&plain);
    for class in CLASSES {
        for i in 0..8 {
            let from = bench.path(&format!("data/train/{class}/{i}.png"));
            let to = bench.path(&format!("data/train/{class}/{}x.png", (i * 5 + 3) % 8));
            std::fs::rename(from, to).unwrap();
        }
    }
    let renamed = bench.record(&[]);
    assert_eq!(renamed["compute"]["encoded"], 24);
    assert_eq!(curve(&renamed), curve(&plain));
    assert_ne!(renamed["cell"]["data"], plain["cell"]["data"]);
}

/// A tar archive of `(name, bytes)` members.
fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn shards_of_the_same_images_give_the_same_numbers() {
    let bench = Bench::new();
    let folders = bench.record(&[]);
    assert_telling(&folders);
    for (split, count) in [("train", 8), ("val", 4)] {
        let mut members = Vec::new();
        for (label, class) in CLASSES.iter().enumerate() {
            for i in 0..count {
                let path = bench.path(&format!("data/{split}/{class}/{i}.png"));
                let key = format!("{}", members.len() / 2);
                members.push((format!("{key}.png"), std::fs::read(path).unwrap()));
                members.push((format!("{key}.cls"), label.to_string().into_bytes()));
            }
        }
        let (first, second) = members.split_at(members.len() / 4 * 2);
        bench.write(&format!("shards/{split}-0.tar"), tar(first));
        bench.write(&format!("shards/{split}-1.tar"), tar(second));
    }
    let args = [
        "knn",
        "--json",
        "--ckpt",
        "tiny.safetensors",
        "--data",
        "shards",
    ];
    let shards = bench.run(&args).records().remove(0);
    assert_eq!(shards["data"]["classes"], 3);
    assert_eq!(curve(&shards), curve(&folders));
    let again = bench.run(&[&args[..], &["--recompute"]].concat()).records();
    assert_eq!(again[0]["compute"]["encoded"], 0);
}

#[test]
fn a_flat_val_folder_with_labels_gives_the_same_numbers() {
    let bench = Bench::new();
    let folders = bench.record(&[]);
    assert_telling(&folders);
    let mut labels = String::new();
    for class in CLASSES {
        for i in 0..4 {
            let from = bench.path(&format!("data/val/{class}/{i}.png"));
            // Another order than that of the classes.
            let to = format!("{i}-{class}.png");
            std::fs::rename(from, bench.path(&format!("data/val/{to}"))).unwrap();
            labels = format!("{to} {class}\n{labels}");
        }
        std::fs::remove_dir(bench.path(&format!("data/val/{class}"))).unwrap();
    }
    bench.knn(&["--quiet"]).refused(&["flat", "no label file"]);
    bench.write("labels.txt", &labels);
    let flat = bench.record(&["--val-labels", "labels.txt"]);
    assert_eq!(curve(&flat), curve(&folders));
    bench.write("labels.txt", labels.replacen("ant", "wasp", 1));
    let wrong = bench.knn(&["--quiet", "--val-labels", "labels.txt"]);
    wrong.one_error(&["labels.txt, line "]);
}

#[test]
fn a_dataset_is_found_in_the_collection_by_name() {
    let bench = Bench::new();
    let direct = bench.record(&[]);
    std::fs::rename(bench.path("data"), bench.path("mine")).unwrap();
    let args = [
        "knn",
        "--json",
        "--ckpt",
        "tiny.safetensors",
        "--set",
        "data.dataset=mine",
    ];
    let mut command = bench.command(&args);
    let found = Run::of(command.env("MIMBENCH_DATA", bench.path(""))).records();
    assert_eq!(curve(&found[0]), curve(&direct));
}

#[test]
fn images_of_another_size_are_brought_to_the_input() {
    let bench = Bench::new();
    for (class, name) in CLASSES.iter().enumerate() {
        let image = noisy_png(class, 5, 31, 150);
        bench.write(&format!("data/val/{name}/large.png"), image);
    }
    assert_eq!(bench.record(&[])["measures"][0]["n"], 15);
}

/// Top-1 over k of a real checkpoint on real images.
fn real(weights: &str, data: &str) -> Option<Value> {
    let weights = shared(&format!("data/weights/{weights}/timm_names.safetensors"))?;
    let data = shared(&format!("data/{data}"))?;
    let (weights, data) = (weights.to_str().unwrap(), data.to_str().unwrap());
    let args = [
        "knn", "--quiet", "--json", "--ckpt", weights, "--data", data,
    ];
    Some(Bench::empty().run(&args).records().remove(0))
}

fn rounded(values: Vec<f64>) -> Vec<String> {
    values.iter().map(|value| format!("{value:.1}")).collect()
}

#[test]
fn cifar10_gives_the_curve_of_timm_and_dino() {
    let Some(record) = real("sachin_cifar10", "cifar10") else {
        return;
    };
    let expected = ["65.3", "70.5", "71.1", "71.4", "72.2", "71.9", "71.2"];
    assert_eq!(rounded(curve(&record)), expected);
    assert_eq!(record["measures"][0]["n"], 1000);
}

#[test]
fn fashion_mnist_gives_the_accuracy_of_timm_and_dino() {
    let Some(record) = real("sunny_fmnist", "fashion_mnist") else {
        return;
    };
    assert_eq!(rounded(headline(&record, "top1")), ["89.6"]);
}
