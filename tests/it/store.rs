//! What was computed is never computed again, whatever happened in between.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mimbench::store::{Part, list_parts};
use mimbench::vit::{Heads, VitConfig};

use crate::support::{Bench, Run, curve, noisy_png, tiny};

/// Images of the made-up dataset.
const TRAIN: usize = 24;
const VAL: usize = 12;

/// One image a part.
const SMALL_PARTS: [&str; 4] = ["--save-every", "0", "--batch", "1"];

impl Bench {
    /// Paths of all parts, train and val.
    fn parts(&self, results: &str) -> Vec<PathBuf> {
        let store = self.path(results).join("store");
        let folders = std::fs::read_dir(store).into_iter().flatten();
        let mut parts: Vec<_> = folders
            .flat_map(|folder| list_parts(&folder.unwrap().path()).unwrap())
            .collect();
        parts.sort();
        parts
    }

    /// Bits of every stored row by folder and image.
    fn rows(&self, results: &str) -> BTreeMap<(String, usize), Vec<u32>> {
        let mut rows = BTreeMap::new();
        for path in self.parts(results) {
            let part = Part::open(&path).unwrap();
            let folder = path.parent().unwrap().file_name().unwrap();
            for image in part.header.start..part.header.end {
                let mut row = vec![0.0; part.header.dim];
                part.copy_row(image, &mut row);
                let bits = row.iter().map(|x: &f32| x.to_bits()).collect();
                rows.insert((folder.to_str().unwrap().to_owned(), image), bits);
            }
        }
        rows
    }

    fn delete_records(&self) {
        std::fs::remove_dir_all(self.path("results/records")).unwrap();
    }
}

/// Images encoded in a run, by its notices.
#[track_caller]
fn encoded(run: &Run) -> usize {
    let counts = run.stderr.lines().filter_map(|line| {
        let (count, _) = line.split_once(" images encoded, ")?;
        let (_, count) = count.rsplit_once(": ")?;
        count.split_once(" of ")?.0.parse::<usize>().ok()
    });
    counts.sum()
}

#[test]
fn a_second_run_reads_the_record() {
    let bench = Bench::new();
    for format in [&[][..], &["--csv"], &["--json"]] {
        let fresh = bench.knn(&[&["--recompute"], format].concat()).ok();
        let files = bench.files("results");
        let second = bench.knn(format).ok();
        assert!(
            second.stdout == fresh.stdout,
            "{}\n{}",
            fresh.stdout,
            second.stdout
        );
        let said = "is up to date; no forward pass";
        assert!(second.stderr.contains(said), "{}", second.stderr);
        assert_eq!(encoded(&second), 0);
        let mut after = bench.files("results");
        after.retain(|name, _| !name.ends_with(".lock"));
        assert!(after.iter().all(|file| files.get(file.0) == Some(file.1)));
    }
}

#[test]
fn recompute_evaluates_again_on_stored_features() {
    let bench = Bench::new();
    let first = bench.knn(&["--json"]).records();
    let again = bench.knn(&["--recompute"]).ok();
    assert_eq!(encoded(&again), 0);
    assert!(
        again
            .stderr
            .contains("24 train images are in the store; no forward pass")
    );
    let record = &bench.knn(&["--json"]).records()[0];
    assert_eq!(record["compute"]["encoded"], 0);
    assert_eq!(record["measures"], first[0]["measures"]);
    assert_eq!(record["data"], first[0]["data"]);
}

#[test]
fn a_deleted_record_is_made_again_from_features() {
    let bench = Bench::new();
    let first = bench.knn(&[]).ok();
    bench.delete_records();
    let again = bench.knn(&[]).ok();
    assert_eq!((encoded(&again), &again.stdout), (0, &first.stdout));
}

#[test]
fn equal_cells_keep_the_words_they_were_asked_in() {
    let bench = Bench::new();
    bench
        .knn(&["--set", "task.headline=20", "--limit", "1000"])
        .ok();
    let plain = bench.knn(&[]).ok();
    assert!(plain.stderr.contains("no forward pass"));
    assert!(!plain.stdout.contains('*'), "{}", plain.stdout);
    std::fs::copy(
        bench.path("tiny.safetensors"),
        bench.path("twin.safetensors"),
    )
    .unwrap();
    let twin = bench.knn_of(&["twin.safetensors"], &[]).ok();
    assert_eq!(encoded(&twin), 0);
    assert_eq!(twin.stdout, plain.stdout.replace("tiny", "twin"));
}

#[test]
fn a_damaged_part_is_reported_and_computed_again() {
    let bench = Bench::new();
    let first = bench.knn(&SMALL_PARTS).ok();
    let rows = bench.rows("results");
    assert_eq!(rows.len(), TRAIN + VAL);
    let part = bench.parts("results").remove(5);
    let good = std::fs::read(&part).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&flipped, &good[..good.len() / 2], &good[..20], &[]] {
        std::fs::write(&part, bytes).unwrap();
        bench.delete_records();
        let again = bench.knn(&SMALL_PARTS).ok();
        assert!(
            again
                .stderr
                .contains(part.file_name().unwrap().to_str().unwrap())
        );
        assert!(
            again.stderr.contains("computing it again"),
            "{}",
            again.stderr
        );
        assert_eq!((encoded(&again), &again.stdout), (1, &first.stdout));
        assert_eq!(bench.rows("results"), rows);
    }
    std::fs::remove_file(&part).unwrap();
    bench.delete_records();
    let again = bench.knn(&SMALL_PARTS).ok();
    assert_eq!((encoded(&again), &again.stdout), (1, &first.stdout));
    assert_eq!(bench.rows("results"), rows);
}

#[test]
fn what_a_killed_process_left_half_written_is_cleaned() {
    let bench = Bench::new();
    bench.knn(&[]).ok();
    let part = bench.parts("results").remove(0);
    let leftover = part.with_extension("part.12345.tmp");
    std::fs::write(&leftover, "half").unwrap();
    bench.delete_records();
    assert_eq!(encoded(&bench.knn(&[]).ok()), 0);
    assert!(!leftover.exists());
}

#[test]
fn only_images_that_changed_are_encoded_again() {
    let bench = Bench::new();
    let first = bench.knn(&SMALL_PARTS).ok();
    let rows = bench.rows("results");
    let path = bench.path("data/train/bee/3.png");
    let image = std::fs::read(&path).unwrap();

    // The same bytes at another time.
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(later).unwrap();
    let touched = bench.knn(&SMALL_PARTS).ok();
    assert_eq!((encoded(&touched), &touched.stdout), (0, &first.stdout));
    assert!(!touched.stderr.contains("up to date"));
    assert!(bench.knn(&SMALL_PARTS).ok().stderr.contains("up to date"));

    // Other bytes of the same length.
    let other = (900..).map(|seed| noisy_png(1, seed, 8, 150));
    let other = other.take(500).find(|other| other.len() == image.len());
    std::fs::write(&path, other.unwrap()).unwrap();
    let changed = bench.knn(&SMALL_PARTS).ok();
    assert_eq!(encoded(&changed), 1);
    let said = "data/train/bee/3.png has changed since";
    assert!(changed.stderr.contains(said), "{}", changed.stderr);
    let now = bench.rows("results");
    let differ = rows.iter().filter(|(key, row)| now[*key] != **row);
    assert_eq!(differ.count(), 1);

    // An image more is another dataset.
    bench.write("data/train/bee/8.png", noisy_png(1, 77, 8, 150));
    let grown = bench.knn(&SMALL_PARTS).ok();
    assert_eq!(encoded(&grown), TRAIN + 1);
}

#[test]
fn half_precision_is_another_object_and_marked() {
    let bench = Bench::new();
    let whole = bench.knn(&["--json"]).records();
    assert_eq!(whole[0]["compute"]["stored"], "f32");
    let half = bench.knn(&["--json", "--store-type", "f16"]).records();
    assert_eq!(half[0]["compute"]["stored"], "f16");
    assert_eq!(half[0]["compute"]["encoded"], TRAIN + VAL);
    assert_ne!(half[0]["cell"]["key"], whole[0]["cell"]["key"]);
    let sizes: Vec<_> = bench
        .parts("results")
        .iter()
        .map(|part| Part::open(part).unwrap().header.rows.bytes())
        .collect();
    assert_eq!(sizes.iter().filter(|&&bytes| bytes == 2).count(), 2);
    assert_eq!(sizes.len(), 4);
    for (half, whole) in curve(&half[0]).iter().zip(curve(&whole[0])) {
        assert!((half - whole).abs() < 20.0);
    }
}

#[test]
fn threads_and_workers_change_no_bit() {
    let bench = Bench::new();
    let mut seen = Vec::new();
    for (results, threads, workers) in [("a", "1", "1"), ("b", "2", "1"), ("c", "2", "5")] {
        let args = [
            "knn",
            "--ckpt",
            "tiny.safetensors",
            "--data",
            "data",
            "--json",
        ];
        let how = [
            "--threads",
            threads,
            "--workers",
            workers,
            "--results",
            results,
        ];
        let records = bench.run(&[&args[..], &how].concat()).records();
        assert_eq!(records[0]["compute"]["encoded"], TRAIN + VAL);
        seen.push((records[0]["measures"].clone(), bench.rows(results)));
    }
    assert!(seen.iter().all(|run| *run == seen[0]));
}

#[test]
fn the_batch_size_moves_no_feature() {
    let bench = Bench::new();
    bench.knn(&["--results", "one", "--batch", "1"]).ok();
    bench.knn(&["--results", "many", "--batch", "32"]).ok();
    let (one, many) = (bench.rows("one"), bench.rows("many"));
    assert_eq!(one.len(), TRAIN + VAL);
    for (key, row) in &one {
        let pairs = row.iter().zip(&many[key]);
        let pairs = pairs.map(|(a, b)| (f32::from_bits(*a), f32::from_bits(*b)));
        let largest = pairs.clone().fold(1f32, |m, (_, b)| m.max(b.abs()));
        let moved = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(moved <= 1e-6 * largest, "{key:?}: {moved} of {largest}");
    }
}

/// A bench whose run takes seconds: a larger model and images that are encoded one by one.
fn slow() -> Bench {
    let bench = Bench::empty();
    bench.dataset("data", (20, 5), 48, 150);
    let config = VitConfig {
        grid: [12, 12],
        width: 192,
        heads: Heads::same(3, 4),
        mlp_width: 768,
        depth: 4,
        ..tiny()
    };
    bench.model("tiny.safetensors", &config, 1);
    bench
}

/// Images of the slow bench.
const SLOW: usize = 3 * 25;

impl Bench {
    fn start(&self, results: &str) -> Child {
        let args = [
            "knn",
            "--threads",
            "1",
            "--ckpt",
            "tiny.safetensors",
            "--data",
            "data",
        ];
        self.command(&[&args[..], &SMALL_PARTS, &["--results", results]].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until so many parts are there.
    #[track_caller]
    fn wait_for(&self, parts: usize, results: &str) {
        let since = Instant::now();
        while self.parts(results).len() < parts {
            assert!(
                since.elapsed() < Duration::from_secs(300),
                "no {parts} parts"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_is_interrupted_or_killed_goes_on_where_it_was() {
    let bench = slow();
    let whole = Run::from(bench.start("whole").wait_with_output().unwrap()).ok();
    assert_eq!(encoded(&whole), SLOW);
    let rows = bench.rows("whole");
    assert_eq!(rows.len(), SLOW);

    let resumes = |results: &str, at_least: usize| {
        let kept = bench.parts(results).len();
        assert!((at_least..=SLOW).contains(&kept), "{kept} parts");
        let rest = Run::from(bench.start(results).wait_with_output().unwrap()).ok();
        assert_eq!(encoded(&rest), SLOW - kept);
        assert_eq!(rest.stdout, whole.stdout.replace("whole", results));
        assert_eq!(bench.rows(results), rows);
        let files = bench.files(results);
        let temporary = files.keys().find(|name| name.ends_with(".tmp"));
        assert_eq!(temporary, None);
    };

    let run = bench.start("stopped");
    bench.wait_for(10, "stopped");
    let signal = std::process::Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status();
    assert!(signal.unwrap().success());
    let stopped = Run::from(run.wait_with_output().unwrap());
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(130), ""));
    assert!(
        stopped.stderr.contains("error: interrupted after"),
        "{}",
        stopped.stderr
    );
    assert!(stopped.stderr.contains("hint: what is encoded is kept"));
    resumes("stopped", 10);

    // Once in the train split, once near its end, once in the val split.
    for (results, parts) in [("early", 3), ("late", 55), ("val", 61)] {
        let killed = (0..5).find_map(|_| {
            let mut run = bench.start(results);
            bench.wait_for(parts, results);
            run.kill().unwrap();
            let killed = Run::from(run.wait_with_output().unwrap());
            // On a stalled machine the run may be over before the kill reaches it.
            if killed.code == Some(0) {
                std::fs::remove_dir_all(bench.path(results)).unwrap();
                return None;
            }
            Some(killed)
        });
        let killed = killed.expect("a run that is killed before its end");
        assert_eq!((killed.code, killed.stdout.as_str()), (None, ""));
        resumes(results, parts);
    }
}

#[test]
fn of_two_processes_at_one_cell_one_computes_and_one_waits() {
    let bench = slow();
    let first = bench.start("results");
    bench.wait_for(1, "results");
    let holder = first.id();
    let second = bench.start("results");
    let first = Run::from(first.wait_with_output().unwrap()).ok();
    let second = Run::from(second.wait_with_output().unwrap()).ok();
    assert_eq!((encoded(&first), encoded(&second)), (SLOW, 0));
    assert_eq!(first.stdout, second.stdout);
    let said = format!("process {holder} is computing this row; waiting for it");
    assert!(second.stderr.contains(&said), "{}", second.stderr);
    assert!(!first.stderr.contains("waiting"));
}

#[test]
fn the_same_weights_under_two_names_are_two_rows() {
    let bench = Bench::new();
    std::fs::copy(
        bench.path("tiny.safetensors"),
        bench.path("copy.safetensors"),
    )
    .unwrap();
    let records = bench
        .knn_of(&["tiny.safetensors", "copy.safetensors"], &["--json"])
        .records();
    let names: Vec<_> = records
        .iter()
        .map(|record| &record["subject"]["name"])
        .collect();
    assert_eq!(names, ["tiny", "copy"]);
    assert_eq!(records[0]["measures"], records[1]["measures"]);
}

#[test]
fn a_record_on_disk_has_the_name_it_was_last_asked_for() {
    let bench = Bench::new();
    bench.knn(&[]).ok();
    std::fs::copy(
        bench.path("tiny.safetensors"),
        bench.path("copy.safetensors"),
    )
    .unwrap();
    let record = bench
        .knn_of(&["copy.safetensors"], &["--json"])
        .records()
        .remove(0);
    let key = record["cell"]["key"].as_str().unwrap();
    let path = mimbench::report::Record::path(&bench.path("results"), key);
    let kept = mimbench::report::Record::load(&path).unwrap();
    assert_eq!(kept.subject.name, "copy");
}

/// Files of equal names and sizes in both splits: noise whose classes nobody can tell.
#[test]
fn halves_whose_files_look_alike_are_not_taken_for_each_other() {
    let bench = Bench::empty();
    bench.model("tiny.safetensors", &crate::support::tiny(), 1);
    for (seed, split) in [(0, "train"), (7_000, "val")] {
        for (class, name) in crate::support::CLASSES.iter().enumerate() {
            for i in 0..20 {
                let mut png = noisy_png(0, seed + (100 * class + i) as u32, 8, 200);
                // A text after the image brings every file to one size.
                png.resize(400, 0);
                bench.write(&format!("data/{split}/{name}/{i:02}.png"), png);
            }
        }
    }
    let record = bench.knn(&["--json"]).records().remove(0);
    assert!(curve(&record)[0] < 70.0, "{}", record["measures"][0]);
}

#[test]
fn what_lies_beside_a_record_is_its_own() {
    let bench = Bench::new();
    bench.model("other.safetensors", &tiny(), 2);
    let records = bench
        .knn_of(&["tiny.safetensors", "other.safetensors"], &["--json"])
        .records();
    let results = bench.path("results");
    let keys = [&records[0], &records[1]].map(|record| record["cell"]["key"].as_str().unwrap());
    let beside = keys.map(|key| mimbench::report::Outcomes::path(&results, key));
    std::fs::copy(&beside[0], &beside[1]).unwrap();
    let load = |key: &str| {
        let path = mimbench::report::Record::path(&results, key);
        mimbench::report::Record::load(&path).unwrap()
    };
    let error = load(keys[1]).outcomes(&results).unwrap_err().to_string();
    assert!(
        error.contains(keys[1]) && error.contains("written with"),
        "{error}"
    );
    // The command that makes it notices and makes it again, out of the stored features.
    let again = bench.knn_of(&["other.safetensors"], &[]).ok();
    assert!(
        again.stderr.contains("are in the store"),
        "{}",
        again.stderr
    );
    load(keys[1]).outcomes(&results).unwrap();
    std::fs::write(&beside[1], "").unwrap();
    bench.knn_of(&["other.safetensors"], &[]).ok();
    load(keys[1]).outcomes(&results).unwrap();
}
