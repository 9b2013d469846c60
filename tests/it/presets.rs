//! The linear probes that are built in, against what their sources say: commands, defaults and
//! READMEs of the repositories, and the papers' tables.

use std::path::Path;

use mimbench::data::Interpolation;
use mimbench::data::augment::{AugmentSpec, CropSpec};
use mimbench::features::Token;
use mimbench::nn::Initial;
use mimbench::spec::{
    CachedTask, Kind, LinearPreset, LinearTask, Normalise, Protocol, ResizeChoice, Shots, Task,
};
use mimbench::train::{EpochLength, OptimizerKind, Position};

use crate::support::Bench;

/// Train images of ImageNet-1K.
const IMAGENET: usize = 1_281_167;

const ADAMW: OptimizerKind = OptimizerKind::AdamW {
    betas: [0.9, 0.999],
    eps: 1e-8,
};
const SGD: OptimizerKind = OptimizerKind::Sgd {
    momentum: 0.9,
    nesterov: false,
};
const LARS: OptimizerKind = OptimizerKind::Lars {
    momentum: 0.9,
    trust: 0.001,
};

fn file(name: &str) -> Protocol {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    Protocol::read(&folder.join(format!("linear-{name}.toml")), None, &[]).unwrap()
}

fn linear(protocol: &Protocol) -> &LinearTask {
    match &protocol.task {
        Task::Linear(task) => task,
        other => panic!("{other:?}"),
    }
}

/// What heads read of 12 blocks: blocks, tokens, norm.
fn inputs(task: &LinearTask) -> Vec<(Vec<usize>, Token, bool)> {
    let inputs = task.probe_inputs(12, (Token::Pooled, false));
    inputs
        .into_iter()
        .map(|input| (input.blocks, input.token, input.norm))
        .collect()
}

/// Updates of one epoch of ImageNet-1K.
fn updates(task: &LinearTask) -> usize {
    match task.epoch_length() {
        EpochLength::Samples => IMAGENET.div_ceil(task.batch),
        EpochLength::WholeBatches => IMAGENET / task.batch,
        EpochLength::Updates(updates) => updates,
    }
}

/// The first learning rate at the beginning of these epochs, as shares of its peak.
#[track_caller]
fn schedule(task: &LinearTask, wanted: &[(usize, f64)]) {
    let per_epoch = updates(task) as u64;
    for &(epoch, share) in wanted {
        let position = Position {
            iteration: epoch as u64 * per_epoch,
            iterations_per_epoch: per_epoch,
            epochs: task.epochs as u64,
        };
        let found = task.schedule.at(1.0, position);
        assert!((found - share).abs() < 1e-9, "epoch {epoch}: {found}");
    }
}

/// Half a cosine from 1 to `end`, so far through.
fn half_cosine(part: f64, end: f64) -> f64 {
    end + (1.0 - end) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

#[track_caller]
fn near(found: &[f64], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!((found / wanted - 1.0).abs() < 1e-12, "{found} {wanted}");
    }
}

/// `RandomResizedCrop(224)` and `RandomHorizontalFlip()` with this filter.
fn crops(crop: CropSpec, interpolation: Interpolation) -> AugmentSpec {
    AugmentSpec {
        crop,
        scale: [0.08, 1.0],
        ratio: [0.75, 4.0 / 3.0],
        interpolation,
        flip: 0.5,
        jitter: None,
        rand_augment: None,
        erase: None,
    }
}

#[test]
fn presets_are_the_files_and_the_defaults() {
    let named = |preset: LinearPreset| {
        let protocol = Protocol::preset(preset, &[]).unwrap();
        let (kind, name) = protocol.name.split_once('/').unwrap();
        assert_eq!((kind, protocol.version), ("linear", 1));
        assert_eq!(protocol.hash, file(name).hash, "{name}");
        assert_eq!(protocol.kind(), preset.kind());
        assert_eq!(preset.name(), name);
        (name.to_owned(), protocol)
    };
    let presets = LinearPreset::ALL.map(named);
    let mut hashes: Vec<_> = presets.iter().map(|(_, p)| p.hash.clone()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 11, "two presets are the same protocol");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    let files = std::fs::read_dir(folder).unwrap();
    let linear = files.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("linear-")
    });
    assert_eq!(
        linear.count(),
        11,
        "a protocol that this file does not know"
    );

    // A file that says nothing is BEiT's, or the cached one.
    let bench = Bench::empty();
    for (kind, name) in [(Kind::Linear, "beit"), (Kind::LinearCached, "cached")] {
        let text = format!("kind = \"{kind}\"\nname = \"linear/{name}\"\nversion = 1\n");
        bench.write("silent.toml", text);
        let silent = Protocol::read(&bench.path("silent.toml"), Some(kind), &[]).unwrap();
        assert_eq!(silent.hash, file(name).hash, "{}", silent.text);
        assert_eq!(Protocol::builtin(kind, &[]).unwrap().hash, silent.hash);
    }
    for (name, protocol) in &presets {
        // Resize(256, bicubic), CenterCrop(224) in every script; statistics are the checkpoint's.
        assert_eq!(protocol.input.resize, ResizeChoice::Dino, "{name}");
        assert_eq!(protocol.input.normalise, Normalise::Card, "{name}");
        assert_eq!(protocol.data.dataset, "imagenet-1k", "{name}");
    }
}

/// microsoft/unilm beit/run_linear_eval.py and the command of beit/get_started_for_image_classification.md:
/// 8 devices of 128, --lr 4e-3.
#[test]
fn beit() {
    let protocol = file("beit");
    let task = linear(&protocol);
    let each = |block| (vec![block], Token::Concat, false);
    assert_eq!(inputs(task), (0..12).map(each).collect::<Vec<_>>());
    near(&task.scaled_learning_rates(), &[4e-3]);
    assert_eq!(
        (task.batch, task.epochs, task.local_batch),
        (1024, 100, 128)
    );
    assert_eq!((task.optimizer, task.weight_decay), (ADAMW, 1e-4));
    assert!(!task.head.batch_norm && !task.drop_last);
    assert_eq!(task.head.initial, Initial::Normal(0.01));
    let bilinear = crops(CropSpec::Torchvision, Interpolation::Bilinear);
    assert_eq!(task.augment, bilinear);
    assert_eq!((updates(task), task.validate_every), (1252, 1));
    schedule(task, &[(0, 1.0), (50, 0.5), (99, half_cosine(0.99, 0.0))]);
    assert_eq!((task.shots, task.clip_norm), (Shots::All, None));
}

/// facebookresearch/mae main_linprobe.py and LINPROBE.md: 4 nodes of 8 devices of 512, blr 0.1.
#[test]
fn mae() {
    let protocol = file("mae");
    let task = linear(&protocol);
    assert_eq!(inputs(task), [(vec![11], Token::Cls, true)]);
    near(&task.scaled_learning_rates(), &[6.4]);
    assert_eq!(
        (task.batch, task.epochs, task.local_batch),
        (16384, 90, 512)
    );
    assert_eq!((task.optimizer, task.weight_decay), (LARS, 0.0));
    assert!(task.head.batch_norm && task.drop_last);
    assert_eq!(task.head.initial, Initial::TruncatedNormal(0.01));
    assert_eq!(task.augment, crops(CropSpec::Mae, Interpolation::Bicubic));
    assert_eq!(updates(task), 78);
    schedule(
        task,
        &[
            (0, 0.0),
            (5, 0.5),
            (10, 1.0),
            (50, 0.5),
            (70, half_cosine(0.75, 0.0)),
        ],
    );
}

/// OpenDriveLab/maskalign README: 8 devices of 2048, blr 0.025, 90 epochs, MAE's script otherwise.
#[test]
fn maskalign() {
    let (maskalign, mae) = (file("maskalign"), file("mae"));
    let task = linear(&maskalign);
    near(&task.scaled_learning_rates(), &[1.6]);
    assert_eq!((task.batch, task.local_batch), (8 * 2048, 2048));
    let mut others = linear(&mae).clone();
    others.learning_rates = vec![0.025];
    others.local_batch = 2048;
    assert_eq!(*task, others);
}

/// facebookresearch/dinov2 dinov2/eval/linear.py: 8 devices of 128, 10 epochs of 1250 updates.
#[test]
fn dinov2() {
    let protocol = file("dinov2");
    let task = linear(&protocol);
    let four = vec![8, 9, 10, 11];
    assert_eq!(
        inputs(task),
        [
            (vec![11], Token::Cls, true),
            (vec![11], Token::Concat, true),
            (four.clone(), Token::Cls, true),
            (four, Token::Concat, true),
        ]
    );
    let rates = [
        4e-5, 8e-5, 2e-4, 4e-4, 8e-4, 2e-3, 4e-3, 8e-3, 2e-2, 4e-2, 8e-2, 0.2, 0.4,
    ];
    near(&task.scaled_learning_rates(), &rates);
    assert_eq!(inputs(task).len() * rates.len(), 52);
    assert_eq!((task.batch, task.epochs, updates(task)), (1024, 10, 1250));
    assert_eq!((task.optimizer, task.weight_decay), (SGD, 0.0));
    assert!(!task.head.batch_norm);
    assert_eq!(task.head.initial, Initial::Normal(0.01));
    let bicubic = crops(CropSpec::Torchvision, Interpolation::Bicubic);
    assert_eq!(task.augment, bicubic);
    schedule(task, &[(0, 1.0), (5, 0.5), (9, half_cosine(0.9, 0.0))]);
    // At every update, not once an epoch.
    let position = Position {
        iteration: 3125,
        iterations_per_epoch: 1250,
        epochs: 10,
    };
    let found = task.schedule.at(1.0, position);
    assert!((found - half_cosine(0.25, 0.0)).abs() < 1e-12);
}

/// facebookresearch/dino eval_linear.py: 8 devices of 128, --n_last_blocks 4 for ViT-S, 1 with
/// --avgpool_patchtokens true for ViT-B. bytedance/ibot evaluation/eval_linear.py and run.sh: the
/// same with --avgpool_patchtokens 0 and 2.
#[test]
fn dino_and_ibot() {
    for (small, base) in [("dino", "dino-base"), ("ibot", "ibot-base")] {
        let (small, base) = (file(small), file(base));
        let task = linear(&small);
        assert_eq!(inputs(task), [(vec![8, 9, 10, 11], Token::Cls, true)]);
        near(&task.scaled_learning_rates(), &[4e-3]);
        assert_eq!((task.batch, task.epochs), (1024, 100));
        assert_eq!((task.optimizer, task.weight_decay), (SGD, 0.0));
        assert!(!task.head.batch_norm && !task.drop_last);
        assert_eq!(task.head.initial, Initial::Normal(0.01));
        let bilinear = crops(CropSpec::Torchvision, Interpolation::Bilinear);
        assert_eq!(task.augment, bilinear);
        schedule(task, &[(0, 1.0), (25, half_cosine(0.25, 0.0)), (50, 0.5)]);
        assert_eq!(inputs(linear(&base)), [(vec![11], Token::Concat, true)]);
        let mut others = linear(&base).clone();
        others.inputs.clone_from(&task.inputs);
        assert_eq!(others, *task);
    }
}

/// microsoft/SimMIM, issue 14: the eighth block's mean patch; of the recipe nothing is said, BEiT's
/// is taken.
#[test]
fn simmim() {
    let (simmim, beit) = (file("simmim"), file("beit"));
    let task = linear(&simmim);
    assert_eq!(inputs(task), [(vec![7], Token::MeanPatch, false)]);
    let mut others = linear(&beit).clone();
    others.inputs.clone_from(&task.inputs);
    assert_eq!(*task, others);
}

/// MEDiC, table 8; features as in aicip/MEDiC src/downstream/run_linear_eval.py (use_last_norm).
#[test]
fn medic() {
    let protocol = file("medic-paper");
    let task = linear(&protocol);
    let each = |block| (vec![block], Token::Concat, true);
    assert_eq!(inputs(task), (0..12).map(each).collect::<Vec<_>>());
    near(&task.scaled_learning_rates(), &[5e-4]);
    assert_eq!((task.batch, task.epochs), (1024, 100));
    assert_eq!((task.optimizer, task.weight_decay), (ADAMW, 0.05));
    assert_eq!(task.clip_norm, None);
    // The line is inclusive: its last update has the peak (BEiT's cosine_scheduler).
    schedule(task, &[(0, 0.0), (20, 1.0)]);
    let at = |iteration| {
        let position = Position {
            iteration,
            iterations_per_epoch: 1252,
            epochs: 100,
        };
        task.schedule.at(5e-4, position)
    };
    assert!((at(20 * 1252 - 1) - 5e-4).abs() < 1e-15);
    assert!((at(60 * 1252) - (1e-6 + 4.99e-4 / 2.0)).abs() < 1e-12);
    assert!(at(100 * 1252 - 1) - 1e-6 < 1e-10);
}

/// facebookresearch/dinov2 dinov2/eval/log_regression.py holds out a tenth of the train images.
#[test]
fn cached() {
    let protocol = file("cached");
    let Task::LinearCached(task) = &protocol.task else {
        panic!("{:?}", protocol.task);
    };
    assert_eq!(*task, CachedTask::default());
    assert_eq!((task.hold_out, task.shots), (0.1, Shots::All));
    assert_eq!(task.strengths.len(), 9);
    assert_eq!([task.strengths[0], task.strengths[8]], [1e-6, 100.0]);
}
