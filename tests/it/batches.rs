//! What an encoder reads out of an image does not depend on the images beside it, to the bit.

use mimbench::checkpoint::{Checkpoint, LoadOptions};
use mimbench::engine::candle::Candle;
use mimbench::engine::{HostTensor, Precision};
use mimbench::features::{Encoder, Tap, Token};
use mimbench::nn::Loader;
use mimbench::vit::{Vit, VitConfig, VitEncoder, random_weights};

use crate::goldens::{encoder, told, weights};
use crate::support::fixture;

/// Images in the largest batch.
const MOST: usize = 9;

/// Everything that can be read out of an encoder of so many blocks.
fn taps(encoder: &dyn Encoder, depth: usize) -> Vec<Tap> {
    let mut taps = vec![Tap::Embed, Tap::Tokens];
    for layer in 0..depth {
        taps.extend([
            Tap::Block(layer),
            Tap::Attention(layer),
            Tap::AttentionStatistics(layer),
        ]);
        for token in [Token::Cls, Token::MeanPatch, Token::Concat, Token::Pooled] {
            taps.extend([true, false].map(|norm| Tap::Pooled { layer, token, norm }));
        }
    }
    taps.retain(|&tap| encoder.shape(tap).is_ok());
    taps
}

/// Every tap of [`MOST`] images that were encoded so many at a time.
fn in_batches(encoder: &dyn Encoder, taps: &[Tap], pixels: &[f32], batch: usize) -> Vec<Vec<f32>> {
    let mut all = vec![Vec::new(); taps.len()];
    let image = pixels.len() / MOST;
    for pixels in pixels.chunks(batch * image) {
        let outputs = encoder.encode(pixels, pixels.len() / image, taps).unwrap();
        for (all, HostTensor { data, .. }) in all.iter_mut().zip(outputs) {
            all.extend(data);
        }
    }
    all
}

/// Pixels of [`MOST`] images.
fn pixels(config: &VitConfig) -> Vec<f32> {
    let [height, width] = config.input_size();
    let count = MOST * config.channels * height * width;
    (0..count).map(|i| (i as f32 * 0.37).sin()).collect()
}

#[track_caller]
fn assert_apart(what: &str, encoder: &dyn Encoder, config: &VitConfig) {
    let pixels = pixels(config);
    let taps = taps(encoder, config.depth);
    let together = in_batches(encoder, &taps, &pixels, MOST);
    for batch in 1..MOST {
        let alone = in_batches(encoder, &taps, &pixels, batch);
        for ((tap, alone), together) in taps.iter().zip(alone).zip(&together) {
            assert!(alone == *together, "{what}: {tap} in batches of {batch}");
        }
    }
}

fn untrained(config: &VitConfig) -> VitEncoder<Candle> {
    let engine = Candle::new(Precision::F32);
    let mut weights = random_weights(config, 1);
    let vit = Vit::load(&mut Loader::frozen(&engine, &mut weights), config).unwrap();
    VitEncoder::new(engine, vit)
}

/// ViTs of 4, 16, 64 and 196 patches, narrow ones and one of ViT-B's width, with a class token
/// and without.
fn untrained_models() -> Vec<VitConfig> {
    let mut models = Vec::new();
    for side in [2, 4, 8, 14] {
        // Patches of 16 pixels make an inner dimension of 768.
        for (patch, size) in [(4, (24, 2, 3)), (16, (64, 2, 2))] {
            models.push(VitConfig::plain(patch, [side, side], size));
        }
    }
    models.push(VitConfig::plain(16, [14, 14], (768, 1, 12)));
    let without_class = |config: &VitConfig| VitConfig {
        class_token: false,
        positions: Some(0),
        ..config.clone()
    };
    let without: Vec<_> = models.iter().map(without_class).collect();
    models.extend(without);
    models
}

#[test]
fn untrained_models_take_each_image_for_itself() {
    for config in untrained_models() {
        let what = format!("{:?}, width {}", config.grid, config.width);
        assert_apart(&what, &untrained(&config), &config);
    }
}

#[test]
fn threads_change_no_tap() {
    for config in untrained_models() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let encoder = untrained(&config);
                let taps = taps(&encoder, config.depth);
                in_batches(&encoder, &taps, &pixels(&config), MOST)
            })
        };
        assert!(on(1) == on(3), "{:?}, width {}", config.grid, config.width);
    }
}

/// Pooling by attention, by a projection and by two tokens, normalisation of the mean alone,
/// relative biases, rotary positions, gated MLPs, heads that differ by block.
const FIXTURES: [&str; 8] = [
    "timm_vit_siglip_map",
    "openclip_vision_gelu",
    "timm_deit_distilled",
    "timm_vit_gap_fcnorm",
    "beit_original_pretrain_shared",
    "dinov3_original",
    "eva02_original_sub_ln",
    "tinymim_original_lastheads",
];

#[test]
fn checkpoints_take_each_image_for_itself() {
    for name in FIXTURES {
        let path = weights(&fixture("goldens").join(name));
        let options: LoadOptions = told(name);
        let checkpoint = Checkpoint::open(&path, &options).unwrap();
        let candle = encoder(Candle::new(Precision::F32), &checkpoint);
        assert_apart(name, candle.as_ref(), &checkpoint.config);
    }
}
