//! Classes of an image larger than the network's input, beside the forward passes over its windows.
//!
//! `cargo bench --bench sliding` runs on as many threads as `RAYON_NUM_THREADS` says.

#![expect(clippy::expect_used, reason = "a benchmark stops at a failure")]
#![expect(clippy::print_stdout, reason = "the ratios are its result")]

use std::hint::black_box;
use std::time::Instant;

use mimbench::decoders::segmentation::{
    AuxiliaryConfig, SegmentationHead, Segmenter, SegmenterConfig, Sliding, UperNetConfig, View,
    Window, initial_weights,
};
use mimbench::engine::candle::Candle;
use mimbench::engine::{Engine, EngineError, HostTensor, Precision};
use mimbench::nn::Loader;
use mimbench::vit::{Architecture, Vit, random_weights};

#[path = "../src/allocator.rs"]
mod allocator;

/// Side of a window and distance of two, pixels: mmsegmentation's for ADE20K.
const CROP: usize = 512;
const STRIDE: usize = 341;

/// Classes: ADE20K's.
const CLASSES: usize = 150;

/// Images of each size, by turns, of which the medians are compared.
const TURNS: usize = 5;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    allocator::keep_memory();
    let engine = Candle::new(Precision::F32);
    let mut encoder = Architecture::named("vit_small_patch16_224")
        .expect("a known name")
        .config();
    encoder.grid = [CROP / encoder.patch_size; 2];
    let head = SegmentationHead::UperNet(UperNetConfig {
        channels: 128,
        pool_scales: vec![1, 2, 3, 6],
        auxiliary: Some(AuxiliaryConfig {
            channels: 64,
            weight: 0.4,
        }),
        dropout: 0.1,
    });
    let config = SegmenterConfig::new(head, CLASSES, &encoder).expect("a head that fits");
    let mut weights = random_weights(&encoder, 0);
    for (name, tensor) in initial_weights(&config, 0).iter() {
        weights.insert(name.to_owned(), tensor.clone());
    }
    let mut loader = Loader::frozen(&engine, &mut weights);
    let vit = Vit::load(&mut loader, &config.encoder(&encoder)).expect("an encoder");
    let segmenter = Segmenter::load(&mut loader, vit, &config).expect("a head");
    let pixels: Vec<f32> = (0..3 * CROP * CROP)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    let look = |windows: &[Window]| -> Result<HostTensor, EngineError> {
        let batch = pixels.repeat(windows.len());
        let images = engine.tensor(&batch[..], &[windows.len(), 3, CROP, CROP])?;
        let logits = segmenter.logits(&engine, &images)?;
        Ok(HostTensor {
            shape: engine.shape(&logits),
            data: engine.to_f32(&logits)?,
        })
    };
    let sliding = Sliding::new([CROP; 2], [STRIDE; 2]).expect("windows");
    for size in [[512, 683], [512, 1024], [1024, 2048]] {
        let windows = sliding.windows(size);
        let (mut alone, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let start = Instant::now();
            for window in &windows {
                black_box(look(std::slice::from_ref(window)).expect("logits"));
            }
            alone.push(start.elapsed().as_secs_f64());
            let start = Instant::now();
            let view = View {
                size,
                mirrored: false,
            };
            let mut look = |_: usize, windows: &[Window]| look(windows);
            let classes = sliding.classes((&[view], size), 1, &mut look);
            black_box(classes.expect("classes"));
            whole.push(start.elapsed().as_secs_f64());
        }
        let (alone, whole) = (median(alone), median(whole));
        println!(
            "{} x {}: {} windows, {:.3} s each, {:.2} of a forward pass",
            size[0],
            size[1],
            windows.len(),
            whole / windows.len() as f64,
            whole / alone
        );
    }
}
