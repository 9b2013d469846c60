//! `mimbench finetune` on made-up images: what it trains, the weights that it writes, and a head
//! evaluated as it is.

use std::path::Path;
use std::process::Command;

use mimbench::checkpoint::{Checkpoint, LoadOptions, save};
use mimbench::data::{Limits, Preprocessor};
use mimbench::engine::Precision;
use mimbench::engine::candle::Candle;
use mimbench::features::Tap;
use mimbench::plan::input_spec;
use mimbench::report::{Outcomes, Record};
use mimbench::spec::InputSection;
use mimbench::vit::{FinalNorm, VitConfig, random_classifier_weights};
use serde_json::{Value, json};

use crate::classifier::encoder;
use crate::goldens::{GOLDENS, told, weights};
use crate::support::{Bench, Run, fixture, headline, noisy_png, shared, tiny};
use crate::tensors::noise;

/// A recipe for a handful of images: nothing is mixed.
const PROTOCOL: &str = r#"
kind = "finetune"
name = "finetune/handful"
version = 1

[data]
dataset = "small"

[task]
epochs = 2
batch = 8
local_batch = 4
learning_rate = 2e-3
layer_decay = 0.9
learning_rate_rule = "absolute"
head_initial = { truncated_normal = 0.02 }
drop_path = 0.0
validate_every = 1

[task.schedule]
kind = "mae_cosine"
warmup_epochs = 0.5
end = 1e-6

[task.augment]
crop = "beit"
scale = [0.5, 1.0]
"#;

/// Two epochs of `finetune/mini` on batches for a handful of images.
const MINI: [&str; 10] = [
    "--preset",
    "mini",
    "--epochs",
    "2",
    "--set",
    "task.batch=8",
    "--set",
    "task.local_batch=4",
    "--set",
    "task.schedule.warmup_epochs=1.0",
];

/// `data/` with 8 + 4 images a class, `tiny.safetensors` and `handful.toml`.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.write("handful.toml", PROTOCOL);
    bench
}

impl Bench {
    fn finetune(&self, ckpt: &str, more: &[&str]) -> Run {
        let args = [
            "finetune",
            "--threads",
            "1",
            "--data",
            "data",
            "--ckpt",
            ckpt,
        ];
        self.run(&[&args[..], more].concat())
    }

    /// A run of `handful.toml`.
    fn handful(&self, ckpt: &str, more: &[&str]) -> Run {
        self.finetune(ckpt, &[&["--protocol", "handful.toml"], more].concat())
    }

    /// A head over 3 classes, or of so many, evaluated as it is.
    fn eval(&self, ckpt: &str, more: &[&str]) -> Run {
        self.finetune(ckpt, &[&["--eval"], more].concat())
    }

    /// `tiny()` with a norm of the mean patch, and a head of so many classes.
    fn classifier(&self, name: &str, classes: usize) {
        let config = VitConfig {
            final_norm: FinalNorm::MeanPatch,
            ..tiny()
        };
        let weights = random_classifier_weights(&config, classes, 3);
        save(&self.path(name), &weights).unwrap();
    }
}

/// The value of a measure that is the headline's.
fn value(record: &Value, name: &str) -> f64 {
    headline(record, name)[0]
}

/// Top-1, top-5 and loss.
fn results(record: &Value) -> [f64; 3] {
    ["top1", "top5", "loss"].map(|name| value(record, name))
}

#[test]
fn a_run_learns_and_its_weights_say_the_same_when_they_are_read_again() {
    let bench = bench();
    std::fs::remove_dir_all(bench.path("data")).unwrap();
    bench.dataset("data", (16, 16), 8, 60);
    let more = ["--epochs", "12", "--run", "run", "--json"];
    let run = bench.handful("tiny.safetensors", &more).ok();
    let said = "tiny: the trained weights are run/model.safetensors; model.toml beside it";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    let record = &run.records()[0];
    let classes = record["data"]["classes"].as_f64().unwrap();
    let interval = headline_interval(record);
    assert!(
        interval[0] > 100.0 / classes,
        "{interval:?} of {classes} classes"
    );

    let metrics = std::fs::read_to_string(bench.path("run/metrics.jsonl")).unwrap();
    let losses: Vec<f64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|point| point["kind"] == "val")
        .filter_map(|point| point["values"]["loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 12, "{metrics}");
    assert!(losses[11] < 0.8 * losses[0], "{losses:?}");

    let eval = bench.eval("run/model.safetensors", &["--json"]).records();
    assert_eq!(results(&eval[0]), results(record));
    assert_eq!(eval[0]["subject"]["name"], "tiny finetune/handful seed 0");
    assert_eq!(eval[0]["data"]["train"], Value::Null);
    // Predictions too.
    assert_eq!(predictions(&bench, &eval[0]), predictions(&bench, record));
}

fn headline_interval(record: &Value) -> [f64; 2] {
    let measures = record["measures"].as_array().unwrap().iter();
    let top1 = measures
        .filter(|m| m["headline"] == true && m["name"] == "top1")
        .map(|m| m["interval"].clone())
        .next();
    serde_json::from_value(top1.unwrap()).unwrap()
}

/// What the record's head ranks first, image by image.
fn predictions(bench: &Bench, record: &Value) -> Vec<u32> {
    let results = bench.path("results");
    let key = record["cell"]["key"].as_str().unwrap();
    assert!(Record::load(&Record::path(&results, key)).is_ok());
    Outcomes::read(&results, key).unwrap().predictions[0]
        .top1
        .clone()
}

/// Goldens whose trained weights timm has no model for: a distillation token beside the mean of the
/// patches, and blocks of different numbers of heads.
const MIMBENCH_ALONE: [&str; 3] = [
    "hf_deit",
    "timm_deit_distilled",
    "tinymim_original_lastheads",
];

/// Loads every file by the call in its card, and compares the logits.
const SCRIPT: &str = r#"
import json, os, sys, torch
from safetensors.torch import load_file
cases = json.load(open(sys.argv[1]))
worst = 0.0
for case in cases:
    os.chdir(case["folder"])
    scope = {}
    exec(case["python"], scope)
    pixels = torch.tensor(case["pixels"]).reshape(case["shape"])
    expected = torch.tensor(case["logits"])
    with torch.no_grad():
        found = scope["model"](pixels)[0]
    error = ((found - expected).abs().max() / max(1.0, expected.abs().max())).item()
    print(f"{case['folder']:<60} {error:.1e}")
    worst = max(worst, error)
assert worst <= 2e-5, worst
print(len(cases), "models")
"#;

/// The call in a card, and what the file beside it gives for some pixels.
fn case(folder: &Path) -> Value {
    let card = std::fs::read_to_string(folder.join("model.toml")).unwrap();
    let python: Vec<_> = card
        .lines()
        .filter_map(|line| line.strip_prefix("#     "))
        .collect();
    let checkpoint = Checkpoint::open(&folder.join("model.safetensors"), &LoadOptions::default());
    let checkpoint = checkpoint.unwrap();
    let [height, width] = checkpoint.input.size;
    let pixels = noise("pixels", &[1, 3, height, width]);
    let encoder = encoder(Candle::new(Precision::F32), &checkpoint);
    let logits = encoder
        .encode(&pixels.data, 1, &[Tap::Logits])
        .unwrap()
        .remove(0);
    json!({
        "folder": folder, "python": python.join("\n"), "shape": pixels.shape,
        "pixels": pixels.data, "logits": logits.data,
    })
}

#[test]
fn the_weights_of_every_dialect_are_read_back() {
    let bench = bench();
    for (split, count) in [("train", 4), ("val", 3)] {
        for (class, name) in ["ant", "bee"].into_iter().enumerate() {
            for i in 0..count {
                let seed = (class * 100 + i) * 2 + usize::from(split == "val");
                let image = noisy_png(class, seed as u32, 32, 150);
                bench.write(&format!("two/{split}/{name}/{i}.png"), image);
            }
        }
    }
    let (mut others, mut cases) = (Vec::new(), Vec::new());
    for (name, _) in GOLDENS {
        let folder = fixture("goldens").join(name);
        if !folder.is_dir() {
            continue;
        }
        let ckpt = weights(&folder);
        let run = format!("runs/{name}");
        let mut args = vec![
            "finetune",
            "--threads",
            "1",
            "--data",
            "two",
            "--reset-head",
            "--protocol",
            "handful.toml",
            "--epochs",
            "1",
            "--set",
            "task.batch=4",
            "--json",
            "--run",
            &run,
            "--ckpt",
            ckpt.to_str().unwrap(),
        ];
        let options = told(name);
        if options.heads.is_some() {
            args.extend(["--heads", "3"]);
        }
        if options.dialect.is_some() {
            args.extend(["--dialect", "mae"]);
        }
        let trained = bench.run(&args).ok();
        let line = trained
            .stderr
            .lines()
            .find(|line| line.contains("the trained weights"));
        let line = line.unwrap_or_else(|| panic!("{name}: {}", trained.stderr));
        println!("{line}");
        let alone = line.contains("for mimbench alone");
        let record = &trained.records()[0];
        let ckpt = format!("{run}/model.safetensors");
        let args = [
            "finetune",
            "--eval",
            "--threads",
            "1",
            "--data",
            "two",
            "--json",
            "--ckpt",
            &ckpt,
        ];
        let eval = &bench.run(&args).records()[0];
        assert_eq!(results(eval), results(record), "{name}");
        if alone {
            others.push(*name);
        } else {
            cases.push(case(&bench.path(&run)));
        }
    }
    assert_eq!(others, MIMBENCH_ALONE);
    let Some(python) = std::env::var_os("MIMBENCH_TIMM_PYTHON") else {
        println!("skipped: MIMBENCH_TIMM_PYTHON names no interpreter with timm 1.0.31");
        return;
    };
    let list = bench.path("cases.json");
    std::fs::write(&list, serde_json::to_string(&cases).unwrap()).unwrap();
    let run = Run::of(Command::new(python).args(["-c", SCRIPT]).arg(&list));
    println!("{}", run.stdout);
    let run = run.ok();
    assert!(run.stdout.ends_with(&format!("{} models\n", cases.len())));
}

/// Five classes of three validation images of 32 pixels, and a train image each.
fn five_classes(bench: &Bench) {
    for class in 0..5 {
        for i in 0..4 {
            let split = if i == 3 { "train" } else { "val" };
            let image = noisy_png(class, (class * 10 + i) as u32, 32, 200);
            bench.write(&format!("five/{split}/{class}/{i}.png"), image);
        }
    }
}

/// Top-1 and top-5 in percent and mean loss of the five classes' validation images under a
/// checkpoint's own head, without any of the run's code.
fn expected(bench: &Bench, checkpoint: &Checkpoint) -> [f64; 3] {
    let spec = input_spec(checkpoint, &InputSection::default()).unwrap();
    let mut preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
    let encoder = encoder(Candle::new(Precision::F32), checkpoint);
    let mut sums = [0.0; 3];
    for class in 0..5 {
        for i in 0..3 {
            let path = bench.path(&format!("five/val/{class}/{i}.png"));
            let mut pixels = vec![0.0; 3 * 32 * 32];
            preprocessor
                .apply(&std::fs::read(path).unwrap(), &mut pixels)
                .unwrap();
            let logits = encoder
                .encode(&pixels, 1, &[Tap::Logits])
                .unwrap()
                .remove(0)
                .data;
            let own = f64::from(logits[class]);
            let above = logits.iter().filter(|&&x| f64::from(x) > own).count();
            let sum: f64 = logits.iter().map(|&x| (f64::from(x) - own).exp()).sum();
            sums[0] += 100.0 * f64::from(u8::from(above == 0)) / 15.0;
            sums[1] += 100.0 * f64::from(u8::from(above < 5)) / 15.0;
            sums[2] += sum.ln() / 15.0;
        }
    }
    sums
}

#[test]
fn heads_of_fine_tuned_files_are_evaluated_as_they_are() {
    let bench = Bench::empty();
    five_classes(&bench);
    for name in [
        "mae_original_finetune_gap",
        "beit_original_finetune",
        "timm_deit_distilled",
    ] {
        let ckpt = weights(&fixture("goldens").join(name));
        let checkpoint = Checkpoint::open(&ckpt, &told(name)).unwrap();
        let mut args = vec![
            "finetune",
            "--eval",
            "--threads",
            "1",
            "--data",
            "five",
            "--json",
            "--ckpt",
            ckpt.to_str().unwrap(),
        ];
        if told(name).heads.is_some() {
            args.extend(["--heads", "3", "--dialect", "mae"]);
        }
        let found = results(&bench.run(&args).records()[0]);
        for (found, expected) in found.iter().zip(expected(&bench, &checkpoint)) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{name}: {found} {expected}"
            );
        }
    }
}

#[test]
fn what_a_head_reads_is_part_of_its_row() {
    let bench = bench();
    let weights = random_classifier_weights(&tiny(), 3, 3);
    std::fs::create_dir(bench.path("model")).unwrap();
    save(&bench.path("model/model.safetensors"), &weights).unwrap();
    let mut rows = Vec::new();
    for pool in ["token", "avg"] {
        bench.write(
            "model/config.json",
            format!(r#"{{"global_pool": "{pool}"}}"#),
        );
        let told = bench.eval("model/model.safetensors", &["--json"]).ok();
        assert!(!told.stderr.contains("is up to date"), "{told:?}");
        rows.push(results(&told.records()[0]));
    }
    assert_ne!(rows[0], rows[1]);
}

#[test]
fn over_the_class_token_its_own_norm_is_trained() {
    let bench = bench();
    let ckpt = weights(&fixture("goldens/dinov3_original_swiglu_untied_bf16"));
    let more = [
        "--reset-head",
        "--set",
        "task.pool=cls",
        "--epochs",
        "1",
        "--json",
        "--run",
        "run",
    ];
    let trained = bench.handful(ckpt.to_str().unwrap(), &more).ok();
    let eval = bench.eval("run/model.safetensors", &["--json"]).ok();
    let record = &trained.records()[0];
    assert_eq!(results(&eval.records()[0]), results(record));
}

#[test]
fn a_real_head_gives_its_published_number() {
    let Some(shared) = shared("data") else { return };
    let ckpt = shared.join("weights/sachin_cifar10/model.safetensors");
    let data = shared.join("cifar10");
    if !ckpt.exists() || !data.exists() {
        println!(
            "skipped: {} or {} is absent",
            ckpt.display(),
            data.display()
        );
        return;
    }
    let bench = Bench::empty();
    let args = ["finetune", "--eval", "--json", "--data"];
    let args = [
        &args[..],
        &[data.to_str().unwrap(), "--ckpt", ckpt.to_str().unwrap()],
    ]
    .concat();
    let record = &bench.run(&args).records()[0];
    assert_eq!(value(record, "top1"), 72.4);
    assert_eq!(record["data"]["val"]["images"], 1000);
}

#[test]
fn a_head_that_does_not_fit_is_refused() {
    let bench = bench();
    bench.classifier("four.safetensors", 4);
    let counts = ["the head of four has 4 classes, and data has 3"];
    bench.eval("four.safetensors", &[]).refused(&counts);
    bench
        .eval("tiny.safetensors", &[])
        .refused(&["tiny.safetensors", "head"]);
    bench.handful("four.safetensors", &[]).refused(&counts);
    let anew = bench
        .handful("four.safetensors", &["--reset-head", "--json"])
        .records();
    assert_eq!(anew[0]["measures"][0]["n"], 12);
    // It begins with the head of three classes that it has.
    bench.classifier("three.safetensors", 3);
    let own = bench.handful("three.safetensors", &["--json"]).ok();
    assert!(
        own.stderr
            .contains("training goes on with its own head of 3 classes"),
        "{own:?}"
    );
    let anew = bench
        .handful("three.safetensors", &["--reset-head", "--json"])
        .ok();
    assert!(!anew.stderr.contains("its own head"), "{anew:?}");
    let [own, anew] = [own, anew].map(|run| run.records().remove(0));
    assert_ne!(own["cell"]["key"], anew["cell"]["key"]);
    assert_ne!(results(&own), results(&anew));
    // A head over the class token is not one over the mean patch.
    let weights = random_classifier_weights(&tiny(), 3, 1);
    save(&bench.path("cls.safetensors"), &weights).unwrap();
    bench.handful("cls.safetensors", &[]).refused(&[
        "the head of cls reads cls norm, that of finetune/handful reads mean_patch norm",
    ]);
    let set = ["--set", "task.pool=cls"];
    bench.handful("cls.safetensors", &set).ok();
    bench.handful("cls.safetensors", &["--reset-head"]).ok();
}

#[test]
fn what_cannot_be_trained_is_refused_before_it_begins() {
    let bench = bench();
    let mini = |more: &[&str]| bench.finetune("tiny.safetensors", &[&MINI[..], more].concat());
    mini(&["--batch", "3"]).refused(&[
        "--batch 3",
        "task.batch = 8",
        "mixup and cutmix pair images",
    ]);
    mini(&["--batch", "1"]).refused(&["--batch 1", "mixup and cutmix pair images"]);
    mini(&["--set", "task.batch=9", "--set", "task.local_batch=3"])
        .refused(&["task.local_batch", "mixup and cutmix pair images"]);
    mini(&["--set", "task.local_batch=3"]).refused(&["task.local_batch", "3 does not divide"]);
    bench
        .finetune("tiny.safetensors", &["--preset", "mae"])
        .refused(&["finetune/mae is for encoders of 12 blocks, and tiny has 2"]);
    bench
        .finetune("tiny.safetensors", &["--eval", "--epochs", "2"])
        .misused(&["--eval", "--epochs"]);
    bench
        .finetune("tiny.safetensors", &["--eval", "--from-scratch"])
        .misused(&["--eval", "--from-scratch"]);
    bench
        .finetune(
            "tiny.safetensors",
            &["--eval", "--protocol", "handful.toml"],
        )
        .refused(&["handful.toml"]);

    std::fs::remove_dir_all(bench.path("data/train/cat")).unwrap();
    bench
        .handful("tiny.safetensors", &[])
        .refused(&["class `cat` of data/val has no training images in data/train"]);
    std::fs::remove_dir_all(bench.path("data/val")).unwrap();
    bench
        .handful("tiny.safetensors", &[])
        .refused(&["data has no val split"]);
    assert!(!bench.path("results").exists());
}

impl Run {
    /// Refused by the parser of the command line.
    #[track_caller]
    fn misused(&self, said: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        for said in said {
            assert!(self.stderr.contains(said), "{said}: {}", self.stderr);
        }
    }
}

#[test]
fn scratch_seeds_and_recomputations_have_records_and_weights_of_their_own() {
    let bench = bench();
    let first = bench.handful("tiny.safetensors", &["--json"]).ok();
    let record = &first.records()[0];
    let key = |record: &Value| record["cell"]["key"].as_str().unwrap().to_owned();
    let run = format!("results/runs/{}", key(record));
    let weights = |run: &str| bench.files(run).remove(&format!("{run}/model.safetensors"));
    let trained = weights(&run).unwrap();

    let scratch = bench
        .handful("tiny.safetensors", &["--from-scratch", "--json"])
        .records();
    assert_eq!(scratch[0]["subject"]["name"], "tiny from scratch");
    assert_ne!(key(&scratch[0]), key(record));
    let card = std::fs::read_to_string(
        bench.path(&format!("results/runs/{}/model.toml", key(&scratch[0]))),
    );
    assert!(
        card.unwrap()
            .contains("Trained from scratch in the architecture of tiny.safetensors")
    );

    let again = bench.handful("tiny.safetensors", &["--json"]).ok();
    assert!(again.stderr.contains("is up to date"), "{again:?}");
    assert!(!again.stderr.contains("epoch 1 of"), "{again:?}");

    // What was deleted is in the state still.
    std::fs::remove_file(bench.path(&run).join("model.safetensors")).unwrap();
    let again = bench.handful("tiny.safetensors", &["--json"]).ok();
    assert!(!again.stderr.contains("epoch 1 of"), "{again:?}");
    assert_eq!(results(&again.records()[0]), results(record));
    assert_eq!(weights(&run).unwrap(), trained);

    let anew = bench
        .handful("tiny.safetensors", &["--recompute", "--json"])
        .ok();
    assert!(anew.stderr.contains("epoch 1 of 2"), "{anew:?}");
    assert_eq!(results(&anew.records()[0]), results(record));
    assert_eq!(weights(&run).unwrap(), trained);
    assert!(!bench.path(&run).join("recompute").exists());

    let seeds = bench
        .handful("tiny.safetensors", &["--seeds", "0..2", "--json"])
        .records();
    assert_eq!(seeds.len(), 3);
    assert_eq!(key(&seeds[0]), key(record));
    let weights: Vec<_> = seeds
        .iter()
        .map(|record| weights(&format!("results/runs/{}", key(record))).unwrap())
        .collect();
    assert!(weights[0] == trained && weights[1] != weights[2] && weights[0] != weights[1]);

    // The weights are gone on with.
    let ckpt = format!("{run}/model.safetensors");
    let further = bench.handful(&ckpt, &["--json"]).ok();
    assert!(
        further.stderr.contains("its own head of 3 classes"),
        "{further:?}"
    );
    assert_eq!(
        further.records()[0]["subject"]["name"],
        "tiny finetune/handful seed 0"
    );
}
