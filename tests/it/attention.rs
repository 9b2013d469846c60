//! `mimbench attention`: statistics of every head over a list of images, and what is kept of them.

use std::path::Path;

use mimbench::checkpoint::source::TensorSource;
use mimbench::metric::{PatchGrid, attention_statistics};
use mimbench::report::{AttentionMaps, Outcomes, Record};
use serde_json::Value;

use crate::support::{Bench, Run, shared, tensor};

fn attention(bench: &Bench, ckpts: &[&str], more: &[&str]) -> Run {
    let args = ["attention", "--threads", "1", "--ckpt"];
    bench.run(&[&args[..], ckpts, more].concat())
}

/// Value of the measure of a block, and of a head where one is named.
fn measure(record: &Value, name: &str, layer: usize, head: Option<usize>) -> f64 {
    let measures = record["measures"].as_array().unwrap();
    let mut of = measures.iter().filter(|measure| {
        measure["name"] == name
            && measure["layer"] == layer
            && measure.get("head").and_then(Value::as_u64) == head.map(|head| head as u64)
    });
    let value = of
        .next()
        .unwrap_or_else(|| panic!("{name} of block {layer} {head:?}"));
    assert!(
        of.next().is_none(),
        "{name} of block {layer} {head:?} twice"
    );
    value["value"].as_f64().unwrap()
}

#[test]
fn statistics_are_those_of_the_maps_that_features_writes() {
    let bench = Bench::new();
    let records = attention(&bench, &["tiny.safetensors"], &["--data", "data", "--json"]).records();
    let record = &records[0];
    let args = "features --ckpt tiny.safetensors --images data/val --out f.safetensors --attention";
    bench.run(&args.split(' ').collect::<Vec<_>>()).ok();
    let features = TensorSource::open(&bench.path("f.safetensors")).unwrap();
    let grid = PatchGrid {
        prefix: 1,
        grid: [2, 2],
        patch_size: 4,
    };
    for layer in 0..2 {
        let maps = tensor(&features, &format!("attn.{layer}"));
        assert_eq!(maps.shape, [12, 1, 5, 5]);
        let images = maps.data.chunks_exact(25);
        let found: Vec<_> = images
            .map(|map| attention_statistics(map, &grid).unwrap())
            .collect();
        for (kind, name) in ["nmi", "distance", "distance_raw", "entropy"]
            .iter()
            .enumerate()
        {
            let mean = found.iter().map(|one| one[kind]).sum::<f64>() / 12.0;
            for head in [None, Some(0)] {
                let measured = measure(record, name, layer, head);
                let error = (measured - mean).abs() / mean.abs().max(1.0);
                assert!(
                    error < 2e-6,
                    "{name} of block {layer}: {measured} and {mean}"
                );
            }
        }
    }
    // Features of both blocks, and the similarity of the two.
    for name in ["rank_me", "uniformity", "alignment"] {
        for layer in 0..2 {
            assert!(measure(record, name, layer, None).is_finite());
        }
    }
    let cka = record["measures"].as_array().unwrap().iter();
    let cka: Vec<_> = cka.filter(|measure| measure["name"] == "cka").collect();
    assert_eq!(cka.len(), 1);
    assert_eq!(
        (&cka[0]["layer"], &cka[0]["other_layer"]),
        (&0.into(), &1.into())
    );
    assert!(record["data"]["train"].is_null());
    assert_eq!(record["data"]["val"]["images"], 12);
    for measure in record["measures"].as_array().unwrap() {
        assert_eq!(measure["n"], 12);
        let statistic = !["rank_me", "uniformity", "alignment", "cka"]
            .contains(&measure["name"].as_str().unwrap());
        assert_eq!(measure["interval"].is_array(), statistic, "{measure}");
    }
}

#[test]
fn values_and_maps_of_images_lie_beside_the_record() {
    let bench = Bench::new();
    let args = ["--data", "data", "--json"];
    let first = attention(&bench, &["tiny.safetensors"], &args);
    assert!(
        first
            .stderr
            .contains("attention maps are in results/attention/attention-"),
        "{}",
        first.stderr
    );
    let record = first.records().remove(0);
    let key = record["cell"]["key"].as_str().unwrap();
    let results = bench.path("results");
    let outcomes = Outcomes::read(&results, key).unwrap();
    assert_eq!(outcomes.paths.len(), 12);
    assert_eq!(outcomes.values.len(), 8);
    for values in &outcomes.values {
        assert_eq!(values.values.len(), 12 * values.width, "{}", values.name);
        let mean = values.values.iter().map(|&x| f64::from(x)).sum::<f64>() / 12.0;
        let (block, name) = values.name.split_once('/').unwrap();
        let layer = block.strip_prefix("block ").unwrap().parse().unwrap();
        assert!((measure(&record, name, layer, Some(0)) - mean).abs() < 1e-12);
    }
    let maps = AttentionMaps::read_all(&results, key).unwrap();
    assert_eq!(maps.len(), 4);
    for map in &maps {
        assert_eq!(map.class.as_ref().unwrap().shape(), [1, 2, 2]);
        assert_eq!(map.queries.len(), 2);
        assert_eq!((map.image.width(), map.image.height()), (8, 8));
        // The input of a network that takes images whole is the image.
        let file = std::fs::File::open(bench.path("data/val").join(&map.path)).unwrap();
        let mut png = png::Decoder::new(std::io::BufReader::new(file))
            .read_info()
            .unwrap();
        let mut bytes = vec![0; png.output_buffer_size().unwrap()];
        png.next_frame(&mut bytes).unwrap();
        assert_eq!(map.image.rgb(), bytes);
    }
    let sheets = bench.files("results/attention");
    assert_eq!(sheets.len(), 4 * 3, "{sheets:?}");

    let again = attention(&bench, &["tiny.safetensors"], &args);
    assert!(
        again.stderr.contains("is up to date; no forward pass"),
        "{}",
        again.stderr
    );
    assert_eq!(again.records().remove(0), record);
}

#[test]
fn images_alone_and_lists_of_them() {
    let bench = Bench::new();
    let images = ["--images", "data/val", "--json"];
    let all = attention(&bench, &["tiny.safetensors"], &images).records();
    assert_eq!(all[0]["data"]["val"]["images"], 12);
    let set = [
        "--set",
        "task.images=5",
        "--set",
        "task.maps=0",
        "--set",
        "task.diagnostics=false",
    ];
    let some = attention(&bench, &["tiny.safetensors"], &[&images[..], &set].concat()).records();
    assert_eq!(some[0]["data"]["val"]["images"], 5);
    assert!(
        some[0]["measures"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["n"] == 5)
    );
    // One image has no spread to speak of.
    let set = ["--set", "task.images=1"];
    let one = attention(&bench, &["tiny.safetensors"], &[&images[..], &set].concat()).records();
    assert!(
        one[0]["measures"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["interval"].is_null())
    );
    assert!(
        one[0]["notes"][0]
            .as_str()
            .unwrap()
            .contains("no diagnostics of a single image")
    );
    // A sixty-fourth of twelve images is none.
    let set = ["--set", "task.choice=cl-vs-mim"];
    attention(
        &bench,
        &["tiny.safetensors"],
        &[&["--images", "data/val"], &set[..]].concat(),
    )
    .refused(&["task.choice", "data/val"]);
}

#[test]
fn the_notebooks_images_are_the_first_of_each_class() {
    let bench = Bench::empty();
    bench.dataset("data", (1, 130), 8, 150);
    bench.model("tiny.safetensors", &crate::support::tiny(), 1);
    let args = [
        "--data",
        "data",
        "--json",
        "--set",
        "task.choice=cl-vs-mim",
        "--set",
        "task.images=5",
    ];
    let record = attention(&bench, &["tiny.safetensors"], &args)
        .records()
        .remove(0);
    let key = record["cell"]["key"].as_str().unwrap();
    let outcomes = Outcomes::read(&bench.path("results"), key).unwrap();
    // Two of 130 images of each of three classes, and of these six the first five.
    let expected = [
        "ant/0.png",
        "ant/1.png",
        "bee/0.png",
        "bee/1.png",
        "cat/0.png",
    ];
    assert_eq!(outcomes.paths, expected);
}

#[test]
fn every_measure_is_a_line_of_csv_and_every_layer_a_row() {
    let bench = Bench::new();
    let csv = attention(&bench, &["tiny.safetensors"], &["--data", "data", "--csv"])
        .ok()
        .stdout;
    // Four statistics of two layers and two heads, three diagnostics of two layers, one pair.
    assert_eq!(csv.lines().count(), 1 + 4 * 2 * 2 + 3 * 2 + 1);
    let table = attention(&bench, &["tiny.safetensors"], &["--data", "data"])
        .ok()
        .stdout;
    let rows: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with(" tiny "))
        .collect();
    assert_eq!(rows.len(), 2, "{table}");
    assert!(table.contains("NMI"), "{table}");
}

#[test]
fn settings_that_mean_nothing_are_refused() {
    let bench = Bench::new();
    for (set, said) in [
        ("task.images=0", "task.images"),
        ("task.resamples=1", "task.resamples"),
        ("task.maps=65", "task.maps"),
        ("task.queries=[[0.5, 1.0]]", "task.queries"),
        ("task.choice=random", "stratified"),
        ("task.k=[5]", "unknown field"),
    ] {
        attention(
            &bench,
            &["tiny.safetensors"],
            &["--data", "data", "--set", set],
        )
        .refused(&[said]);
    }
    let knn = [
        "--protocol",
        concat!(env!("CARGO_MANIFEST_DIR"), "/protocols/knn.toml"),
    ];
    attention(
        &bench,
        &["tiny.safetensors"],
        &[&["--data", "data"], &knn[..]].concat(),
    )
    .refused(&["kind \"knn\"", "attention"]);
}

#[test]
fn distances_of_a_trained_checkpoint_are_those_of_its_golden() {
    let Some(data) = shared("data") else { return };
    let folder = data.join("weights/sachin_cifar10");
    let golden = std::fs::read(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let bench = Bench::empty();
    for image in golden["images"].as_array().unwrap() {
        let image = image.as_str().unwrap();
        let class = Path::new(image).parent().unwrap().file_name().unwrap();
        let name = format!("ten/{}/1.jpg", class.to_str().unwrap());
        bench.write(&name, std::fs::read(data.join(image)).unwrap());
    }
    let weights = folder.join("timm_names.safetensors");
    let images = ["--images", "ten", "--json"];
    let record = attention(&bench, &[weights.to_str().unwrap()], &images)
        .records()
        .remove(0);
    let expected = golden["attention_distance_px"]["value"].as_array().unwrap();
    for (layer, heads) in expected.iter().enumerate() {
        for (head, value) in heads.as_array().unwrap().iter().enumerate() {
            let (value, found) = (
                value.as_f64().unwrap(),
                measure(&record, "distance", layer, Some(head)),
            );
            // The golden is written with five digits after the point.
            assert!(
                (value - found).abs() < 6e-5,
                "block {layer} head {head}: {found}, not {value}"
            );
        }
    }
    assert_eq!(expected.len(), 4);
}

#[test]
fn a_record_that_was_changed_is_computed_again_and_never_shown() {
    let bench = Bench::new();
    let args = ["--data", "data", "--json"];
    let record = attention(&bench, &["tiny.safetensors"], &args)
        .records()
        .remove(0);
    let key = record["cell"]["key"].as_str().unwrap();
    let path = Record::path(&bench.path("results"), key);
    let text = std::fs::read_to_string(&path).unwrap();
    let value = record["measures"][0]["value"].to_string();
    std::fs::write(&path, text.replacen(&value, "0.123", 1)).unwrap();
    let error = Record::load(&path).unwrap_err().to_string();
    assert!(error.contains(key) && error.contains("seal"), "{error}");
    let again = attention(&bench, &["tiny.safetensors"], &args);
    let again = again.records().remove(0);
    assert_eq!(again["measures"], record["measures"]);
}

#[test]
fn maps_that_are_gone_are_made_again() {
    let bench = Bench::new();
    let run = || attention(&bench, &["tiny.safetensors"], &["--data", "data", "--json"]);
    let records = run().records();
    let key = records[0]["cell"]["key"].as_str().unwrap();
    let results = bench.path("results");
    let maps = AttentionMaps::read_all(&results, key).unwrap();
    std::fs::remove_file(AttentionMaps::path(&results, key)).unwrap();
    assert_eq!(run().records()[0]["measures"], records[0]["measures"]);
    assert_eq!(AttentionMaps::read_all(&results, key).unwrap(), maps);
}
