//! Every operation of every engine, forward and gradient, against PyTorch and finite differences.

use std::collections::BTreeSet;

use mimbench::engine::candle::Candle;
use mimbench::engine::{
    Activation, AdamW, Engine, IGNORED, Moments, Precision, Result, Targets, Update,
};
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::metric::{PatchGrid, attention_statistics};
use safetensors::SafeTensors;

use crate::support::fixture;

const HEADS: usize = 2;
const SCALE: f64 = 0.5;
const CLASSES: [u32; 3] = [1, 0, 3];
const SOME_CLASSES: [u32; 3] = [1, IGNORED, 3];
/// The grid of the case of attention statistics, three patches in a row.
const PATCHES: PatchGrid = PatchGrid {
    prefix: 1,
    grid: [1, 3],
    patch_size: 2,
};
/// Settings of `tests/goldens/engine/generate.py`.
const ADAMW: AdamW = AdamW {
    learning_rate: 0.01,
    betas: [0.9, 0.95],
    eps: 1e-8,
    weight_decay: 0.05,
    step: 1,
};

/// Case `name` of `tests/goldens/engine/generate.py` on an engine; `None` for a name that is not
/// one, so that a golden nobody computes fails the test.
fn apply<E: Engine>(e: &E, name: &str, x: &[E::Tensor]) -> Option<Result<E::Tensor>> {
    Some(match (name, x) {
        ("detach", [x]) => e.detach(x).and_then(|y| e.mul(&y, x)),
        ("reshape", [x]) => e.reshape(x, &[3, 4]),
        ("permute", [x]) => e.permute(x, &[2, 0, 1]),
        ("expand", [x]) => e.expand(x, &[3, 2, 4]),
        ("narrow", [x]) => e.narrow(x, 1, 1, 3),
        ("cat", [x, y]) => e.cat(&[x, y], 1),
        ("index_select", [x]) => e.index_select(x, 1, &[2, 0, 2]),
        ("add", [x, y]) => e.add(x, y),
        ("sub", [x, y]) => e.sub(x, y),
        ("mul", [x, y]) => e.mul(x, y),
        ("affine", [x]) => e.affine(x, 1.5, -0.25),
        ("sum", [x]) => e.sum(x, &[0, 2]),
        ("mean", [x]) => e.mean(x, &[1]),
        ("matmul", [x, y]) => e.matmul(x, y),
        ("matmul_transposed", [x, y]) => e.permute(y, &[0, 2, 1]).and_then(|y| e.matmul(x, &y)),
        ("softmax", [x]) => e.softmax(x),
        ("log_softmax", [x]) => e.log_softmax(x),
        ("log", [x]) => squares(e, x).and_then(|x| e.log(&x)),
        ("pow", [x]) => squares(e, x).and_then(|x| e.pow(&x, -1.5)),
        ("smooth_l1", [x]) => e.smooth_l1(x, 0.5),
        ("l1", [x]) => e.smooth_l1(x, 0.0),
        ("gelu", [x]) => e.activation(x, Activation::Gelu),
        ("gelu_tanh", [x]) => e.activation(x, Activation::GeluTanh),
        ("quick_gelu", [x]) => e.activation(x, Activation::QuickGelu),
        ("silu", [x]) => e.activation(x, Activation::Silu),
        ("relu", [x]) => e.activation(x, Activation::Relu),
        (
            "convolution" | "convolution_of_one_channel" | "convolution_of_one_pixel",
            [x, weight],
        ) => e.convolution(x, weight),
        ("resize_bilinear", [x]) => e.resize_bilinear(x, [5, 7]),
        ("resize_bilinear_down", [x]) => e.resize_bilinear(x, [2, 3]),
        ("resize_bilinear_of_one_pixel", [x]) => e.resize_bilinear(x, [3, 2]),
        ("max_pool", [x]) => e.max_pool(x),
        ("batch_norm" | "batch_norm_of_rows", [x, w, b]) => {
            e.batch_norm(x, w, b, 1e-5).map(|(normed, ..)| normed)
        }
        ("round_to_bf16", [x]) => e.round_to_bf16(x),
        ("layer_norm", [x, w, b]) => e.layer_norm(x, w, b, 1e-6),
        ("linear", [x, w, b]) => e.linear(x, w, Some(b)),
        ("linear_without_bias", [x, w]) => e.linear(x, w, None),
        ("mlp", [x, w1, b1, w2, b2]) => e.mlp(x, (w1, b1), Activation::Gelu, (w2, b2)),
        ("attention", [qkv]) => e.attention(qkv, HEADS, None, SCALE),
        ("attention_with_bias", [qkv, bias]) => e.attention(qkv, HEADS, Some(bias), SCALE),
        ("attention_weights", [qkv]) => e
            .attention_with_weights(qkv, HEADS, None, SCALE)
            .map(|(_, weights)| weights),
        ("attention_with_statistics", [qkv]) => e
            .attention_with_statistics(qkv, HEADS, None, SCALE, &PATCHES)
            .and_then(|(out, statistics)| e.mul(&statistics, &e.mean(&out, &[0, 1, 2])?)),
        ("cross_entropy_classes", [x]) => e.cross_entropy(x, Targets::Classes(&CLASSES)),
        ("cross_entropy_smoothed", [x]) => e.cross_entropy(
            x,
            Targets::Smoothed {
                ids: &CLASSES,
                smoothing: 0.1,
            },
        ),
        ("cross_entropy_some_classes", [x]) => e.cross_entropy(x, Targets::Classes(&SOME_CLASSES)),
        ("cross_entropy_some_smoothed", [x]) => e.cross_entropy(
            x,
            Targets::Smoothed {
                ids: &SOME_CLASSES,
                smoothing: 0.1,
            },
        ),
        ("cross_entropy_soft", [x, y]) => e.cross_entropy(x, Targets::Soft(y)),
        _ => return None,
    })
}

/// `x² + 1 / 2`.
fn squares<E: Engine>(e: &E, x: &E::Tensor) -> Result<E::Tensor> {
    e.affine(&e.mul(x, x)?, 1.0, 0.5)
}

/// One case's tensors, f64.
struct Case<'a> {
    name: &'a str,
    inputs: Vec<(Vec<usize>, Vec<f64>)>,
    cotangent: (Vec<usize>, Vec<f64>),
    out: (Vec<usize>, Vec<f64>),
    gradients: Vec<Vec<f64>>,
}

/// A tensor in f64, with its shape.
fn tensor(file: &SafeTensors<'_>, key: &str) -> Option<(Vec<usize>, Vec<f64>)> {
    let view = file.tensor(key).ok()?;
    let data = view.data().as_chunks::<8>().0;
    let data = data.iter().map(|x| f64::from_le_bytes(*x)).collect();
    Some((view.shape().to_vec(), data))
}

fn read<'a>(file: &SafeTensors<'_>, name: &'a str) -> Case<'a> {
    let tensor = |key: &str| tensor(file, &format!("{name}/{key}"));
    let numbered = |key: &str| {
        (0..)
            .map_while(|i| tensor(&format!("{key}.{i}")))
            .collect::<Vec<(_, Vec<f64>)>>()
    };
    Case {
        name,
        inputs: numbered("in"),
        cotangent: tensor("cotangent").unwrap(),
        out: tensor("out").unwrap(),
        gradients: numbered("grad").into_iter().map(|(_, data)| data).collect(),
    }
}

/// `sum(out * cotangent)` and its parts.
fn loss<E: Engine>(e: &E, case: &Case<'_>, inputs: &[E::Tensor]) -> (E::Tensor, E::Tensor) {
    let name = case.name;
    let out = apply(e, name, inputs).unwrap_or_else(|| panic!("no engine case {name}"));
    let out = out.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(e.shape(&out), case.out.0, "{name}");
    let cotangent = e.tensor(&case.cotangent.1[..], &case.cotangent.0).unwrap();
    let axes: Vec<usize> = (0..case.out.0.len()).collect();
    let product = e.mul(&out, &cotangent).unwrap();
    let loss = if axes.is_empty() {
        product
    } else {
        e.sum(&product, &axes).unwrap()
    };
    (out, loss)
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance * largest, "{what}: {a} for {b}");
    }
}

fn conforms<E: Engine>(e: &E, tolerance: f64) {
    let bytes = std::fs::read(fixture("goldens/engine/cases.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let names: BTreeSet<_> = file
        .names()
        .iter()
        .filter_map(|key| key.split('/').next())
        .collect();
    assert!(names.len() >= 48);
    for name in names {
        let case = read(&file, name);
        let parameters = |inputs: &[(Vec<usize>, Vec<f64>)]| -> Vec<E::Tensor> {
            inputs
                .iter()
                .map(|(shape, x)| e.parameter(&x[..], shape).unwrap())
                .collect()
        };
        let inputs = parameters(&case.inputs);
        let (out, total) = loss(e, &case, &inputs);
        assert_near(
            &format!("{name} forward"),
            &e.to_f64(&out).unwrap(),
            &case.out.1,
            tolerance,
        );
        let gradients = e.grad(&total, &inputs.iter().collect::<Vec<_>>()).unwrap();
        for (i, (found, expected)) in gradients.iter().zip(&case.gradients).enumerate() {
            let what = format!("{name} gradient {i}");
            let found = found.as_ref().unwrap_or_else(|| panic!("{what} is cut"));
            assert_eq!(e.shape(found), case.inputs[i].0, "{what}");
            assert_near(&what, &e.to_f64(found).unwrap(), expected, tolerance);
        }
        // What finite differences cannot see, or would see as steps.
        let unseen = ["detach", "round_to_bf16", "attention_with_statistics"].contains(&name);
        if e.precision() == Precision::F64 && !unseen {
            finite_differences(e, &case, &gradients);
        }
    }
}

fn finite_differences<E: Engine>(e: &E, case: &Case<'_>, gradients: &[Option<E::Tensor>]) {
    const STEP: f64 = 1e-5;
    for (i, gradient) in gradients.iter().enumerate() {
        let gradient = e.to_f64(gradient.as_ref().unwrap()).unwrap();
        for (j, &analytic) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut inputs = case.inputs.clone();
                inputs[i].1[j] += step;
                let inputs: Vec<_> = inputs
                    .iter()
                    .map(|(shape, x)| e.tensor(&x[..], shape).unwrap())
                    .collect();
                e.to_f64(&loss(e, case, &inputs).1).unwrap()[0]
            };
            let numeric = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            assert!(
                (numeric - analytic).abs() <= 1e-7 * analytic.abs().max(1.0),
                "{} gradient {i}[{j}]: {analytic}, differences give {numeric}",
                case.name
            );
        }
    }
}

/// Three steps of `torch.optim.AdamW`; another handle to the parameter sees them.
fn adamw<E: Engine>(e: &E, tolerance: f64) {
    let bytes = std::fs::read(fixture("goldens/engine/adamw.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (shape, start) = tensor(&file, "parameter.0").unwrap();
    let parameter = e.parameter(&start[..], &shape).unwrap();
    let handle = parameter.clone();
    let moments = e.moments(&parameter).unwrap();
    for step in 1..=3 {
        let (_, gradient) = tensor(&file, &format!("gradient.{step}")).unwrap();
        let update = Update {
            parameter: &parameter,
            gradient: &e.tensor(&gradient[..], &shape).unwrap(),
            moments: &moments,
        };
        e.adamw(&AdamW { step, ..ADAMW }, &[update]).unwrap();
        let (_, expected) = tensor(&file, &format!("parameter.{step}")).unwrap();
        let found = e.to_f64(&handle).unwrap();
        assert_near(&format!("step {step}"), &found, &expected, tolerance);
    }
    // What was changed in place is a leaf as before.
    let loss = e.sum(&e.mul(&handle, &handle).unwrap(), &[0, 1]).unwrap();
    let gradient = e.grad(&loss, &[&parameter]).unwrap().remove(0).unwrap();
    let doubled: Vec<_> = e.to_f64(&handle).unwrap().iter().map(|x| 2.0 * x).collect();
    assert_near(
        "gradient",
        &e.to_f64(&gradient).unwrap(),
        &doubled,
        tolerance,
    );
}

/// New values in a leaf: other handles see them, older graphs end, and it is a leaf as before.
fn assignments<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let handle = x.clone();
    let square = |x: &E::Tensor| e.sum(&e.mul(x, x).unwrap(), &[0]).unwrap();
    let older = square(&x);
    e.assign(&x, &e.tensor(&[3f32, 5.0][..], &[2]).unwrap())
        .unwrap();
    assert_eq!(e.to_f64(&handle).unwrap(), [3.0, 5.0]);
    assert!(e.grad(&older, &[&x]).is_err());
    let gradient = e.grad(&square(&handle), &[&x]).unwrap().remove(0).unwrap();
    assert_eq!(e.to_f64(&gradient).unwrap(), [6.0, 10.0]);
    // Views of its own memory, and what a graph hangs on.
    e.assign(&x, &e.detach(&x).unwrap()).unwrap();
    e.assign(&x, &e.affine(&x, 2.0, 0.0).unwrap()).unwrap();
    assert_eq!(e.to_f64(&handle).unwrap(), [6.0, 10.0]);
    let gradient = e.grad(&square(&x), &[&x]).unwrap().remove(0).unwrap();
    assert_eq!(e.to_f64(&gradient).unwrap(), [12.0, 20.0]);
    let constant = e.tensor(&[0f32; 6][..], &[2, 3]).unwrap();
    let numbers = e.tensor(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0][..], &[3, 2]);
    let transposed = e.permute(&numbers.unwrap(), &[1, 0]).unwrap();
    e.assign(&constant, &transposed).unwrap();
    let expected = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0];
    assert_eq!(e.to_f64(&constant).unwrap(), expected);
}

/// Sums of squares keep the digits that a sum in f32 would lose, of leaves and of views.
fn square_sums<E: Engine>(e: &E) {
    assert_eq!(e.square_sums(&[]).unwrap(), [0.0; 0]);
    let numbers = e.parameter(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0][..], &[2, 3]);
    let numbers = numbers.unwrap();
    let view = e.permute(&e.narrow(&numbers, 1, 1, 2).unwrap(), &[1, 0]);
    let many = e
        .tensor(&vec![1.1f32; 3_000_000][..], &[1000, 3000])
        .unwrap();
    let found = e.square_sums(&[&numbers, &view.unwrap(), &many]).unwrap();
    assert_eq!(found[..2], [91.0, 74.0]);
    let expected = 3e6 * f64::from(1.1f32).powi(2);
    assert!((found[2] - expected).abs() <= 1e-12 * expected);
}

fn no_gradient_without_dependence<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let y = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let constant = e.tensor(&[3f32, 4.0][..], &[2]).unwrap();
    let loss = e.sum(&e.mul(&x, &constant).unwrap(), &[0]).unwrap();
    let gradients = e.grad(&loss, &[&x, &y, &constant]).unwrap();
    assert_eq!(
        e.to_f32(gradients[0].as_ref().unwrap()).unwrap(),
        [3.0, 4.0]
    );
    assert!(gradients[1].is_none());
    // A constant keeps no graph, so that inference needs no special mode.
    assert!(gradients[2].is_none());
    let constants = e.sum(&constant, &[0]).unwrap();
    assert!(e.grad(&constants, &[&x]).unwrap()[0].is_none());
}

fn refuses_shapes<E: Engine>(e: &E) {
    let x = e.tensor(&[0f32; 6][..], &[2, 3]).unwrap();
    assert!(e.tensor(&[0f32; 5][..], &[2, 3]).is_err());
    assert!(e.parameter(&[0f32; 7][..], &[2, 3]).is_err());
    assert!(e.matmul(&x, &x).is_err());
    assert!(e.add(&x, &e.tensor(&[0f32; 2][..], &[2]).unwrap()).is_err());
    assert!(e.index_select(&x, 1, &[3]).is_err());
    assert!(e.index_select(&x, 1, &[u32::MAX]).is_err());
    let [two, three] = [2, 3].map(|n| e.tensor(&[0f32; 3][..n], &[n]).unwrap());
    assert!(e.layer_norm(&x, &two, &two, 1e-6).is_err());
    assert!(e.layer_norm(&x, &three, &two, 1e-6).is_err());
    assert!(e.linear(&x, &three, None).is_err());
    assert!(e.linear(&x, &x, Some(&three)).is_err());
    assert!(e.matmul(&x, &three).is_err());
    assert!(e.attention(&x, 1, None, 1.0).is_err());
    let qkv = e.tensor(&[0f32; 12][..], &[1, 2, 6]).unwrap();
    for (prefix, grid) in [(1, [1, 1]), (0, [2, 1]), (1, [2, 1]), (2, [0, 0])] {
        let patches = PatchGrid {
            prefix,
            grid,
            patch_size: 4,
        };
        let found = e.attention_with_statistics(&qkv, 1, None, 1.0, &patches);
        assert_eq!(found.is_ok(), prefix + grid[0] == 2 && grid[0] > 0);
    }
    assert!(e.cross_entropy(&x, Targets::Classes(&[0, 3])).is_err());
    assert!(e.cross_entropy(&x, Targets::Classes(&[0])).is_err());
    for (ids, smoothing) in [([0, 3], 0.1), ([0, 2], -0.1), ([0, 2], f64::NAN)] {
        let ids = &ids;
        let smoothed = Targets::Smoothed { ids, smoothing };
        assert!(e.cross_entropy(&x, smoothed).is_err());
    }
    assert!(e.assign(&x, &three).is_err());
    assert!(e.grad(&x, &[&x]).is_err());
}

fn a_graph_is_used_once<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let loss = e.sum(&e.mul(&x, &x).unwrap(), &[0]).unwrap();
    e.grad(&loss, &[&x]).unwrap();
    assert!(e.grad(&loss, &[&x]).is_err());
}

/// What would write or read beyond a tensor, wait for itself, or be no step.
fn refuses_updates<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let gradient = e.tensor(&[1f32, 2.0][..], &[2]).unwrap();
    let short = e.tensor(&[1f32][..], &[1]).unwrap();
    let moments = e.moments(&x).unwrap();
    let step = |step, gradient: &E::Tensor, moments: &Moments<E::Tensor>| {
        let update = Update {
            parameter: &x,
            gradient,
            moments,
        };
        e.adamw(&AdamW { step, ..ADAMW }, &[update])
    };
    assert!(step(0, &gradient, &moments).is_err());
    assert!(step(1, &short, &moments).is_err());
    let mean = short.clone();
    let crooked = Moments {
        mean,
        ..moments.clone()
    };
    assert!(step(1, &gradient, &crooked).is_err());
    step(1, &gradient, &moments).unwrap();
}

/// What candle would lock twice.
fn refuses_shared_memory(e: &Candle) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let moments = e.moments(&x).unwrap();
    let itself = e.detach(&x).unwrap();
    let one = Moments {
        mean: moments.mean.clone(),
        square: moments.mean.clone(),
    };
    for (gradient, moments) in [(&itself, &moments), (&moments.square, &one)] {
        let update = Update {
            parameter: &x,
            gradient,
            moments,
        };
        let error = e.adamw(&ADAMW, &[update]).unwrap_err();
        assert!(error.message.contains("share memory"), "{error}");
    }
}

/// A graph whose saved values an update has overwritten.
fn an_update_ends_older_graphs<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let gradient = e.tensor(&[1f32, 2.0][..], &[2]).unwrap();
    let loss = e.sum(&e.mul(&x, &x).unwrap(), &[0]).unwrap();
    let update = Update {
        parameter: &x,
        gradient: &gradient,
        moments: &e.moments(&x).unwrap(),
    };
    e.adamw(&ADAMW, &[update]).unwrap();
    assert!(e.grad(&loss, &[&x]).is_err());
}

/// Kernels read views as they read copies, and give views their gradients.
fn views_are_read_as_copies<E: Engine>(e: &E) {
    let numbers: Vec<f32> = (0..2 * 6 * 15).map(|i| (i as f32 * 0.7).sin()).collect();
    let weight: Vec<f32> = (0..6 * 6).map(|i| (i as f32 * 0.3).cos()).collect();
    let row = e.tensor(&weight[..6], &[6]).unwrap();
    let square = e.tensor(&weight[..], &[6, 6]).unwrap();
    let op = |i: usize, x: &E::Tensor| {
        match i {
            0 => e.activation(x, Activation::Gelu),
            1 => e.layer_norm(x, &row, &row, 1e-6),
            2 => e.linear(x, &square, Some(&row)),
            3 => e.mlp(x, (&square, &row), Activation::Gelu, (&square, &row)),
            4 => e.attention(x, HEADS / 2, None, SCALE),
            _ => e.softmax(x),
        }
        .unwrap()
    };
    // An offset, then another order of the axes: [2, 9, 6].
    let view = |x: &E::Tensor| {
        e.permute(&e.narrow(x, 2, 3, 9).unwrap(), &[0, 2, 1])
            .unwrap()
    };
    for i in 0..6 {
        let leaf = e.parameter(&numbers[..], &[2, 6, 15]).unwrap();
        let copied = e.to_f32(&view(&leaf)).unwrap();
        let copied = e.parameter(&copied[..], &[2, 9, 6]).unwrap();
        let (found, expected) = (op(i, &view(&leaf)), op(i, &copied));
        let host = |x: &E::Tensor| e.to_f64(x).unwrap();
        assert_near(&format!("op {i}"), &host(&found), &host(&expected), 1e-6);
        let gradient = |out: &E::Tensor, input: &E::Tensor| {
            let loss = e.sum(&e.mul(out, out).unwrap(), &[0, 1, 2]).unwrap();
            e.grad(&loss, &[input]).unwrap().remove(0).unwrap()
        };
        let found = view(&gradient(&found, &leaf));
        let expected = gradient(&expected, &copied);
        assert_near(
            &format!("gradient of op {i}"),
            &host(&found),
            &host(&expected),
            1e-6,
        );
    }
}

/// A bias of any shape that broadcasts, in the fused layer and in the composed one.
fn biases_broadcast<E: Engine>(e: &E) {
    let (batch, tokens) = (2, 4);
    let qkv: Vec<f32> = (0..batch * tokens * 18)
        .map(|i| (i as f32 * 0.7).sin())
        .collect();
    let qkv = e.tensor(&qkv[..], &[batch, tokens, 18]).unwrap();
    let shapes: [&[usize]; 6] = [
        &[tokens, tokens],
        &[HEADS, tokens, tokens],
        &[1, HEADS, tokens, 1],
        &[batch, 1, 1, tokens],
        &[batch, HEADS, tokens, tokens],
        &[1],
    ];
    for shape in shapes {
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|i| (i as f32 * 1.3).cos()).collect();
        let both = [true, false].map(|fused| {
            let bias = e.parameter(&numbers[..], shape).unwrap();
            let out = if fused {
                e.attention(&qkv, HEADS, Some(&bias), SCALE).unwrap()
            } else {
                e.attention_with_weights(&qkv, HEADS, Some(&bias), SCALE)
                    .unwrap()
                    .0
            };
            let loss = e.sum(&e.mul(&out, &out).unwrap(), &[0, 1, 2]).unwrap();
            let gradient = e.grad(&loss, &[&bias]).unwrap().remove(0).unwrap();
            assert_eq!(e.shape(&gradient), shape);
            [e.to_f64(&out).unwrap(), e.to_f64(&gradient).unwrap()]
        });
        for (found, expected) in both[0].iter().zip(&both[1]) {
            assert_near(&format!("bias {shape:?}"), found, expected, 2e-6);
        }
    }
}

/// Statistics are those of the weights, whatever the bias, and leave the output alone.
fn statistics_are_those_of_the_weights<E: Engine>(e: &E) {
    let patches = PatchGrid {
        prefix: 2,
        grid: [3, 4],
        patch_size: 16,
    };
    let (batch, tokens) = (2, patches.tokens());
    let qkv: Vec<f32> = (0..batch * tokens * 18)
        .map(|i| (i as f32 * 0.7).sin())
        .collect();
    let qkv = e.tensor(&qkv[..], &[batch, tokens, 18]).unwrap();
    let shapes: [Option<&[usize]>; 4] = [
        None,
        Some(&[1, HEADS, tokens, tokens]),
        Some(&[batch, 1, 1, tokens]),
        Some(&[batch, HEADS, tokens, tokens]),
    ];
    for shape in shapes {
        let bias = shape.map(|shape| {
            let count = shape.iter().product::<usize>();
            let numbers: Vec<f32> = (0..count).map(|i| 4.0 * (i as f32 * 1.3).cos()).collect();
            e.tensor(&numbers[..], shape).unwrap()
        });
        let bias = bias.as_ref();
        let alone = e.attention(&qkv, HEADS, bias, SCALE).unwrap();
        let (out, statistics) = e
            .attention_with_statistics(&qkv, HEADS, bias, SCALE, &patches)
            .unwrap();
        assert_eq!(e.to_f64(&out).unwrap(), e.to_f64(&alone).unwrap());
        let (_, maps) = e.attention_with_weights(&qkv, HEADS, bias, SCALE).unwrap();
        let expected: Vec<f64> = e
            .to_f32(&maps)
            .unwrap()
            .chunks_exact(tokens * tokens)
            .flat_map(|map| attention_statistics(map, &patches).unwrap())
            .collect();
        assert_eq!(e.shape(&statistics), [batch, HEADS, 4]);
        let found = e.to_f64(&statistics).unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs() / expected.max(1.0);
            assert!(error <= 1e-6, "{shape:?}: {found} for {expected}");
        }
    }
}

fn intermediate_values_have_gradients<E: Engine>(e: &E) {
    let x = e.parameter(&[1f32, 2.0][..], &[2]).unwrap();
    let inner = e.affine(&x, 3.0, 0.0).unwrap();
    let loss = e.sum(&e.mul(&inner, &inner).unwrap(), &[0]).unwrap();
    let gradients = e.grad(&loss, &[&inner, &x]).unwrap();
    let values = |i: usize| e.to_f32(gradients[i].as_ref().unwrap()).unwrap();
    assert_eq!(values(0), [6.0, 12.0]);
    assert_eq!(values(1), [18.0, 36.0]);
}

fn behaves_in_f32<E: Engine>(e: &E) {
    conforms(e, 2e-6);
    adamw(e, 2e-6);
    no_gradient_without_dependence(e);
    a_graph_is_used_once(e);
    intermediate_values_have_gradients(e);
    views_are_read_as_copies(e);
    biases_broadcast(e);
    statistics_are_those_of_the_weights(e);
    assignments(e);
    square_sums(e);
    refuses_shapes(e);
    refuses_updates(e);
    an_update_ends_older_graphs(e);
}

#[test]
fn candle_in_f64() {
    let e = Candle::new(Precision::F64);
    conforms(&e, 1e-12);
    adamw(&e, 1e-12);
    assignments(&e);
    square_sums(&e);
}

#[test]
fn candle_in_f32() {
    let e = Candle::new(Precision::F32);
    behaves_in_f32(&e);
    refuses_shared_memory(&e);
}

#[cfg(feature = "torch")]
fn torch(precision: Precision) -> Torch {
    Torch::new(Device::Cpu, precision).unwrap()
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_f64() {
    let e = torch(Precision::F64);
    conforms(&e, 1e-12);
    adamw(&e, 1e-12);
    assignments(&e);
    square_sums(&e);
}

#[cfg(feature = "torch")]
#[test]
fn torch_in_f32() {
    let e = torch(Precision::F32);
    behaves_in_f32(&e);
}

/// bf16 has 8 significant bits.
#[cfg(feature = "torch")]
#[test]
fn torch_in_bf16() {
    let e = torch(Precision::Bf16);
    conforms(&e, 2e-2);
    adamw(&e, 2e-6);
    no_gradient_without_dependence(&e);
}

#[cfg(feature = "torch")]
#[test]
fn errors_of_libtorch_are_one_line() {
    let e = torch(Precision::F32);
    let x = e.tensor(&[0f32; 6][..], &[2, 3]).unwrap();
    let error = e.reshape(&x, &[4]).unwrap_err().to_string();
    assert_eq!(error, "reshape: shape '[4]' is invalid for input of size 6");
    let one = e.tensor(&[0f32][..], &[1, 1]).unwrap();
    let huge = e.expand(&one, &[1 << 24, 1 << 24]).unwrap();
    let error = e.affine(&huge, 2.0, 0.0).unwrap_err().to_string();
    assert!(error.starts_with("affine: out of memory: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
