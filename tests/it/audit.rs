//! Nothing that a checkpoint lost, gained or had changed passes silently.

use std::path::Path;

use mimbench::checkpoint::{Checkpoint, CheckpointError, Fate, LoadOptions};
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
/// model is missed, and what was not changes nothing.
fn every_removal(goldens: &Path) -> (usize, usize) {
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
        let options = told(name);
        let before = build(&path, &options).unwrap();
        for line in &before.audit.lines {
            let key = &line.key;
            let what = format!("{name} without {key}");
            whole.without(|other| other == key).write(&path);
            let other_model = OTHER_MODELS
                .iter()
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
fn no_tensor_of_a_fixture_is_lost_silently() {
    let (refused, harmless) = every_removal(&fixture("goldens"));
    assert!(refused > 200 && harmless > 20, "{refused}, {harmless}");
}

#[test]
fn no_tensor_of_a_shared_golden_is_lost_silently() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    let (refused, harmless) = every_removal(&goldens);
    println!("{refused} removals refused, {harmless} change nothing");
    assert!(refused > 2500 && harmless > 300, "{refused}, {harmless}");
}
