//! Sweeps of pre-training: the built-in ones against their tables, and what `--sweep` does and refuses.

use std::collections::BTreeSet;
use std::path::Path;

use mimbench::plan::sweep_recipes;
use mimbench::report::PretrainingRecord;
use mimbench::spec::{Content, Papers, PretrainSweep, Setting, Sweep};
use serde_json::Value;

use crate::support::{Bench, Run};

/// MAE over images of 8 pixels.
const TINY: &str = r#"
extends = "mae"
name = "tiny"
version = 1
[data]
dataset = "small"
[student]
arch = { width = 16, depth = 1, heads = 2, mlp_width = 32, patch_size = 4, input_size = 8 }
[mask]
ratio = 0.5
[terms.pixels.decoder]
width = 16
depth = 1
heads = 2
[training]
epochs = 2
batch = 12
[training.schedule]
warmup_epochs = 0.0
[monitor]
every = 1
train_images = 24
val_images = 12
k = 3
keep_every = 1
"#;

/// Two weights and one that no number of a float can come back from.
const SWEEP: &str = r#"
name = "weights"
base = "tiny"
[[grid]]
name = "w{terms.pixels.weight}"
set."terms.pixels.weight" = [0.01, 1.0]
[[grid]]
name = "diverges"
set."terms.pixels.weight" = [1e300]
[[grid]]
name = "w100"
set."terms.pixels.weight" = [100.0]
"#;

fn sweep(which: PretrainSweep) -> Sweep {
    Sweep::parse(Path::new(which.name()), which.text()).unwrap()
}

#[test]
fn every_point_of_every_sweep_is_a_recipe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols/pretrain/sweeps");
    let files: BTreeSet<_> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let known = PretrainSweep::ALL.map(|which| format!("{}.toml", which.name()));
    assert_eq!(files, BTreeSet::from(known));
    for (which, points) in PretrainSweep::ALL
        .into_iter()
        .zip([7, 6, 14, 25, 6, 9, 5, 5])
    {
        let sweep = sweep(which);
        assert_eq!(sweep.name, which.name());
        let base = Path::new(&sweep.base);
        let recipes = sweep_recipes(base, &sweep, &[]);
        let recipes = recipes.unwrap_or_else(|error| panic!("{}: {error}", sweep.name));
        assert_eq!(recipes.len(), points, "{}", sweep.name);
        for (name, recipe) in recipes {
            let epochs = recipe.recipe.training.epochs;
            let usual = match sweep.base.as_str() {
                "medic-paper" => 300,
                _ => 200,
            };
            match which == PretrainSweep::MaskAlign4 && name != "random-70" {
                false => assert_eq!(epochs, usual, "{name}"),
                // Table 4's iterations: 200 epochs at 70 %.
                true => {
                    let ratio: f64 = name["attentive-".len()..].parse().unwrap();
                    let seen = 200.0 * 30.0 / (100.0 - ratio);
                    assert!((epochs as f64 - seen).abs() <= 0.5, "{name}: {epochs}");
                }
            }
        }
    }
}

/// The rows of a table that are points have that point's numbers.
#[test]
fn points_are_rows_of_their_tables() {
    let papers = Papers::builtin().unwrap();
    let sets = |point: &str, sweep: &Sweep, key: &str| -> Option<f64> {
        let point = sweep.points.iter().find(|known| known.name == point);
        let mut settings = point.unwrap().settings.iter();
        settings.find_map(|setting| setting.0.strip_prefix(&format!("{key}="))?.parse().ok())
    };
    for (which, columns) in [
        (
            PretrainSweep::Medic12,
            &[
                ("DLW", "terms.pixels.weight"),
                ("CLW", "terms.class.weight"),
            ][..],
        ),
        (
            PretrainSweep::Medic13,
            &[
                ("γ", "mask.gamma"),
                ("ζ", "mask.clustering.zeta"),
                ("Mask Ratio", "mask.ratio"),
            ],
        ),
    ] {
        let table = papers.table(which.name()).unwrap();
        let sweep = sweep(which);
        let definition = &table.definition;
        assert_eq!(definition.sweep.as_deref(), Some(which.name()));
        assert_eq!(definition.rows.len(), table.rows.len());
        for (row, published) in definition.rows.iter().zip(&table.rows) {
            assert_eq!(row.row, published.number);
            let point = row.point.as_deref().unwrap();
            for (column, key) in columns {
                let place = definition
                    .columns
                    .iter()
                    .position(|own| own.name == *column);
                let printed = match published.cells[place.unwrap()].content {
                    Content::Number { value, .. } => Some(value),
                    _ => None,
                };
                let own = sets(point, &sweep, key).filter(|value| *value != 0.0);
                // The text has EM's zeta, which EM does not look at.
                let em = published.label == "EM" && *column == "ζ";
                assert!(
                    own == printed || em,
                    "{point}: {column} {own:?} {printed:?}"
                );
            }
        }
        let recipes: BTreeSet<_> = table
            .rows
            .iter()
            .map(|row| definition.recipe(row.number))
            .collect();
        assert!(!recipes.contains(&None) && recipes.len() == sweep.points.len());
    }
}

#[test]
fn a_setting_that_the_sweep_has_is_refused() {
    let sweep = sweep(PretrainSweep::Medic12);
    let with = |setting: &str| {
        let settings = [Setting(setting.to_owned())];
        sweep_recipes(Path::new("medic-paper"), &sweep, &settings)
    };
    let error = with("terms.pixels.weight=0.1").unwrap_err().to_string();
    assert!(
        error.contains("meets terms.class.weight") || error.contains("meets terms.pixels.weight"),
        "{error}"
    );
    assert_eq!(with("monitor.keep_every=25").unwrap().len(), 14);
    // Where a setting makes two points one.
    let text = "name = \"s\"\nbase = \"mae\"\n[[grid]]\nset.\"mask.ratio\" = [0.75]\n[[grid]]\nname = \"x\"\n";
    let twins = Sweep::parse(Path::new("s.toml"), text).unwrap();
    let error = sweep_recipes(Path::new("mae"), &twins, &[]).unwrap_err();
    assert!(error.to_string().contains("are one recipe"), "{error}");
    assert!(error.hint().is_some());
}

fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("tiny.toml", TINY);
    bench.write("weights.toml", SWEEP);
    bench
}

fn pretrain(bench: &Bench, out: &str, more: &[&str]) -> Run {
    let args = [
        "pretrain",
        "tiny.toml",
        "--threads",
        "1",
        "--data",
        "data",
        "--out",
        out,
    ];
    bench.run(&[&args[..], more].concat())
}

const SWEPT: [&str; 2] = ["--sweep", "weights.toml"];

#[test]
fn a_sweep_goes_on_past_what_diverges_and_does_nothing_twice() {
    let bench = bench();
    let run = pretrain(&bench, "out", &SWEPT);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr
            .contains("error: diverges: the loss is no number"),
        "{run:?}"
    );
    assert_eq!(run.stderr.matches("error: ").count(), 1);
    for point in ["w0.01", "w1.0", "w100"] {
        assert!(
            run.stdout.contains(&format!("out/{point}")),
            "{}",
            run.stdout
        );
        assert!(
            bench
                .path(&format!("out/{point}/pretraining.json"))
                .exists()
        );
    }
    assert!(!bench.path("out/diverges/pretraining.json").exists());
    let weights = bench.path("out/w1.0/model.safetensors");
    let written = std::fs::metadata(&weights).unwrap().modified().unwrap();
    // Its own point again, and the others not at all; states are not needed for that.
    for entry in std::fs::read_dir(bench.path("out/w1.0")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().contains("state-") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let again = pretrain(&bench, "out", &SWEPT);
    assert_eq!(again.code, Some(2));
    assert!(
        again.stderr.contains("4 runs, 3 of them finished before"),
        "{again:?}"
    );
    assert!(again.stderr.contains("w1.0 is finished"), "{again:?}");
    assert_eq!(
        std::fs::metadata(&weights).unwrap().modified().unwrap(),
        written
    );
    let records = PretrainingRecord::all(&bench.path("results")).unwrap();
    let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["w0.01", "w1.0", "w100"]);
    for record in &records {
        let epochs: Vec<_> = record.kept.iter().map(|kept| kept.epoch).collect();
        assert_eq!(epochs, [1, 2]);
        assert!(
            !record
                .curve_points(&bench.path("results"))
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn nothing_is_overwritten() {
    let bench = bench();
    pretrain(&bench, "out/w1.0", &["--seed", "3"]).ok();
    let before = bench.files("out");
    // Of another seed, in a sweep whose first point is not there yet.
    pretrain(&bench, "out", &SWEPT).refused(&["out/w1.0 holds", "another run", "its seed is 3"]);
    // States gone, another recipe.
    let states = before.keys().filter(|name| name.contains("state-"));
    states.for_each(|name| std::fs::remove_file(bench.path(name)).unwrap());
    let before = bench.files("out");
    let set = ["--seed", "3", "--set", "mask.ratio=0.25"];
    pretrain(&bench, "out/w1.0", &set).refused(&["another run", "mask.ratio"]);
    assert_eq!(bench.files("out"), before);
    // Without the record, the weights are somebody's.
    std::fs::rename(
        bench.path("out/w1.0/pretraining.json"),
        bench.path("aside.json"),
    )
    .unwrap();
    pretrain(&bench, "out/w1.0", &["--seed", "3"]).refused(&["model.safetensors: no record"]);
    // A folder of somebody else's.
    bench.write("mine/notes.txt", "x");
    pretrain(&bench, "mine", &[]).refused(&["mine holds notes.txt"]);
    // What a killed run had begun to write is nobody else's.
    bench.write("killed/recipe.toml.123.tmp", "name = ");
    pretrain(&bench, "killed", &[]).ok();
    assert!(!bench.path("killed/recipe.toml.123.tmp").exists());
    // A record that was changed by hand.
    let text = std::fs::read_to_string(bench.path("aside.json")).unwrap();
    bench.write(
        "out/w1.0/pretraining.json",
        text.replace("\"images\": 24", "\"images\": 25"),
    );
    pretrain(&bench, "out/w1.0", &["--seed", "3"]).refused(&["changed after it was written"]);
    bench.write("out/w1.0/pretraining.json", text);
    pretrain(&bench, "out/w1.0", &["--seed", "3"]).ok();
}

#[test]
fn a_sweep_that_cannot_be_is_refused() {
    let bench = bench();
    pretrain(&bench, "out", &["--sweep", "none"]).refused(&["none: "]);
    let both = [&SWEPT[..], &["--set", "terms.pixels.weight=2"]].concat();
    pretrain(&bench, "out", &both).refused(&["meets terms.pixels.weight"]);
    bench.write(
        "wrong.toml",
        SWEEP.replace(
            "terms.pixels.weight\" = [1e300]",
            "terms.pixel.weight\" = [1.0]",
        ),
    );
    pretrain(&bench, "out", &["--sweep", "wrong.toml"]).refused(&["diverges: "]);
    let teacher = [&SWEPT[..], &["--teacher", "tiny.safetensors"]].concat();
    pretrain(&bench, "out", &teacher).refused(&["is no teacher of the sweep's"]);
    assert!(!bench.path("out").exists());
}

#[test]
fn the_report_draws_weights_and_curves() {
    let bench = bench();
    let more = [&SWEPT[..], &["--seeds", "0,1", "--quiet"]].concat();
    assert_eq!(pretrain(&bench, "out", &more).code, Some(2));
    let report = ["report", "--out", "page.html", "--plots", "plots"];
    bench.run(&report).ok();
    let plot =
        |name: &str| std::fs::read_to_string(bench.path(&format!("plots/{name}.svg"))).unwrap();
    let weights = plot("weight-1");
    for said in ["weight of pixels", "monitor", "12 images", "0.01", "100"] {
        assert!(weights.contains(said), "{said}: {weights}");
    }
    let page = std::fs::read_to_string(bench.path("page.html")).unwrap();
    for said in [
        "Pre-training",
        "w0.01 seed 1",
        "Weights of terms",
        "loss over epochs",
        "learning rate",
    ] {
        assert!(page.contains(said), "{said}");
    }
    // Of two seeds the mean.
    assert!(page.contains("mean of 2 runs"));
    // Once the final weights were looked at, they count.
    let mut points = Vec::new();
    for point in ["w0.01", "w1.0", "w100"] {
        points.extend([0, 1].map(|seed| format!("out/{point}/seed-{seed}")));
    }
    let points: Vec<_> = points.iter().map(String::as_str).collect();
    let records = bench.knn_of(
        &points,
        &["--set", "task.k=[3]", "--set", "task.headline=3", "--json"],
    );
    assert_eq!(records.records().len(), 6);
    bench.run(&report).ok();
    assert!(plot("weight-1").contains("final weights"));
    // What was changed by hand is named.
    let path = std::fs::read_dir(bench.path("results/pretraining")).unwrap();
    let path = path
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().unwrap() == "json");
    let path = path.unwrap();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["seed"] = 7.into();
    std::fs::write(&path, record.to_string()).unwrap();
    bench
        .run(&report)
        .refused(&["changed after it was written"]);
}
