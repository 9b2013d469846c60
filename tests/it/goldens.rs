//! Forward passes against timm and facebookresearch/mae.

use std::path::Path;
use std::process::Command;

use mimbench::checkpoint::source::TensorSource;

use crate::support::{assert_close, fixture, shared, tensor};

/// Goldens that the timm dialect covers. One has no config.json, so that its heads are given.
const GOLDENS: [(&str, Option<&str>); 9] = [
    ("timm_vit", None),
    ("timm_vit_f16", None),
    ("timm_vit_bf16", None),
    ("timm_vit_gap_fcnorm", None),
    ("timm_vit_gap_norm", None),
    ("timm_vit_heads_from_dim64", None),
    ("eps_timm_vit_1e-6", None),
    ("mae_original", None),
    ("mae_original_finetune_gap", Some("3")),
];

/// Engines that are built in.
const ENGINES: &[&str] = if cfg!(feature = "torch") {
    &["candle", "torch"]
} else {
    &["candle"]
};

/// Everything that `features` writes on an engine equals the golden under the same name; returns how many
/// tensors were compared.
fn compare(engine: &str, folder: &Path, heads: Option<&str>) -> usize {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("features.safetensors");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mimbench"));
    command
        .args([
            "features",
            "--engine",
            engine,
            "--quiet",
            "--layers",
            "all",
            "--attention",
            "--ckpt",
        ])
        .arg(folder.join("model.safetensors"))
        .arg("--pixels")
        .arg(format!(
            "{}:r1.pixels",
            folder.join("input.safetensors").display()
        ))
        .arg("--out")
        .arg(&out);
    if let Some(heads) = heads {
        command.args(["--heads", heads]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found = TensorSource::open(&out).unwrap();
    let expected = TensorSource::open(&folder.join("expected.safetensors")).unwrap();
    let mut compared = 0;
    for key in expected.entries().keys() {
        let Some(name) = key.strip_prefix("r1.") else {
            continue;
        };
        // `pooled` is written where it is not one of the others; logits belong to the head.
        if name == "logits" || (name == "pooled" && !found.entries().contains_key(name)) {
            continue;
        }
        assert_close(
            &format!("{engine}: {}: {name}", folder.display()),
            &tensor(&found, name),
            &tensor(&expected, key),
        );
        compared += 1;
    }
    compared
}

#[test]
fn every_layer_and_attention_map() {
    for engine in ENGINES {
        for (name, heads) in GOLDENS {
            let compared = compare(engine, &fixture("goldens").join(name), heads);
            // embed, tokens, mean_patch, and a block and an attention map a layer.
            assert!(compared >= 5, "{name}: only {compared} tensors");
        }
    }
}

#[test]
fn the_fixtures_are_the_shared_goldens() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    for engine in ENGINES {
        for (name, heads) in GOLDENS {
            compare(engine, &goldens.join(name), heads);
        }
    }
}
