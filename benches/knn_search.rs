//! Queries a second of the neighbour searches, on the data that `knn_search.py` makes for
//! torch: 200 Gaussian clouds, train 50 000 x 768, test 2 000.
//!
//! `cargo bench --bench knn_search` runs criterion; with `-- --json` it prints one JSON line
//! instead, with `[--train N] [--test N] [--dim D] [--k K] [--threads T] [--hnsw]`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark stops at a bad option and prints its result"
)]

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use mimbench::metric::{
    Dense, HnswOptions, Neighbours, Rows, exact_neighbours, hnsw_neighbours, recall_at_k,
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Box and Muller's pair of normal deviates, one of them used.
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.uniform()).cos()) as f32
    }
}

fn cloud(random: &mut Random, centres: &[f32], rows: usize, dim: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * dim);
    for _ in 0..rows {
        let centre = (random.next() % 200) as usize * dim;
        out.extend((0..dim).map(|d| centres[centre + d] + random.normal()));
    }
    out
}

struct Data {
    train: Vec<f32>,
    test: Vec<f32>,
    dim: usize,
}

impl Data {
    fn new(train: usize, test: usize, dim: usize) -> Self {
        let mut random = Random(0);
        let centres: Vec<f32> = (0..200 * dim).map(|_| random.normal()).collect();
        Data {
            train: cloud(&mut random, &centres, train, dim),
            test: cloud(&mut random, &centres, test, dim),
            dim,
        }
    }

    fn train(&self) -> Dense<'_> {
        Dense::new(&self.train, self.dim).expect("whole rows")
    }

    fn test(&self) -> Dense<'_> {
        Dense::new(&self.test, self.dim).expect("whole rows")
    }

    fn exact(&self, k: usize, threads: usize) -> Neighbours {
        exact_neighbours(&self.train(), &self.test(), k, threads, &|_| ()).expect("finite rows")
    }
}

fn option(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)
        .map_or(default, |value| value.parse().expect("a number"))
}

fn print_json() {
    let (train, test) = (option("--train", 50_000), option("--test", 2_000));
    let (dim, k) = (option("--dim", 768), option("--k", 20));
    let threads = option("--threads", 2);
    let data = Data::new(train, test, dim);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        black_box(data.exact(k, threads));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let gflops = 2.0 * (train * test * dim) as f64 / best / 1e9;
    let mut out = serde_json::json!({
        "exact_queries_per_s": test as f64 / best,
        "exact_gflop_per_s": gflops,
    });
    if std::env::args().any(|arg| arg == "--hnsw") {
        let start = Instant::now();
        let built = OnceLock::new();
        // The first call of `progress` says that the graph is built.
        let progress = |_| _ = built.get_or_init(|| start.elapsed().as_secs_f64());
        let (train, test) = (data.train(), data.test());
        let options = HnswOptions::default();
        let found =
            hnsw_neighbours(&train, &test, k, options, threads, &progress).expect("k neighbours");
        let build = *built.get().expect("a built graph");
        out["hnsw_build_s"] = build.into();
        let seconds = start.elapsed().as_secs_f64() - build;
        out["hnsw_queries_per_s"] = (test.len() as f64 / seconds).into();
        let recall = recall_at_k(&found, &data.exact(k, threads)).expect("same shape");
        out["hnsw_recall"] = recall.into();
    }
    println!("{out}");
}

fn main() {
    if std::env::args().any(|arg| arg == "--json") {
        return print_json();
    }
    let data = Data::new(option("--train", 50_000), option("--test", 2_000), 768);
    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("knn_search");
    group.throughput(Throughput::Elements((data.test.len() / data.dim) as u64));
    for k in [20, 200] {
        group.bench_function(format!("exact/k={k}"), |bench| {
            bench.iter(|| data.exact(k, 2));
        });
    }
    group.finish();
    criterion.final_summary();
}
