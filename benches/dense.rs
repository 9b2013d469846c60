//! The CPU engine's kernels for images whose channels lie last, at the sizes of a segmentation head
//! over 2 images of 512 px.
//!
//! `cargo bench --bench dense`; `RAYON_NUM_THREADS` sets the threads. Throughput is in bytes read and
//! written, of convolutions in multiply-adds.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use mimbench::engine::candle::kernels::{self, Images, Taps};

#[path = "../src/allocator.rs"]
mod allocator;

const BATCH: usize = 2;

/// Deterministic values in -1..1.
fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn convolutions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("convolution");
    group.sample_size(10);
    for (side, inputs, outputs) in [(64, 512, 128), (16, 384, 256), (128, 256, 256)] {
        let images = Images {
            batch: BATCH,
            height: side,
            width: side,
        };
        let pixels = BATCH * side * side;
        let (x, dy) = (noise(pixels * inputs), noise(pixels * outputs));
        let weight = noise(9 * inputs * outputs);
        let (channels, products) = ([inputs, outputs], 9 * pixels * inputs * outputs);
        let name = format!("{side} x {side} x {inputs} to {outputs}");
        group.throughput(Throughput::Elements(products as u64));
        group.bench_function(&name, |b| {
            b.iter(|| black_box(kernels::convolution(&x, &weight, images, channels)));
        });
        group.throughput(Throughput::Elements(2 * products as u64));
        group.bench_function(format!("{name}, gradient"), |b| {
            b.iter(|| {
                let needs = [true; 2];
                black_box(kernels::convolution_gradient(
                    &x, &weight, &dy, images, channels, needs,
                ))
            });
        });
    }
}

/// Every place of a small axis between its neighbours, by 4.
fn by_four(from: usize) -> Vec<Taps> {
    (0..4 * from)
        .map(|to| [(to / 4, 0.625), ((to / 4 + 1).min(from - 1), 0.375)])
        .collect()
}

fn resizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resize");
    for (side, channels) in [(32, 256), (128, 21)] {
        let taps = by_four(side);
        let taps = [&taps[..], &taps[..]];
        let shape = [side, side, channels];
        let x = noise(BATCH * side * side * channels);
        let dy = noise(16 * x.len());
        let name = format!("{side} x {side} x {channels} by 4");
        group.throughput(Throughput::Bytes(17 * 4 * x.len() as u64));
        group.bench_function(&name, |b| {
            b.iter(|| black_box(kernels::resize(&x, shape, taps)));
        });
        group.bench_function(format!("{name}, gradient"), |b| {
            b.iter(|| black_box(kernels::resize_gradient(&dy, shape, taps)));
        });
    }
}

fn batch_norms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_norm");
    let width = 256;
    let x = noise(BATCH * 128 * 128 * width);
    let (dy, row) = (noise(x.len()), noise(width));
    group.throughput(Throughput::Bytes(3 * 4 * x.len() as u64));
    group.bench_function("128 x 128 x 256", |b| {
        b.iter(|| black_box(kernels::batch_norm(&x, &row, &row, 1e-5)));
    });
    let kernels::BatchNormed { mean, rstd, .. } = kernels::batch_norm(&x, &row, &row, 1e-5);
    group.throughput(Throughput::Bytes(5 * 4 * x.len() as u64));
    group.bench_function("128 x 128 x 256, gradient", |b| {
        b.iter(|| {
            let statistics = [&mean[..], &rstd[..]];
            black_box(kernels::batch_norm_gradient(
                &x, &row, statistics, &dy, [true; 3],
            ))
        });
    });
}

fn main() {
    allocator::keep_memory();
    let mut criterion = Criterion::default().configure_from_args();
    convolutions(&mut criterion);
    resizes(&mut criterion);
    batch_norms(&mut criterion);
    criterion.final_summary();
}
