//! Encoders that come from pre-training alone: written, read back, evaluated, and loaded in timm.

use std::path::Path;
use std::process::Command;

use mimbench::checkpoint::{
    CanonicalModel, Checkpoint, ConvertError, Feature, LoadOptions, Pretrained, TimmModel,
};
use mimbench::data::{InputSpec, Interpolation, Resize, Statistics};
use mimbench::engine::candle::Candle;
use mimbench::engine::{HostTensor, Precision};
use mimbench::features::{Tap, Token};
use mimbench::nn::{TensorStore, Weights};
use mimbench::report::Record;
use mimbench::vit::{RelativeBias, VitConfig, random_weights, table_rows};
use serde_json::{Value, json};

use crate::goldens::encoder;
use crate::support::{Bench, Run, tiny};
use crate::tensors::noise;

/// An encoder as a recipe leaves it.
struct Student {
    name: &'static str,
    config: VitConfig,
    token: Token,
    weights: Weights,
}

/// Numbers for every layer of a student's.
fn trained(config: &VitConfig) -> Weights {
    let mut weights = Weights::default();
    let mut add = |name: &str, shape: &[usize]| {
        weights.insert(name.to_owned(), noise(name, shape));
    };
    for (name, tensor) in random_weights(config, 0).iter() {
        add(name, &tensor.shape);
    }
    if config.layer_scale {
        for block in 0..config.depth {
            for branch in ["ls1", "ls2"] {
                add(&format!("blocks.{block}.{branch}.gamma"), &[config.width]);
            }
        }
    }
    if config.relative_bias.is_some() {
        let heads = config.heads.uniform().unwrap();
        let shape = [table_rows(config.grid), heads];
        add("rel_pos_bias.relative_position_bias_table", &shape);
    }
    weights
}

/// Where timm's Beit has no bias of keys, none was trained.
fn without_key_bias(weights: &mut Weights, config: &VitConfig) {
    for block in 0..config.depth {
        let name = format!("blocks.{block}.attn.qkv.bias");
        let mut bias = weights.remove(&name).unwrap();
        bias.data[config.width..2 * config.width].fill(0.0);
        weights.insert(name, bias);
    }
}

/// One of each kind of position.
fn students() -> [Student; 4] {
    let plain = VitConfig {
        mlp_width: 128,
        ..VitConfig::plain(4, [3, 2], (64, 2, 4))
    };
    let scaled = VitConfig {
        layer_scale: true,
        norm_eps: 1e-5,
        ..plain.clone()
    };
    let both = VitConfig {
        relative_bias: Some(RelativeBias::Shared),
        grid: [3, 3],
        norm_eps: 1e-6,
        ..scaled.clone()
    };
    let relative = VitConfig {
        positions: None,
        ..both.clone()
    };
    [
        ("absolute", plain, Token::MeanPatch),
        ("layer scale", scaled, Token::Cls),
        ("relative", relative, Token::Cls),
        ("relative and absolute", both, Token::MeanPatch),
    ]
    .map(|(name, config, token)| {
        let mut weights = trained(&config);
        if config.relative_bias.is_some() {
            without_key_bias(&mut weights, &config);
        }
        Student {
            name,
            config,
            token,
            weights,
        }
    })
}

impl Student {
    fn feature(&self) -> Feature {
        Feature {
            token: self.token,
            norm: true,
        }
    }

    fn input(&self) -> InputSpec {
        let [height, width] = self.config.input_size();
        let (mean, std) = Statistics::Half.values();
        InputSpec {
            height,
            width,
            channels: 3,
            resize: Resize::Exact,
            interpolation: Interpolation::Bicubic,
            mean: mean.into(),
            std: std.into(),
        }
    }

    fn pretrained<'a>(&'a self, path: &'a Path, input: &'a InputSpec) -> Pretrained<'a> {
        Pretrained {
            path,
            name: format!("Student, {}", self.name),
            note: "Pre-trained for a test.".to_owned(),
            config: &self.config,
            input,
            feature: self.feature(),
            weights: &self.weights,
        }
    }

    /// Everything about it is again what it was.
    fn is(&self, again: &Checkpoint) {
        assert_eq!(again.name, format!("Student, {}", self.name));
        assert_eq!(again.config, self.config, "{}", self.name);
        assert_eq!(again.feature, self.feature(), "{}", self.name);
        assert_eq!(again.input.size, self.config.input_size(), "{}", self.name);
        assert_eq!(again.input.mean, [0.5; 3], "{}", self.name);
        assert_eq!(again.input.std, [0.5; 3], "{}", self.name);
        assert_eq!(again.input.resize, None, "{}", self.name);
        assert_eq!(again.licence, None, "{}", self.name);
        let mut weights = again.weights();
        for (name, tensor) in self.weights.iter() {
            assert_eq!(weights.take(name).unwrap(), *tensor, "{name}");
        }
        assert_eq!(weights.left(), [""; 0], "{}", self.name);
    }
}

fn open(path: &Path) -> Checkpoint {
    Checkpoint::open(path, &LoadOptions::default()).unwrap()
}

/// A checkpoint's features of some pixels: tokens and its own.
fn features(checkpoint: &Checkpoint, pixels: &HostTensor) -> Vec<HostTensor> {
    let Feature { token, norm } = checkpoint.feature;
    let layer = checkpoint.config.depth - 1;
    let taps = [Tap::Tokens, Tap::Pooled { layer, token, norm }];
    encoder(Candle::new(Precision::F32), checkpoint)
        .encode(&pixels.data, pixels.shape[0], &taps)
        .unwrap()
}

/// Builds every model by the call in its card, and compares tokens and features.
const SCRIPT: &str = r#"
import json, os, sys, torch
cases = json.load(open(sys.argv[1]))
worst = 0.0
for case in cases:
    os.chdir(case["folder"])
    scope = {}
    exec(case["python"], scope)
    model = scope["model"]
    tensor = lambda t: torch.tensor(t["data"]).reshape(t["shape"])
    pixels = tensor(case["pixels"])
    with torch.no_grad():
        found = [model.forward_features(pixels), model(pixels)]
    for found, expected in zip(found, case["features"]):
        expected = tensor(expected)
        assert found.shape == expected.shape, (found.shape, expected.shape)
        error = ((found - expected).abs().max() / max(1.0, expected.abs().max())).item()
        print(f"{case['python'].splitlines()[-1]} {error:.1e}")
        worst = max(worst, error)
assert worst <= 2e-5, worst
print(len(cases), "models")
"#;

#[test]
fn an_encoder_is_read_back_here_and_in_timm() {
    let bench = Bench::empty();
    let mut cases = Vec::new();
    let host = |tensor: &HostTensor| json!({"shape": tensor.shape, "data": tensor.data});
    for (place, student) in students().iter().enumerate() {
        let folder = bench.path(&format!("{place}"));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("model.safetensors");
        let input = student.input();
        let model = TimmModel::pretrained(student.pretrained(&path, &input)).unwrap();
        model.write(&path).unwrap();
        let card = model.card(&path).unwrap();
        std::fs::write(folder.join("model.toml"), &card).unwrap();
        // The folder is the checkpoint.
        let again = open(&folder);
        assert_eq!(model.difference(&again), None, "{}", student.name);
        assert_eq!(model.class(), ["VisionTransformer", "Beit"][place / 2]);
        student.is(&again);
        let call = model.python(Path::new("model.safetensors"));
        let printed: Vec<_> = card
            .lines()
            .filter_map(|line| line.strip_prefix("#     "))
            .collect();
        assert_eq!(printed.join("\n"), call.trim_end());
        let [height, width] = student.config.input_size();
        let pixels = noise("pixels", &[2, 3, height, width]);
        let features: Vec<Value> = features(&again, &pixels).iter().map(host).collect();
        cases.push(json!({
            "folder": folder, "python": call, "pixels": host(&pixels), "features": features,
        }));
    }
    let Some(python) = std::env::var_os("MIMBENCH_TIMM_PYTHON") else {
        println!("skipped: MIMBENCH_TIMM_PYTHON names no interpreter with timm 1.0.31");
        return;
    };
    let list = bench.path("cases.json");
    std::fs::write(&list, serde_json::to_string(&cases).unwrap()).unwrap();
    let run = Run::of(Command::new(python).args(["-c", SCRIPT]).arg(&list));
    println!("{}", run.stdout);
    assert!(run.ok().stdout.ends_with("4 models\n"));
}

#[test]
fn an_encoder_that_timm_has_not_is_kept_under_canonical_names() {
    let bench = Bench::empty();
    let mut students = students();
    // Its keys have a bias, which timm's Beit has not.
    students[2].weights = trained(&students[2].config);
    let path = bench.path("model.safetensors");
    let input = students[2].input();
    match TimmModel::pretrained(students[2].pretrained(&path, &input)) {
        Err(ConvertError::Inexpressible { path: of, reason }) => {
            assert_eq!(of, path);
            assert!(reason.contains("bias of keys"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    for student in &students {
        let input = student.input();
        let model = CanonicalModel::pretrained(student.pretrained(&path, &input));
        model.write(&path).unwrap();
        std::fs::write(path.with_extension("toml"), model.card(&path).unwrap()).unwrap();
        let again = open(&path);
        assert_eq!(model.difference(&again), None, "{}", student.name);
        student.is(&again);
    }
}

#[test]
fn a_folder_is_a_checkpoint_of_the_name_on_its_card() {
    let bench = Bench::new();
    let card = |name: &str| {
        format!(
            "name = \"{name}\"\n[file]\npath = \"model.safetensors\"\n[model]\nheads = 2\nnorm_eps = 1e-5\n"
        )
    };
    for (seed, name) in [(1, "one"), (2, "two")] {
        bench.write(&format!("students/{name}/model.toml"), card(name));
        bench.model(&format!("students/{name}/model.safetensors"), &tiny(), seed);
        // Others' words about the same weights.
        let config = r#"{"num_heads": 4, "norm_eps": 1e-12}"#;
        bench.write(&format!("students/{name}/config.json"), config);
    }
    let folders = ["students/one", "students/two/"];
    let records = bench.knn_of(&folders, &["--json"]).records();
    for (record, name) in records.iter().zip(["one", "two"]) {
        assert_eq!(record["subject"]["name"], name);
        assert_eq!(record["subject"]["card"]["stem"], "model");
        let architecture = &record["subject"]["architecture"];
        assert_eq!(architecture["heads"], 2, "{architecture}");
        assert_eq!(architecture["norm_eps"], 1e-5, "{architecture}");
    }
    // The file is the same cell, and both are found again by their folders.
    let file = "students/one/model.safetensors";
    let again = bench.knn_of(&[file], &["--json"]).records();
    assert_eq!(again[0]["cell"], records[0]["cell"]);
    assert_eq!(Record::all(&bench.path("results")).unwrap().len(), 2);
    let compared = bench.run(&[
        "compare",
        "--protocol",
        "knn",
        "students/one",
        "students/two",
    ]);
    let compared = compared.ok();
    assert!(compared.stdout.contains("two"), "{}", compared.stdout);
    bench
        .run(&["compare", "--protocol", "knn", "students", "students/two"])
        .refused(&["no record of knn is of students"]);

    let inspected = bench.run(&["inspect", "students/one"]).ok();
    assert!(inspected.stdout.contains(file), "{}", inspected.stdout);
    let knn = concat!(env!("CARGO_MANIFEST_DIR"), "/protocols/knn.toml");
    let all = ["all", "--threads", "1", "--json", "--data", "data"];
    let ckpts = ["--protocols", knn, "--ckpt", "students/one"];
    let records = bench.run(&[&all[..], &ckpts].concat()).records();
    assert_eq!(records[0]["cell"], again[0]["cell"]);
    bench
        .run(&["convert", "students/one", "out.safetensors"])
        .ok();
    bench
        .run(&["convert", "students/one", file, "--force"])
        .refused(&["model.safetensors is the input"]);
}

#[test]
fn a_folder_that_does_not_say_which_file_is_meant_is_refused() {
    let bench = Bench::empty();
    bench.write("empty/notes.txt", "");
    bench
        .run(&["inspect", "empty"])
        .refused(&["empty is a directory without model.safetensors"]);
    for name in ["epoch-10.safetensors", "epoch-20.safetensors"] {
        bench.model("tiny.safetensors", &tiny(), 1);
        let weights = std::fs::read(bench.path("tiny.safetensors")).unwrap();
        bench.write(&format!("many/{name}"), weights);
    }
    bench.write("many/epoch-10.toml", "");
    bench.write("many/.epoch-30.partial.safetensors", "");
    bench.write("many/config.json", "{}");
    let inspected = bench.run(&["inspect", "many"]);
    inspected.refused(&[
        "many is a directory without",
        "it holds epoch-10.safetensors, epoch-10.toml, epoch-20.safetensors",
    ]);
    assert!(!inspected.stderr.contains("config.json"), "{inspected:?}");
}
