//! The CPU engine's kernels at the sizes of a ViT-B/16 over 8 images of
//! 224 px: `[8 * 197, 768]`, `[8 * 197, 3072]`, attention scores `[8 * 12 * 197, 197]`.
//!
//! `cargo bench --bench kernels`; `RAYON_NUM_THREADS` sets the threads. Throughput is in bytes
//! read and written, of layers in multiply-adds.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use mimbench::engine::candle::kernels;
use mimbench::engine::{Activation, AdamW};
use mimbench::metric::PatchGrid;

#[path = "../src/allocator.rs"]
mod allocator;

const ROWS: usize = 8 * 197;
const WIDTH: usize = 768;
const TOKENS: usize = 197;

/// Deterministic values in -3..3.
fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 * 3.0 - 3.0)
        .collect()
}

fn bench<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    elements: usize,
    run: impl Fn() -> T,
) {
    group
        .throughput(Throughput::Bytes(4 * elements as u64))
        .bench_function(name, |b| b.iter(|| black_box(run())));
}

fn activations(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("activation");
    let (x, dy) = (noise(ROWS * 4 * WIDTH), noise(ROWS * 4 * WIDTH));
    for kind in [
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
    ] {
        bench(&mut group, &format!("{kind:?}"), 2 * x.len(), || {
            kernels::activation(kind, &x)
        });
        let name = format!("{kind:?} gradient");
        bench(&mut group, &name, 3 * x.len(), || {
            kernels::activation_gradient(kind, &x, &dy)
        });
    }
}

fn norms(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer_norm");
    let (x, dy) = (noise(ROWS * WIDTH), noise(ROWS * WIDTH));
    let (weight, bias) = (noise(WIDTH), noise(WIDTH));
    bench(&mut group, "forward", 2 * x.len(), || {
        kernels::layer_norm(&x, &weight, &bias, 1e-6)
    });
    let kernels::Normed { mean, rstd, .. } = kernels::layer_norm(&x, &weight, &bias, 1e-6);
    bench(&mut group, "gradient", 3 * x.len(), || {
        kernels::layer_norm_gradient(&x, &weight, &mean, &rstd, &dy, [true; 3])
    });
}

fn softmax(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("softmax");
    let scores = noise(8 * 12 * TOKENS * TOKENS);
    bench(&mut group, "all heads", 2 * scores.len(), || {
        kernels::softmax(&scores, TOKENS)
    });
}

/// Layers made of matrix products: throughput is in multiply-adds.
fn layers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layers");
    let (x, dy) = (noise(ROWS * WIDTH), noise(ROWS * WIDTH));
    let [w1, w2] = [0; 2].map(|_| noise(4 * WIDTH * WIDTH));
    let [b1, b2] = [noise(4 * WIDTH), noise(WIDTH)];
    let square = &w1[..WIDTH * WIDTH];
    let mut products = |name: &str, count: usize, run: &dyn Fn()| {
        group
            .throughput(Throughput::Elements(count as u64))
            .bench_function(name, |b| b.iter(run));
    };
    let linear = ROWS * WIDTH * WIDTH;
    products("linear", linear, &|| {
        black_box(kernels::linear(&x, square, Some(&b2), WIDTH));
    });
    products("linear gradient", 2 * linear, &|| {
        let sizes = [WIDTH, WIDTH];
        black_box(kernels::linear_gradient(&x, square, &dy, sizes, [true; 3]));
    });
    let layers = kernels::Layers {
        fc1: (&w1, &b1),
        activation: Activation::Gelu,
        fc2: (&w2, &b2),
    };
    products("mlp", 8 * linear, &|| {
        black_box(kernels::mlp(&x, layers));
    });
    let (_, hidden) = kernels::mlp_with_hidden(&x, layers);
    products("mlp gradient", 16 * linear, &|| {
        black_box(kernels::mlp_gradient(&x, &hidden, layers, &dy, [true; 5]));
    });
    let sizes = kernels::Packed {
        batch: 8,
        tokens: TOKENS,
        heads: 12,
        head_dim: 64,
    };
    let qkv = noise(3 * ROWS * WIDTH);
    let map = 8 * 12 * TOKENS * TOKENS * 64;
    products("attention", 2 * map, &|| {
        black_box(kernels::attention(&qkv, sizes, None, 0.125, None));
    });
    let patches = PatchGrid {
        prefix: 1,
        grid: [14, 14],
        patch_size: 16,
    };
    products("attention with statistics", 2 * map, &|| {
        let patches = Some(&patches);
        black_box(kernels::attention(&qkv, sizes, None, 0.125, patches));
    });
    let attended = kernels::attention(&qkv, sizes, None, 0.125, None);
    let kept = (&attended.out[..], &attended.log_sums[..]);
    products("attention gradient", 5 * map, &|| {
        let gradient = kernels::attention_gradient(&qkv, sizes, None, 0.125, kept, &dy, false);
        black_box(gradient);
    });
}

fn losses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross_entropy");
    let (rows, width) = (256, 1000);
    let (x, t) = (noise(rows * width), noise(rows * width));
    let classes: Vec<u32> = (0..rows as u32).collect();
    let (_, lse) = kernels::cross_entropy_classes(&x, &classes, width);
    bench(&mut group, "classes", x.len(), || {
        kernels::cross_entropy_classes(&x, &classes, width)
    });
    bench(&mut group, "classes gradient", 2 * x.len(), || {
        kernels::cross_entropy_classes_gradient(&x, &classes, &lse, width, 1.0)
    });
    bench(&mut group, "soft", 2 * x.len(), || {
        kernels::cross_entropy_soft(&x, &t, width)
    });
    bench(&mut group, "soft gradient", 3 * x.len(), || {
        kernels::cross_entropy_soft_gradient(&x, &t, &lse, width, 1.0)
    });
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adamw");
    let settings = AdamW {
        learning_rate: 1e-3,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.05,
        step: 3,
    };
    let n = 4 * WIDTH * WIDTH;
    let (mut p, g, mut m, mut v) = (noise(n), noise(n), vec![0.0; n], vec![0.0; n]);
    group.throughput(Throughput::Bytes(28 * n as u64));
    group.bench_function("[3072, 768]", |b| {
        b.iter(|| kernels::adamw(&settings, &mut p, &g, &mut m, &mut v));
    });
}

fn elements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("elementwise");
    let (x, y) = (noise(ROWS * WIDTH), noise(ROWS * WIDTH));
    bench(&mut group, "add", 3 * x.len(), || kernels::add(&x, &y));
    bench(&mut group, "scale_shift", 2 * x.len(), || {
        kernels::scale_shift(&x, 2.0, 1.0)
    });
    let wide = noise(ROWS * 4 * WIDTH);
    bench(&mut group, "column_sums, 768", x.len(), || {
        kernels::column_sums(&x, WIDTH)
    });
    bench(&mut group, "column_sums, 3072", wide.len(), || {
        kernels::column_sums(&wide, 4 * WIDTH)
    });
}

fn main() {
    allocator::keep_memory();
    let mut criterion = Criterion::default().configure_from_args();
    activations(&mut criterion);
    norms(&mut criterion);
    softmax(&mut criterion);
    layers(&mut criterion);
    losses(&mut criterion);
    steps(&mut criterion);
    elements(&mut criterion);
    criterion.final_summary();
}
