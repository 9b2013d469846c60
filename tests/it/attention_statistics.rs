//! What attention says about the patches: the definition against the reference's numbers, and what
//! encoders give against the definition.

use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, LoadOptions};
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{HostTensor, Precision};
use mimbench::features::{Encoder, Tap};
use mimbench::metric::{AttentionStatistic, PatchGrid, attention_statistics};
use serde_json::Value;

use crate::goldens::{GOLDENS, encoder, told, weights};
use crate::support::{fixture, tensor};

/// The statistic of every head of maps `[B, H, N, N]`: `[B, H]`.
fn of_heads(maps: &HostTensor, patches: &PatchGrid, statistic: AttentionStatistic) -> Vec<f64> {
    let at = AttentionStatistic::ALL
        .iter()
        .position(|&other| other == statistic)
        .unwrap();
    let tokens = patches.tokens();
    maps.data
        .chunks_exact(tokens * tokens)
        .map(|map| attention_statistics(map, patches).unwrap()[at])
        .collect()
}

#[test]
fn the_definition_gives_the_references_numbers() {
    let folder = fixture("goldens/attention");
    let data = TensorSource::open(&folder.join("data.safetensors")).unwrap();
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let patch_size = expected["patch_size"].as_u64().unwrap() as usize;
    let layers = expected["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 5);
    for (i, layer) in layers.iter().enumerate() {
        let side = layer["grid"].as_u64().unwrap() as usize;
        let patches = PatchGrid {
            prefix: 1,
            grid: [side, side],
            patch_size,
        };
        let maps = tensor(&data, &format!("attn.{i}"));
        for (key, statistic, relative) in [
            ("nmi_f64", AttentionStatistic::Nmi, false),
            ("head_distance", AttentionStatistic::Distance, true),
            (
                "head_distance_norenorm",
                AttentionStatistic::DistanceRaw,
                true,
            ),
        ] {
            let found = of_heads(&maps, &patches, statistic);
            let want = tensor(&data, &format!("{key}.{i}"));
            assert_eq!(want.shape, maps.shape[..2]);
            for (found, &want) in found.iter().zip(&want.data) {
                let want = f64::from(want);
                let scale = if relative { want } else { 1.0 };
                let error = (found - want).abs() / scale;
                assert!(error <= 1e-6, "{key}.{i}: {found} for {want}, {error:.1e}");
            }
        }
        // The reference's mean over the batch.
        let heads = maps.shape[1];
        let found = of_heads(&maps, &patches, AttentionStatistic::Distance);
        for (head, want) in layer["distance_per_head"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let of_head: Vec<f64> = found.iter().skip(head).step_by(heads).copied().collect();
            let mean = of_head.iter().sum::<f64>() / of_head.len() as f64;
            let want = want.as_f64().unwrap();
            assert!(
                (mean / want - 1.0).abs() <= 1e-6,
                "{i}, head {head}: {mean}"
            );
        }
    }
}

/// Compares statistics with the definition over the same encoder's maps, and everything else with
/// what it gives when nobody asks for statistics, bit for bit. The worst error.
fn agrees(what: &str, encoder: &dyn Encoder, checkpoint: &Checkpoint, pixels: &HostTensor) -> f64 {
    let config = &checkpoint.config;
    let encode = |taps: &[Tap]| {
        encoder
            .encode(&pixels.data, pixels.shape[0], taps)
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let layers = 0..config.depth;
    let statistics: Vec<Tap> = layers.clone().map(Tap::AttentionStatistics).collect();
    let maps: Vec<Tap> = layers.clone().map(Tap::Attention).collect();
    let outputs: Vec<Tap> = layers.map(Tap::Block).chain([Tap::Tokens]).collect();
    let alone = encode(&outputs);
    let beside = encode(&[&outputs[..], &statistics].concat());
    assert!(alone[..] == beside[..outputs.len()], "{what}: other tokens");
    let all = encode(&[&statistics[..], &maps, &outputs].concat());
    assert!(all[..config.depth] == beside[outputs.len()..], "{what}");
    assert!(all[2 * config.depth..] == alone[..], "{what}: other tokens");

    let patches = config.patch_grid();
    let mut worst = 0f64;
    for (layer, (found, maps)) in all
        .iter()
        .zip(&all[config.depth..2 * config.depth])
        .enumerate()
    {
        let heads = config.heads.of(layer);
        assert_eq!(found.shape, [pixels.shape[0], heads, 4], "{what}");
        assert_eq!(
            encoder.shape(Tap::AttentionStatistics(layer)).unwrap(),
            [heads, 4]
        );
        let tokens = patches.tokens();
        let of_maps = maps.data.chunks_exact(tokens * tokens);
        for (found, map) in found.data.chunks_exact(4).zip(of_maps) {
            let want = attention_statistics(map, &patches).unwrap();
            for ((&found, want), statistic) in found.iter().zip(want).zip(AttentionStatistic::ALL) {
                let scale = match statistic {
                    AttentionStatistic::Nmi => 1.0,
                    _ => want,
                };
                let error = (f64::from(found) - want).abs() / scale;
                let name = statistic.name();
                assert!(
                    error <= 1e-6,
                    "{what}, layer {layer}: {name} {found} for {want}, {error:.1e}"
                );
                worst = worst.max(error);
            }
        }
    }
    worst
}

/// Class tokens or none, distillation and register tokens, relative biases of both kinds, rotary
/// positions, heads that differ by block, normalised queries, grids that are no square.
const MODELS: [&str; 12] = [
    "timm_vit",
    "timm_vit_siglip_map",
    "timm_deit_distilled",
    "timm_vit_reg4",
    "timm_vit_qknorm_noqkvbias",
    "beit_original_finetune",
    "beit_original_pretrain_shared",
    "timm_beit_abs_and_rel",
    "dinov3_original",
    "timm_rope_reg1_gap",
    "eva02_original_sub_ln",
    "tinymim_original_lastheads",
];

#[test]
fn encoders_agree_with_the_definition() {
    for name in MODELS {
        assert!(GOLDENS.iter().any(|(known, _)| *known == name), "{name}");
        let folder = fixture("goldens").join(name);
        let input = TensorSource::open(&folder.join("input.safetensors")).unwrap();
        for of in ["r1", "r2", "r3"] {
            let Some(pixels) = input.tensor(&format!("{of}.pixels")) else {
                continue;
            };
            let pixels = pixels.unwrap();
            let options = LoadOptions {
                input_size: Some([pixels.shape[2], pixels.shape[3]]),
                ..told(name)
            };
            let checkpoint = Checkpoint::open(&weights(&folder), &options).unwrap();
            let candle = encoder(Candle::new(Precision::F32), &checkpoint);
            let worst = agrees(name, candle.as_ref(), &checkpoint, &pixels);
            println!("{name:<32} {of} candle worst {worst:.1e}");
            #[cfg(feature = "torch")]
            {
                let engine = Torch::new(Device::Cpu, Precision::F32).unwrap();
                let torch = encoder(engine, &checkpoint);
                let worst = agrees(name, torch.as_ref(), &checkpoint, &pixels);
                println!("{name:<32} {of} torch  worst {worst:.1e}");
            }
        }
    }
}
