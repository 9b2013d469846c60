//! The forward pass of an untrained ViT-B/16 at 224 pixels, from host pixels to host tokens.
//!
//! `cargo bench --bench forward` runs on as many threads as `RAYON_NUM_THREADS` says.
//! `mimbench bench forward` times any architecture on tensors that are on the device already.

#![expect(clippy::expect_used, reason = "a benchmark stops at a failure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use mimbench::engine::Precision;
use mimbench::engine::candle::Candle;
use mimbench::features::{Encoder, Tap};
use mimbench::nn::Loader;
use mimbench::vit::{Architecture, Vit, VitEncoder, random_weights};

#[path = "../src/allocator.rs"]
mod allocator;

/// Images in one pass.
const BATCH: usize = 8;

fn main() {
    allocator::keep_memory();
    let architecture = Architecture::named("vit_base_patch16_224").expect("a known name");
    let config = architecture.config();
    let engine = Candle::new(Precision::F32);
    let mut weights = random_weights(&config, 0);
    let vit = Vit::load(&mut Loader::frozen(&engine, &mut weights), &config)
        .expect("weights of this architecture");
    let encoder = VitEncoder::new(engine, vit);
    let pixels: Vec<f32> = (0..BATCH * 3 * 224 * 224)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group(architecture.name());
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(format!("forward/batch={BATCH}"), |bench| {
        bench.iter(|| {
            black_box(encoder.encode(black_box(&pixels), BATCH, &[Tap::Tokens])).expect("tokens")
        })
    });
    group.finish();
    criterion.final_summary();
}
