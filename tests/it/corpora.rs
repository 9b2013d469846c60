//! The corpora of the fuzz targets, and mutations of them, through the targets' own functions.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::mutation::{Grammar, Mutator};
use targets::{TARGETS, Target};

/// Inputs of a target by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() > 2, "{}", folder.display());
    files
}

/// Gives an input to a target; one that is a fault is kept for `fuzz/corpus`.
fn try_on((name, target): Target, what: &str, bytes: &[u8]) {
    let keep = || -> PathBuf {
        let hash = blake3::hash(bytes).to_hex();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{hash:.16}"));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let start = Instant::now();
    let survived = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    assert!(survived.is_ok(), "{name}, {what}: {}", keep().display());
    // Far more than any input takes: what hangs is a fault as well.
    let took = start.elapsed();
    assert!(
        took < Duration::from_secs(60),
        "{name}, {what} took {took:?}: {}",
        keep().display()
    );
}

fn replay(target: Target) {
    for (name, bytes) in corpus(target.0) {
        try_on(target, &name, &bytes);
    }
}

/// `MIMBENCH_MUTATIONS` mutations of every input.
fn mutate(target: Target) {
    let rounds = std::env::var("MIMBENCH_MUTATIONS").map_or(60, |n| n.parse().unwrap());
    let grammar = match target.0 {
        "safetensors" => Grammar::Safetensors,
        "pickle" => Grammar::Pickle,
        "torch" => Grammar::Binary,
        "image" | "mask" => Grammar::Image,
        "shard" => Grammar::Tar,
        _ => Grammar::Text,
    };
    let inputs = corpus(target.0);
    let mut mutator = Mutator::new(grammar, inputs.iter().map(|(_, bytes)| &bytes[..]));
    for (name, bytes) in &inputs {
        for round in 0..rounds {
            let mutated = mutator.mutate(bytes);
            try_on(target, &format!("{name}, round {round}"), &mutated);
        }
    }
}

macro_rules! corpora {
    ($($target:ident)*) => {$(
        mod $target {
            use super::*;

            fn target() -> Target {
                let name = stringify!($target);
                *TARGETS.iter().find(|(known, _)| *known == name).unwrap()
            }

            #[test]
            fn every_input_of_the_corpus_is_survived() {
                replay(target());
            }

            #[test]
            fn mutations_are_survived() {
                mutate(target());
            }
        }
    )*

        #[test]
        fn every_target_is_replayed() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($target)),*]);
        }
    };
}

corpora!(card config image index mask pickle protocol safetensors shard torch);

/// Runs the replay in a process whose address space is limited: an allocation beyond ends it.
#[test]
#[cfg(target_os = "linux")]
fn the_corpora_need_little_memory() {
    const MOST_KIB: u64 = 1 << 20;
    let run = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -v {MOST_KIB} && exec \"$0\" \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args([
            "every_input_of_the_corpus_is_survived",
            "--test-threads",
            "1",
        ])
        .output()
        .unwrap();
    let said = [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(run.status.success(), "{}\n{}", said[0], said[1]);
    assert!(
        said[0].contains(&format!("{} passed", TARGETS.len())),
        "{}",
        said[0]
    );
}
