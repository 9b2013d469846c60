//! The fine-tuning recipes that are built in, against what their sources say: commands, defaults and
//! READMEs of the repositories, and the papers' tables.

use std::path::Path;

use mimbench::data::augment::{CropSpec, Erase, RandAugment};
use mimbench::data::{Interpolation, MixSpec};
use mimbench::nn::Initial;
use mimbench::spec::{
    FinetunePreset, FinetuneTask, Kind, Normalise, Pool, Protocol, RelativeBiasChoice,
    ResizeChoice, Shots, Task,
};
use mimbench::train::{LayerDecayRule, OptimizerKind, Position, layer_groups};
use mimbench::vit::{VitConfig, random_classifier_weights};

/// Train images of ImageNet-1K.
const IMAGENET: usize = 1_281_167;

/// What is written about a recipe.
struct Facts {
    preset: FinetunePreset,
    /// Blocks of the ViT that it is for.
    depth: usize,
    epochs: usize,
    /// Images of a device, and devices times steps of accumulation.
    devices: [usize; 2],
    /// Peak of the learning rate, after its scaling.
    peak: f64,
    decay: f64,
    /// Epochs of warm-up, and where the cosine ends.
    schedule: (u64, f64),
    drop_path: f64,
    /// Whether the code is MAE's; else it is BEiT's.
    mae: bool,
    /// Alphas of mixup and CutMix.
    mix: [f64; 2],
}

impl Facts {
    /// What all sources agree in, of ViT-B: MAE's `FINETUNE.md`.
    const MAE: Self = Self {
        preset: FinetunePreset::Mae,
        depth: 12,
        epochs: 100,
        // 4 nodes of 8 devices.
        devices: [32, 32],
        // A base of 5e-4 for 256 images.
        peak: 2e-3,
        decay: 0.65,
        // Defaults of `main_finetune.py`.
        schedule: (5, 1e-6),
        drop_path: 0.1,
        mae: true,
        mix: [0.8, 1.0],
    };
}

/// Every recipe of a paper or of its code.
const RECIPES: [Facts; 11] = [
    Facts::MAE,
    Facts {
        preset: FinetunePreset::MaeLarge,
        depth: 24,
        epochs: 50,
        peak: 4e-3,
        decay: 0.75,
        drop_path: 0.2,
        ..Facts::MAE
    },
    Facts {
        preset: FinetunePreset::MaeHuge,
        depth: 32,
        epochs: 50,
        // 8 nodes of 8 devices.
        devices: [16, 64],
        peak: 4e-3,
        decay: 0.75,
        drop_path: 0.3,
        ..Facts::MAE
    },
    // `get_started_for_image_classification.md`: beit_base_patch16_224_pt22k.
    Facts {
        preset: FinetunePreset::Beit,
        devices: [128, 8],
        peak: 4e-3,
        schedule: (20, 1e-6),
        mae: false,
        ..Facts::MAE
    },
    // The same file of `beit2`, pre-trained for 300 epochs.
    Facts {
        preset: FinetunePreset::Beit2,
        devices: [128, 8],
        peak: 5e-4,
        schedule: (20, 1e-6),
        mae: false,
        ..Facts::MAE
    },
    // Section 4.1: a base of 3e-4.
    Facts {
        preset: FinetunePreset::MaskAlignPaper,
        devices: [128, 8],
        peak: 1.2e-3,
        decay: 0.6,
        drop_path: 0.2,
        ..Facts::MAE
    },
    Facts {
        preset: FinetunePreset::MaskAlignCode,
        devices: [128, 8],
        peak: 1.2e-3,
        decay: 0.55,
        drop_path: 0.2,
        ..Facts::MAE
    },
    Facts {
        preset: FinetunePreset::TinyMim,
        devices: [128, 8],
        drop_path: 0.2,
        ..Facts::MAE
    },
    // `DOWNSTREAM.md` over `run.sh`.
    Facts {
        preset: FinetunePreset::Dbot,
        peak: 2e-4,
        schedule: (20, 1e-6),
        mae: false,
        ..Facts::MAE
    },
    // Table 9.
    Facts {
        preset: FinetunePreset::MedicPaper,
        devices: [128, 8],
        peak: 5e-4,
        schedule: (10, 4e-4),
        mae: false,
        mix: [0.6, 0.75],
        ..Facts::MAE
    },
    // `scripts/finetune.sh`.
    Facts {
        preset: FinetunePreset::MedicCode,
        devices: [128, 4],
        peak: 5e-4,
        schedule: (20, 1e-6),
        mae: false,
        ..Facts::MAE
    },
];

fn builtin(preset: FinetunePreset) -> Protocol {
    Protocol::finetune(preset, &[]).unwrap()
}

fn task(protocol: &Protocol) -> &FinetuneTask {
    match &protocol.task {
        Task::Finetune(task) => task,
        other => panic!("{other:?}"),
    }
}

#[test]
fn presets_are_the_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    let mut hashes = Vec::new();
    for preset in FinetunePreset::ALL {
        let protocol = builtin(preset);
        let path = folder.join(format!("finetune-{}.toml", preset.name()));
        let file = Protocol::read(&path, Some(Kind::Finetune), &[]).unwrap();
        assert_eq!(protocol.hash, file.hash, "{}", preset.name());
        assert_eq!(protocol.name, format!("finetune/{}", preset.name()));
        assert_eq!(protocol.version, 1);
        hashes.push(protocol.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 12, "two presets are the same protocol");
    let files = std::fs::read_dir(folder).unwrap();
    let finetune = files.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("finetune-")
    });
    assert_eq!(
        finetune.count(),
        12,
        "a protocol that this file does not know"
    );
    let usual = Protocol::builtin(Kind::Finetune, &[]).unwrap();
    assert_eq!(usual.hash, builtin(FinetunePreset::Mae).hash);
}

#[test]
fn settings_are_those_of_their_sources() {
    for facts in &RECIPES {
        let protocol = builtin(facts.preset);
        let (name, task) = (&protocol.name, task(&protocol));
        let [device, times] = facts.devices;
        assert_eq!(protocol.data.dataset, "imagenet-1k", "{name}");
        assert_eq!(
            (task.depth, task.epochs, task.batch, task.local_batch),
            (Some(facts.depth), facts.epochs, device * times, device),
            "{name}"
        );
        let numbers = [
            task.scaled_learning_rate(),
            task.layer_decay,
            task.drop_path,
        ];
        let wanted = [facts.peak, facts.decay, facts.drop_path];
        for (found, wanted) in numbers.iter().zip(wanted) {
            assert!(
                (found / wanted - 1.0).abs() < 1e-12,
                "{name}: {found} {wanted}"
            );
        }
        let rule = match facts.mae {
            true => LayerDecayRule::Mae,
            false => LayerDecayRule::Beit,
        };
        assert_eq!(task.layer_decay_rule, rule, "{name}");
        assert_eq!(task.weight_decay, 0.05, "{name}");
        assert_eq!(
            task.optimizer,
            OptimizerKind::AdamW {
                betas: [0.9, 0.999],
                eps: 1e-8
            },
            "{name}"
        );
        assert_eq!(
            (task.label_smoothing, task.clip_norm),
            (0.1, None),
            "{name}"
        );
        let [mixup, cutmix] = facts.mix;
        assert_eq!(
            task.mix,
            Some(MixSpec {
                mixup,
                cutmix,
                probability: 1.0,
                switch: 0.5,
                cutmix_minmax: None,
            }),
            "{name}"
        );
        // MAE's std of 2e-5; BEiT's 0.02 times an init_scale of 0.001.
        assert_eq!(task.head_initial, Initial::TruncatedNormal(2e-5), "{name}");
        assert_eq!((task.repeats, task.drop_last), (1, true), "{name}");
        assert_eq!((task.validate_every, task.shots), (1, Shots::All), "{name}");

        let augment = &task.augment;
        assert_eq!((augment.scale, augment.flip), ([0.08, 1.0], 0.5), "{name}");
        assert_eq!(augment.ratio, [0.75, 4.0 / 3.0], "{name}");
        assert_eq!(augment.interpolation, Interpolation::Bicubic, "{name}");
        assert_eq!(augment.jitter, None, "{name}");
        let crop = match facts.mae {
            true => CropSpec::Torchvision,
            false => CropSpec::Beit,
        };
        assert_eq!(augment.crop, crop, "{name}");
        let rand = RandAugment {
            operations: 2,
            magnitude: 9.0,
            deviation: 0.5,
            probability: 0.5,
        };
        assert_eq!(augment.rand_augment, Some(rand), "{name}");
        let erase = Erase {
            probability: 0.25,
            area: [0.02, 1.0 / 3.0],
            aspect: 0.3,
            count: 1,
        };
        assert_eq!(augment.erase, Some(erase), "{name}");

        // Shorter side 256 of 224, bicubic.
        assert_eq!(protocol.input.resize, ResizeChoice::Dino, "{name}");
        let medic_code = facts.preset == FinetunePreset::MedicCode;
        let normalise = match medic_code {
            // It leaves out --imagenet_default_mean_and_std.
            true => Normalise::Half,
            false => Normalise::Card,
        };
        assert_eq!(protocol.input.normalise, normalise, "{name}");
        let medic = medic_code || facts.preset == FinetunePreset::MedicPaper;
        let pool = if medic { Pool::Cls } else { Pool::MeanPatch };
        assert_eq!(task.pool, pool, "{name}");
        let tables = match facts.mae {
            true => RelativeBiasChoice::Checkpoint,
            false => RelativeBiasChoice::PerBlock,
        };
        assert_eq!(task.relative_bias, tables, "{name}");
    }
}

/// Half a cosine from `peak` to `end`, so far through.
fn half_cosine([peak, end]: [f64; 2], part: f64) -> f64 {
    end + (peak - end) * 0.5 * (1.0 + (std::f64::consts::PI * part).cos())
}

#[test]
fn learning_rates_move_as_the_codes_move_them() {
    for facts in &RECIPES {
        let protocol = builtin(facts.preset);
        let (name, task) = (&protocol.name, task(&protocol));
        let recipe = task.recipe(0, task.local_batch);
        let all = recipe.updates(IMAGENET) as u64;
        // Whole batches of 1,281,167 images.
        let per_epoch = match facts.devices {
            [128, 4] => 2502,
            _ => 1251,
        };
        let epochs = facts.epochs as u64;
        assert_eq!(all, per_epoch * epochs, "{name}");
        let rate = |iteration| {
            let position = Position {
                iteration,
                iterations_per_epoch: per_epoch,
                epochs,
            };
            recipe.schedule.at(recipe.learning_rate, position)
        };
        let (warmup, end) = facts.schedule;
        let first = warmup * per_epoch;
        let middle = first + (all - first) / 2;
        let (peak, ends) = (facts.peak, [facts.peak, end]);
        let part = |step| (step - first) as f64 / (all - first) as f64;
        // BEiT's line has its end among its steps, and its cosine begins with the peak again.
        let line = if facts.mae { first } else { first - 1 };
        for (step, wanted) in [
            (0, 0.0),
            (first / 2, peak * (first / 2) as f64 / line as f64),
            (line, peak),
            (first, peak),
            (middle, half_cosine(ends, part(middle))),
            (all - 1, half_cosine(ends, part(all - 1))),
        ] {
            let found = rate(step);
            assert!(
                (found - wanted).abs() < 1e-9 * peak,
                "{name} {step}: {found} {wanted}"
            );
        }
        // Never below its end, and there but for one step's worth.
        assert!(
            (end..end + 1e-8 * peak + 1e-12).contains(&rate(all - 1)),
            "{name}"
        );
    }
}

#[test]
fn layers_of_a_vit_base_learn_at_powers_of_the_decay() {
    // Widths are nothing to it.
    let config = VitConfig::plain(16, [14, 14], (24, 12, 2));
    let weights = random_classifier_weights(&config, 10, 0);
    let named: Vec<_> = weights
        .iter()
        .map(|(name, tensor)| (name, &tensor.shape[..]))
        .collect();
    for facts in RECIPES.iter().filter(|facts| facts.depth == 12) {
        let protocol = builtin(facts.preset);
        let (name, task) = (&protocol.name, task(&protocol));
        let groups = layer_groups(task.layer_decay_rule, task.layer_decay, 12, &named);
        assert_eq!(groups.len(), 28, "{name}");
        let of = |wanted: &str| {
            let place = named.iter().position(|(name, _)| *name == wanted).unwrap();
            let group = groups.iter().find(|group| group.members.contains(&place));
            let group = group.unwrap();
            assert_eq!(group.peak_scale, 1.0);
            (group.learning_rate_scale, group.weight_decay_scale)
        };
        let near = |parameter: &str, power: i32, decays: f64| {
            let (scale, decay) = of(parameter);
            let wanted = facts.decay.powi(power);
            assert!(
                (scale / wanted - 1.0).abs() < 1e-12,
                "{name} {parameter}: {scale}"
            );
            assert_eq!(decay, decays, "{name} {parameter}");
        };
        near("cls_token", 13, 0.0);
        near("pos_embed", 13, 0.0);
        near("patch_embed.proj.weight", 13, 1.0);
        near("patch_embed.proj.bias", 13, 0.0);
        near("blocks.0.attn.qkv.weight", 12, 1.0);
        near("blocks.0.norm1.weight", 12, 0.0);
        near("blocks.5.mlp.fc2.weight", 7, 1.0);
        near("blocks.11.mlp.fc1.bias", 1, 0.0);
        near("norm.weight", 0, 0.0);
        near("head.weight", 0, 1.0);
        near("head.bias", 0, 0.0);
    }
    // Specifications print it so.
    assert!((0.65f64.powi(13) - 0.0037).abs() < 5e-5);
}

/// Key paths of the leaves of `[input]` and `[task]`, sorted.
fn settings(protocol: &Protocol) -> Vec<String> {
    fn leaves(prefix: &str, value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    leaves(&format!("{prefix}.{key}"), value, found);
                }
            }
            _ => found.push(prefix.to_owned()),
        }
    }
    let text: toml::Table = protocol.text.parse().unwrap();
    let mut found = Vec::new();
    for section in ["input", "task"] {
        leaves(section, &text[section], &mut found);
    }
    // What says nothing of the training, and the list itself.
    let beside = [
        "validate_every",
        "shots",
        "shots_seed",
        "not_in_paper",
        "head_initial",
    ];
    found.retain(|path| !beside.iter().any(|name| path.contains(name)));
    found.push("task.head_initial".to_owned());
    found.sort_unstable();
    found
}

#[test]
fn what_the_papers_do_not_say_is_named() {
    let silent = |preset| task(&builtin(preset)).not_in_paper.clone();
    const SAID: [&str; 12] = [
        "task.depth",
        "task.epochs",
        "task.batch",
        "task.learning_rate",
        "task.learning_rate_rule",
        "task.weight_decay",
        "task.layer_decay",
        "task.drop_path",
        "task.schedule.warmup_epochs",
        "task.optimizer.kind",
        "task.mix.mixup",
        "task.mix.cutmix",
    ];
    // MEDiC's table 9; the mark of gradient clipping is lost in its text.
    let medic = [
        "task.label_smoothing",
        "task.schedule.kind",
        "task.schedule.start",
        "task.schedule.end",
        "task.optimizer.betas",
        "task.optimizer.eps",
        "task.augment.rand_augment.magnitude",
        "task.augment.rand_augment.deviation",
        "task.augment.erase.probability",
    ];
    // MaskAlign, section 4.1: all of MAE's augmentation.
    let maskalign = ["task.mix", "task.augment"];
    for (preset, more, lost) in [
        (
            FinetunePreset::MedicPaper,
            &medic[..],
            &["task.clip_norm"][..],
        ),
        (FinetunePreset::MaskAlignPaper, &maskalign[..], &[]),
    ] {
        let said = |path: &String| {
            let mut names = SAID.iter().chain(more);
            names.any(|name| path == name || path.starts_with(&format!("{name}.")))
        };
        let mut expected = settings(&builtin(preset));
        expected.retain(|path| !said(path));
        expected.extend(lost.iter().map(|&path| path.to_owned()));
        expected.sort_unstable();
        let mut listed = silent(preset);
        listed.sort_unstable();
        assert_eq!(listed, expected, "{}", preset.name());
    }
    for preset in FinetunePreset::ALL {
        let paper = preset.name().ends_with("-paper");
        assert_eq!(silent(preset).is_empty(), !paper, "{}", preset.name());
    }
}
