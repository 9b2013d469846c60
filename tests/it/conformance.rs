//! Every operation of every engine, forward and gradient, against PyTorch and finite differences.

use std::collections::BTreeSet;

use mimbench::engine::candle::Candle;
use mimbench::engine::{Activation, Engine, Precision, Result, Targets};
use safetensors::SafeTensors;

use crate::support::fixture;

const HEADS: usize = 2;
const SCALE: f64 = 0.5;
const CLASSES: [u32; 3] = [1, 0, 3];

/// Case `name` of `tests/goldens/engine/generate.py` on an engine; `None` for a name that is not
/// one, so that a golden nobody computes fails the test.
fn apply<E: Engine>(e: &E, name: &str, x: &[E::Tensor]) -> Option<Result<E::Tensor>> {
    Some(match (name, x) {
        ("detach", [x]) => e.mul(&e.detach(x), x),
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
        ("gelu", [x]) => e.activation(x, Activation::Gelu),
        ("gelu_tanh", [x]) => e.activation(x, Activation::GeluTanh),
        ("quick_gelu", [x]) => e.activation(x, Activation::QuickGelu),
        ("layer_norm", [x, w, b]) => e.layer_norm(x, w, b, 1e-6),
        ("linear", [x, w, b]) => e.linear(x, w, Some(b)),
        ("linear_without_bias", [x, w]) => e.linear(x, w, None),
        ("mlp", [x, w1, b1, w2, b2]) => e.mlp(x, (w1, b1), Activation::Gelu, (w2, b2)),
        ("attention", [qkv]) => e.attention(qkv, HEADS, None, SCALE),
        ("attention_with_bias", [qkv, bias]) => e.attention(qkv, HEADS, Some(bias), SCALE),
        ("attention_weights", [qkv]) => e
            .attention_with_weights(qkv, HEADS, None, SCALE)
            .map(|(_, weights)| weights),
        ("cross_entropy_classes", [x]) => e.cross_entropy(x, Targets::Classes(&CLASSES)),
        ("cross_entropy_soft", [x, y]) => e.cross_entropy(x, Targets::Soft(y)),
        _ => return None,
    })
}

/// One case's tensors, f64.
struct Case<'a> {
    name: &'a str,
    inputs: Vec<(Vec<usize>, Vec<f64>)>,
    cotangent: (Vec<usize>, Vec<f64>),
    out: (Vec<usize>, Vec<f64>),
    gradients: Vec<Vec<f64>>,
}

fn read<'a>(file: &SafeTensors<'_>, name: &'a str) -> Case<'a> {
    let tensor = |key: &str| {
        let view = file.tensor(&format!("{name}/{key}")).ok()?;
        let data = view
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|x| f64::from_le_bytes(*x))
            .collect();
        Some((view.shape().to_vec(), data))
    };
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
    assert!(names.len() >= 29);
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
        // `detach` is what finite differences cannot see.
        if e.precision() == Precision::F64 && name != "detach" {
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

#[test]
fn candle_in_f64() {
    conforms(&Candle::new(Precision::F64), 1e-12);
}

#[test]
fn candle_in_f32() {
    conforms(&Candle::new(Precision::F32), 2e-6);
}

#[test]
fn what_a_loss_does_not_depend_on_has_no_gradient() {
    let e = Candle::new(Precision::F32);
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
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let e = Candle::new(Precision::F32);
    let x = e.tensor(&[0f32; 6][..], &[2, 3]).unwrap();
    assert!(e.tensor(&[0f32; 5][..], &[2, 3]).is_err());
    assert!(e.matmul(&x, &x).is_err());
    assert!(e.add(&x, &e.tensor(&[0f32; 2][..], &[2]).unwrap()).is_err());
    assert!(e.attention(&x, 1, None, 1.0).is_err());
    assert!(e.cross_entropy(&x, Targets::Classes(&[0, 3])).is_err());
    assert!(e.cross_entropy(&x, Targets::Classes(&[0])).is_err());
    assert!(e.grad(&x, &[&x]).is_err());
}
