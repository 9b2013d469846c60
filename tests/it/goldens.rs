//! Forward passes of every dialect against the code that made its checkpoints.

use std::path::{Path, PathBuf};

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, Dialect, LoadOptions};
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::features::{Encoder, Tap, Token};
use mimbench::nn::{Loader, TensorStore};
use mimbench::vit::{FinalNorm, Vit, VitEncoder};

use crate::support::{Bench, assert_close, fixture, shared, tensor};

/// Folders of `goldens` with the dialect each is recognised as. Those without a `config.json` have
/// what the weights cannot tell in [`told`].
pub const GOLDENS: &[(&str, Dialect)] = &[
    ("beit_original_finetune", Dialect::Beit),
    ("beit_original_pretrain_shared", Dialect::Beit),
    ("beit_original_pretrain_shared_abs_prefix", Dialect::Beit),
    ("beitv2_original_pretrain_cls", Dialect::Beit),
    ("bootmae_original", Dialect::Bootmae),
    ("cae_original_encoder", Dialect::Cae),
    ("cmae_original_backbone", Dialect::Mmpretrain),
    ("dino_original", Dialect::Dino),
    ("dinov2_original", Dialect::Dinov2),
    ("dinov2_original_chunked", Dialect::Dinov2),
    ("dinov2_original_reg4_swiglu", Dialect::Dinov2),
    ("dinov3_original", Dialect::Dinov3),
    ("dinov3_original_swiglu_untied_bf16", Dialect::Dinov3),
    ("eps_hf_clip_1e-5", Dialect::HfClip),
    ("eps_hf_vit_1e-12", Dialect::HfVit),
    ("eps_timm_beit_1e-6", Dialect::TimmBeit),
    ("eps_timm_clip_1e-5", Dialect::Timm),
    ("eps_timm_dinov3_1e-5", Dialect::TimmEva),
    ("eps_timm_vit_1e-6", Dialect::Timm),
    ("eva02_original_small", Dialect::Eva02),
    ("eva02_original_sub_ln", Dialect::Eva02),
    ("hf_beit", Dialect::HfBeit),
    ("hf_beit_abs", Dialect::HfBeit),
    ("hf_beit_for_classification_prefix", Dialect::HfBeit),
    ("hf_beit_shared", Dialect::HfBeit),
    ("hf_clip_full_model", Dialect::HfClip),
    ("hf_clip_vision", Dialect::HfClip),
    ("hf_clip_vision_v5_noprefix", Dialect::HfClip),
    ("hf_data2vec", Dialect::HfBeit),
    ("hf_deit", Dialect::HfVit),
    ("hf_dinov2", Dialect::HfDinov2),
    ("hf_dinov2_registers", Dialect::HfDinov2),
    ("hf_dinov2_swiglu", Dialect::HfDinov2),
    ("hf_dinov3", Dialect::HfDinov3),
    ("hf_dinov3_gated", Dialect::HfDinov3),
    ("hf_ijepa", Dialect::HfVit),
    ("hf_siglip_vision", Dialect::HfSiglip),
    ("hf_vit", Dialect::HfVit),
    ("hf_vit_for_classification_prefix", Dialect::HfVit),
    ("hf_vit_mae_encoder", Dialect::HfVit),
    ("hf_vit_msn", Dialect::HfVit),
    ("hf_vit_noqkvbias", Dialect::HfVit),
    ("hf_vit_sharded_f16", Dialect::HfVit),
    ("hf_vit_v5_native_keys", Dialect::HfVit),
    ("ibot_original", Dialect::Ibot),
    ("mae_original", Dialect::Mae),
    ("mae_original_finetune_gap", Dialect::Mae),
    ("maskdistill_emulated", Dialect::Maskdistill),
    ("openai_clip_original", Dialect::Clip),
    ("openclip_vision_gelu", Dialect::OpenClip),
    ("openclip_vision_quickgelu_ls", Dialect::OpenClip),
    ("simmim_original", Dialect::Simmim),
    ("timm_beit", Dialect::TimmBeit),
    ("timm_beit_abs_and_rel", Dialect::TimmBeit),
    ("timm_beit_abs_nols", Dialect::TimmBeit),
    ("timm_beit_shared", Dialect::TimmBeit),
    ("timm_beitv2", Dialect::TimmBeit),
    ("timm_deit3", Dialect::Timm),
    ("timm_deit_distilled", Dialect::Timm),
    ("timm_dinov2", Dialect::Timm),
    ("timm_dinov2_reg4_swiglu", Dialect::Timm),
    ("timm_dinov3", Dialect::TimmEva),
    ("timm_dinov3_qkvb", Dialect::TimmEva),
    ("timm_eva02_base", Dialect::TimmEva),
    ("timm_eva02_clip", Dialect::TimmEva),
    ("timm_eva02_small", Dialect::TimmEva),
    ("timm_eva_giant", Dialect::TimmEva),
    ("timm_rope_reg1_gap", Dialect::TimmEva),
    ("timm_vit", Dialect::Timm),
    ("timm_vit_base_momentum_encoder", Dialect::Moco),
    ("timm_vit_bf16", Dialect::Timm),
    ("timm_vit_clip_openclip_gelu", Dialect::Timm),
    ("timm_vit_f16", Dialect::Timm),
    ("timm_vit_gap_fcnorm", Dialect::Timm),
    ("timm_vit_gap_norm", Dialect::Timm),
    ("timm_vit_heads_from_dim64", Dialect::Timm),
    ("timm_vit_nocls_avg", Dialect::Timm),
    ("timm_vit_prefix_compile_backbone", Dialect::Timm),
    ("timm_vit_prefix_module_model", Dialect::Timm),
    ("timm_vit_prenorm_quickgelu_clip", Dialect::Timm),
    ("timm_vit_qknorm_noqkvbias", Dialect::Timm),
    ("timm_vit_reg4", Dialect::Timm),
    ("timm_vit_reg4_nocls_gap", Dialect::Timm),
    ("timm_vit_reg_embed", Dialect::Timm),
    ("timm_vit_sharded", Dialect::Timm),
    ("timm_vit_siglip_map", Dialect::Timm),
    ("timm_vit_student_teacher", Dialect::Timm),
    ("tinymim_original_lastheads", Dialect::Timm),
];

/// What a user has to say where the keys cannot: these files stand alone.
pub fn told(name: &str) -> LoadOptions {
    let mut options = LoadOptions::default();
    match name {
        "dino_original" => options.heads = Some("3".parse().unwrap()),
        "mae_original_finetune_gap" => {
            options.heads = Some("3".parse().unwrap());
            options.dialect = Some(Dialect::Mae);
        }
        // Made with the class's default and not the hub's.
        "dinov3_original_swiglu_untied_bf16" => options.rope_precision = Some(Precision::Bf16),
        _ => {}
    }
    options
}

/// The checkpoint of a golden's folder.
pub fn weights(folder: &Path) -> PathBuf {
    let file = folder.join("model.safetensors");
    if file.exists() {
        file
    } else {
        folder.join("model.safetensors.index.json")
    }
}

pub fn encoder<E: Engine + 'static>(engine: E, checkpoint: &Checkpoint) -> Box<dyn Encoder> {
    let mut weights = checkpoint.weights();
    let vit = Vit::load(
        &mut Loader::frozen(&engine, &mut weights),
        &checkpoint.config,
    )
    .unwrap();
    assert_eq!(weights.left(), [""; 0], "{}", checkpoint.path.display());
    Box::new(VitEncoder::new(engine, vit))
}

/// What a golden's tensor is called here; `None` for what belongs to a head.
fn tap(checkpoint: &Checkpoint, expected: &TensorSource, of: &str, name: &str) -> Option<Tap> {
    let config = &checkpoint.config;
    let last = config.depth - 1;
    // transformers' CLIP keeps its tokens as the last block leaves them.
    let raw = expected
        .entries()
        .contains_key(&format!("{of}.tokens_post_ln"));
    let over_tokens = config.final_norm.over_tokens() && !raw;
    let pooled = |token, norm| {
        let layer = last;
        Some(Tap::Pooled { layer, token, norm })
    };
    let number = |prefix: &str| name.strip_prefix(prefix)?.parse().ok();
    if let Some(block) = number("block.") {
        return Some(Tap::Block(block));
    }
    if let Some(block) = number("attn.") {
        return Some(Tap::Attention(block));
    }
    match name {
        "embed" => Some(Tap::Embed),
        "tokens" if raw => Some(Tap::Block(last)),
        "tokens" | "tokens_post_ln" => Some(Tap::Tokens),
        "tokens_pre_ln" => Some(Tap::Block(last)),
        "cls" => pooled(Token::Cls, over_tokens),
        "mean_patch" => pooled(Token::MeanPatch, over_tokens),
        "pooled" if config.pooler.is_some() => match checkpoint.dialect {
            // transformers has the distilled DeiT's class token under its own pooler, and CLIP's
            // before its projection.
            Dialect::HfVit => None,
            Dialect::HfClip => pooled(Token::Cls, true),
            _ => pooled(Token::Pooled, true),
        },
        "pooled" if config.final_norm == FinalNorm::MeanPatch => pooled(Token::MeanPatch, true),
        "pooled" if checkpoint.dialect == Dialect::HfVit => None,
        "pooled" if config.final_norm == FinalNorm::None => None,
        "pooled" => pooled(checkpoint.feature.token, true),
        _ => None,
    }
}

/// Compares everything at one resolution; how many tensors, and the worst error in units of the
/// tolerance's scale.
fn compare(
    encoder: &dyn Encoder,
    checkpoint: &Checkpoint,
    pixels: &HostTensor,
    expected: &TensorSource,
    of: &str,
) -> (usize, f64) {
    let prefix = format!("{of}.");
    let wanted: Vec<_> = expected
        .entries()
        .keys()
        .filter_map(|key| {
            Some((
                key,
                tap(checkpoint, expected, of, key.strip_prefix(&prefix)?)?,
            ))
        })
        .collect();
    let taps: Vec<Tap> = wanted.iter().map(|(_, tap)| *tap).collect();
    let found = encoder
        .encode(&pixels.data, pixels.shape[0], &taps)
        .unwrap();
    let mut worst = 0f64;
    for ((key, _), found) in wanted.iter().zip(found) {
        let expected = tensor(expected, key);
        let what = format!("{}: {key}", checkpoint.path.display());
        let error = assert_close(&what, &found, &expected);
        worst = worst.max(error);
    }
    (wanted.len(), worst)
}

/// Every golden of `goldens` at every resolution it has, on every engine that is built in.
fn every_golden(goldens: &Path) -> usize {
    let mut folders = 0;
    for &(name, dialect) in GOLDENS {
        let folder = goldens.join(name);
        if !folder.is_dir() {
            continue;
        }
        folders += 1;
        let input = TensorSource::open(&folder.join("input.safetensors")).unwrap();
        let expected = TensorSource::open(&folder.join("expected.safetensors")).unwrap();
        for of in ["r1", "r2", "r3"] {
            let Some(pixels) = input.tensor(&format!("{of}.pixels")) else {
                continue;
            };
            let pixels = pixels.unwrap();
            let options = LoadOptions {
                input_size: Some([pixels.shape[2], pixels.shape[3]]),
                ..told(name)
            };
            let checkpoint = Checkpoint::open(&weights(&folder), &options)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(checkpoint.dialect, dialect, "{name}");
            let mut encoders = vec![("candle", encoder(Candle::new(Precision::F32), &checkpoint))];
            #[cfg(feature = "torch")]
            encoders.push((
                "torch",
                encoder(
                    Torch::new(Device::Cpu, Precision::F32).unwrap(),
                    &checkpoint,
                ),
            ));
            for (engine, encoder) in encoders.drain(..) {
                let (compared, worst) =
                    compare(encoder.as_ref(), &checkpoint, &pixels, &expected, of);
                // embed, tokens, mean_patch, and a block and an attention map a layer; of other
                // resolutions the fixtures keep the first two.
                let least = if of == "r1" { 5 } else { 2 };
                assert!(compared >= least, "{name}: only {compared} tensors");
                println!(
                    "{name:<42} {of} {:<12} {engine:<7} {compared:>2} tensors, worst {worst:.1e}",
                    dialect.name()
                );
            }
        }
    }
    folders
}

#[test]
fn the_fixtures_agree() {
    assert!(every_golden(&fixture("goldens")) >= 65);
}

#[test]
fn the_shared_goldens_agree() {
    let Some(goldens) = shared("goldens") else {
        return;
    };
    assert_eq!(every_golden(&goldens), GOLDENS.len());
}

/// The same through the program: what `features` writes, at a size of its own.
#[test]
fn the_program_writes_the_goldens_tensors() {
    for (name, of, size, compared) in [
        (
            "openclip_vision_gelu",
            "r1",
            "32",
            &["pooled", "attn.1"][..],
        ),
        (
            "timm_vit_siglip_map",
            "r1",
            "32x32",
            &["pooled", "mean_patch"],
        ),
        ("dino_original", "r3", "24x40", &["tokens", "embed"]),
        (
            "hf_vit_sharded_f16",
            "r1",
            "32",
            &["cls", "block.0", "attn.0"],
        ),
    ] {
        let folder = fixture("goldens").join(name);
        let bench = Bench::empty();
        let pixels = folder.join("input.safetensors");
        let run = bench.run(&[
            "features",
            "--quiet",
            "--heads",
            "3",
            "--input-size",
            size,
            "--ckpt",
            weights(&folder).to_str().unwrap(),
            "--pixels",
            &format!("{}:{of}.pixels", pixels.display()),
            "--layers",
            "all",
            "--attention",
            "--out",
            "f.safetensors",
        ]);
        run.ok();
        let found = TensorSource::open(&bench.path("f.safetensors")).unwrap();
        let expected = TensorSource::open(&folder.join("expected.safetensors")).unwrap();
        for key in compared {
            assert_close(
                &format!("{name}: {key}"),
                &tensor(&found, key),
                &tensor(&expected, &format!("{of}.{key}")),
            );
        }
    }
}
