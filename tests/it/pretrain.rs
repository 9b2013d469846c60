//! `mimbench pretrain` on made-up images: what it trains, what it leaves, what it goes on from, and
//! what it refuses.

use std::time::Duration;

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, LoadOptions};
use mimbench::vit::VitConfig;
use serde_json::Value;

use crate::support::{Bench, Run, tensor};

/// All kinds of terms but alignment, over a sparse student.
const MEDIC: &str = r#"
name = "pretrain/handful"
version = 1

[data]
dataset = "small"

[input]
normalise = "half"
feature = "cls"

[student]
arch = { width = 32, depth = 2, heads = 2, mlp_width = 64, patch_size = 2, input_size = 8 }
encoding = "sparse"
positions = "sin_cos"
layer_scale = 0.1
key_bias = false
drop_path = 0.2
initial = { kind = "truncated_normal", std = 0.02, rescale = true }

[mask]
kind = "block"
ratio = 0.4
minimum = 1

[teachers.clip]
what = "CLIP"

[terms.patch]
kind = "patch_distillation"
weight = 1.0
teacher = "clip"
on = "visible"
beta = 1.0
normalise = "layer"
head = "distill"

[terms.class]
kind = "class_distillation"
weight = 0.3
teacher = "clip"
normalise = "layer"
head = "distill"
loss = { kind = "cross_entropy", teacher_temperature = 1.0, student_temperature = 1.0 }

[terms.pixels]
kind = "pixel_reconstruction"
weight = 0.01
on = "masked"
loss = "l2"
normalise = "target"
decoder = { kind = "transformer", width = 16, depth = 1, heads = 2 }

[training]
epochs = 4
batch = 8
learning_rate = 2e-3
learning_rate_rule = "absolute"
weight_decay = 0.05
weight_decay_end = 0.0
decay_exclusion = "beit"
clip_norm = 3.0
optimizer = { kind = "adamw", betas = [0.9, 0.999], eps = 1e-8 }
schedule = { kind = "beit_cosine", warmup_epochs = 1, end = 1e-5 }

[augment]
crop = "torchvision"
scale = [0.5, 1.0]
interpolation = "bicubic"

[monitor]
every = 2
train_images = 12
val_images = 6
k = 5
"#;

/// MaskAlign over the same student.
const ALIGNMENT: &str = r#"
kind = "alignment"
weight = 1.0
teacher = "clip"
top = 2
adaptor = "linear"
matrix = { kind = "identity", offset = 0.01 }
place = "before_adaptor"
normalise = "layer"
class_token = true
on = "visible"
beta = 1.0
factor = 2.0
"#;

/// `data/` with 8 + 4 images a class, a teacher whose patches are the student's, one whose patches
/// are not, and `medic.toml`.
fn bench() -> Bench {
    let bench = Bench::new();
    let teacher = VitConfig {
        mlp_width: 96,
        ..VitConfig::plain(2, [4, 4], (64, 3, 1))
    };
    bench.model("clip.safetensors", &teacher, 5);
    bench.write("medic.toml", MEDIC);
    bench
}

impl Bench {
    /// A run of `medic.toml` or another recipe.
    fn pretrain(&self, recipe: &str, out: &str, more: &[&str]) -> Run {
        self.run(&arguments(recipe, out, more))
    }

    /// The points of a run's curves without what is told of speed.
    fn curve(&self, out: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(&format!("{out}/metrics.jsonl"))).unwrap();
        let point = |line: &str| {
            let mut point: Value = serde_json::from_str(line).unwrap();
            let values = point["values"].as_object_mut().unwrap();
            values.retain(|name, _| !name.ends_with("images_per_s"));
            point
        };
        text.lines().map(point).collect()
    }

    fn weights(&self, out: &str) -> Vec<u8> {
        std::fs::read(self.path(&format!("{out}/model.safetensors"))).unwrap()
    }
}

fn arguments<'a>(recipe: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = [
        "pretrain",
        recipe,
        "--threads",
        "1",
        "--data",
        "data",
        "--out",
        out,
    ];
    [&own[..], more].concat()
}

const TEACHER: [&str; 2] = ["--teacher", "clip.safetensors"];

#[test]
fn a_run_leaves_a_checkpoint_for_every_protocol() {
    let bench = bench();
    let run = bench.pretrain("medic.toml", "out", &TEACHER).ok();
    for said in ["patch", "class", "pixels", "kNN", "out"] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    for file in ["model.toml", "recipe.toml", "pretraining.json"] {
        assert!(bench.path(&format!("out/{file}")).exists(), "{file}");
    }
    let checkpoint = Checkpoint::open(&bench.path("out"), &LoadOptions::default()).unwrap();
    assert_eq!(checkpoint.name, "out");
    assert_eq!(checkpoint.input.mean, [0.5; 3]);
    assert!(checkpoint.config.layer_scale);
    let source = TensorSource::open(&bench.path("out/model.safetensors")).unwrap();
    let bias = tensor(&source, "blocks.1.attn.qkv.bias");
    let thirds: Vec<_> = bias.data.chunks(32).collect();
    let zero = |third: &[f32]| third.iter().all(|&x| x == 0.0);
    assert!(!zero(thirds[0]) && zero(thirds[1]) && !zero(thirds[2]));

    let args = ["knn", "--threads", "1", "--data", "data", "--ckpt", "out"];
    let record = bench.run(&[&args[..], &["--json"]].concat()).records();
    assert_eq!(record[0]["subject"]["name"], "out");

    // 24 images, 3 updates an epoch: 12 points, and two looks of kNN.
    let curve = bench.curve("out");
    let train: Vec<_> = curve.iter().filter(|p| p["kind"] == "train").collect();
    assert_eq!((train.len(), curve.len()), (12, 14));
    for name in [
        "loss",
        "loss/patch",
        "loss/class",
        "loss/pixels",
        "gradient_norm",
        "learning_rate",
    ] {
        let value = |point: &Value| point["values"][name].as_f64();
        assert!(train.iter().all(|point| value(point).is_some()), "{name}");
    }
    // Terms are as they are, the loss is their weighted sum.
    let values = &train[5]["values"];
    let of = |name: &str| values[name].as_f64().unwrap();
    let sum = of("loss/patch") + 0.3 * of("loss/class") + 0.01 * of("loss/pixels");
    assert!((of("loss") - sum).abs() < 1e-9);
    let text = std::fs::read_to_string(bench.path("out/metrics.jsonl")).unwrap();
    for name in ["student_images_per_s", "teacher_images_per_s"] {
        assert!(text.contains(name), "{name}");
    }
    let record: Value =
        serde_json::from_slice(&std::fs::read(bench.path("out/pretraining.json")).unwrap())
            .unwrap();
    assert_eq!(record["looks"].as_array().unwrap().len(), 2);
    let kept = record["kept"].as_array().unwrap();
    assert_eq!(kept[kept.len() - 1]["blake3"], checkpoint.blake3);
    assert_eq!(record["encoded"], 96);
}

#[test]
fn the_same_command_again_changes_nothing_and_another_recipe_is_refused() {
    let bench = bench();
    bench.pretrain("medic.toml", "out", &TEACHER).ok();
    let weights = bench.weights("out");
    bench.pretrain("medic.toml", "out", &TEACHER).ok();
    assert_eq!(bench.weights("out"), weights);
    let set = ["--set", "terms.patch.weight=0.5"];
    let other = bench.pretrain("medic.toml", "out", &[&TEACHER[..], &set].concat());
    assert_eq!(other.code, Some(2));
    assert!(
        other.stderr.contains("another run: its recipe"),
        "{other:?}"
    );
    let eps = [&TEACHER[..], &["--norm-eps", "1e-3"]].concat();
    let other = bench.pretrain("medic.toml", "out", &eps);
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("its teacher clip is"), "{other:?}");
    // What is only looked at is no part of what the weights are.
    let set = ["--set", "monitor.k=3"];
    bench
        .pretrain("medic.toml", "out", &[&TEACHER[..], &set].concat())
        .ok();
    assert_eq!(bench.weights("out"), weights);
}

#[test]
fn threads_change_no_bit_and_parts_of_a_batch_only_the_rounding() {
    let bench = bench();
    bench.pretrain("medic.toml", "one", &TEACHER).ok();
    let more = [&TEACHER[..], &["--threads", "2", "--workers", "3"]].concat();
    let args = arguments("medic.toml", "two", &more);
    let args: Vec<_> = (args[..2].iter().chain(&args[4..])).copied().collect();
    bench.run(&args).ok();
    assert_eq!(bench.weights("one"), bench.weights("two"));
    let more = [&TEACHER[..], &["--batch", "4"]].concat();
    bench.pretrain("medic.toml", "parts", &more).ok();
    let [whole, parts] = ["one", "parts"].map(|out| bench.curve(out));
    for name in ["loss/patch", "loss/class", "loss/pixels"] {
        let of = |curve: &[Value]| curve[0]["values"][name].as_f64().unwrap();
        let (whole, parts) = (of(&whole), of(&parts));
        assert!((whole - parts).abs() < 1e-5 * whole.abs(), "{name}");
    }
}

#[test]
fn a_killed_run_ends_in_the_bytes_of_an_uninterrupted_one() {
    let bench = bench();
    let keep = ["--set", "monitor.keep_every=1"];
    let more = [&TEACHER[..], &keep, &["--state-every", "0"]].concat();
    bench.pretrain("medic.toml", "whole", &more).ok();
    let mut killed = 0;
    for milliseconds in [60, 120, 200, 300, 420] {
        let mut child = bench
            .command(&arguments("medic.toml", "cut", &more))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
    }
    bench.pretrain("medic.toml", "cut", &more).ok();
    println!("{killed} of 5 attempts were killed");
    assert_eq!(bench.weights("whole"), bench.weights("cut"));
    assert_eq!(bench.curve("whole"), bench.curve("cut"));
    for epoch in 1..4 {
        let file = format!("epochs/{epoch:04}/model.safetensors");
        let read = |out: &str| std::fs::read(bench.path(&format!("{out}/{file}"))).unwrap();
        assert_eq!(read("whole"), read("cut"), "{file}");
    }
}

#[test]
fn every_mask_and_every_term_trains() {
    let bench = bench();
    let of = |kind: &str| format!("mask.of={{kind=\"{kind}\"}}");
    let evolved = |kind: &str, clustering: &str| {
        [
            "mask={kind=\"evolved\",ratio=0.5}".to_owned(),
            "mask.clusters={first=2,last=4}".to_owned(),
            format!("mask.clustering={clustering}"),
            of(kind),
        ]
        .to_vec()
    };
    let hierarchical = "{kind=\"hierarchical\",zeta=0.5}";
    let em = "{kind=\"em\"}";
    let ema = "training.ema={decay=0.9}".to_owned();
    let dense = [
        "student.encoding=dense",
        "student.positions=none",
        "student.relative_bias=shared",
        "terms.patch.on=masked",
    ]
    .map(str::to_owned);
    let alignment = ALIGNMENT.trim().replace('\n', ",");
    let cases: Vec<(&str, Vec<String>)> = vec![
        (
            "random",
            vec!["mask={kind=\"random\",ratio=0.75}".to_owned()],
        ),
        ("grid", vec!["mask={kind=\"grid\",ratio=0.5}".to_owned()]),
        (
            "attentive",
            vec![
                "mask={kind=\"attentive\",ratio=0.7}".to_owned(),
                of("teacher"),
            ],
        ),
        ("teacher", evolved("teacher", hierarchical)),
        ("student", evolved("student", em)),
        (
            "average",
            [evolved("ema", hierarchical), vec![ema]].concat(),
        ),
        ("dense", dense.to_vec()),
        ("biased", vec!["student.relative_bias=shared".to_owned()]),
        (
            "alignment",
            vec![
                format!("terms.alignment={{{alignment}}}"),
                "terms.patch.weight=0".to_owned(),
                "terms.class.weight=0".to_owned(),
                "terms.pixels.weight=0".to_owned(),
            ],
        ),
    ];
    for (name, settings) in cases {
        let mut more: Vec<&str> = TEACHER.to_vec();
        more.extend(["--epochs", "2", "--json"]);
        more.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let run = bench.pretrain("medic.toml", name, &more).ok();
        let records: Value = serde_json::from_str(&run.stdout).unwrap();
        let terms = records[0]["terms"].as_array().unwrap();
        assert!(!terms.is_empty(), "{name}");
        let finite = |term: &Value| term[1].as_f64().is_some_and(f64::is_finite);
        assert!(terms.iter().all(finite), "{name}: {terms:?}");
        Checkpoint::open(&bench.path(name), &LoadOptions::default()).unwrap();
    }
}

#[test]
fn masks_are_drawn() {
    let bench = bench();
    let more = ["--show-masks", "masks.png"];
    let [recipe, threads] = ["medic.toml", "1"];
    let draw = |seed: &str| {
        let args = [
            "pretrain",
            recipe,
            "--threads",
            threads,
            "--data",
            "data",
            "--seed",
            seed,
        ];
        let run = bench.run(&[&args[..], &TEACHER, &more].concat()).ok();
        assert_eq!(run.stdout, "");
        std::fs::read(bench.path("masks.png")).unwrap()
    };
    let first = draw("0");
    assert_eq!(&first[1..4], b"PNG");
    assert_eq!(draw("0"), first);
    assert_ne!(draw("1"), first);
    assert!(!bench.path("out").exists());
}

#[test]
fn what_cannot_be_trained_is_refused_before_the_first_step() {
    let bench = bench();
    let with = |settings: &[&str]| {
        let sets = settings.iter().flat_map(|setting| ["--set", setting]);
        let more: Vec<_> = TEACHER.into_iter().chain(sets).collect();
        bench.pretrain("medic.toml", "out", &more)
    };
    for (settings, said) in [
        (&["mask.ratio=1.0"][..], &["mask", "1"][..]),
        (&["mask={kind=\"random\",ratio=0.99}"], &["mask", "0.99"]),
        (&["terms.patch.on=masked"], &["terms.patch", "visible"]),
        (&["terms.patch.teacher=dino"], &["dino"]),
        (&["terms.patch.block=3"], &["block 3 of 3"]),
        (&["student.positions=none"], &["student.positions"]),
        (&["student.arch=vit_huge"], &["student.arch", "vit_huge"]),
        (&["mask.exact=false"], &["student.encoding", "exact"]),
        (
            &[
                "mask.exact=false",
                "student.encoding=dense",
                "terms.patch.on=masked",
            ],
            &["terms.pixels", "decoder.reads"],
        ),
        (&["student.arch.heads=0"], &["heads of 0"]),
        (&["extends=mae"], &["extends"]),
        (&["mask.sizes=3"], &["mask", "sizes"]),
        (&["training.epochs=0"], &["training.epochs"]),
        (&["training.learning_rate=-1"], &["training.learning_rate"]),
        (&["student.drop_path=1.5"], &["student.drop_path"]),
        (
            &["terms.class.loss.student_temperature=0"],
            &["temperature"],
        ),
        (
            &[
                "terms.patch.weight=0",
                "terms.class.weight=0",
                "terms.pixels.weight=0",
            ],
            &["no terms"],
        ),
    ] {
        with(settings).refused(said);
    }
    let plain = |more: &[&str]| bench.pretrain("medic.toml", "out", more);
    plain(&[]).refused(&["teacher", "clip", "CLIP"]);
    plain(&["--teacher", "dino=clip.safetensors"]).refused(&["dino"]);
    plain(&["--teacher", "nowhere.safetensors"]).refused(&["nowhere.safetensors"]);
    plain(&["--teacher", "tiny.safetensors"]).refused(&["clip", "2x2", "4x4"]);
    let hint = plain(&["--teacher", "tiny.safetensors"]).stderr;
    assert!(hint.contains("teachers.clip.input_size=16"), "{hint}");
    let mae = ["pretrain", "mini-mae", "--data", "data", "--out", "out"];
    let run = bench.run(&[&mae[..], &TEACHER].concat());
    run.refused(&["learns from no teacher"]);
    let few = [&TEACHER[..], &["--set", "training.batch=64"]].concat();
    plain(&few).refused(&["whole batches of 64"]);
    let twice = [&TEACHER[..], &TEACHER].concat();
    plain(&twice).refused(&["twice"]);
    plain(&[&TEACHER[..], &["--batch", "3"]].concat()).refused(&["--batch 3"]);
    let run = bench.pretrain("nothing.toml", "out", &TEACHER);
    run.refused(&["nothing.toml"]);
    assert!(run.stderr.contains("mae"), "{}", run.stderr);
    assert!(!bench.path("out").exists());
}

#[test]
fn weights_that_the_last_update_blows_up_are_refused() {
    let bench = bench();
    let more = ["--epochs", "1", "--set", "training.learning_rate=1e39"];
    let constant = ["--set", "training.schedule={kind=\"constant\"}"];
    let size = ["--set", "training.batch=24"];
    let all = [&TEACHER[..], &more, &constant, &size].concat();
    let watched = bench.pretrain("medic.toml", "watched", &all);
    assert_eq!(watched.code, Some(2), "{}", watched.stderr);
    assert!(watched.stderr.contains("watched images"), "{watched:?}");
    let recipe = MEDIC.split("[monitor]").next().unwrap();
    bench.write("unwatched.toml", recipe);
    let run = bench.pretrain("unwatched.toml", "out", &all);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("is no number"), "{}", run.stderr);
    assert!(!bench.path("out/model.safetensors").exists());
}

#[test]
fn the_control_is_the_runs_own() {
    let bench = bench();
    let keep = ["--epochs", "2", "--set", "monitor.keep_initial=true"];
    let of = |out: &str, seed: &str| {
        let more = [&TEACHER[..], &keep, &["--seed", seed]].concat();
        bench.pretrain("medic.toml", out, &more)
    };
    let initial = |out: &str| {
        std::fs::read(bench.path(&format!("{out}/epochs/0000/model.safetensors"))).unwrap()
    };
    of("one", "1").ok();
    of("two", "2").ok();
    assert_ne!(initial("one"), initial("two"));
    // Somebody else's files are no run's.
    bench.write("mine/epochs/0000/model.safetensors", initial("two"));
    of("mine", "1").refused(&["epochs"]);
    let more = [&TEACHER[..], &keep, &["--seed", "2", "--recompute"]].concat();
    bench.pretrain("medic.toml", "one", &more).ok();
    assert_eq!(initial("one"), initial("two"));
}

#[test]
fn images_at_once_are_part_of_a_run_whose_targets_hang_on_them() {
    let bench = bench();
    let key = |out: &str, more: &[&str]| {
        let more = [&TEACHER[..], &["--epochs", "2"], more].concat();
        bench.pretrain("medic.toml", out, &more).ok();
        let record = std::fs::read(bench.path(&format!("{out}/pretraining.json"))).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        record["key"].as_str().unwrap().to_owned()
    };
    let batch = ["--set", "terms.patch.normalise=batch"];
    assert_eq!(key("a", &["--batch", "4"]), key("b", &["--batch", "8"]));
    assert_ne!(
        key("c", &[&batch[..], &["--batch", "4"]].concat()),
        key("d", &[&batch[..], &["--batch", "8"]].concat())
    );
}

#[test]
fn a_loss_that_diverges_is_named_and_the_state_before_it_is_kept() {
    let bench = bench();
    let set = [
        "--set",
        "training.learning_rate=1e30",
        "--set",
        "training.schedule={kind=\"constant\"}",
    ];
    let run = bench.pretrain("medic.toml", "out", &[&TEACHER[..], &set].concat());
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    let named = ["patch", "class", "pixels", "gradient"];
    assert!(
        run.stderr.contains("is no number at update"),
        "{}",
        run.stderr
    );
    assert!(
        named.iter().any(|name| run.stderr.contains(name)),
        "{}",
        run.stderr
    );
    let files = bench.files("out");
    assert!(
        files.keys().any(|name| name.contains("state-")),
        "{files:?}"
    );
    assert!(!bench.path("out/model.safetensors").exists());
}
