//! A fine-tuning recipe's training images: decode, random crop, RandAugment, normalise, erase; one
//! image a measurement, one thread.
//!
//! `cargo bench --bench augment` runs criterion, also on every operation alone; with `-- --folder DIR`
//! it prints one JSON line for passes over the JPEG files of a folder instead.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark stops at a bad input and prints its result"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use mimbench::data::augment::{
    AugmentSpec, Augmenter, Draw, Erase, OperationKind, RandAugment, SampleKey,
};
use mimbench::data::{InputSpec, Interpolation, Limits, Resize, Split};

/// Passes over a folder, so that rare and expensive draws weigh what they should.
const PASSES: u64 = 3;

/// timm's `create_transform(224, is_training=True, auto_augment="rand-m9-mstd0.5-inc1",
/// interpolation="bicubic", re_prob=0.25, re_mode="pixel", re_count=1)`.
fn recipe() -> Augmenter {
    let spec = AugmentSpec {
        interpolation: Interpolation::Bicubic,
        rand_augment: Some(RandAugment::default()),
        erase: Some(Erase::default()),
        ..AugmentSpec::default()
    };
    let input = InputSpec {
        height: 224,
        width: 224,
        channels: 3,
        resize: Resize::Exact,
        interpolation: Interpolation::Bicubic,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
    };
    Augmenter::new(spec, input, Limits::default()).expect("a valid specification")
}

fn key(pass: u64, index: u64) -> SampleKey {
    SampleKey {
        seed: 0,
        pass,
        index,
    }
}

/// Images a second of passes over a folder, reading included.
fn passes(folder: &str) {
    let (split, _) = Split::folder(Path::new(folder)).expect("a folder of images");
    let mut augmenter = recipe();
    let mut out = vec![0.0; 3 * 224 * 224];
    let start = Instant::now();
    for pass in 0..PASSES {
        for index in 0..split.samples.len() {
            let bytes = split.read(index).expect("a readable file");
            let key = key(pass, index as u64);
            augmenter.apply(&bytes, key, &mut out).expect("an image");
            black_box(&out);
        }
    }
    let images = PASSES * split.samples.len() as u64;
    let rate = images as f64 / start.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({ "images": images, "images_per_s": rate })
    );
}

/// Smooth, photograph-like pixels in a PNG file that costs little to decode.
fn png() -> Vec<u8> {
    let data: Vec<u8> = (0..224 * 224 * 3)
        .map(|i| {
            let (x, y, c) = (i / 3 % 224, i / 3 / 224, i % 3);
            let wave = (x as f32 / (7 + c) as f32).sin() * (y as f32 / (11 - c) as f32).cos();
            (127.5 + 110.0 * wave) as u8 ^ ((x * 31 + y * 17) & 3) as u8
        })
        .collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, 224, 224);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::NoCompression);
    let mut writer = encoder.write_header().expect("a valid header");
    writer.write_image_data(&data).expect("all pixels");
    drop(writer);
    file
}

fn operations(criterion: &mut Criterion) {
    let file = png();
    let mut augmenter = recipe();
    let mut group = criterion.benchmark_group("224x224");
    group.throughput(Throughput::Elements(1));
    let mut draw = Draw {
        crop: None,
        shift: [0; 2],
        flip: false,
        adjustments: vec![],
        operations: vec![],
        erasures: vec![],
    };
    group.bench_function("decode png", |b| {
        b.iter(|| augmenter.bytes(black_box(&file), &draw).map(<[u8]>::len));
    });
    for kind in OperationKind::ALL {
        draw.operations = vec![kind.at(9.0, false)];
        group.bench_function(format!("decode png, {kind:?}"), |b| {
            b.iter(|| augmenter.bytes(black_box(&file), &draw).map(<[u8]>::len));
        });
    }
    group.finish();
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--folder");
    if let Some(folder) = arguments.nth(1) {
        return passes(&folder);
    }
    let mut criterion = Criterion::default().configure_from_args();
    operations(&mut criterion);
    criterion.final_summary();
}
