//! Nothing that a checkpoint lost, gained or had changed passes silently.

use std::collections::BTreeSet;
use std::path::Path;

use clap::ValueEnum;
use mimbench::checkpoint::{Checkpoint, CheckpointError, Dialect, Fate, LoadOptions};
use mimbench::vit::{Heads, table_rows};
use tempfile::TempDir;

use crate::goldens::{GOLDENS, told};
use crate::support::{fixture, shared};
use crate::tensors::{Tensors, build};

/// Keys whose loss leaves another model that somebody may have trained, golden by golden (`*` is
/// every golden), and which model that is.
const OTHER_MODELS: &[(&str, &str, &str)] = &[
    (
        "beit_original_pretrain_shared_abs_prefix",
        "module.pos_embed",
        "BEiT's default: relative positions alone",
    ),
    (
        "dinov2_original_reg4_swiglu",
        "register_tokens",
        "DINOv2 without registers",
    ),
    ("*", "visual.proj", "CLIP's tower without its projection"),
    (
        "*",
        "visual_projection.weight",
        "CLIP's tower without its projection",
    ),
    (
        "timm_vit_heads_from_dim64",
        "blocks.0.attn.qkv.bias",
        "a ViT without the bias, and no second block to compare with",
    ),
];

/// The same for files without the `config.json` that tells.
const OTHER_MODELS_ALONE: &[(&str, &str, &str)] = &[
    (
        "hf_dinov2_registers",
        "embeddings.register_tokens",
        "DINOv2 without registers",
    ),
    (
        "timm_dinov2_reg4_swiglu",
        "reg_token",
        "DINOv2 without registers",
    ),
    ("timm_vit_reg4", "reg_token", "a ViT without registers"),
    (
        "timm_beit_abs_and_rel",
        "pos_embed",
        "BEiT's default: relative positions alone",
    ),
    (
        "timm_deit3",
        "cls_token",
        "a ViT whose feature is the mean of its patches, as SigLIP's",
    ),
];

/// Goldens that are refused without their `config.json`: open_clip's activation, and registers with
/// no class token.
const NOT_ALONE: [&str; 2] = ["openclip_vision_gelu", "timm_vit_reg4_nocls_gap"];

/// A folder with a golden's configuration and no weights.
fn beside(golden: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = golden.join("config.json");
    if config.exists() {
        std::fs::copy(config, folder.path().join("config.json")).unwrap();
    }
    folder
}

/// What the program prints, of which there is one line of each kind.
#[track_caller]
fn message(error: &CheckpointError) -> String {
    let (error, hint) = (error.to_string(), error.hint().unwrap());
    assert!(!error.contains('\n') && !hint.contains('\n'), "{error}");
    assert!(!hint.is_empty(), "{error}");
    error
}

/// Opens every golden again and again, each time without one of its keys: what was part of the
/// model is missed, and what was not changes nothing. `alone` leaves `config.json` out.
fn every_removal(goldens: &Path, alone: bool) -> (usize, usize) {
    let (mut refused, mut harmless) = (0, 0);
    for &(name, _) in GOLDENS {
        let golden = goldens.join(name);
        if !golden.is_dir() {
            continue;
        }
        let whole = Tensors::of_golden(&golden);
        let folder = beside(&golden);
        let path = folder.path().join("model.safetensors");
        whole.write(&path);
        let mut options = told(name);
        let mut before = build(&path, &options).unwrap();
        if alone && folder.path().join("config.json").exists() {
            std::fs::remove_file(folder.path().join("config.json")).unwrap();
            options.heads = Some(before.config.heads.clone());
            before = match build(&path, &options) {
                Ok(before) => before,
                Err(error) if NOT_ALONE.contains(&name) => {
                    message(&error);
                    continue;
                }
                Err(error) => panic!("{name} alone: {error}"),
            };
        }
        for line in &before.audit.lines {
            let key = &line.key;
            let what = format!("{name} without {key}");
            whole.without(|other| other == key).write(&path);
            let others = OTHER_MODELS
                .iter()
                .chain(OTHER_MODELS_ALONE.iter().filter(|_| alone));
            let other_model = others
                .into_iter()
                .any(|(of, other, _)| (*of == name || *of == "*") && other == key);
            match (build(&path, &options), &line.fate) {
                (Ok(_), _) if other_model => {}
                (Ok(after), Fate::Dropped { .. }) => {
                    assert_eq!(after.config, before.config, "{what}");
                    harmless += 1;
                }
                (Ok(_), fate) => panic!("{what} is loaded, it was {fate:?}"),
                // Without its patch projection another encoder is not known as one.
                (Err(error), Fate::Dropped { .. }) => {
                    let message = message(&error);
                    assert!(key.contains("patch_embed"), "{what}: {message}");
                }
                (Err(error), _) => {
                    message(&error);
                    refused += 1;
                }
            }
        }
    }
    (refused, harmless)
}

#[test]
fn no_tensor_of_a_golden_is_lost_silently() {
    let (goldens, least) = match shared("goldens") {
        Some(goldens) => (goldens, (3100, 380)),
        None => (fixture("goldens"), (200, 20)),
    };
    for alone in [false, true] {
        let (refused, harmless) = every_removal(&goldens, alone);
        println!("{refused} removals are refused, {harmless} change nothing");
        assert!(
            refused > least.0 && harmless > least.1,
            "{refused}, {harmless}"
        );
    }
}

/// A golden that is to be changed.
struct Whole {
    name: &'static str,
    tensors: Tensors,
    checkpoint: Checkpoint,
}

impl Whole {
    /// Every golden, below `../shared` where that is there.
    fn all() -> Vec<(Self, TempDir)> {
        let goldens = shared("goldens").unwrap_or_else(|| fixture("goldens"));
        let golden = |&(name, _): &(&'static str, Dialect)| {
            let golden = goldens.join(name);
            golden.is_dir().then(|| {
                let tensors = Tensors::of_golden(&golden);
                let folder = beside(&golden);
                let path = folder.path().join("model.safetensors");
                tensors.write(&path);
                let checkpoint = build(&path, &told(name)).unwrap();
                let whole = Self {
                    name,
                    tensors,
                    checkpoint,
                };
                (whole, folder)
            })
        };
        GOLDENS.iter().filter_map(golden).collect()
    }

    /// Keys that are, or are part of, canonical tensors that `wanted` takes.
    fn keys(&self, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let taken = self.checkpoint.audit.lines.iter().filter(|line| {
            let names = match &line.fate {
                Fate::Loaded => std::slice::from_ref(&line.key),
                Fate::Renamed { to } => std::slice::from_ref(to),
                Fate::Mapped { to, .. } => to,
                Fate::Dropped { .. } | Fate::Unknown | Fate::Ignored { .. } => &[],
            };
            names.iter().any(|name| wanted(name))
        });
        taken.map(|line| line.key.as_str()).collect()
    }

    fn key(&self, canonical: &str) -> Option<&str> {
        self.keys(|name| name == canonical).first().copied()
    }

    /// What precedes a key whose canonical name it ends with.
    fn root(&self, canonical: &str) -> Option<&str> {
        self.key(canonical)?.strip_suffix(canonical)
    }

    /// The same with a tensor of another shape, its numbers made up.
    fn reshaped(&self, key: &str, change: impl Fn(&mut Vec<usize>)) -> Option<Tensors> {
        let mut shape = self.tensors.0[key].shape.clone();
        change(&mut shape);
        let mut changed = self.tensors.clone();
        changed.add(key, &shape);
        (shape != self.tensors.0[key].shape).then_some(changed)
    }

    /// The same with one more tensor.
    fn with(&self, key: &str, shape: &[usize]) -> Tensors {
        let mut changed = self.tensors.clone();
        assert!(!changed.0.contains_key(key), "{key}");
        changed.add(key, shape);
        changed
    }
}

/// A change to a golden, `None` where it has nothing of the kind.
type Change = fn(&Whole) -> Option<Tensors>;

/// Changes that each must be refused, how many dialects have what they change, and what every
/// refusal says.
const CHANGES: &[(&str, usize, &str, Change)] = &[
    ("a whole block is lost", 20, "blocks.0.", |whole| {
        whole.key("blocks.1.norm1.weight")?;
        let lost = whole.keys(|name| name.starts_with("blocks.0."));
        Some(whole.tensors.without(|key| lost.contains(&key)))
    }),
    ("a block stands apart", 20, "", |whole| {
        let mut changed = whole.tensors.clone();
        for key in whole.keys(|name| name.starts_with("blocks.0.")) {
            let apart = key.replacen(".0.", ".7.", 1);
            changed.0.insert(apart, whole.tensors.0[key].clone());
        }
        Some(changed)
    }),
    ("a layer nobody knows in a block", 20, "lambda_q", |whole| {
        let key = whole.key("blocks.0.norm2.weight")?;
        let extra = key.replace("weight", "lambda_q");
        Some(whole.with(&extra, &[8]))
    }),
    (
        "a tensor nobody knows beside the blocks",
        20,
        "pos_bias",
        |whole| {
            let key = whole.key("norm.weight").or(whole.key("fc_norm.weight"))?;
            let extra = key.replace("weight", "pos_bias");
            Some(whole.with(&extra, &[8]))
        },
    ),
    (
        "the norm of one block is wider",
        20,
        "norm1.weight",
        |whole| {
            let key = whole.key("blocks.1.norm1.weight")?;
            whole.reshaped(key, |shape| shape[0] += 8)
        },
    ),
    ("the last norm is wider", 15, "norm", |whole| {
        let key = whole.key("norm.weight").or(whole.key("fc_norm.weight"))?;
        whole.reshaped(key, |shape| shape[0] += 8)
    }),
    ("a bias is longer", 20, "attn.proj.bias", |whole| {
        let key = whole.key("blocks.0.attn.proj.bias")?;
        whole.reshaped(key, |shape| shape[0] += 1)
    }),
    (
        "one block's MLP is transposed",
        15,
        "blocks.1.mlp.fc",
        |whole| {
            let key = whole.key("blocks.1.mlp.fc1.weight")?;
            whole.reshaped(key, |shape| shape.reverse())
        },
    ),
    (
        "the packed projection is no three matrices",
        20,
        "",
        |whole| {
            let key = whole.key("blocks.0.attn.qkv.weight")?;
            whole.reshaped(key, |shape| shape[0] -= 1)
        },
    ),
    ("positions of no grid", 15, "", |whole| {
        let key = whole.key("pos_embed")?;
        whole.reshaped(key, |shape| {
            let axis = shape.len() - 2;
            shape[axis] += 7;
        })
    }),
    ("positions of another width", 15, "pos_embed", |whole| {
        let key = whole.key("pos_embed")?;
        whole.reshaped(key, |shape| {
            let axis = shape.len() - 1;
            shape[axis] += 8;
        })
    }),
    (
        "one block's table is of another grid",
        3,
        "relative_position_bias_table",
        |whole| {
            let key = whole.key("blocks.1.attn.relative_position_bias_table")?;
            whole.reshaped(key, |shape| shape[0] = table_rows([5, 5]))
        },
    ),
    (
        "one block's table is of other heads",
        3,
        "relative_position_bias_table",
        |whole| {
            let key = whole.key("blocks.1.attn.relative_position_bias_table")?;
            whole.reshaped(key, |shape| shape[1] *= 2)
        },
    ),
    ("norm and fc_norm", 7, "norm", |whole| {
        let (root, other) = match whole.root("norm.weight") {
            Some(root) if !root.ends_with("layer") => (root, "fc_norm"),
            Some(_) => return None,
            None => (whole.root("fc_norm.weight")?, "norm"),
        };
        let width = whole.checkpoint.config.width;
        let mut changed = whole.with(&format!("{root}{other}.weight"), &[width]);
        changed.add(&format!("{root}{other}.bias"), &[width]);
        Some(changed)
    }),
    ("a distillation token without a position", 5, "", |whole| {
        whole.key("pos_embed")?;
        let root = whole.root("cls_token")?;
        let width = whole.checkpoint.config.width;
        let there = whole.checkpoint.config.distillation_token;
        (!there).then(|| whole.with(&format!("{root}dist_token"), &[1, 1, width]))
    }),
    ("layer scale under two names", 4, "gamma", |whole| {
        let one = whole.key("blocks.0.ls1.gamma")?;
        let other = match one.strip_suffix("ls1.gamma") {
            Some(block) => format!("{block}gamma_1"),
            None => format!("{}ls1.gamma", one.strip_suffix("gamma_1")?),
        };
        let mut changed = whole.tensors.clone();
        changed.0.insert(other, whole.tensors.0[one].clone());
        Some(changed)
    }),
    (
        "projections apart beside the packed one",
        10,
        "attn.",
        |whole| {
            let key = whole.key("blocks.0.attn.qkv.weight")?;
            let attention = key.strip_suffix("qkv.weight")?;
            let width = whole.checkpoint.config.width;
            let mut changed = whole.tensors.clone();
            for part in ["q_proj", "k_proj", "v_proj"] {
                changed.add(&format!("{attention}{part}.weight"), &[width, width]);
            }
            Some(changed)
        },
    ),
    (
        "learned positions beside rotary ones",
        2,
        "pos_embed",
        |whole| {
            let (root, name) = match whole.checkpoint.dialect {
                Dialect::Dinov3 => (whole.root("cls_token")?, "pos_embed"),
                Dialect::HfDinov3 => (
                    whole.key("cls_token")?.strip_suffix("cls_token")?,
                    "position_embeddings",
                ),
                _ => return None,
            };
            let width = whole.checkpoint.config.width;
            Some(whole.with(&format!("{root}{name}"), &[1, 17, width]))
        },
    ),
    ("a norm before BEiT's blocks", 5, "norm_pre", |whole| {
        whole
            .key("blocks.0.attn.qkv.bias")?
            .strip_suffix("q_bias")?;
        let root = whole.root("cls_token")?;
        let width = whole.checkpoint.config.width;
        let mut changed = whole.with(&format!("{root}norm_pre.weight"), &[width]);
        changed.add(&format!("{root}norm_pre.bias"), &[width]);
        Some(changed)
    }),
    ("an average beside the weights", 15, "2 encoders", |whole| {
        let mut two = Tensors::default();
        for (key, stored) in &whole.tensors.0 {
            two.0.insert(format!("model.{key}"), stored.clone());
            two.0.insert(format!("model_ema.{key}"), stored.clone());
        }
        // Whole files of two encoders are four then.
        let alone = whole.checkpoint.audit.lines.iter();
        let mut dropped = alone.filter_map(|line| match &line.fate {
            Fate::Dropped { reason } => Some(reason),
            _ => None,
        });
        (!dropped.any(|reason| reason.contains("evaluate"))).then_some(two)
    }),
];

#[test]
fn every_change_to_a_golden_is_refused() {
    let goldens = Whole::all();
    let mut passed = Vec::new();
    for (what, at_least, said, change) in CHANGES {
        let mut dialects = BTreeSet::new();
        for (whole, _folder) in &goldens {
            let Some(changed) = change(whole) else {
                continue;
            };
            let path = &whole.checkpoint.path;
            changed.write(path);
            match build(path, &told(whole.name)) {
                Ok(_) => passed.push(format!("{what}: {} is loaded", whole.name)),
                Err(error) => {
                    let message = message(&error);
                    if !message.contains(said) {
                        passed.push(format!("{what}: {} is refused by {message}", whole.name));
                    }
                }
            }
            dialects.insert(whole.checkpoint.dialect.name());
        }
        println!("{what}: {dialects:?}");
        if goldens.len() == GOLDENS.len() {
            assert!(dialects.len() >= *at_least, "{what}: {dialects:?}");
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
}

#[test]
fn a_dialect_that_is_not_the_files_is_refused_or_changes_nothing() {
    for (whole, _folder) in Whole::all() {
        let path = &whole.checkpoint.path;
        whole.tensors.write(path);
        for &dialect in Dialect::value_variants() {
            let options = LoadOptions {
                dialect: Some(dialect),
                ..told(whole.name)
            };
            match build(path, &options) {
                Ok(checkpoint) => {
                    let what = format!("{} as {}", whole.name, dialect.name());
                    assert_eq!(checkpoint.config, whole.checkpoint.config, "{what}");
                }
                Err(error) => {
                    message(&error);
                    assert_ne!(dialect, whole.checkpoint.dialect, "{error}");
                }
            }
        }
    }
}

#[test]
fn heads_that_the_weights_contradict_are_refused() {
    let mut dialects = BTreeSet::new();
    for (whole, _folder) in Whole::all() {
        let config = &whole.checkpoint.config;
        let tell = config.relative_bias.is_some()
            || config.qk_norm
            || matches!(whole.checkpoint.dialect, Dialect::Dinov3 | Dialect::Eva02);
        let told = LoadOptions {
            heads: Some(Heads::same(1, config.depth)),
            ..told(whole.name)
        };
        if tell {
            let error = build(&whole.checkpoint.path, &told).unwrap_err();
            let message = message(&error);
            assert!(message.contains("says 1"), "{}: {message}", whole.name);
            dialects.insert(whole.checkpoint.dialect.name());
        }
    }
    println!("{dialects:?}");
    assert!(dialects.contains("timm"), "{dialects:?}");
}

#[test]
fn a_config_json_of_another_checkpoint_is_refused() {
    for (whole, folder) in Whole::all() {
        let config = &whole.checkpoint.config;
        let (bias, scale, token) = (!config.qkv_bias, !config.layer_scale, config.class_token);
        for (text, said) in [
            (r#"{"hidden_size": 768}"#.to_owned(), "width 768"),
            (r#"{"num_hidden_layers": 12}"#.to_owned(), "depth 12"),
            (r#"{"patch_size": 16}"#.to_owned(), "patch size 16"),
            (r#"{"num_channels": 1}"#.to_owned(), "channels 1"),
            (
                format!(r#"{{"num_attention_heads": 7, "class_token": {token}}}"#),
                "7 heads",
            ),
            (format!(r#"{{"qkv_bias": {bias}}}"#), "bias of queries"),
            (format!(r#"{{"init_values": {scale}}}"#), "layer scale"),
        ] {
            std::fs::write(folder.path().join("config.json"), &text).unwrap();
            let mut told = told(whole.name);
            // The flag is stronger than the file.
            if said == "7 heads" {
                told.heads = None;
            }
            // Nothing else says so: open_clip's own file tells CLIP from open_clip.
            told.dialect = Some(whole.checkpoint.dialect);
            let error = build(&whole.checkpoint.path, &told).unwrap_err();
            let message = message(&error);
            let of_json = message.contains("config.json") && message.contains(said);
            assert!(of_json, "{}, {text}: {message}", whole.name);
        }
    }
}

#[test]
fn one_of_two_encoders_is_asked_for_by_key() {
    let golden = fixture("goldens/timm_vit");
    let whole = Tensors::of_golden(&golden);
    let folder = beside(&golden);
    let path = folder.path().join("two.safetensors");
    let mut two = Tensors::default();
    for (key, stored) in &whole.0 {
        two.0.insert(format!("model.{key}"), stored.clone());
        two.add(&format!("model_ema.module.{key}"), &stored.shape);
    }
    two.write(&path);
    let error = build(&path, &LoadOptions::default()).unwrap_err();
    let said = message(&error);
    assert!(said.contains("model, model_ema.module"), "{said}");
    assert!(error.hint().unwrap().contains("--key"));
    let keyed = |key: &str| LoadOptions {
        key: Some(key.to_owned()),
        ..LoadOptions::default()
    };
    for (key, kept) in [
        ("model", "model."),
        ("model.", "model."),
        ("model_ema", "model_ema.module."),
        ("model_ema.module", "model_ema.module."),
    ] {
        let checkpoint = build(&path, &keyed(key)).unwrap();
        for line in &checkpoint.audit.lines {
            let outside = Fate::Dropped {
                reason: "outside --key".to_owned(),
            };
            let taken = line.key.starts_with(kept);
            assert_eq!(line.fate != outside, taken, "{key}: {}", line.key);
        }
    }
    for (key, said) in [
        ("ema", "no part ema"),
        ("mod", "no part mod"),
        ("", "no part"),
        ("model.blocks", "no known dialect"),
    ] {
        let error = build(&path, &keyed(key)).unwrap_err();
        let message = message(&error);
        assert!(message.contains(said), "{key}: {message}");
    }
}

#[test]
fn an_ignored_key_is_missed_as_a_lost_one_is() {
    let golden = fixture("goldens/timm_vit");
    let path = golden.join("model.safetensors");
    let ignoring = |pattern: &str| LoadOptions {
        ignore_keys: vec![pattern.to_owned()],
        ..LoadOptions::default()
    };
    for (pattern, said) in [
        (
            "blocks.1.attn.qkv.bias",
            "blocks.1.attn.qkv.bias is missing",
        ),
        ("blocks.1.*", "blocks.1."),
        ("norm.*", "norm.weight is missing"),
        ("pos_embed", "pos_embed is missing"),
        ("*", "missing"),
        ("nothing", "nothing matches no key"),
    ] {
        let error = build(&path, &ignoring(pattern)).unwrap_err();
        let message = message(&error);
        assert!(message.contains(said), "{pattern}: {message}");
    }
    let checkpoint = build(&path, &ignoring("head.*")).unwrap();
    assert_eq!(checkpoint.audit.ignored().count(), 2);
}
