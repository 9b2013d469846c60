//! What the program prints, and where.

use std::collections::BTreeSet;

use mimbench::checkpoint::source::TensorSource;
use serde_json::Value;

use crate::support::{Bench, noisy_png, tensor, tiny};

/// A bench whose classes are far apart, so that every number is known.
fn plain() -> Bench {
    let bench = Bench::empty();
    bench.dataset("data", (8, 4), 8, 2);
    bench.model("tiny.safetensors", &tiny(), 1);
    bench
}

#[test]
fn help_lists_every_subcommand() {
    let bench = Bench::empty();
    let help = bench.run(&["--help"]).ok();
    let commands: Vec<_> = help
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let expected = [
        "knn",
        "linear",
        "finetune",
        "segment",
        "pretrain",
        "attention",
        "all",
        "compare",
        "features",
        "inspect",
        "convert",
        "data",
        "report",
        "table",
        "verify",
        "demo",
        "bench",
        "help",
    ];
    assert_eq!(commands, expected);
    assert_eq!(help.stderr, "");
    for command in &commands[..commands.len() - 1] {
        let help = bench.run(&[command, "--help"]).ok().stdout;
        assert!(
            help.contains(&format!("Usage: mimbench {command}")),
            "{help}"
        );
    }
    let version = bench.run(&["--version"]).ok().stdout;
    assert_eq!(
        version,
        concat!("mimbench ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

const TABLE: &str = "\
knn version 1 (7b0a0614), k = 20, on data
─────────────────────────────────────────────────────────────────────────────────────────────────
 checkpoint  feature                     top-1 (%)            top-5 (%)     strict top-5 (%)   n
─────────────────────────────────────────────────────────────────────────────────────────────────
 tiny        block 1 cls norm  100.0 [75.8, 100.0]  100.0 [75.8, 100.0]  100.0 [75.8, 100.0]  12
─────────────────────────────────────────────────────────────────────────────────────────────────
tiny: k = 50 takes all 24 train images
tiny: k = 100 takes all 24 train images
tiny: k = 200 takes all 24 train images

knn version 1 (7b0a0614), top-1 over k
────────────────────────────────────────────────────────────────────────────────────────────────────
 checkpoint  feature           k=1 (%)  k=5 (%)  k=10 (%)  k=20 (%)  k=50 (%)  k=100 (%)  k=200 (%)
────────────────────────────────────────────────────────────────────────────────────────────────────
 tiny        block 1 cls norm    100.0    100.0     100.0     100.0     100.0      100.0      100.0
────────────────────────────────────────────────────────────────────────────────────────────────────
";

#[test]
fn tables_go_to_stdout_and_everything_else_to_stderr() {
    let bench = plain();
    let run = bench.knn(&[]).ok();
    assert_eq!(run.stdout, TABLE);
    let said = [
        "plan: knn version 1 on data (24 train + 12 val images, 3 classes)",
        "tiny: block 1 cls norm of 3 x 8 x 8 inputs",
        "  heads: 1 (a guess: width 64 / 64; --heads decides)",
        "tiny: 24 of 24 train images encoded",
        "tiny: 12 of 12 val images encoded",
    ];
    for said in said {
        let lines = run.stderr.lines().filter(|line| line.starts_with(said));
        assert_eq!(lines.count(), 1, "{said}: {}", run.stderr);
    }
    let quiet = bench.knn(&["--quiet", "--results", "other"]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), (TABLE, ""));
}

#[test]
fn a_setting_marks_the_row() {
    let bench = plain();
    let set = ["--set", "task.k=[3]", "--set", "task.headline=3"];
    let table = bench.knn(&set).ok().stdout;
    for line in [
        " tiny        block 1 cls norm  100.0* [75.8, 100.0]  100.0* [75.8, 100.0]  100.0* [75.8, 100.0]  12",
        "* not the protocol as it stands, see below",
        "tiny: --set task.k=[3]",
        "tiny: --set task.headline=3",
    ] {
        assert!(table.lines().any(|found| found == line), "{line}\n{table}");
    }
}

#[test]
fn csv_has_full_precision_and_what_identifies_a_row() {
    let bench = plain();
    let csv = bench.knn(&["--csv", "--limit", "9"]).ok().stdout;
    let mut lines = csv.lines();
    assert_eq!(
        lines.next().unwrap(),
        "checkpoint,blake3,feature,k,top-1 (%),top-1_low (%),top-1_high (%),top-1_note,top-5 (%),top-5_low (%),top-5_high (%),top-5_note,strict top-5 (%),strict top-5_low (%),strict top-5_high (%),strict top-5_note,n,protocol,version,protocol hash,data,train fingerprint,val fingerprint,seed,record"
    );
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let ks: Vec<_> = rows.iter().map(|row| row[3]).collect();
    assert_eq!(ks, ["1", "5", "10", "20", "50", "100", "200"]);
    for row in &rows {
        assert_eq!(row[..3], ["tiny", rows[0][1], "block 1 cls norm"]);
        assert_eq!(row[4..8], ["100", "70.08549515804559", "100", "modified"]);
        assert_eq!(row[16..19], ["9", "knn", "1"]);
        let record = bench.path(&format!("results/records/{}.json", row[24]));
        assert!(std::fs::read_to_string(record).unwrap().contains(row[19]));
    }
}

/// Paths of all leaves and empty containers of a JSON value; lists are shown by their first item.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                paths(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(list) if !list.is_empty() => paths(&list[0], &format!("{path}[]"), found),
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn a_record_tells_everything_needed_to_repeat_it() {
    let bench = plain();
    let run = bench.knn(&["--json"]).ok();
    let on_disk = bench.files("results/records").into_keys();
    let on_disk: Vec<_> = on_disk.filter(|name| name.ends_with(".json")).collect();
    let records = run.records();
    assert_eq!((records.len(), on_disk.len()), (1, 1));
    let record = &records[0];
    let text = std::fs::read(bench.path(&on_disk[0])).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), *record);
    assert_eq!(
        on_disk[0],
        format!(
            "results/records/{}.json",
            record["cell"]["key"].as_str().unwrap()
        )
    );

    let mut found = BTreeSet::new();
    paths(record, "", &mut found);
    for path in [
        "/schema",
        "/cell/seed",
        "/subject/name",
        "/subject/path",
        "/subject/blake3",
        "/subject/dialect",
        "/subject/architecture/heads",
        "/subject/choices[]/field",
        "/subject/choices[]/from",
        "/subject/choices[]/value",
        "/subject/ignored_keys",
        "/protocol/name",
        "/protocol/version",
        "/protocol/hash",
        "/protocol/text",
        "/protocol/modified",
        "/data/train/fingerprint",
        "/data/train/images",
        "/data/train/skipped",
        "/data/val/fingerprint",
        "/data/limit",
        "/input/mean[]",
        "/input/interpolation",
        "/input/resize/shorter",
        "/compute/engine",
        "/compute/precision",
        "/compute/device",
        "/compute/stored",
        "/compute/decoder",
        "/compute/mimbench",
        "/compute/numerics",
        "/compute/created",
        "/compute/wall_seconds",
        "/compute/images_per_second",
        "/compute/peak_memory",
        "/selection",
        "/measures[]/name",
        "/measures[]/value",
        "/measures[]/unit",
        "/measures[]/n",
        "/measures[]/interval[]",
        "/measures[]/confidence",
        "/measures[]/k",
        "/notes[]",
    ] {
        assert!(found.contains(path), "{path} is not in {found:#?}");
    }

    let weights = std::fs::read(bench.path("tiny.safetensors")).unwrap();
    let hash = blake3::hash(&weights).to_string();
    assert_eq!(record["subject"]["blake3"], hash);
    let protocol = record["protocol"]["text"].as_str().unwrap();
    let hash = blake3::hash(protocol.as_bytes()).to_string();
    assert_eq!(record["protocol"]["hash"], hash);
    assert_eq!(record["measures"].as_array().unwrap().len(), 7 * 3);
    assert_eq!(record["compute"]["encoded"], 36);
    assert_eq!(record["compute"]["precision"], "f32");
}

#[test]
fn outcomes_of_every_image_lie_beside_the_record() {
    let bench = plain();
    bench.knn(&["--quiet"]).ok();
    let files = bench.files("results/records").into_keys();
    let file: Vec<_> = files
        .filter(|name| name.ends_with(".outcomes.safetensors"))
        .collect();
    let bytes = std::fs::read(bench.path(&file[0])).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let paths = std::str::from_utf8(file.tensor("paths").unwrap().data()).unwrap();
    let paths: Vec<_> = paths.split_terminator('\0').collect();
    assert_eq!(
        (paths.len(), paths[0], paths[11]),
        (12, "ant/0.png", "cat/3.png")
    );
    let top1 = file.tensor("block 1 cls norm/k20/top1").unwrap();
    let labels = file.tensor("labels").unwrap();
    assert_eq!((top1.shape(), top1.data()), (&[12][..], labels.data()));
    let contents = file.tensor("contents").unwrap();
    assert_eq!(contents.shape(), [12, 16]);
    let image = std::fs::read(bench.path("data/val/cat/3.png")).unwrap();
    assert_eq!(
        contents.data()[11 * 16..],
        blake3::hash(&image).as_bytes()[..16]
    );
}

#[test]
fn features_of_a_folder_carry_labels_and_names() {
    let bench = plain();
    let args = [
        "features",
        "--ckpt",
        "tiny.safetensors",
        "--images",
        "data/val",
        "--out",
        "f",
    ];
    let run = bench.run(&args).ok();
    let expected =
        "cls [12, 64]\nmean_patch [12, 64]\ntokens [12, 5, 64]\nlabels [12]\nfiles [119]\n";
    assert_eq!(run.stdout, expected);
    let bytes = std::fs::read(bench.path("f")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let names = std::str::from_utf8(file.tensor("files").unwrap().data()).unwrap();
    assert_eq!(names.lines().next(), Some("ant/0.png"));
    let labels = file
        .tensor("labels")
        .unwrap()
        .data()
        .chunks(8)
        .map(|label| label[0]);
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    );
    assert_eq!(
        bench
            .files("")
            .keys()
            .filter(|name| name.ends_with(".tmp"))
            .count(),
        0
    );

    // One bad image: named, or left out with its row, its label and its name.
    bench.write("data/val/bee/2.png", "none");
    let again = [&args[..], &["--quiet"]].concat();
    let before = bench.files("");
    bench.run(&again).refused(&["data/val/bee/2.png"]);
    assert_eq!(bench.files(""), before);
    let whole = tensor(&TensorSource::open(&bench.path("f")).unwrap(), "cls");
    let skip = bench
        .run(&[&args[..], &["--on-bad-image", "skip"]].concat())
        .ok();
    assert!(
        skip.stderr
            .contains("1 of 12 images could not be decoded and are left out")
    );
    assert!(skip.stdout.contains("cls [11, 64]\n") && skip.stdout.contains("labels [11]\n"));
    let rest = tensor(&TensorSource::open(&bench.path("f")).unwrap(), "cls");
    assert_eq!(rest.data[..6 * 64], whole.data[..6 * 64]);
    for (a, b) in rest.data[6 * 64..].iter().zip(&whole.data[7 * 64..]) {
        assert!((a - b).abs() <= 1e-5, "{a} {b}");
    }
}

#[test]
fn inspect_accounts_for_every_key() {
    let bench = plain();
    let text = bench.run(&["inspect", "tiny.safetensors"]).ok().stdout;
    for line in [
        "architecture  ViT, 2 blocks x 64 wide, 1 heads, MLP 128, patch 4, 3 x 8 x 8 input",
        "tokens        class, 4 patches; absolute positions of all",
        "keys          30 loaded, 0 left out",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json = bench
        .run(&["inspect", "--json", "tiny.safetensors"])
        .ok()
        .stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let weights = std::fs::read(bench.path("tiny.safetensors")).unwrap();
    assert_eq!(json["blake3"], blake3::hash(&weights).to_string());
}

#[test]
fn data_check_fails_where_a_number_could_not_be_trusted() {
    let bench = plain();
    let sound = bench.run(&["data", "check", "data"]).ok().stdout;
    assert!(sound.contains("train  24 images in train/"), "{sound}");
    assert!(sound.contains("0 images are in both splits"), "{sound}");
    bench.write("data/val/ant/leak.png", noisy_png(0, 0, 8, 2));
    let leak = bench.run(&["data", "check", "data"]);
    assert_eq!(leak.code, Some(1));
    assert!(
        leak.stdout.contains("1 images are in both splits"),
        "{}",
        leak.stdout
    );
    assert!(
        leak.stdout.contains("ant/0.png = ant/leak.png"),
        "{}",
        leak.stdout
    );
    let json = bench.run(&["data", "check", "data", "--json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(
        (json.code, report["leaks"].as_array().unwrap().len()),
        (Some(1), 1)
    );
    bench
        .run(&["data", "check", "nowhere", "--quiet"])
        .refused(&["nowhere"]);
}

#[test]
fn the_demo_needs_nothing() {
    let bench = Bench::empty();
    let args = [
        "demo",
        "--train-per-class",
        "2",
        "--val-per-class",
        "1",
        "--json",
    ];
    let first = bench.run(&args).ok();
    let again = bench.run(&args).ok();
    assert!(again.stdout == first.stdout);
    assert!(again.stderr.contains("no forward pass"), "{}", again.stderr);
    let records = first.records();
    let cells: Vec<_> = records
        .iter()
        .map(|record| {
            let name = |pointer| record.pointer(pointer).and_then(Value::as_str).unwrap();
            (name("/subject/name"), name("/protocol/name"))
        })
        .collect();
    let expected = [
        ("untrained-vit-seed0", "knn"),
        ("untrained-vit-seed0", "attention"),
        ("untrained-vit-16-seed0", "knn"),
        ("untrained-vit-16-seed0", "attention"),
        ("raw pixels", "knn"),
    ];
    assert_eq!(cells, expected);
    assert_eq!(records[0]["measures"][0]["n"], 20);
}
