//! Training runs that are killed, stopped, damaged or led astray: the same command goes on, and
//! ends with the same bits, or says what is wrong and loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mimbench::store::{Tensors, read_tensors_and_metadata};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::support::{Bench, Run, noisy_png, tiny};

/// Kills of one run; a campaign has more (CONTRIBUTING.md).
fn kills() -> u64 {
    let told = std::env::var("MIMBENCH_KILLS").ok();
    told.map_or(4, |kills| kills.parse().unwrap())
}

/// Heads over every block, AdamW; two local batches an update.
const ADAMW: [&str; 9] = [
    "linear",
    "--preset",
    "beit",
    "--set",
    "task.batch=8",
    "--set",
    "task.local_batch=4",
    "--batch",
    "2",
];

/// BatchNorm and LARS; three local batches an update, and the last makes none.
const LARS: [&str; 11] = [
    "linear",
    "--preset",
    "mae",
    "--set",
    "task.batch=9",
    "--set",
    "task.local_batch=3",
    "--set",
    "task.schedule.warmup_epochs=1",
    "--batch",
    "5",
];

/// An encoder with UperNet, BatchNorm's statistics and what is left out; two local batches an update.
const SEGMENT: [&str; 19] = [
    "segment",
    "--preset",
    "mini",
    "--set",
    "task.batch=4",
    "--set",
    "task.validate_every=2",
    "--set",
    "task.schedule.warmup_steps=2",
    "--set",
    "task.masks={classes=3,ignore=9,reduce_zero_label=false}",
    "--set",
    "task.augment.crop=32",
    "--set",
    "task.test={scale=[64,40],stride=21}",
    "--set",
    "task.drop_path=0.2",
    "--batch",
    "2",
];

/// A whole network with everything that is drawn; two local batches an update.
const FINETUNE: [&str; 11] = [
    "finetune",
    "--preset",
    "mini",
    "--set",
    "task.batch=8",
    "--set",
    "task.local_batch=4",
    "--set",
    "task.schedule.warmup_epochs=1.0",
    "--batch",
    "4",
];

/// What a state's file says beside its tensors, and those that training moves.
struct State {
    header: Value,
    tensors: Tensors,
}

impl State {
    fn read(path: &Path) -> Option<Self> {
        let (tensors, metadata) = read_tensors_and_metadata(path).ok()?;
        let header = serde_json::from_str(&metadata["mimbench"]).unwrap();
        Some(Self { header, tensors })
    }

    /// Names and bits of every tensor.
    fn bits(&self) -> Vec<(String, [u8; 32])> {
        let bits = self.tensors.values();
        bits.map(|tensor| (tensor.name.clone(), tensor.hash()))
            .collect()
    }
}

/// What a run ended with.
#[derive(Debug, PartialEq)]
struct End {
    measures: Value,
    selection: Value,
    encoded: Value,
    bits: Vec<(String, [u8; 32])>,
    /// The curves, a line a point.
    metrics: String,
    /// The trained weights, where they are kept.
    weights: Option<Vec<u8>>,
}

impl Bench {
    /// `more`: the subcommand, and what it takes besides.
    fn training(&self, results: &str, more: &[&str]) -> Command {
        let args = [
            "--threads",
            "1",
            "--ckpt",
            "tiny.safetensors",
            "--data",
            "data",
            "--results",
            results,
            "--state-every",
            "0",
            "--json",
        ];
        let mut command = self.command(&[&more[..1], &args, &more[1..]].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn train(&self, results: &str, more: &[&str]) -> Run {
        Run::of(&mut self.training(results, more))
    }

    /// States of the runs below `folder`, the oldest first.
    fn states(&self, folder: &str) -> Vec<PathBuf> {
        let mut states = Vec::new();
        let mut folders = vec![self.path(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name();
                let name = name.to_str().unwrap();
                if path.is_dir() {
                    folders.push(path);
                } else if name.starts_with("state-") && name.ends_with(".safetensors") {
                    states.push(path);
                }
            }
        }
        states.sort();
        states
    }

    #[track_caller]
    fn last_state(&self, folder: &str) -> State {
        State::read(self.states(folder).last().unwrap()).unwrap()
    }

    /// Whether there comes a state that is as far as this before the run ends.
    fn comes(&self, folder: &str, child: &mut Child, far: impl Fn(&State) -> bool) -> bool {
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(120) {
            let last = self.states(folder).pop();
            let last = last.and_then(|path| State::read(&path));
            if last.is_some_and(|state| far(&state)) {
                return true;
            }
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    #[track_caller]
    fn end(&self, folder: &str, run: Run) -> End {
        let record = run.records().remove(0);
        let states = self.states(folder);
        assert!((1..=2).contains(&states.len()), "{states:?}");
        let leftover = self
            .files(folder)
            .into_keys()
            .find(|name| name.ends_with(".tmp"));
        assert_eq!(leftover, None);
        End {
            measures: record["measures"].clone(),
            selection: record["selection"].clone(),
            encoded: record["compute"]["encoded"].clone(),
            bits: self.last_state(folder).bits(),
            metrics: fs::read_to_string(states[0].with_file_name("metrics.jsonl")).unwrap(),
            weights: fs::read(states[0].with_file_name("model.safetensors")).ok(),
        }
    }

    /// A run without any interruption.
    #[track_caller]
    fn uninterrupted(&self, more: &[&str]) -> End {
        let run = self.train("whole", more);
        self.end("whole", run)
    }

    /// A run with its states in `folder` that was sent these signals once its last state was as far
    /// as this.
    #[track_caller]
    fn signalled(
        &self,
        (results, folder): (&str, &str),
        more: &[&str],
        far: impl Fn(&State) -> bool,
        signals: &[&str],
    ) -> Run {
        let runs = (0..5).find_map(|_| {
            let mut child = self.training(results, more).spawn().unwrap();
            if self.comes(folder, &mut child, &far) {
                signals.iter().for_each(|name| signal(&child, name));
            }
            let run = Run::from(child.wait_with_output().unwrap());
            // On a stalled machine the signal may come when no pass is under way any more, which
            // ends the process without a word, or when the run is over.
            let late = run.code == Some(130) && !run.stderr.contains("error: ");
            if run.code != Some(0) && !late {
                return Some(run);
            }
            for over in [results, folder] {
                let _ = fs::remove_dir_all(self.path(over));
            }
            None
        });
        let run = runs.expect("a run that hears a signal before its end");
        assert_eq!(run.stdout, "", "{run:?}");
        run
    }

    /// A run that has been asked to end once its last state was as far as this.
    #[track_caller]
    fn stopped(&self, results: &str, more: &[&str], far: impl Fn(&State) -> bool) {
        let run = self.signalled((results, results), more, far, &["TERM"]);
        assert_eq!(run.code, Some(130), "{run:?}");
    }

    /// Another name for a folder's contents as they are now.
    fn copy(&self, from: &str, to: &str) {
        for name in self.files(from).into_keys() {
            let rest = name.strip_prefix(from).unwrap();
            self.write(&format!("{to}{rest}"), fs::read(self.path(&name)).unwrap());
        }
    }

    /// Makes what is at `path` into what `change` makes of it.
    fn alter(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Whether a state is in this epoch, counted from 0, or behind it.
fn in_epoch(epoch: u64) -> impl Fn(&State) -> bool {
    move |state| state.header["progress"]["epoch"].as_u64().unwrap() >= epoch
}

/// Whether a state is inside a validation, behind its first batch.
fn validating(state: &State) -> bool {
    let sample = &state.header["progress"]["stage"]["validate"]["sample"];
    sample.as_u64().is_some_and(|sample| sample > 0)
}

fn epochs(count: u64) -> [String; 2] {
    ["--epochs".to_owned(), count.to_string()]
}

fn survives_kills(name: &str, settings: &[&str]) {
    let bench = Bench::new();
    bench.scenes("data", [6, 2], false);
    // Long enough that every kill finds it under way.
    let length = match settings[0] {
        "segment" => vec![
            "--set".to_owned(),
            format!("task.updates={}", 2 * (3 + kills())),
        ],
        _ => epochs(3 + kills()).to_vec(),
    };
    let length: Vec<_> = length.iter().map(String::as_str).collect();
    let settings = [settings, &length].concat();
    let start = Instant::now();
    let whole = bench.uninterrupted(&settings);
    let mut part = start.elapsed() / (kills() as u32 + 1);
    let mut rng = ChaCha8Rng::seed_from_u64(kills());
    let mut landed = 0;
    while landed < kills() {
        let mut child = bench.training(name, &settings).spawn().unwrap();
        std::thread::sleep(part.mul_f64(rng.random::<f64>() * 1.5));
        child.kill().unwrap();
        let run = Run::from(child.wait_with_output().unwrap());
        if run.code == Some(0) && landed > 0 {
            println!("{name}: over after {landed} kills");
            break;
        }
        if run.code == Some(0) {
            // The machine has been slower before: sooner, from the beginning.
            part /= 2;
            fs::remove_dir_all(bench.path(name)).unwrap();
            continue;
        }
        assert_eq!((run.code, run.stdout.as_str()), (None, ""), "{run:?}");
        let last = bench.states(name).pop();
        println!("{name}: killed with {last:?} as its last state");
        landed += 1;
    }
    let run = bench.train(name, &settings);
    let keeps = matches!(settings[0], "finetune" | "segment");
    assert_eq!(whole.weights.is_some(), keeps);
    assert!(bench.end(name, run) == whole);
}

#[test]
fn adamw_survives_kills() {
    survives_kills("adamw", &ADAMW);
}

#[test]
fn lars_with_batch_norm_survives_kills() {
    survives_kills("lars", &LARS);
}

#[test]
fn fine_tuning_survives_kills() {
    survives_kills("finetune", &FINETUNE);
}

#[test]
fn segmentation_survives_kills() {
    survives_kills("segment", &SEGMENT);
}

#[test]
fn a_signal_saves_and_the_same_command_goes_on() {
    let bench = Bench::new();
    let settings = [&LARS[..], &["--epochs", "12"]].concat();
    let whole = bench.uninterrupted(&settings);
    for name in ["TERM", "USR1", "HUP", "INT"] {
        // timeout(1) sends its signal to the process and to its group; a second Ctrl-C is a person's.
        let signals = if name == "INT" {
            vec![name]
        } else {
            vec![name; 2]
        };
        let run = bench.signalled((name, name), &settings, in_epoch(2), &signals);
        assert_eq!(run.code, Some(130), "{run:?}");
        let error = run.stderr.split("error: ").nth(1).unwrap();
        for said in [
            "interrupted after ",
            " of 24 updates",
            "hint: the same command",
            name,
        ] {
            assert!(error.contains(said), "{said}: {error}");
        }
        let rest = bench.train(name, &settings);
        assert!(rest.stderr.contains("going on with epoch"), "{rest:?}");
        assert_eq!(bench.end(name, rest), whole, "{name}");
    }
}

#[test]
fn nohup_is_heeded() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "6"]].concat();
    let inner = bench.training("results", &settings);
    let mut command = Command::new("nohup");
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(bench.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert!(bench.comes("results", &mut child, in_epoch(1)));
    signal(&child, "HUP");
    Run::from(child.wait_with_output().unwrap()).ok();
}

#[test]
fn a_validation_goes_on_in_batches_of_another_size() {
    let bench = Bench::new();
    let settings = |batch| {
        let one_by_one = ["--epochs", "2", "--batch", batch];
        [&ADAMW[..7], &one_by_one].concat()
    };
    let whole = bench.uninterrupted(&settings("1"));
    bench.stopped("results", &settings("1"), validating);
    let rest = bench.train("results", &settings("5"));
    let end = bench.end("results", rest);
    // Losses are summed image by image.
    assert_eq!(end.measures, whole.measures);
    assert_eq!(end.encoded, whole.encoded);
}

#[test]
fn a_finished_stage_is_not_repeated() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "2"]].concat();
    let run = bench.train("results", &settings);
    assert!(run.stderr.contains("epoch 2 of 2"), "{run:?}");
    let end = bench.end("results", run);
    let files = bench.files("results/runs");
    let again = bench.train("results", &settings).ok();
    assert!(again.stderr.contains("is up to date"), "{again:?}");
    fs::remove_dir_all(bench.path("results/records")).unwrap();
    let again = bench.train("results", &settings);
    assert!(!again.stderr.contains("\nepoch "), "{again:?}");
    assert_eq!(bench.end("results", again), end);
    let states = |mut files: std::collections::BTreeMap<String, String>| {
        files.retain(|name, _| name.contains("state-"));
        files
    };
    assert_eq!(states(bench.files("results/runs")), states(files));

    let anew = [&settings[..], &["--recompute"]].concat();
    let anew = bench.train("results", &anew);
    assert!(anew.stderr.contains("epoch 1 of 2"), "{anew:?}");
    assert_eq!(bench.end("results", anew), end);
}

#[test]
fn what_is_recomputed_goes_on_beside_the_record_before() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "12"]].concat();
    let anew = [&settings[..], &["--recompute"]].concat();
    let whole = bench.train("results", &settings);
    let whole = bench.end("results", whole);
    let folder = bench.states("results")[0].with_file_name("recompute");
    let folder = folder.to_str().unwrap();
    let before = bench.files("results");
    let stands = || {
        let now = bench.files("results");
        let kept = |(name, hash): (&String, &String)| {
            name.ends_with("lock") || now.get(name) == Some(hash)
        };
        before.iter().all(kept)
    };
    let killed = bench.signalled(("results", folder), &anew, in_epoch(1), &["KILL"]);
    assert_eq!(killed.code, None);
    assert!(stands());
    // With --recompute again, as a job that is put back into its queue, and without.
    let stopped = bench.signalled(("results", folder), &anew, in_epoch(3), &["TERM"]);
    assert!(
        stopped.stderr.contains("going on with epoch"),
        "{stopped:?}"
    );
    assert!(stopped.stderr.contains("hint: the same command goes on"));
    assert!(stands());
    let rest = bench.train("results", &settings);
    assert!(rest.stderr.contains("going on with epoch"), "{rest:?}");
    assert_eq!(bench.end("results", rest), whole);
    assert!(!Path::new(folder).exists() && !stands());
    let again = bench.train("results", &settings).ok();
    assert!(again.stderr.contains("is up to date"), "{again:?}");

    // States that cannot be gone on from do not keep it from beginning again.
    let killed = bench.signalled(("results", folder), &anew, in_epoch(1), &["KILL"]);
    assert_eq!(killed.code, None);
    for state in bench.states(folder) {
        bench.alter(&state, |bytes| bytes.truncate(100));
    }
    let lost = [&settings[..], &["--quiet"]].concat();
    let lost = bench.train("results", &lost);
    lost.refused(&["is damaged"]);
    assert!(lost.stderr.contains("--recompute begins again"));
    let begun = bench.train("results", &anew);
    assert!(begun.stderr.contains("; beginning again"), "{begun:?}");
    assert_eq!(bench.end("results", begun), whole);
}

#[test]
fn an_interrupted_probe_leaves_the_cells_beside_it_their_rows() {
    let bench = Bench::new();
    let probe = "kind = \"linear\"\nname = \"linear/long\"\nversion = 1\n[task]\nbatch = 8\nlocal_batch = 4\nepochs = 100000\n";
    bench.write("a-long.toml", probe);
    bench.write("knn.toml", "kind = \"knn\"\nname = \"knn\"\nversion = 1\n");
    let args = [
        "all",
        "--protocols",
        "a-long.toml",
        "knn.toml",
        "--ckpt",
        "tiny.safetensors",
        "--data",
        "data",
        "--threads",
        "1",
        "--json",
    ];
    let mut command = bench.command(&args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let since = Instant::now();
    let runs = || bench.files("results/runs").into_keys();
    while !runs().any(|name| name.ends_with("metrics.jsonl")) {
        assert!(since.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, "TERM");
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(130), "{run:?}");
    let error = run.stderr.split("error: ").nth(1).unwrap();
    assert!(error.starts_with("tiny (linear/long): "), "{error}");
    let records: Vec<Value> = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["protocol"]["name"], "knn");
}

#[test]
fn lost_curves_keep_no_run_from_its_end() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "6"]].concat();
    let whole = bench.uninterrupted(&settings);
    bench.stopped("results", &settings, in_epoch(1));
    let metrics = bench.states("results")[0].with_file_name("metrics.jsonl");
    bench.alter(&metrics, |bytes| bytes.truncate(5));
    let rest = bench.train("results", &settings);
    for said in ["metrics.jsonl is damaged", "begin anew", "going on with"] {
        assert!(rest.stderr.contains(said), "{said}: {rest:?}");
    }
    let end = bench.end("results", rest);
    assert_eq!((&end.measures, &end.bits), (&whole.measures, &whole.bits));
    assert!(whole.metrics.ends_with(&end.metrics));
    // A run that has ended is reported without them.
    fs::remove_dir_all(bench.path("results/records")).unwrap();
    fs::remove_file(&metrics).unwrap();
    let again = bench.train("results", &settings).ok();
    assert!(!again.stderr.contains("\nepoch "), "{again:?}");
    assert_eq!(again.records()[0]["measures"], whole.measures);
    assert!(!metrics.exists());
}

#[test]
fn a_folder_with_curves_of_others_is_refused() {
    let bench = Bench::new();
    let theirs = "{\"loss\": 1.0}\n";
    bench.write("run/metrics.jsonl", theirs);
    bench.write("run/events.out.tfevents.17.machine", "theirs");
    let settings = [&ADAMW[..], &["--epochs", "2", "--run", "run", "--quiet"]].concat();
    let refused = bench.train("results", &settings);
    refused.refused(&["run/metrics.jsonl holds no curves"]);
    let file = |name| fs::read_to_string(bench.path(name)).unwrap();
    assert_eq!(file("run/metrics.jsonl"), theirs);
    assert_eq!(file("run/events.out.tfevents.17.machine"), "theirs");
    assert_eq!(bench.states("run").len(), 0);
    fs::remove_file(bench.path("run/metrics.jsonl")).unwrap();
    bench.train("results", &settings).ok();
    assert_eq!(file("run/events.out.tfevents.17.machine"), "theirs");
    // A finished run in a folder of its own whose curves are gone.
    fs::remove_dir_all(bench.path("results")).unwrap();
    fs::remove_file(bench.path("run/metrics.jsonl")).unwrap();
    bench.train("results", &settings).ok();
}

#[test]
fn a_damaged_state_is_passed_over() {
    let bench = Bench::new();
    let settings = [&LARS[..], &["--epochs", "6"]].concat();
    let whole = bench.uninterrupted(&settings);
    bench.stopped("stopped", &settings, in_epoch(1));
    assert_eq!(bench.states("stopped").len(), 2);
    let flip = |at: fn(usize, usize) -> usize| {
        move |bytes: &mut Vec<u8>| {
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let at = at(header, bytes.len());
            bytes[at] ^= 4;
        }
    };
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let damages: [(&str, Damage); 7] = [
        ("empty", Box::new(|bytes| bytes.clear())),
        ("cut", Box::new(|bytes| bytes.truncate(bytes.len() * 2 / 3))),
        ("short", Box::new(|bytes| bytes.truncate(bytes.len() - 1))),
        ("length", Box::new(flip(|_, _| 5))),
        ("header", Box::new(flip(|header, _| header / 2))),
        ("tensors", Box::new(flip(|header, _| header + 3))),
        ("end", Box::new(flip(|_, length| length - 1))),
    ];
    for (name, damage) in damages {
        bench.copy("stopped", name);
        let newest = bench.states(name).pop().unwrap();
        bench.alter(&newest, damage);
        let rest = bench.train(name, &settings);
        for said in [
            "is damaged",
            "going back to the state before",
            "going on with epoch",
        ] {
            assert!(rest.stderr.contains(said), "{name}, {said}: {rest:?}");
        }
        assert_eq!(bench.end(name, rest), whole, "{name}");
    }
    for state in bench.states("stopped") {
        bench.alter(&state, |bytes| bytes.truncate(100));
    }
    let before = bench.files("stopped/runs");
    let lost = bench.train("stopped", &settings);
    assert_eq!(lost.code, Some(2));
    for said in [
        "error: ",
        "is damaged",
        "no state of the run can be read: --recompute",
    ] {
        assert!(lost.stderr.contains(said), "{lost:?}");
    }
    let states = bench.files("stopped/runs");
    let state = |(name, _): &(&String, &String)| name.contains("state-");
    assert!(states.iter().filter(state).eq(before.iter().filter(state)));
    let anew = bench.train("stopped", &[&settings[..], &["--recompute"]].concat());
    assert_eq!(bench.end("stopped", anew), whole);
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_one_before() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "6"]].concat();
    let whole = bench.uninterrupted(&settings);
    bench.stopped("results", &settings, in_epoch(1));
    let before = bench.last_state("results").bits();
    let inner = bench.training("results", &[&settings[..], &["--quiet"]].concat());
    // No file may grow beyond a few kilobytes, and the system says so instead of killing.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(bench.path(""));
    for _ in 0..2 {
        let full = Run::of(&mut command);
        full.refused(&["cannot write", "state-", "too large"]);
        assert_eq!(bench.last_state("results").bits(), before);
        let files = bench.files("results").into_keys();
        assert_eq!(files.filter(|name| name.ends_with(".tmp")).count(), 0);
    }
    let rest = bench.train("results", &settings);
    assert_eq!(bench.end("results", rest), whole);
}

#[test]
fn a_folder_of_another_run_is_refused() {
    let bench = Bench::new();
    bench.model("other.safetensors", &tiny(), 2);
    bench.dataset("others", (8, 4), 9, 150);
    let settings = [&ADAMW[..], &["--epochs", "4", "--run", "run"]].concat();
    let stopped = bench.signalled(("results", "run"), &settings, in_epoch(1), &["TERM"]);
    assert_eq!(stopped.code, Some(130));
    let before = bench.last_state("run").bits();
    for (more, what) in [
        (&["--set", "task.weight_decay=0.5"][..], "its protocol is"),
        (&["--seed", "1"], "its seed is 0, this run's is 1"),
        (&["--limit", "18"], "its list of images is"),
    ] {
        let quiet = [&settings[..], more, &["--quiet"]].concat();
        bench
            .train("results", &quiet)
            .refused(&["state-", "another run", what]);
    }
    let instead = |from: &str, to: &str| {
        let quiet = [&settings[..], &["--quiet"]].concat();
        let command = bench.training("results", &quiet);
        let args = command.get_args().map(|arg| arg.to_str().unwrap());
        let args: Vec<_> = args.map(|arg| if arg == from { to } else { arg }).collect();
        bench.run(&args)
    };
    instead("tiny.safetensors", "other.safetensors").refused(&["its checkpoint is"]);
    instead("data", "others").refused(&["its list of images is"]);
    assert_eq!(bench.last_state("run").bits(), before);
    let several = [&settings[..], &["--seeds", "0..1", "--quiet"]].concat();
    bench.train("results", &several).refused(&["--run", "2"]);
    bench.train("results", &settings).ok();
}

#[test]
fn an_image_that_changes_under_a_run_is_named() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "6"]].concat();
    let quiet = [&settings[..], &["--quiet"]].concat();
    let whole = bench.uninterrupted(&settings);
    bench.stopped("results", &settings, in_epoch(1));
    for image in ["data/train/bee/3.png", "data/val/cat/1.png"] {
        let before = fs::read(bench.path(image)).unwrap();
        bench.alter(&bench.path(image), |bytes| {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        });
        let states = bench.last_state("results").bits();
        let refused = bench.train("results", &quiet);
        refused.refused(&[image, "has changed since the run began"]);
        assert_eq!(bench.last_state("results").bits(), states);
        // So it is for a run that has ended: its record is of other contents.
        bench
            .train("whole", &quiet)
            .refused(&[image, "has changed"]);
        bench.write(image, before);
    }
    let rest = bench.train("results", &settings);
    assert!(rest.stderr.contains("reading them again"), "{rest:?}");
    assert_eq!(bench.end("results", rest), whole);
    let again = bench.train("whole", &settings);
    assert!(!again.stderr.contains("\nepoch "), "{again:?}");
    assert_eq!(bench.end("whole", again), whole);
    // An image of another size, or under another label, makes another list of images.
    bench.write("data/train/bee/3.png", noisy_png(1, 77, 8, 30));
    let anew = bench.train("results", &settings).ok();
    assert!(anew.stderr.contains("epoch 1 of 6"), "{anew:?}");
    fs::rename(
        bench.path("data/train/bee/3.png"),
        bench.path("data/train/ant/9.png"),
    )
    .unwrap();
    let anew = bench.train("results", &settings).ok();
    assert!(anew.stderr.contains("epoch 1 of 6"), "{anew:?}");
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "2", "--quiet"]].concat();
    bench
        .train("results", &["linear", "--preset", "mae", "--quiet"])
        .refused(&["an epoch of whole batches of 16384 has none", "24 images"]);
    let image = fs::read(bench.path("data/train/bee/3.png")).unwrap();
    for bad in ["data/train/bee/3.png", "data/val/cat/1.png"] {
        bench.write(bad, &image[..image.len() / 2]);
        bench
            .train("results", &settings)
            .refused(&[bad, "truncated"]);
        bench.write(bad, &image);
    }
    bench.model_with("tiny.safetensors", &tiny(), 1, |name, mut tensor| {
        if name == "blocks.1.attn.proj.weight" {
            tensor.data[77] = f32::NAN;
        }
        Some(tensor)
    });
    let refused = bench.train("results", &settings);
    refused.refused(&["blocks.1.attn.proj.weight holds NaN at element 77"]);
}

#[test]
fn a_run_that_diverges_names_the_step_and_keeps_its_state() {
    let bench = Bench::new();
    for (preset, rule) in [(&ADAMW[..], "1e30"), (&LARS[..], "1e30")] {
        let rate = format!("task.learning_rates=[{rule}]");
        let rates = ["--set", &rate, "--set", "task.learning_rate_rule=absolute"];
        let settings = [preset, &rates, &["--epochs", "9", "--quiet"]].concat();
        let diverged = bench.train("results", &settings);
        diverged.refused(&["is no number", "epoch"]);
        let state = bench.last_state("results").bits();
        let encoded = |state: &State| state.header["monitor"]["encoded"].clone();
        let before = encoded(&bench.last_state("results"));
        for _ in 0..2 {
            let again = bench.train("results", &settings);
            assert_eq!(again.stderr.lines().next(), diverged.stderr.lines().next());
            assert_eq!(bench.last_state("results").bits(), state);
            assert_eq!(encoded(&bench.last_state("results")), before);
        }
        fs::remove_dir_all(bench.path("results")).unwrap();
    }
}

#[test]
fn of_two_processes_at_one_run_one_trains_and_one_waits() {
    let bench = Bench::new();
    let settings = [&ADAMW[..], &["--epochs", "20"]].concat();
    let mut first = bench.training("results", &settings).spawn().unwrap();
    assert!(bench.comes("results", &mut first, |_| true));
    let holder = first.id();
    let second = bench.training("results", &settings).spawn().unwrap();
    let first = Run::from(first.wait_with_output().unwrap()).ok();
    let second = Run::from(second.wait_with_output().unwrap()).ok();
    let said = format!("process {holder} is computing this row; waiting for it");
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    assert!(!second.stderr.contains("\nepoch "), "{}", second.stderr);
    assert!(!first.stderr.contains("waiting"));
}
