//! Operations on images whose channels lie last, beyond what `conformance.rs` has cases for: PyTorch's
//! interpolation, larger images than finite differences allow, what is no number, what is refused.

use mimbench::checkpoint::source::TensorSource;
use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, IGNORED, Precision, Result, Targets};

use crate::support::{fixture, tensor};

/// Deterministic numbers in -1..1.
fn waves(count: usize, seed: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 + seed * 101) as f32 * 0.7).sin())
        .collect()
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * largest, "{what}: {a} for {b}");
    }
}

/// `tests/goldens/engine/trim_interpolation.py`.
fn interpolates_as_pytorch<E: Engine>(e: &E) {
    let path = fixture("goldens/engine/interpolation.safetensors");
    let source = TensorSource::open(&path).unwrap();
    for size in ["1x1_4x4", "3x5_12x20", "6x6_6x6", "8x10_31x47", "16x16_5x9"] {
        let [x, expected] = ["in", "out"].map(|part| tensor(&source, &format!("{size}/{part}")));
        let images = e.tensor(&x.data[..], &x.shape).unwrap();
        let images = e.permute(&images, &[0, 2, 3, 1]).unwrap();
        let to = [expected.shape[2], expected.shape[3]];
        let found = e.resize_bilinear(&images, to).unwrap();
        let found = e.permute(&found, &[0, 3, 1, 2]).unwrap();
        assert_eq!(e.shape(&found), expected.shape);
        let expected: Vec<f64> = expected.data.iter().map(|&x| f64::from(x)).collect();
        assert_near(size, &e.to_f64(&found).unwrap(), &expected, 1e-6);
    }
}

/// Outputs and gradients of every operation on images of sizes that fill no tile.
fn numbers<E: Engine>(e: &E) -> Vec<(String, Vec<f64>)> {
    let mut numbers = Vec::new();
    for (batch, height, width, inputs, outputs) in [
        (1, 2, 2, 1, 1),
        (2, 9, 7, 3, 5),
        (3, 33, 20, 18, 40),
        (1, 3, 70, 65, 2),
    ] {
        let shape = [batch, height, width, inputs];
        let leaf = |shape: &[usize], seed| {
            let count = shape.iter().product();
            e.parameter(&waves(count, seed)[..], shape).unwrap()
        };
        let x = leaf(&shape, 1);
        let weight = leaf(&[outputs, inputs, 3, 3], 2);
        let [scale, shift] = [3, 4].map(|seed| leaf(&[inputs], seed));
        let normed = e.batch_norm(&x, &scale, &shift, 1e-5).unwrap();
        let results = [
            e.convolution(&x, &weight).unwrap(),
            e.resize_bilinear(&x, [height * 2 + 1, width.div_ceil(3)])
                .unwrap(),
            e.max_pool(&x).unwrap(),
            normed.0,
        ];
        for (i, y) in results.iter().enumerate() {
            let axes = [0, 1, 2, 3];
            let shape = e.shape(y);
            let cotangent = waves(shape.iter().product(), 5);
            let cotangent = e.tensor(&cotangent[..], &shape).unwrap();
            let loss = e.sum(&e.mul(y, &cotangent).unwrap(), &axes).unwrap();
            let inputs = [&x, &weight, &scale, &shift];
            let gradients = e.grad(&loss, &inputs).unwrap();
            numbers.push((format!("{shape:?} of {i}"), e.to_f64(y).unwrap()));
            for (j, gradient) in gradients.iter().enumerate() {
                if let Some(gradient) = gradient {
                    let values = e.to_f64(gradient).unwrap();
                    numbers.push((format!("{shape:?} of {i}, gradient {j}"), values));
                }
            }
        }
        for (name, statistics) in [("mean", normed.1), ("variance", normed.2)] {
            assert_eq!(e.shape(&statistics), [inputs]);
            let loss = e.sum(&statistics, &[0]).unwrap();
            assert!(e.grad(&loss, &[&x]).unwrap()[0].is_none(), "{name}");
            numbers.push((name.to_owned(), e.to_f64(&statistics).unwrap()));
        }
    }
    numbers
}

fn agrees_with_f64<E: Engine>(e: &E) {
    let (found, expected) = (numbers(e), numbers(&Candle::new(Precision::F64)));
    assert_eq!(found.len(), expected.len());
    for ((what, found), (_, expected)) in found.iter().zip(&expected) {
        // A feature of few pixels magnifies their rounding.
        assert_near(what, found, expected, 5e-6);
    }
}

/// A pixel that is no number reaches what depends on it and nothing else.
fn numbers_beside_none<E: Engine>(e: &E) {
    let [height, width] = [6, 8];
    let mut pixels = waves(height * width * 2, 1);
    pixels[(2 * width + 5) * 2] = f32::NAN;
    let x = e.tensor(&pixels[..], &[1, height, width, 2]).unwrap();
    let weight = e.tensor(&waves(2 * 2 * 9, 2)[..], &[2, 2, 3, 3]).unwrap();
    let y = e.to_f64(&e.convolution(&x, &weight).unwrap()).unwrap();
    for (pixel, y) in y.chunks_exact(2).enumerate() {
        let near = (pixel / width).abs_diff(2) <= 1 && (pixel % width).abs_diff(5) <= 1;
        assert!(y.iter().all(|y| y.is_nan() == near), "pixel {pixel}");
    }
    let y = e.to_f64(&e.max_pool(&x).unwrap()).unwrap();
    for (i, y) in y.iter().enumerate() {
        assert_eq!(y.is_nan(), i == (width / 2 + 2) * 2, "{i}");
    }
    let row = e.tensor(&[1f32, 2.0][..], &[2]).unwrap();
    let (y, mean, variance) = e.batch_norm(&x, &row, &row, 1e-5).unwrap();
    for y in [y, mean, variance] {
        let values = e.to_f64(&y).unwrap();
        assert!(values.chunks(2).all(|y| y[0].is_nan() && !y[1].is_nan()));
    }
}

/// Of equal pixels the first has the gradient.
fn pools_the_first<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32; 9][..], &[1, 3, 3, 1]).unwrap();
    let y = e.max_pool(&x).unwrap();
    let gradient = e.grad(&e.sum(&y, &[0, 1, 2, 3]).unwrap(), &[&x]).unwrap();
    let gradient = e.to_f64(gradient[0].as_ref().unwrap()).unwrap();
    assert_eq!(gradient, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

/// Without any class a loss is 0, and so is its gradient.
fn rows_without_classes<E: Engine>(e: &E) {
    let logits = e.parameter(&waves(6, 1)[..], &[2, 3]).unwrap();
    for smoothing in [None, Some(0.1)] {
        let ids = &[IGNORED; 2];
        let targets = match smoothing {
            None => Targets::Classes(ids),
            Some(smoothing) => Targets::Smoothed { ids, smoothing },
        };
        let loss = e.cross_entropy(&logits, targets).unwrap();
        assert_eq!(e.to_f64(&loss).unwrap(), [0.0]);
        let gradient = e.grad(&loss, &[&logits]).unwrap().remove(0).unwrap();
        assert!(e.to_f64(&gradient).unwrap().iter().all(|&x| x == 0.0));
    }
}

fn refuses<E: Engine>(e: &E) {
    let x = e.tensor(&[0f32; 12][..], &[1, 2, 2, 3]).unwrap();
    let flat = e.reshape(&x, &[4, 3]).unwrap();
    let line = e.reshape(&x, &[2, 1, 2, 3]).unwrap();
    let weight = |shape: &[usize]| {
        let count = shape.iter().product();
        e.tensor(&vec![0f32; count][..], shape).unwrap()
    };
    let three = e.tensor(&[0f32; 3][..], &[3]).unwrap();
    let two = e.tensor(&[0f32; 2][..], &[2]).unwrap();
    let op = |result: Result<E::Tensor>| result.unwrap_err().op;
    assert_eq!(op(e.convolution(&x, &weight(&[1, 2, 3, 3]))), "convolution");
    assert_eq!(op(e.convolution(&x, &weight(&[1, 3, 1, 1]))), "convolution");
    assert_eq!(
        op(e.convolution(&flat, &weight(&[1, 3, 3, 3]))),
        "convolution"
    );
    assert_eq!(op(e.resize_bilinear(&x, [0, 2])), "resize_bilinear");
    assert_eq!(op(e.resize_bilinear(&flat, [2, 2])), "resize_bilinear");
    assert_eq!(op(e.max_pool(&line)), "max_pool");
    assert_eq!(op(e.max_pool(&flat)), "max_pool");
    for [scale, shift] in [[&two, &three], [&three, &two]] {
        let normed = e.batch_norm(&x, scale, shift, 1e-5);
        assert_eq!(op(normed.map(|(normed, ..)| normed)), "batch_norm");
    }
}

/// An operation of one tensor.
type Operation<'a, T> = &'a dyn Fn(&T) -> Result<T>;

/// Kernels read views as they read copies.
fn reads_views<E: Engine>(e: &E) {
    let wide = waves(2 * 6 * 5 * 4, 1);
    let view = |x: &E::Tensor| {
        let part = e.narrow(x, 2, 1, 3).unwrap();
        e.permute(&part, &[0, 3, 2, 1]).unwrap()
    };
    let weight = e.tensor(&waves(2 * 6 * 9, 2)[..], &[2, 6, 3, 3]).unwrap();
    let row = e.tensor(&waves(6, 3)[..], &[6]).unwrap();
    let ops: [Operation<'_, E::Tensor>; 4] = [
        &|x| e.convolution(x, &weight),
        &|x| e.resize_bilinear(x, [7, 2]),
        &|x| e.max_pool(x),
        &|x| Ok(e.batch_norm(x, &row, &row, 1e-5)?.0),
    ];
    for (i, op) in ops.iter().enumerate() {
        let leaf = e.parameter(&wide[..], &[2, 6, 5, 4]).unwrap();
        let copied = e.to_f32(&view(&leaf)).unwrap();
        let copied = e.parameter(&copied[..], &[2, 4, 3, 6]).unwrap();
        let both = [(view(&leaf), &leaf), (copied.clone(), &copied)].map(|(x, input)| {
            let y = op(&x).unwrap();
            let loss = e.sum(&e.mul(&y, &y).unwrap(), &[0, 1, 2, 3]).unwrap();
            let gradient = e.grad(&loss, &[input]).unwrap().remove(0).unwrap();
            (y, gradient)
        });
        let [(found, gradient), (expected, expected_gradient)] = both;
        let host = |x: &E::Tensor| e.to_f64(x).unwrap();
        assert_near(&format!("op {i}"), &host(&found), &host(&expected), 1e-6);
        let (found, expected) = (host(&view(&gradient)), host(&expected_gradient));
        assert_near(&format!("gradient of op {i}"), &found, &expected, 1e-5);
    }
}

fn behaves<E: Engine>(e: &E) {
    interpolates_as_pytorch(e);
    agrees_with_f64(e);
    pools_the_first(e);
    rows_without_classes(e);
    refuses(e);
    reads_views(e);
}

#[test]
fn candle_in_f64() {
    behaves(&Candle::new(Precision::F64));
}

#[test]
fn candle_in_f32() {
    let e = Candle::new(Precision::F32);
    behaves(&e);
    numbers_beside_none(&e);
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_both_precisions() {
    for precision in [Precision::F64, Precision::F32] {
        let e = Torch::new(Device::Cpu, precision).unwrap();
        behaves(&e);
        numbers_beside_none(&e);
    }
}
