//! `mimbench all`: the plan, shared passes, what fails, what is skipped, and going on.

use serde_json::Value;

use crate::support::{Bench, Run, tiny};

const KNN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/protocols/knn.toml");
const CACHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/protocols/linear-cached.toml");
const ATTENTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/protocols/attention.toml");

fn all(bench: &Bench, ckpts: &[&str], protocols: &[&str], more: &[&str]) -> Run {
    let args = [
        &["all", "--threads", "1", "--ckpt"][..],
        ckpts,
        &["--protocols"],
        protocols,
    ];
    bench.run(&[&args.concat()[..], more].concat())
}

/// A record without what differs from run to run.
fn lasting(record: &Value) -> Value {
    let mut record = record.clone();
    record["seal"].take();
    for field in [
        "created",
        "wall_seconds",
        "encoded",
        "images_per_second",
        "peak_memory",
    ] {
        record["compute"][field].take();
    }
    record
}

/// Two checkpoints, `few.toml` that looks at five of twelve validation images.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.model("other.safetensors", &tiny(), 2);
    let few =
        format!("extends = {ATTENTION:?}\nkind = \"attention\"\nname = \"few\"\nversion = 1\n");
    bench.write("few.toml", format!("{few}[task]\nimages = 5\nmaps = 2\n"));
    bench
}

#[test]
fn protocols_that_share_an_input_share_a_pass_and_give_the_same_records() {
    let bench = bench();
    let ckpts = ["tiny.safetensors", "other.safetensors"];
    let protocols = [KNN, ATTENTION, "few.toml"];
    let together = all(&bench, &ckpts, &protocols, &["--data", "data", "--json"]);
    // Twelve validation images for attention, and five of them for the short list, which kNN
    // encodes anyway.
    for name in ["tiny", "other"] {
        let saved = format!(
            "{name}: what 3 protocols look at is decoded and encoded once, which saves 17 forward passes"
        );
        assert!(together.stderr.contains(&saved), "{}", together.stderr);
    }
    let together = together.records();
    assert_eq!(together.len(), 6);
    for (at, ckpt) in ckpts.iter().enumerate() {
        let single = |command: &str, protocol: &str| {
            let args = [
                command,
                "--threads",
                "1",
                "--ckpt",
                ckpt,
                "--protocol",
                protocol,
            ];
            let more = ["--data", "data", "--json", "--results", "alone"];
            bench.run(&[&args[..], &more].concat()).records().remove(0)
        };
        let alone = [
            single("knn", KNN),
            single("attention", ATTENTION),
            single("attention", "few.toml"),
        ];
        for (alone, together) in alone.iter().zip(&together[3 * at..]) {
            assert_eq!(lasting(alone), lasting(together));
        }
    }
    // A second run computes nothing.
    let again = all(&bench, &ckpts, &protocols, &["--data", "data", "--json"]);
    assert_eq!(
        again
            .stderr
            .matches("is up to date; no forward pass")
            .count(),
        6,
        "{}",
        again.stderr
    );
    assert_eq!(again.records(), together);
}

#[test]
fn the_plan_says_what_is_there_and_stops() {
    let bench = bench();
    let ckpts = ["tiny.safetensors"];
    let data = ["--data", "data"];
    let plan = all(
        &bench,
        &ckpts,
        &[KNN, ATTENTION],
        &[&data[..], &["--plan"]].concat(),
    )
    .ok();
    assert!(!bench.path("results/records").exists());
    assert_eq!(
        plan.stdout.matches("to compute").count(),
        2,
        "{}",
        plan.stdout
    );
    let rows: Vec<_> = plan
        .stdout
        .lines()
        .filter(|line| line.starts_with(" tiny "))
        .collect();
    // 24 train and 12 validation images for kNN; attention rides on the same pass.
    assert!(
        rows[0].contains(" 36 ") && rows[1].contains(" 0 "),
        "{}",
        plan.stdout
    );

    bench.knn(&["--protocol", KNN]).ok();
    let plan = all(
        &bench,
        &ckpts,
        &[KNN, ATTENTION],
        &[&data[..], &["--plan"]].concat(),
    )
    .ok();
    let states: Vec<_> = ["done", "to compute"]
        .map(|state| plan.stdout.matches(state).count())
        .into();
    assert_eq!(states, [1, 1], "{}", plan.stdout);

    std::fs::remove_dir_all(bench.path("results/records")).unwrap();
    let plan = all(&bench, &ckpts, &[KNN], &[&data[..], &["--plan"]].concat()).ok();
    assert!(plan.stdout.contains("features stored"), "{}", plan.stdout);
}

#[test]
fn shards_share_the_cells_out() {
    let bench = bench();
    let ckpts = ["tiny.safetensors", "other.safetensors"];
    let mut keys = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let more = ["--data", "data", "--json", "--shard", shard];
        let records = all(&bench, &ckpts, &[KNN, ATTENTION], &more).records();
        keys.extend(
            records
                .iter()
                .map(|record| record["cell"]["key"].to_string()),
        );
    }
    assert_eq!(keys.len(), 4);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    let whole = all(&bench, &ckpts, &[KNN, ATTENTION], &["--data", "data"]).ok();
    assert_eq!(
        whole.stderr.matches("is up to date").count(),
        4,
        "{}",
        whole.stderr
    );
    for wrong in ["0/3", "4/3", "1", "a/b"] {
        let run = all(
            &bench,
            &ckpts,
            &[KNN],
            &["--data", "data", "--shard", wrong],
        );
        assert_eq!(run.code, Some(2), "{run:?}");
    }
}

#[test]
fn a_cell_that_fails_leaves_the_others_their_records() {
    let bench = bench();
    // Attention that overflows in the second block: features of the first are sound.
    bench.model_with("broken.safetensors", &tiny(), 3, |name, mut tensor| {
        if name == "blocks.1.mlp.fc2.weight" {
            tensor.data.iter_mut().for_each(|x| *x = 3e38);
        }
        Some(tensor)
    });
    bench.write(
        "first.toml",
        format!("extends = {KNN:?}\nkind = \"knn\"\nname = \"first\"\nversion = 1\n[task]\nlayers = [0]\nnorm = \"raw\"\n"),
    );
    let ckpts = ["broken.safetensors", "tiny.safetensors"];
    let run = all(
        &bench,
        &ckpts,
        &["first.toml", KNN],
        &["--data", "data", "--json"],
    );
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains("error: broken (knn): "),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("not finite"), "{}", run.stderr);
    let records: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    let cells: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record["subject"]["name"].as_str().unwrap(),
                record["protocol"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        cells,
        [("broken", "first"), ("tiny", "first"), ("tiny", "knn")]
    );
}

#[test]
fn what_was_evaluated_beside_a_cell_that_fails_is_not_evaluated_again() {
    let bench = bench();
    for split in ["train", "val"] {
        let class = bench.path(&format!("single/{split}/ant"));
        std::fs::create_dir_all(class.parent().unwrap()).unwrap();
        std::fs::rename(bench.path(&format!("data/{split}/ant")), class).unwrap();
    }
    // Among neighbours of one class there is no doubt; a regression needs two.
    let run = all(
        &bench,
        &["tiny.safetensors"],
        &[KNN, CACHED],
        &["--data", "single", "--json", "--recompute"],
    );
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let again = "tiny (knn): the record of ";
    assert_eq!(run.stderr.matches(again).count(), 1, "{}", run.stderr);
    let records: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(records.len(), 1);
}

#[test]
fn sets_that_are_not_there_are_skipped_with_the_reason() {
    let bench = bench();
    std::fs::create_dir(bench.path("sets")).unwrap();
    std::fs::rename(bench.path("data"), bench.path("sets/imagenet-1k")).unwrap();
    let other = format!("extends = {KNN:?}\nkind = \"knn\"\nname = \"elsewhere\"\nversion = 1\n");
    bench.write(
        "elsewhere.toml",
        format!("{other}[data]\ndataset = \"cifar-100\"\n"),
    );
    let run = all(
        &bench,
        &["tiny.safetensors"],
        &[KNN, "elsewhere.toml"],
        &["--data", "sets", "--json"],
    );
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("--data sets has no folder cifar-100"),
        "{}",
        run.stderr
    );
    let records: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(records.len(), 1);
}

#[test]
fn patterns_are_files_each_once() {
    let bench = bench();
    bench.write("protocols/a.toml", std::fs::read(KNN).unwrap());
    bench.write("protocols/b.toml", std::fs::read(ATTENTION).unwrap());
    let ckpt = ["tiny.safetensors"];
    let data = ["--data", "data", "--json"];
    let records = all(&bench, &ckpt, &["protocols/*.toml"], &data).records();
    assert_eq!(records.len(), 2);
    all(&bench, &ckpt, &["protocols/*.tml"], &data)
        .refused(&["protocols/*.tml", "matches no file"]);
    all(
        &bench,
        &ckpt,
        &["protocols/*.toml", "protocols/a.toml"],
        &data,
    )
    .refused(&["protocols/a.toml", "again"]);
    all(&bench, &ckpt, &["protocols/none.toml"], &data).refused(&["protocols/none.toml"]);
    bench.write(
        "protocols/c.toml",
        "kind = \"kmn\"\nname = \"x\"\nversion = 1\n",
    );
    all(&bench, &ckpt, &["protocols/*.toml"], &data).refused(&[
        "c.toml",
        "\"kmn\"",
        "\"attention\"",
    ]);
}

#[test]
fn a_checkpoint_that_does_not_open_leaves_the_others_their_records() {
    let bench = bench();
    bench.write("broken.safetensors", "not a checkpoint");
    let ckpts = ["broken.safetensors", "tiny.safetensors"];
    let run = all(&bench, &ckpts, &[KNN], &["--data", "data", "--json"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        run.stderr.contains("error: broken.safetensors: "),
        "{}",
        run.stderr
    );
    let records: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(records.len(), 1);
}

#[test]
fn a_record_of_another_schema_does_not_hide_what_failed() {
    let bench = bench();
    bench.write("results/records/0a.json", "{\"schema\": 1}");
    bench.write("broken.safetensors", "not a checkpoint");
    let ckpts = ["broken.safetensors", "tiny.safetensors"];
    let run = all(&bench, &ckpts, &[KNN], &["--data", "data", "--json"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for said in ["error: broken.safetensors: ", "0a.json has schema 1"] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
    assert!(run.stdout.starts_with('['), "{}", run.stdout);
}

#[test]
fn lists_of_images_share_a_pass_without_a_protocol_that_takes_all() {
    let bench = bench();
    let more = std::fs::read_to_string(bench.path("few.toml")).unwrap();
    bench.write(
        "more.toml",
        more.replace("few", "more")
            .replace("images = 5", "images = 8"),
    );
    let ckpt = ["tiny.safetensors"];
    let run = all(
        &bench,
        &ckpt,
        &["few.toml", "more.toml"],
        &["--data", "data", "--json"],
    );
    // A smaller stratified list is not always a part of a larger one, but shares most of it.
    assert!(
        run.stderr
            .contains("2 protocols look at is decoded and encoded once"),
        "{}",
        run.stderr
    );
    let records = run.records();
    let alone = [
        "attention",
        "--threads",
        "1",
        "--ckpt",
        ckpt[0],
        "--protocol",
        "few.toml",
    ];
    let alone = bench.run(
        &[
            &alone[..],
            &["--data", "data", "--json", "--results", "alone"],
        ]
        .concat(),
    );
    assert_eq!(lasting(&alone.records()[0]), lasting(&records[0]));
}

#[test]
fn one_folder_under_two_names_of_datasets_is_one_pass() {
    let bench = bench();
    let other =
        format!("extends = {ATTENTION:?}\nkind = \"attention\"\nname = \"other\"\nversion = 1\n");
    bench.write(
        "other.toml",
        format!("{other}[data]\ndataset = \"imagenette\"\n"),
    );
    let run = all(
        &bench,
        &["tiny.safetensors"],
        &[KNN, "other.toml"],
        &["--data", "data"],
    )
    .ok();
    assert!(
        run.stderr.contains("saves 12 forward passes"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_plan_counts_what_is_stored_in_part() {
    let bench = bench();
    let ckpt = ["tiny.safetensors"];
    // The list's five images are stored under their own list only.
    all(&bench, &ckpt, &["few.toml"], &["--data", "data"]).ok();
    let sheets = bench.path("results/attention");
    std::fs::remove_dir_all(&sheets).unwrap();
    let plan = all(
        &bench,
        &ckpt,
        &[ATTENTION, "few.toml", KNN],
        &["--data", "data", "--plan"],
    )
    .ok();
    assert!(!sheets.exists(), "a plan draws nothing");
    let rows: Vec<_> = plan
        .stdout
        .lines()
        .filter(|line| line.starts_with(" tiny "))
        .collect();
    assert!(
        rows[0].contains(" 12 ") && rows[1].contains("done"),
        "{}",
        plan.stdout
    );
    assert!(rows[2].contains(" 24 "), "{}", plan.stdout);
}
