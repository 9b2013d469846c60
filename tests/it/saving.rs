//! Checkpoints under other names: the same features again, here and in timm.

use std::path::{Path, PathBuf};
use std::process::Command;

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, ConvertError, LoadOptions};
use mimbench::engine::Precision;
use mimbench::engine::candle::Candle;
use mimbench::error::Error;
use mimbench::features::{Tap, Token};
use mimbench::run::Terminal;
use mimbench::run::convert::{self, Converted};
use mimbench::vit::{Pooler, Rope};
use serde_json::json;
use tempfile::TempDir;

use crate::goldens::{GOLDENS, encoder, told, weights};
use crate::support::{Bench, Run, fixture, shared, tensor, tiny};

/// Goldens that no class of timm's is the model of, and what the error says.
const INEXPRESSIBLE: &[(&str, &str)] = &[
    (
        "dinov3_original_swiglu_untied_bf16",
        "its prefix tokens and its patches have different final norms",
    ),
    ("hf_data2vec", "it has no final norm"),
    (
        "tinymim_original_lastheads",
        "its blocks have different numbers of heads",
    ),
];

fn to_timm(input: &Path, output: &Path, options: &LoadOptions) -> Result<Converted, Error> {
    convert::timm(input, output, false, options, &mut Terminal::new(true))
}

/// Everything that both sides of a round trip have.
fn taps(checkpoint: &Checkpoint) -> Vec<Tap> {
    let config = &checkpoint.config;
    let last = config.depth - 1;
    let mut taps = vec![Tap::Embed];
    taps.extend((0..config.depth).map(Tap::Block));
    taps.extend((0..config.depth).map(Tap::Attention));
    let mut pooled = |token| {
        taps.push(Tap::Pooled {
            layer: last,
            token,
            norm: true,
        });
    };
    pooled(Token::MeanPatch);
    if matches!(
        config.pooler,
        Some(Pooler::Attention { .. } | Pooler::ClassAndDistillation)
    ) {
        pooled(Token::Pooled);
    }
    if config.final_norm.over_tokens() {
        taps.push(Tap::Tokens);
    }
    taps
}

/// The golden's input at each of its resolutions.
fn inputs(folder: &Path) -> Vec<mimbench::engine::HostTensor> {
    let input = TensorSource::open(&folder.join("input.safetensors")).unwrap();
    ["r1", "r2", "r3"]
        .iter()
        .filter_map(|of| input.tensor(&format!("{of}.pixels")))
        .map(Result::unwrap)
        .collect()
}

fn every_round_trip(goldens: &Path) -> usize {
    let mut folders = 0;
    for &(name, _) in GOLDENS {
        let folder = goldens.join(name);
        if !folder.is_dir() {
            continue;
        }
        folders += 1;
        let out = TempDir::new().unwrap();
        let saved = out.path().join("saved.safetensors");
        let expected = INEXPRESSIBLE.iter().find(|(golden, _)| *golden == name);
        match (to_timm(&weights(&folder), &saved, &told(name)), expected) {
            (Ok(_), None) => {}
            (Err(Error::Convert(ConvertError::Inexpressible { reason, .. })), Some((_, said))) => {
                assert_eq!(reason, *said, "{name}");
                assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{name}");
                continue;
            }
            (converted, expected) => panic!("{name}: {converted:?}, {expected:?}"),
        }
        for pixels in inputs(&folder) {
            let size = Some([pixels.shape[2], pixels.shape[3]]);
            let open = |path: &Path, options: LoadOptions| {
                let options = LoadOptions {
                    input_size: size,
                    ..options
                };
                Checkpoint::open(path, &options).unwrap_or_else(|error| panic!("{name}: {error}"))
            };
            let before = open(&weights(&folder), told(name));
            let after = open(&saved, LoadOptions::default());
            let taps = taps(&before);
            let encode = |checkpoint: &Checkpoint| {
                encoder(Candle::new(Precision::F32), checkpoint)
                    .encode(&pixels.data, pixels.shape[0], &taps)
                    .unwrap()
            };
            let stored = matches!(
                before.config.rope,
                Some(Rope::Normalised { base: None, .. })
            );
            for ((tap, a), b) in taps.iter().zip(encode(&before)).zip(encode(&after)) {
                let what = format!("{name} {size:?} {tap:?}");
                assert_eq!(a.shape, b.shape, "{what}");
                let pairs = a.data.iter().zip(&b.data);
                if stored {
                    // timm computes the periods that this file stores.
                    let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
                    assert!(worst <= 2e-6, "{what}: {worst}");
                } else {
                    let same = pairs.clone().all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{what}");
                }
            }
            for (kept, again) in [
                (&before.input.mean, &after.input.mean),
                (&before.input.std, &after.input.std),
            ] {
                assert_eq!(kept, again, "{name}");
            }
            assert_eq!(before.name, after.name, "{name}");
        }
    }
    folders
}

#[test]
fn the_fixtures_come_back_bit_for_bit() {
    assert!(every_round_trip(&fixture("goldens")) >= 8);
}

#[test]
fn the_shared_goldens_come_back_bit_for_bit() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    assert_eq!(every_round_trip(&goldens), GOLDENS.len());
}

/// Runs each printed call and compares the tokens of its model with the golden's.
const SCRIPT: &str = r#"
import json, sys
import torch
from safetensors.torch import load_file

worst = []
for case in json.load(open(sys.argv[1])):
    scope = {}
    exec(case["python"], scope)
    pixels = load_file(case["input"])["r1.pixels"]
    expected = load_file(case["expected"])
    tokens = expected.get("r1.tokens_post_ln", expected["r1.tokens"])
    with torch.no_grad():
        found = scope["model"].forward_features(pixels)
    scale = max(1.0, tokens.abs().max().item())
    error = (found - tokens).abs().max().item() / scale
    print(f"{case['name']:<42} {error:.1e}  {case['python'].splitlines()[-1]}")
    worst.append((error, case["name"]))
error, name = max(worst)
assert error <= 2e-5, f"{name}: {error}"
print(len(worst), "models")
"#;

#[test]
fn timm_loads_what_is_saved_by_the_printed_call() {
    let Some(python) = std::env::var_os("MIMBENCH_TIMM_PYTHON") else {
        println!("skipped: MIMBENCH_TIMM_PYTHON names no interpreter with timm 1.0.31");
        return;
    };
    let goldens = shared("goldens").unwrap_or_else(|| fixture("goldens"));
    let out = TempDir::new().unwrap();
    let mut cases = Vec::new();
    for &(name, _) in GOLDENS {
        let folder = goldens.join(name);
        if !folder.is_dir() || INEXPRESSIBLE.iter().any(|(golden, _)| *golden == name) {
            continue;
        }
        let pixels = &inputs(&folder)[0];
        let options = LoadOptions {
            input_size: Some([pixels.shape[2], pixels.shape[3]]),
            ..told(name)
        };
        let saved = out.path().join(format!("{name}.safetensors"));
        let converted = to_timm(&weights(&folder), &saved, &options).unwrap();
        let file = |file: &str| -> PathBuf { folder.join(file) };
        cases.push(json!({
            "name": name, "python": converted.python,
            "input": file("input.safetensors"), "expected": file("expected.safetensors"),
        }));
    }
    let list = out.path().join("cases.json");
    std::fs::write(&list, serde_json::to_string(&cases).unwrap()).unwrap();
    let run = Run::of(Command::new(python).args(["-c", SCRIPT]).arg(&list));
    println!("{}", run.stdout);
    let run = run.ok();
    assert!(run.stdout.ends_with(&format!("{} models\n", cases.len())));
}

fn bench() -> Bench {
    let bench = Bench::empty();
    bench.model("tiny.safetensors", &tiny(), 1);
    bench
}

#[test]
fn the_call_is_printed_and_stands_in_the_card() {
    let bench = bench();
    let run = bench
        .run(&["convert", "tiny.safetensors", "out/saved.safetensors"])
        .ok();
    let (imports, call) = run.stdout.split_once('\n').unwrap();
    assert_eq!(imports, "import timm");
    assert!(
        call.starts_with("model = timm.create_model(\"vit_"),
        "{call}"
    );
    assert!(call.contains("checkpoint_path=\"out/saved.safetensors\""));
    assert!(run.stderr.contains("heads: 1 (a guess"), "{}", run.stderr);
    let card = std::fs::read_to_string(bench.path("out/saved.toml")).unwrap();
    assert!(card.contains("#     model = timm.create_model("), "{card}");
    assert!(card.contains("mean = [0.485, 0.456, 0.406]"), "{card}");
    let quiet = ["convert", "tiny.safetensors", "out/saved.safetensors"];
    let quiet = bench.run(&[&quiet[..], &["--force", "--quiet"]].concat());
    assert_eq!(quiet.ok().stderr, "");
}

#[test]
fn nothing_is_replaced_unasked_and_the_input_never() {
    let bench = bench();
    let convert = |rest: &[&str]| bench.run(&[&["convert"], rest].concat());
    convert(&["tiny.safetensors", "tiny.safetensors", "--force"])
        .refused(&["tiny.safetensors is the input"]);
    convert(&["tiny.safetensors", "out.pth"]).refused(&["does not end in .safetensors"]);
    convert(&["absent.safetensors", "out.safetensors"]).refused(&["absent.safetensors"]);
    std::fs::write(bench.path("text.pth"), "no weights").unwrap();
    for names in ["timm", "original"] {
        convert(&["text.pth", "out.safetensors", "--names", names]).refused(&["text.pth"]);
    }
    std::fs::write(bench.path("out.toml"), "mine").unwrap();
    convert(&["tiny.safetensors", "out.safetensors"]).refused(&["out.toml exists"]);
    assert!(!bench.path("out.safetensors").exists());
    std::fs::remove_file(bench.path("out.toml")).unwrap();
    convert(&["tiny.safetensors", "out.safetensors"]).ok();
    convert(&["tiny.safetensors", "out.safetensors"]).refused(&["out.safetensors exists"]);
    convert(&["tiny.safetensors", "out.safetensors", "--force"]).ok();
    let heads = ["--names", "original", "--heads", "1", "--force"];
    convert(&[&["tiny.safetensors", "out.safetensors"], &heads[..]].concat())
        .refused(&["--names original"]);
    convert(&[
        "tiny.safetensors",
        "copy.safetensors",
        "--names",
        "original",
        "--key",
        "teacher",
    ])
    .refused(&["has no part teacher"]);
    // A card of the same stem belongs to the input.
    let card = "name = \"x\"\n[file]\npath = \"card.pth\"\n";
    std::fs::write(bench.path("card.toml"), card).unwrap();
    std::fs::copy(bench.path("tiny.safetensors"), bench.path("card.pth")).unwrap();
    convert(&["card.pth", "card.safetensors", "--force"]).refused(&["is the card of the input"]);
    assert_eq!(
        std::fs::read_to_string(bench.path("card.toml")).unwrap(),
        card
    );
}

#[test]
fn what_is_not_read_back_the_same_replaces_nothing() {
    let bench = bench();
    let convert = || {
        bench.run(&[
            "convert",
            "tiny.safetensors",
            "out/saved.safetensors",
            "--force",
            "--quiet",
        ])
    };
    convert().ok();
    let pair = ["out/saved.safetensors", "out/saved.toml"].map(|name| bench.path(name));
    let before = pair.clone().map(|path| std::fs::read(path).unwrap());
    // It speaks of every checkpoint in its folder.
    let config = bench.path("out/config.json");
    std::fs::write(&config, r#"{"architecture": "vit_tiny_patch16_224", "#).unwrap();
    convert().refused(&["saved.safetensors is not read back as the model"]);
    assert_eq!(pair.map(|path| std::fs::read(path).unwrap()), before);
    assert_eq!(std::fs::read_dir(bench.path("out")).unwrap().count(), 3);
    std::fs::remove_file(config).unwrap();
    convert().ok();
    assert_eq!(std::fs::read_dir(bench.path("out")).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_nothing() {
    let bench = bench();
    let program = env!("CARGO_BIN_EXE_mimbench");
    for names in ["timm", "original"] {
        // The system sets the limit; a write beyond it fails as one to a full disk does.
        let line = format!(
            "trap '' XFSZ; ulimit -f 8; exec {program} convert tiny.safetensors out.safetensors --names {names}"
        );
        let run = Run::of(
            Command::new("sh")
                .args(["-c", &line])
                .current_dir(bench.path("")),
        );
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains("cannot write "), "{run:?}");
        let left: Vec<_> = std::fs::read_dir(bench.path("")).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}

#[test]
fn names_and_element_types_stay_as_they_are() {
    let bench = Bench::empty();
    let pickles = fixture("goldens/pickle");
    for name in ["dtypes.pth", "views.pth", "legacy_views.pth"] {
        let input = pickles.join(name);
        let output = bench.path(&format!("{name}.safetensors"));
        let [from, to] = [&input, &output].map(|path| path.to_str().unwrap().to_owned());
        let run = bench.run(&["convert", &from, &to, "--names", "original"]);
        run.ok();
        let expected = TensorSource::open(&pickles.join(format!("{name}.safetensors"))).unwrap();
        let found = TensorSource::open(&output).unwrap();
        let listed = |source: &TensorSource| -> Vec<_> {
            let entries = source.entries().iter();
            entries
                .map(|(key, entry)| (key.clone(), entry.dtype.clone(), entry.shape.clone()))
                .collect()
        };
        assert_eq!(listed(&found), listed(&expected), "{name}");
        for (key, entry) in expected.entries() {
            if entry.float.is_some() {
                assert_eq!(
                    tensor(&found, key).data,
                    tensor(&expected, key).data,
                    "{key}"
                );
            }
        }
    }
}
