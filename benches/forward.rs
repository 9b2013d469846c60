//! The forward pass of an untrained ViT-B/16 at 224 pixels.
//!
//! `cargo bench --bench forward` runs criterion; with `-- --json [--batch N]` it prints one JSON
//! line instead: the best of five passes, on as many threads as `RAYON_NUM_THREADS` says.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark stops at a bad option and prints its result"
)]

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use mimbench::engine::candle::Candle;
use mimbench::engine::{Activation, Precision};
use mimbench::features::{Encoder, Tap};
use mimbench::nn::Loader;
use mimbench::vit::{FinalNorm, Vit, VitConfig, VitEncoder, random_weights};

/// timm's `vit_base_patch16_224`.
fn vit_base() -> VitConfig {
    VitConfig {
        patch_size: 16,
        grid: [14, 14],
        channels: 3,
        width: 768,
        depth: 12,
        heads: 12,
        mlp_width: 3072,
        class_token: true,
        class_position: true,
        final_norm: FinalNorm::Tokens,
        norm_eps: 1e-6,
        activation: Activation::Gelu,
    }
}

fn main() {
    let config = vit_base();
    let engine = Candle::new(Precision::F32);
    let mut weights = random_weights(&config, 0);
    let vit = Vit::load(&mut Loader::frozen(&engine, &mut weights), &config)
        .expect("weights of this architecture");
    let encoder = VitEncoder::new(engine, vit);
    let mut arguments = std::env::args().skip_while(|argument| argument != "--batch");
    let batch: usize = arguments
        .nth(1)
        .map_or(8, |batch| batch.parse().expect("a number"));
    let pixels: Vec<f32> = (0..batch * 3 * 224 * 224)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let forward = || {
        black_box(encoder.encode(black_box(&pixels), batch, &[Tap::Tokens])).expect("tokens");
    };
    if std::env::args().any(|argument| argument == "--json") {
        forward();
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let start = Instant::now();
            forward();
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!(
            "{}",
            serde_json::json!({ "images_per_s": batch as f64 / best })
        );
        return;
    }
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("vit_base_patch16_224");
    group.throughput(Throughput::Elements(batch as u64));
    group.bench_function(format!("forward/batch={batch}"), |bench| {
        bench.iter(forward)
    });
    group.finish();
    criterion.final_summary();
}
