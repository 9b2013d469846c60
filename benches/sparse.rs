//! Forward passes over the patches that a mask leaves beside one over all of them.
//!
//! `cargo bench --bench sparse` runs on as many threads as `RAYON_NUM_THREADS` says.

#![expect(clippy::expect_used, reason = "a benchmark stops at a failure")]
#![expect(clippy::print_stdout, reason = "the ratios are its result")]

use std::hint::black_box;
use std::time::Instant;

use criterion::Criterion;
use mimbench::engine::candle::Candle;
use mimbench::engine::{Engine, Precision};
use mimbench::nn::Loader;
use mimbench::pretrain::{Encoding, Mask, Student};
use mimbench::vit::{Architecture, random_weights};

#[path = "../src/allocator.rs"]
mod allocator;

/// Of hidden patches: MEDiC's blocks, MaskAlign, MAE.
const RATIOS: [f64; 3] = [0.4, 0.7, 0.75];

/// Passes of each kind, by turns, of which the medians are compared.
const TURNS: usize = 9;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    allocator::keep_memory();
    let engine = Candle::new(Precision::F32);
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    for (name, batch) in [("vit_tiny_patch16_224", 16), ("vit_base_patch16_224", 8)] {
        let config = Architecture::named(name).expect("a known name").config();
        let [height, width] = config.input_size();
        let shape = [batch, config.channels, height, width];
        let pixels: Vec<f32> = (0..shape.iter().product())
            .map(|i: usize| (i as f32 * 0.37).sin())
            .collect();
        let images = engine.tensor(&pixels[..], &shape).expect("images");
        let student = || {
            let mut weights = random_weights(&config, 0);
            let mut loader = Loader::frozen(&engine, &mut weights);
            Student::load(&mut loader, &config, Encoding::Sparse, false)
                .expect("weights of this architecture")
        };
        let student = student();
        let patches = config.patches();
        let noise: Vec<f32> = (0..batch * patches).map(|i| (i as f32).sin()).collect();
        let mask = |ratio| Mask::random(&noise, patches, ratio).expect("a mask");
        let encode = |mask: &Mask| {
            let reads = (&[][..], true);
            let encoded = student.encode(&engine, &images, mask, reads, None);
            black_box(encoded.expect("a forward pass"));
        };
        let dense = |images| {
            let vit = student.vit();
            let nothing = &mut |_, _: &_| Ok(());
            let tokens = vit.forward(&engine, images, config.depth, &|_| false, nothing);
            let normed = vit.normalise(&engine, &tokens.expect("a forward pass"));
            black_box(normed.expect("a norm"));
        };
        let mut group = criterion.benchmark_group(name);
        group.bench_function("all", |bencher| bencher.iter(|| dense(&images)));
        for ratio in RATIOS {
            let mask = mask(ratio);
            group.bench_function(format!("{ratio} hidden"), |bencher| {
                bencher.iter(|| encode(&mask));
            });
        }
        group.finish();
        // What shares a machine is compared by turns.
        for ratio in RATIOS {
            let mask = mask(ratio);
            let (mut all, mut seen) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                let start = Instant::now();
                dense(&images);
                all.push(start.elapsed().as_secs_f64());
                let start = Instant::now();
                encode(&mask);
                seen.push(start.elapsed().as_secs_f64());
            }
            let share = median(seen) / median(all);
            println!(
                "{name}, {ratio} hidden: {share:.3} of the time, {:.2} of 1 - ratio",
                share / (1.0 - ratio)
            );
        }
    }
    criterion.final_summary();
}
