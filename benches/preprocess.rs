//! Resizing and normalising generated pixels: one image a measurement, one thread.

#![expect(clippy::expect_used, reason = "the inputs are generated and valid")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mimbench::data::{
    Colour, InputSpec, Interpolation, Limits, Pixels, Preprocessor, Resize, Resizer, Window, decode,
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

    let spec = InputSpec {
        height: 224,
        width: 224,
        channels: 3,
        resize: Resize::Shorter(256),
        interpolation: Interpolation::Bicubic,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    };
    let mut preprocessor = Preprocessor::new(spec, limits).expect("a valid specification");
    let mut out = vec![0.0; 3 * 224 * 224];
    group.bench_function("jpeg to tensor", |b| {
        b.iter(|| preprocessor.apply(black_box(&file), &mut out));
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

criterion_group!(benches, preprocess);
criterion_main!(benches);
