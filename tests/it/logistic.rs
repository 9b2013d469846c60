//! Multinomial logistic regression against scikit-learn.

use std::ops::ControlFlow;

use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, Precision};
use mimbench::metric::{Dense, MetricError, Ranking, accuracy};
use mimbench::train::{Iterate, Logistic, LogisticData, LogisticError, LogisticOptions, Stop};
use safetensors::SafeTensors;

use crate::support::fixture;

/// Features of the golden.
const DIM: usize = 12;
/// Its classes, of which one has no train rows.
const CLASSES: usize = 5;
const PRESENT: [usize; 4] = [0, 1, 2, 4];
const STRENGTHS: [f64; 3] = [0.01, 0.1, 1.0];

struct Golden {
    train: Vec<f32>,
    train_labels: Vec<u32>,
    val: Vec<f32>,
    val_labels: Vec<u32>,
    bytes: Vec<u8>,
}

impl Golden {
    fn read() -> Self {
        let bytes = std::fs::read(fixture("goldens/logistic/data.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| {
            file.tensor(name)
                .unwrap()
                .data()
                .as_chunks::<4>()
                .0
                .to_vec()
        };
        let f32s = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect();
        let u32s = |name: &str| words(name).into_iter().map(u32::from_le_bytes).collect();
        Self {
            train: f32s("train"),
            train_labels: u32s("train_labels"),
            val: f32s("val"),
            val_labels: u32s("val_labels"),
            bytes: bytes.clone(),
        }
    }

    fn data<E: Engine>(&self, engine: &E) -> LogisticData<E> {
        let rows = Dense::new(&self.train, DIM).unwrap();
        LogisticData::new(engine, &rows, &self.train_labels, CLASSES, true).unwrap()
    }

    /// What scikit-learn found: weights and biases of the present classes, predicted classes.
    fn expected(&self, strength: f64) -> (Vec<f64>, Vec<f64>, Vec<u32>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let tensor = |what: &str| file.tensor(&format!("C.{strength:?}.{what}")).unwrap();
        let f64s = |what: &str| {
            let values = tensor(what).data().as_chunks::<8>().0.iter();
            values.map(|&bytes| f64::from_le_bytes(bytes)).collect()
        };
        let predicted = tensor("predicted").data().as_chunks::<4>().0.iter();
        let predicted = predicted.map(|&bytes| u32::from_le_bytes(bytes));
        (f64s("weights"), f64s("bias"), predicted.collect())
    }
}

/// A tolerance that f32 reaches.
const TIGHT: LogisticOptions = LogisticOptions {
    tolerance: 1e-6,
    iterations: 1000,
};

fn quiet(_: &Iterate) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[track_caller]
fn assert_near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs() / largest;
        assert!(error <= tolerance, "{what}: {found} for {expected}");
    }
}

fn agrees_with_sklearn<E: Engine>(engine: &E, tolerance: f64) {
    let golden = Golden::read();
    let val = Dense::new(&golden.val, DIM).unwrap();
    let data = golden.data(engine);
    let path = data.path(&[1.0, 0.01, 0.1], TIGHT, &mut quiet).unwrap();
    for (warm, strength) in path.into_iter().zip(STRENGTHS) {
        let cold = data.fit(strength, TIGHT, None, &mut quiet).unwrap();
        let (weights, bias, predicted) = golden.expected(strength);
        for fitted in [cold, warm] {
            assert!(fitted.converged(), "{:?} {:?}", fitted.stop, fitted.at);
            assert_eq!(fitted.strength, strength);
            let rows = PRESENT.map(|class| &fitted.weights[class * DIM..][..DIM]);
            assert_near("weights", &rows.concat(), &weights, tolerance);
            assert_near(
                "bias",
                &PRESENT.map(|class| fitted.bias[class]),
                &bias,
                tolerance,
            );
            assert_eq!(fitted.weights[3 * DIM..][..DIM], [0.0; DIM]);
            assert_eq!(fitted.bias[3], f64::NEG_INFINITY);

            let found = fitted.predict(engine, &val).unwrap();
            let top1 = found.ranked.iter().map(|ranking| ranking.classes()[0]);
            assert_eq!(top1.collect::<Vec<_>>(), predicted);
            // The class that was never seen is the last.
            assert!(found.ranked.iter().all(|ranking| ranking.classes()[4] == 3));
            let hits = predicted.iter().zip(&golden.val_labels);
            let hits = hits.filter(|(found, label)| found == label).count() as u64;
            let accuracy = accuracy(&found, &golden.val_labels).unwrap();
            assert_eq!((accuracy.top1.count, accuracy.top5.count), (hits, 80));
        }
    }
}

#[test]
fn weights_and_predictions_are_those_of_sklearn() {
    agrees_with_sklearn(&Candle::new(Precision::F32), 1e-3);
    agrees_with_sklearn(&Candle::new(Precision::F64), 1e-4);
}

#[cfg(feature = "torch")]
#[test]
fn on_torch_too() {
    agrees_with_sklearn(&Torch::new(Device::Cpu, Precision::F32).unwrap(), 1e-3);
}

#[test]
fn a_warm_start_saves_steps_and_a_stranger_is_refused() {
    let engine = Candle::new(Precision::F32);
    let golden = Golden::read();
    let data = golden.data(&engine);
    let fit = |strength, start: Option<&Logistic>| data.fit(strength, TIGHT, start, &mut quiet);
    let cold = fit(0.1, None).unwrap();
    let again = fit(0.1, Some(&cold)).unwrap();
    assert!(again.at.iteration <= 1, "{:?}", again.at);
    let near = fit(0.11, Some(&cold)).unwrap();
    assert!(near.at.iteration < cold.at.iteration);
    let mut wide = cold;
    wide.classes = 7;
    let error = fit(0.1, Some(&wide)).unwrap_err();
    assert!(matches!(error, LogisticError::Start { .. }) && error.hint().is_some());
}

#[test]
fn features_as_they_are_give_the_same_fit_when_they_are_standard() {
    let engine = Candle::new(Precision::F32);
    let (plus, minus) = ([1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]);
    let features: Vec<f32> = plus
        .into_iter()
        .zip(minus)
        .flat_map(|(x, y)| [x, y])
        .collect();
    let rows = Dense::new(&features, 2).unwrap();
    let fits = [true, false].map(|standardise| {
        let data = LogisticData::new(&engine, &rows, &[0, 0, 1, 1], 2, standardise).unwrap();
        data.fit(0.5, TIGHT, None, &mut quiet).unwrap()
    });
    assert_eq!(fits[0], fits[1]);
    // Each class has a row of weights, the other's negative.
    let weights = &fits[0].weights;
    assert!(
        weights[0] > 0.1 && (weights[0] + weights[2]).abs() < 1e-6,
        "{weights:?}"
    );
    assert!(weights[1].abs() < 1e-6);
}

#[test]
fn a_fit_that_is_cut_short_says_so() {
    let engine = Candle::new(Precision::F32);
    let data_of = Golden::read();
    let data = data_of.data(&engine);
    let few = LogisticOptions {
        iterations: 2,
        ..TIGHT
    };
    let fitted = data.fit(1.0, few, None, &mut quiet).unwrap();
    assert_eq!((fitted.stop, fitted.converged()), (Stop::Iterations, false));
    let stopped = data.fit(1.0, TIGHT, None, &mut |_| ControlFlow::Break(()));
    assert_eq!(stopped.unwrap().stop, Stop::Interrupted);
}

#[test]
fn bad_input_is_named() {
    let engine = Candle::new(Precision::F32);
    let refused = |features: &[f32], labels: &[u32]| {
        let rows = Dense::new(features, 2).unwrap();
        let error = LogisticData::new(&engine, &rows, labels, 3, true).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error
    };
    let fine = [0.0, 1.0, 2.0, 3.0];
    let text = refused(&fine, &[2, 2]).to_string();
    assert_eq!(text, "every train image is of class 2");
    let text = refused(&fine, &[0, 3]).to_string();
    assert_eq!(text, "train label 3 of row 1 is outside the 3 classes");
    let text = refused(&fine, &[0]).to_string();
    assert_eq!(text, "train features and labels: 2 against 1");
    assert!(matches!(
        refused(&[], &[]),
        LogisticError::Metric(MetricError::NoTrainRows)
    ));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let text = refused(&[0.0, 1.0, 2.0, bad], &[0, 1]).to_string();
        assert_eq!(text, "row 1 holds a NaN or an infinity");
    }

    let rows = Dense::new(&fine, 2).unwrap();
    let data = LogisticData::new(&engine, &rows, &[0, 1], 3, true).unwrap();
    for strength in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = data.fit(strength, TIGHT, None, &mut quiet).unwrap_err();
        assert!(matches!(error, LogisticError::Strength { .. }), "{error}");
    }
    let fitted = data.fit(1.0, TIGHT, None, &mut quiet).unwrap();
    let wide = Dense::new(&fine, 4).unwrap();
    let error = fitted.predict(&engine, &wide).unwrap_err().to_string();
    assert_eq!(error, "train rows have 2 features, test rows 4");
    let nan = [0.0, f32::NAN];
    let error = fitted
        .predict(&engine, &Dense::new(&nan, 2).unwrap())
        .unwrap_err();
    assert!(error.to_string().starts_with("test row 0"), "{error}");
    assert_eq!(Ranking::of_scores(&[]).classes(), [0u32; 0]);
}
