//! A step of BEiT's linear probe beside the plain forward pass of the same images.
//!
//! `cargo bench --bench linear_probe` runs on as many threads as `RAYON_NUM_THREADS` says.

#![expect(clippy::expect_used, reason = "a benchmark stops at a failure")]

use std::hint::black_box;

use criterion::Criterion;
use mimbench::data::Pick;
use mimbench::decoders::{ProbeHeads, ProbeInput};
use mimbench::engine::candle::Candle;
use mimbench::engine::{Engine, HostTensor, Precision};
use mimbench::features::Token;
use mimbench::nn::{Loader, Weights};
use mimbench::train::{
    Group, ImageBatch, LearningRate, LinearProbe, Optimizer, OptimizerKind, Parameter, Share,
    Trainable, Trainer, TrainerSettings,
};
use mimbench::vit::{Architecture, Vit, random_weights};

#[path = "../src/allocator.rs"]
mod allocator;

/// ImageNet-1K's.
const CLASSES: usize = 1000;

/// Images in one pass.
const BATCH: usize = 32;

/// Passes of one update: the protocol's 1,024 images.
const PASSES: usize = 32;

fn main() {
    allocator::keep_memory();
    let engine = Candle::new(Precision::F32);
    let config = Architecture::named("vit_base_patch16_224")
        .expect("a known name")
        .config();
    let vit = || {
        let mut weights = random_weights(&config, 0);
        Vit::load(&mut Loader::frozen(&engine, &mut weights), &config)
            .expect("weights of this architecture")
    };
    let input = |block| ProbeInput {
        blocks: vec![block],
        token: Token::Concat,
        norm: false,
    };
    let width = 2 * config.width;
    let inputs: Vec<_> = (0..config.depth)
        .map(|block| (input(block), width))
        .collect();
    let mut weights = Weights::default();
    for i in 0..config.depth {
        let zeros = |shape: Vec<usize>| HostTensor {
            data: vec![0.0; shape.iter().product()],
            shape,
        };
        weights.insert(format!("heads.{i}.weight"), zeros(vec![CLASSES, width]));
        weights.insert(format!("heads.{i}.bias"), zeros(vec![CLASSES]));
    }
    let mut loader = Loader::trainable(&engine, &mut weights);
    let of: Vec<usize> = (0..config.depth).collect();
    let heads = ProbeHeads::load(&mut loader, &inputs, &of, CLASSES, false)
        .expect("weights of these heads");
    let parameters = loader.into_parameters().into_iter();
    let parameters: Vec<_> = parameters
        .map(|(name, tensor)| Parameter { name, tensor })
        .collect();
    let group = Group {
        name: "heads".to_owned(),
        peak_scale: 1.0,
        learning_rate_scale: 1.0,
        weight_decay_scale: 1.0,
        members: (0..parameters.len()).collect(),
    };
    let kind = OptimizerKind::AdamW {
        betas: [0.9, 0.999],
        eps: 1e-8,
    };
    let optimizer =
        Optimizer::new(&engine, kind, &parameters, vec![group]).expect("one group of all");
    let objective = LinearProbe {
        vit: vit(),
        heads,
        names: (0..config.depth)
            .map(|block| format!("block {block}"))
            .collect(),
        chunk: BATCH,
    };
    let settings = TrainerSettings::default();
    let mut trainer = Trainer::new(engine.clone(), objective, parameters, optimizer, settings);
    let pixels: Vec<f32> = (0..BATCH * 3 * 224 * 224)
        .map(|i| (i as f32).sin())
        .collect();
    let pick = |index| Pick {
        index,
        pass: 0,
        group: 0,
    };
    let batch = ImageBatch {
        pixels: pixels.clone(),
        labels: (0..BATCH as u32).collect(),
        picks: (0..BATCH).map(pick).collect(),
        mixed: vec![None; BATCH],
        contents: vec![[0; 16]; BATCH],
    };
    let plain = vit();
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("ViT-B/16, 32 images");
    group.sample_size(10);
    group.bench_function("forward", |bencher| {
        bencher.iter(|| {
            let images = engine
                .tensor(&pixels[..], &[BATCH, 3, 224, 224])
                .expect("a tensor");
            let nothing = &mut |_, _: &<Candle as Engine>::Tensor| Ok(());
            let depth = config.depth;
            let tokens = plain.forward(&engine, &images, depth, &|_| false, nothing);
            black_box(tokens.expect("a pass"))
        });
    });
    let mut passes = 0;
    group.bench_function("BEiT's probe", |bencher| {
        bencher.iter(|| {
            let share = Share {
                samples: (PASSES * BATCH) as f64,
                first: passes % PASSES == 0,
            };
            trainer.accumulate(&batch, share).expect("a step");
            passes += 1;
            if passes % PASSES == 0 {
                let rate = LearningRate::constant(1e-3);
                trainer.update(rate, 1e-4).expect("an update");
            }
        });
    });
    group.finish();
    criterion.final_summary();
}
