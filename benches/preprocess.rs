//! Decoding, resizing and normalising: one image a measurement, one thread.
//!
//! `cargo bench --bench preprocess` runs criterion on generated pixels; with `-- --folder DIR` it
//! prints one JSON line for one pass over the JPEG files of a folder instead.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark stops at a bad input and prints its result"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use mimbench::data::augment::{AugmentSpec, Augmenter, SampleKey};
use mimbench::data::{
    Colour, InputSpec, Interpolation, Limits, Pixels, Preprocessor, Resize, Resizer, Split, Window,
    decode,
};

/// Smooth, photograph-like pixels, `[height, width, 3]`.
fn pixels(width: usize, height: usize) -> Pixels {
    let data = (0..width * height * 3)
        .map(|i| {
            let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
            let wave = (x as f32 / (7 + c) as f32).sin() * (y as f32 / (11 - c) as f32).cos();
            (127.5 + 110.0 * wave) as u8 ^ ((x * 31 + y * 17) & 3) as u8
        })
        .collect();
    Pixels {
        width,
        height,
        channels: 3,
        data,
    }
}

fn jpeg(pixels: &Pixels) -> Vec<u8> {
    use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
    compress(
        &pixels.data,
        pixels.width,
        pixels.height,
        PixelFormat::Rgb,
        90,
        Subsampling::S420,
    )
    .expect("valid pixels encode")
}

/// DINO's evaluation transform.
fn dino() -> InputSpec {
    InputSpec {
        height: 224,
        width: 224,
        channels: 3,
        resize: Resize::Shorter(256),
        interpolation: Interpolation::Bicubic,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    }
}

/// Images a second of one pass over a folder, reading included.
fn pass(folder: &str) {
    let (split, _) = Split::folder(Path::new(folder)).expect("a folder of images");
    let mut preprocessor =
        Preprocessor::new(dino(), Limits::default()).expect("a valid specification");
    let mut out = vec![0.0; 3 * 224 * 224];
    let start = Instant::now();
    for index in 0..split.samples.len() {
        let bytes = split.read(index).expect("a readable file");
        preprocessor.apply(&bytes, &mut out).expect("an image");
        black_box(&out);
    }
    let rate = split.samples.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "images": split.samples.len(), "images_per_s": rate })
    );
}

fn preprocess(criterion: &mut Criterion) {
    let pixels = pixels(500, 375);
    let file = jpeg(&pixels);
    let limits = Limits::default();
    let mut group = criterion.benchmark_group("500x375");
    group.throughput(Throughput::Elements(1));

    group.bench_function("decode jpeg", |b| {
        b.iter(|| decode(black_box(&file), Colour::Rgb, &limits));
    });

    let mut resizer = Resizer::new();
    let (columns, rows) = (window(341, 58), window(256, 16));
    for interpolation in [Interpolation::Bicubic, Interpolation::Bilinear] {
        group.bench_function(format!("resize 256 crop 224 {interpolation:?}"), |b| {
            b.iter(|| {
                let out = resizer.resize(black_box(&pixels), interpolation, columns, rows, &limits);
                out.map(<[u8]>::len)
            });
        });
    }

    let mut preprocessor = Preprocessor::new(dino(), limits).expect("a valid specification");
    let mut out = vec![0.0; 3 * 224 * 224];
    group.bench_function("jpeg to tensor", |b| {
        b.iter(|| preprocessor.apply(black_box(&file), &mut out));
    });

    let mut augmenter =
        Augmenter::new(AugmentSpec::default(), dino(), limits).expect("a valid specification");
    let mut index = 0;
    group.bench_function("jpeg to augmented tensor", |b| {
        b.iter(|| {
            index += 1;
            let key = SampleKey {
                seed: 0,
                pass: 0,
                index,
            };
            augmenter.apply(black_box(&file), key, &mut out)
        });
    });
    group.finish();
}

fn window(size: usize, start: usize) -> Window {
    Window {
        size,
        start,
        len: 224,
    }
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--folder");
    if let Some(folder) = arguments.nth(1) {
        return pass(&folder);
    }
    let mut criterion = Criterion::default().configure_from_args();
    preprocess(&mut criterion);
    criterion.final_summary();
}
