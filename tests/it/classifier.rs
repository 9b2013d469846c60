//! Classification heads out of checkpoints, against the logits of the code that made them.

use std::path::Path;

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{AuditLine, Checkpoint, CheckpointError, Fate, LoadOptions, save};
use mimbench::data::{Limits, Preprocessor};
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::features::{Encoder, Tap};
use mimbench::nn::{Loader, TensorStore, Weights};
use mimbench::plan::input_spec;
use mimbench::spec::InputSection;
use mimbench::vit::{Classifier, VitEncoder};
use serde_json::Value;

use crate::goldens::{GOLDENS, told, weights};
use crate::support::{assert_close, fixture, shared, tensor};
use crate::tensors::noise;

pub fn encoder<E: Engine + 'static>(engine: E, checkpoint: &Checkpoint) -> Box<dyn Encoder> {
    let fine_tuned = checkpoint
        .classifier()
        .unwrap_or_else(|error| panic!("{error}"));
    let left_out = |line: &&AuditLine| matches!(&line.fate, Fate::Dropped { reason } if reason == "classification head");
    assert_eq!(fine_tuned.audit.lines.iter().find(left_out), None);
    let mut weights = fine_tuned.weights();
    let mut loader = Loader::frozen(&engine, &mut weights);
    let model = Classifier::load(&mut loader, &checkpoint.config, fine_tuned.head).unwrap();
    assert_eq!(weights.left(), [""; 0], "{}", checkpoint.path.display());
    Box::new(VitEncoder::classifier(engine, model))
}

/// The checkpoint's logits are `expected` on every engine that is built in.
fn agrees(what: &str, checkpoint: &Checkpoint, pixels: &HostTensor, expected: &HostTensor) {
    let mut encoders = vec![encoder(Candle::new(Precision::F32), checkpoint)];
    #[cfg(feature = "torch")]
    encoders.push(encoder(
        Torch::new(Device::Cpu, Precision::F32).unwrap(),
        checkpoint,
    ));
    for encoder in encoders.drain(..) {
        assert_eq!(encoder.shape(Tap::Logits).unwrap(), expected.shape[1..]);
        let found = encoder.encode(&pixels.data, pixels.shape[0], &[Tap::Logits]);
        assert_close(what, &found.unwrap()[0], expected);
    }
}

/// Every golden with logits, at every resolution; how many there were.
fn every_golden(goldens: &Path) -> usize {
    let mut compared = 0;
    for (name, _) in GOLDENS {
        let folder = goldens.join(name);
        if !folder.is_dir() {
            continue;
        }
        let expected = TensorSource::open(&folder.join("expected.safetensors")).unwrap();
        let input = TensorSource::open(&folder.join("input.safetensors")).unwrap();
        for of in ["r1", "r2", "r3"] {
            let key = format!("{of}.logits");
            if !expected.entries().contains_key(&key) {
                continue;
            }
            let pixels = tensor(&input, &format!("{of}.pixels"));
            let options = LoadOptions {
                input_size: Some([pixels.shape[2], pixels.shape[3]]),
                ..told(name)
            };
            let checkpoint = Checkpoint::open(&weights(&folder), &options).unwrap();
            let what = format!("{name} {key}");
            agrees(&what, &checkpoint, &pixels, &tensor(&expected, &key));
            compared += 1;
        }
    }
    compared
}

#[test]
fn the_fixtures_logits_agree() {
    assert!(every_golden(&fixture("goldens")) >= 25);
}

#[test]
fn the_shared_goldens_logits_agree() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    assert!(every_golden(&goldens) == 59);
}

/// What a code base's head reads, taken from all tokens.
#[derive(Clone, Copy)]
enum Reads {
    Cls,
    Mean,
    Both,
    /// Class and distillation token, a layer each.
    Two,
}

/// A golden of an encoder, what its keys are put under, its head's layers, what they read, and the
/// tokens that precede the patches.
type Case = (
    &'static str,
    &'static str,
    &'static [&'static str],
    Reads,
    usize,
);

const CASES: [Case; 12] = [
    ("hf_vit", "vit.", &["classifier"], Reads::Cls, 1),
    ("hf_vit_msn", "vit.", &["classifier"], Reads::Cls, 1),
    ("hf_ijepa", "ijepa.", &["classifier"], Reads::Mean, 0),
    ("hf_deit", "deit.", &["classifier"], Reads::Cls, 2),
    (
        "hf_deit",
        "deit.",
        &["cls_classifier", "distillation_classifier"],
        Reads::Two,
        2,
    ),
    ("hf_dinov2", "dinov2.", &["classifier"], Reads::Both, 1),
    (
        "hf_dinov2_registers",
        "dinov2_with_registers.",
        &["classifier"],
        Reads::Both,
        5,
    ),
    ("hf_clip_vision", "", &["classifier"], Reads::Mean, 1),
    ("hf_siglip_vision", "", &["classifier"], Reads::Mean, 0),
    (
        "dinov2_original",
        "backbone.",
        &["linear_head"],
        Reads::Both,
        1,
    ),
    (
        "cmae_original_backbone",
        "",
        &["head.layers.head"],
        Reads::Cls,
        1,
    ),
    (
        "beit_original_pretrain_shared",
        "",
        &["head"],
        Reads::Cls,
        1,
    ),
];

/// Classes of the heads that are added to goldens of encoders.
const CLASSES: usize = 7;

fn layer(key: &str, inputs: usize) -> [HostTensor; 2] {
    [vec![CLASSES, inputs], vec![CLASSES]].map(|shape| noise(key, &shape))
}

/// Sum over layers of `x Wᵀ + b`, over their number.
fn logits(rows: &[Vec<Vec<f64>>], layers: &[[HostTensor; 2]]) -> HostTensor {
    let mut data = Vec::new();
    for row in rows {
        for class in 0..CLASSES {
            let each = layers.iter().zip(row).map(|([weight, bias], x)| {
                let row = weight.data.chunks(x.len()).nth(class).unwrap();
                let sum: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
                sum + f64::from(bias.data[class])
            });
            data.push((each.sum::<f64>() / layers.len() as f64) as f32);
        }
    }
    HostTensor {
        shape: vec![rows.len(), CLASSES],
        data,
    }
}

#[test]
fn every_code_bases_head_reads_what_its_code_gives_it() {
    for (name, prefix, keys, reads, before) in CASES {
        let golden = fixture("goldens").join(name);
        let folder = tempfile::tempdir().unwrap();
        let source = TensorSource::open(&weights(&golden)).unwrap();
        let expected = TensorSource::open(&golden.join("expected.safetensors")).unwrap();
        // [B, N, D], as the code base's own model gives them.
        let tokens = tensor(&expected, "r1.tokens");
        let [batch, count, width] = <[usize; 3]>::try_from(&tokens.shape[..]).unwrap();
        let inputs = if matches!(reads, Reads::Both) {
            2 * width
        } else {
            width
        };
        let layers: Vec<_> = keys.iter().map(|key| layer(key, inputs)).collect();

        let mut file = Weights::default();
        for (key, entry) in source.entries() {
            if entry.float.is_some() {
                file.insert(format!("{prefix}{key}"), tensor(&source, key));
            }
        }
        for (key, [weight, bias]) in keys.iter().zip(&layers) {
            file.insert(format!("{key}.weight"), weight.clone());
            file.insert(format!("{key}.bias"), bias.clone());
        }
        let path = folder.path().join("model.safetensors");
        save(&path, &file).unwrap();
        let json = golden.join("config.json");
        std::fs::copy(json, folder.path().join("config.json")).unwrap();

        let at = |image: usize, token: usize| -> Vec<f64> {
            let start = (image * count + token) * width;
            let row = &tokens.data[start..start + width];
            row.iter().map(|x| f64::from(*x)).collect()
        };
        let mean = |image: usize| -> Vec<f64> {
            let patches: Vec<_> = (before..count).map(|token| at(image, token)).collect();
            let sum = |i: usize| patches.iter().map(|patch| patch[i]).sum::<f64>();
            (0..width).map(|i| sum(i) / patches.len() as f64).collect()
        };
        let row = |image: usize| match reads {
            Reads::Cls => vec![at(image, 0)],
            Reads::Mean => vec![mean(image)],
            Reads::Both => vec![[at(image, 0), mean(image)].concat()],
            Reads::Two => vec![at(image, 0), at(image, 1)],
        };
        let rows: Vec<_> = (0..batch).map(row).collect();

        let input = TensorSource::open(&golden.join("input.safetensors")).unwrap();
        let pixels = tensor(&input, "r1.pixels");
        let checkpoint = Checkpoint::open(&path, &told(name)).unwrap();
        agrees(name, &checkpoint, &pixels, &logits(&rows, &layers));
    }
}

/// What becomes of a tensor of a file.
type Change<'a> = &'a dyn Fn(&str, HostTensor) -> Vec<(String, HostTensor)>;

fn refusal(path: &Path) -> CheckpointError {
    let told = path.with_file_name("config.json").exists();
    let options = LoadOptions {
        heads: (!told).then(|| "3".parse().unwrap()),
        ..LoadOptions::default()
    };
    let checkpoint = Checkpoint::open(path, &options).unwrap_or_else(|error| panic!("{error}"));
    let refused = checkpoint.classifier().unwrap_err();
    assert!(refused.hint().is_some(), "{refused}");
    refused
}

#[test]
fn what_is_no_linear_head_is_refused_by_its_keys() {
    let golden = |name: &str| weights(&fixture("goldens").join(name));
    for name in ["ibot_original", "hf_vit", "hf_dinov3"] {
        let refused = refusal(&golden(name));
        assert!(
            matches!(refused, CheckpointError::NoHead { .. }),
            "{name}: {refused}"
        );
    }
    // The projection of DINO's pre-training.
    let refused = refusal(&golden("timm_vit_student_teacher")).to_string();
    assert!(refused.contains("teacher.head.mlp.0.weight"), "{refused}");

    let folder = tempfile::tempdir().unwrap();
    let source = TensorSource::open(&golden("timm_vit")).unwrap();
    let written = |change: Change<'_>| {
        let mut file = Weights::default();
        for key in source.entries().keys() {
            for (key, tensor) in change(key, tensor(&source, key)) {
                file.insert(key, tensor);
            }
        }
        let path = folder.path().join("x.safetensors");
        save(&path, &file).unwrap();
        refusal(&path).to_string()
    };
    let said = |refused: String, words: &[&str]| {
        for word in words {
            assert!(refused.contains(word), "{word}: {refused}");
        }
    };
    // Four class tokens and a mean, as DINOv2's larger heads read.
    let refused = written(&|key, tensor| match key {
        "head.weight" => vec![(key.to_owned(), noise(key, &[5, 5 * 24]))],
        _ => vec![(key.to_owned(), tensor)],
    });
    said(refused, &["[5, 120]", "cls norm", "24 numbers"]);
    // MAE's linear probe has a BatchNorm before its layer.
    let refused = written(&|key, tensor| match key {
        "head.weight" | "head.bias" => vec![
            (key.replace("head", "head.1"), tensor),
            ("head.0.running_mean".to_owned(), noise(key, &[24])),
        ],
        _ => vec![(key.to_owned(), tensor)],
    });
    said(refused, &["head.0.running_mean", "head.1.weight", "timm"]);
    // A head beside an encoder reads what only its own code knows.
    let refused = written(&|key, tensor| {
        let prefix = if key.starts_with("head") {
            ""
        } else {
            "backbone."
        };
        vec![(format!("{prefix}{key}"), tensor)]
    });
    said(refused, &["head.weight", "head.bias"]);
    let refused = written(&|key, tensor| match key {
        "head.weight" => vec![],
        _ => vec![(key.to_owned(), tensor)],
    });
    said(refused, &["head.weight is missing"]);
}

#[test]
fn ten_photographs_have_the_logits_of_an_independent_program() {
    let Some(data) = shared("data") else { return };
    let folder = data.join("weights/sachin_cifar10");
    let json = std::fs::read(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_slice(&json).unwrap();
    let images: Vec<String> = serde_json::from_value(golden["images"].clone()).unwrap();
    let logits: Vec<Vec<f32>> = serde_json::from_value(golden["logits"].clone()).unwrap();
    let path = folder.join("timm_names.safetensors");
    let checkpoint = Checkpoint::open(&path, &LoadOptions::default()).unwrap();
    let spec = input_spec(&checkpoint, &InputSection::default()).unwrap();
    let mut preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
    let numbers = 3 * 32 * 32;
    let mut pixels = HostTensor {
        shape: vec![images.len(), 3, 32, 32],
        data: vec![0.0; images.len() * numbers],
    };
    for (image, out) in images.iter().zip(pixels.data.chunks_mut(numbers)) {
        let bytes = std::fs::read(data.join(image)).unwrap();
        preprocessor.apply(&bytes, out).unwrap();
    }
    let expected = HostTensor {
        shape: vec![images.len(), 10],
        data: logits.concat(),
    };
    agrees("sachin_cifar10", &checkpoint, &pixels, &expected);
}

#[test]
fn a_head_with_a_hidden_layer_is_refused() {
    let Some(folder) = shared("data/weights/mlde_vit") else {
        return;
    };
    for file in ["source.pth", "timm_names.safetensors"] {
        let refused = refusal(&folder.join(file)).to_string();
        assert!(refused.contains("pre_logits"), "{file}: {refused}");
    }
}
