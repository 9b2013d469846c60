//! Hierarchical clustering of the patches of one image, one thread.
//!
//! `cargo bench --bench linkage` runs criterion: everything from attention to parts, and average
//! linkage with a cut of given distances alone; with `-- --json` it prints one JSON line for the
//! latter, which is what SciPy is timed on.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark stops at a bad input and prints its result"
)]

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use mimbench::pretrain::{Distances, Linkage, em_parts};

/// Of a ViT-B/16's image.
const GRID: [usize; 2] = [14, 14];

/// Patches of it.
const PATCHES: usize = GRID[0] * GRID[1];

/// Parts, between MEDiC's 10 and 40.
const CLUSTERS: usize = 20;

/// Matrices of one measurement.
const MATRICES: u64 = 256;

/// Numbers in `[0, 1)`.
fn noise(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed + 1;
    std::iter::repeat_with(move || {
        // Marsaglia's xorshift64, with the second of his tables' triples.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

/// A symmetric matrix of random distances.
fn matrix(seed: u64) -> Distances {
    let mut noise = noise(seed);
    let mut values = vec![0.0; PATCHES * PATCHES];
    for i in 0..PATCHES {
        for j in 0..i {
            let distance = noise.next().expect("noise never ends");
            values[i * PATCHES + j] = distance;
            values[j * PATCHES + i] = distance;
        }
    }
    Distances::new(PATCHES, values).expect("a matrix of distances")
}

fn cluster(distances: Distances) -> Vec<u32> {
    Linkage::average(distances).cut(CLUSTERS)
}

/// Matrices a second, each copied before it is used up; the best of three.
fn matrices_per_second() -> f64 {
    let matrices: Vec<_> = (0..MATRICES).map(matrix).collect();
    let rates = (0..3).map(|_| {
        let start = Instant::now();
        for matrix in &matrices {
            black_box(cluster(matrix.clone()));
        }
        MATRICES as f64 / start.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

fn main() {
    if std::env::args().any(|argument| argument == "--json") {
        let rate = matrices_per_second();
        println!("{}", serde_json::json!({ "matrices_per_s": rate }));
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("linkage");
    let attention = noise(0).take(PATCHES * PATCHES);
    let attention: Vec<_> = attention.map(|x| (x / PATCHES as f64) as f32).collect();
    group.bench_function("attention to parts", |b| {
        b.iter(|| cluster(Distances::of_patches(black_box(&attention), GRID, 0.9)));
    });
    group.bench_function("distances alone", |b| {
        b.iter(|| Distances::of_patches(black_box(&attention), GRID, 0.9));
    });
    let distances = matrix(0);
    group.bench_function("distances to parts", |b| {
        b.iter_batched(|| distances.clone(), cluster, BatchSize::SmallInput);
    });
    let means: Vec<_> = noise(1).take(CLUSTERS * PATCHES).collect();
    group.bench_function("EM, attention to parts", |b| {
        b.iter(|| em_parts(black_box(&attention), &means, CLUSTERS, 40.0, 15));
    });
    group.finish();
    criterion.final_summary();
}
