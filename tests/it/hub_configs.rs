//! `config.json` as timm's checkpoints have it on the hub: the name of an architecture and no
//! arguments.

use std::collections::BTreeSet;

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, CheckpointError, LoadOptions};
use mimbench::engine::{Activation, HostTensor, Precision};
use mimbench::features::Token;
use mimbench::vit::VitConfig;

use crate::support::{Bench, fixture, tensor, tiny};
use crate::tensors::Tensors;

/// A ViT of two blocks whose folder says that it is `architecture`.
fn opened(architecture: &str, config: &VitConfig) -> Result<Checkpoint, CheckpointError> {
    let bench = Bench::empty();
    bench.model("model.safetensors", config, 1);
    let [height, width] = config.input_size();
    let json = serde_json::json!({
        "architecture": architecture,
        "num_classes": 0,
        "pretrained_cfg": { "input_size": [3, height, width], "mean": [0.5, 0.5, 0.5] },
    });
    bench.write("config.json", json.to_string());
    Checkpoint::open(&bench.path("model.safetensors"), &LoadOptions::default())
}

#[test]
fn the_name_says_heads_and_activation() {
    for (architecture, width, heads, activation) in [
        ("vit_base_patch16_224", 768, 12, Activation::Gelu),
        ("vit_base_patch16_gap_224", 768, 16, Activation::Gelu),
        ("vit_base_patch16_siglip_224", 768, 12, Activation::Gelu),
        ("vit_base_patch32_siglip_256", 768, 12, Activation::GeluTanh),
        (
            "vit_so400m_patch16_siglip_256",
            1152,
            16,
            Activation::GeluTanh,
        ),
        ("vit_so400m_patch14_siglip_224", 1152, 16, Activation::Gelu),
        (
            "vit_giantopt_patch16_siglip_256",
            1536,
            16,
            Activation::GeluTanh,
        ),
        ("vit_giant_patch14_dinov2", 1536, 24, Activation::Gelu),
        (
            "vit_base_patch16_clip_quickgelu_224",
            768,
            12,
            Activation::QuickGelu,
        ),
    ] {
        let config = VitConfig {
            mlp_width: 8,
            ..VitConfig::plain(4, [2, 2], (width, 1, 1))
        };
        let checkpoint = opened(architecture, &config).unwrap();
        let found = (
            checkpoint.config.heads.uniform(),
            checkpoint.config.activation,
        );
        assert_eq!(found, (Some(heads), activation), "{architecture}");
    }
}

#[test]
fn architectures_that_would_load_and_compute_something_else_are_refused_by_name() {
    for architecture in [
        "vit_base_patch16_rpn_224",
        "eva02_enormous_patch14_clip_224",
        "vit_pe_core_base_patch16_224",
        "vit_base_patch16_rope_224",
        "vit_base_patch16_rope_mixed_ape_224",
    ] {
        let error = opened(architecture, &tiny()).unwrap_err();
        assert!(error.to_string().contains(architecture), "{error}");
        assert!(error.hint().is_some());
    }
}

/// SigLIP so400m/14 at 384 pixels: 27 patches and 6 pixels.
#[test]
fn pixels_beyond_the_last_patch_are_not_seen() {
    let bench = Bench::empty();
    bench.model("model.safetensors", &tiny(), 1);
    bench.write("config.json", r#"{"image_size": [10, 11]}"#);
    let checkpoint = Checkpoint::open(&bench.path("model.safetensors"), &LoadOptions::default());
    let config = checkpoint.unwrap().config;
    assert_eq!((config.grid, config.margin), ([2, 2], [2, 3]));
    let pixels: Vec<f32> = (0..3 * 110).map(|i| (i as f32 * 0.7).sin()).collect();
    let rows = pixels.chunks(11).enumerate();
    let cut = rows
        .filter(|(row, _)| row % 10 < 8)
        .flat_map(|(_, row)| row[..8].to_vec());
    let write = |name: &str, data: Vec<f32>, shape: [usize; 4]| {
        let tensor = HostTensor {
            shape: shape.to_vec(),
            data,
        };
        let tensors = Tensors([("x".to_owned(), (&tensor).into())].into());
        tensors.write(&bench.path(name));
    };
    write("cut.safetensors", cut.collect(), [1, 3, 8, 8]);
    write("whole.safetensors", pixels, [1, 3, 10, 11]);
    let features = |pixels: &str, more: &[&str]| {
        let out = format!("{pixels}.features");
        let args = [
            "features",
            "--quiet",
            "--ckpt",
            "model.safetensors",
            "--pixels",
            pixels,
        ];
        let run = bench.run(&[&args[..], &["--out", &out], more].concat());
        run.ok();
        let source = TensorSource::open(&bench.path(&out)).unwrap();
        tensor(&source, "tokens")
    };
    let whole = features("whole.safetensors", &[]);
    assert_eq!(whole, features("cut.safetensors", &["--input-size", "8"]));
    // A size that nobody built the model with is a slip.
    let options = LoadOptions {
        input_size: Some([9, 9]),
        ..LoadOptions::default()
    };
    let error = Checkpoint::open(&bench.path("model.safetensors"), &options).unwrap_err();
    assert!(
        error.to_string().contains("no whole number of patches"),
        "{error}"
    );
}

/// What a record is kept under holds everything that changes a feature.
#[test]
fn every_option_that_changes_features_changes_the_record() {
    let student_teacher = fixture("goldens/timm_vit_student_teacher");
    let resized = fixture("goldens/timm_vit");
    let bench = Bench::empty();
    bench.dataset("data", (2, 1), 32, 100);
    let mut cells = BTreeSet::new();
    let mut count = 0;
    for (folder, options) in [
        (&student_teacher, &["--key", "teacher"][..]),
        (&student_teacher, &["--key", "student"]),
        (
            &student_teacher,
            &["--key", "teacher", "--norm-eps", "1e-5"],
        ),
        (&student_teacher, &["--key", "teacher", "--heads", "6"]),
        (
            &student_teacher,
            &["--key", "teacher", "--activation", "quick_gelu"],
        ),
        (&resized, &["--input-size", "48"]),
        (
            &resized,
            &["--input-size", "48", "--position-resize", "dino"],
        ),
        (&resized, &["--input-size", "40"]),
    ] {
        let ckpt = folder.join("model.safetensors");
        let ckpt = ckpt.to_str().unwrap();
        let records = bench.knn_of(&[ckpt], &[options, &["--quiet", "--json"]].concat());
        cells.insert(records.records()[0]["cell"].to_string());
        count += 1;
    }
    assert_eq!(cells.len(), count, "{cells:?}");
    assert!(!cells.contains("null"));
}

/// DINOv3's periods may be stored in bfloat16; what is computed with them is f32 on its hub.
#[test]
fn rotary_positions_are_computed_in_f32_unless_told() {
    let folder = fixture("goldens/dinov3_original_swiglu_untied_bf16");
    let open = |rope_precision| {
        let options = LoadOptions {
            rope_precision,
            ..LoadOptions::default()
        };
        Checkpoint::open(&folder.join("model.safetensors"), &options).unwrap()
    };
    let (usual, told) = (open(None), open(Some(Precision::Bf16)));
    assert_ne!(usual.config.rope, told.config.rope);
    let choice = |checkpoint: &Checkpoint| {
        let mut choices = checkpoint.choices.iter();
        choices
            .find(|choice| choice.field == "rope")
            .unwrap()
            .clone()
    };
    assert_eq!(choice(&usual).flag.as_deref(), Some("--rope-precision"));
    assert_eq!(choice(&told).flag, None);
}

#[test]
fn a_pooling_of_its_own_is_the_feature() {
    let siglip = fixture("goldens/timm_vit_siglip_map");
    let checkpoint = Checkpoint::open(&siglip.join("model.safetensors"), &LoadOptions::default());
    assert_eq!(checkpoint.unwrap().feature.token, Token::Pooled);
}
