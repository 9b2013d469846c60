//! Losses of a classification against timm's own (`tests/goldens/losses`).

use mimbench::engine::candle::Candle;
#[cfg(feature = "torch")]
use mimbench::engine::{Device, torch::Torch};
use mimbench::engine::{Engine, Precision, Targets};
use safetensors::SafeTensors;

use crate::support::fixture;

/// Loss and gradient of a case, in the f32 that the golden was computed in.
fn check<E: Engine>(e: &E, case: &str, targets: Targets<'_, E::Tensor>) {
    let logits = floats(&format!("{case}/in.logits"));
    let logits = e.parameter(&logits[..], &[4, 7]).unwrap();
    let loss = e.cross_entropy(&logits, targets).unwrap();
    let gradient = e.grad(&loss, &[&logits]).unwrap().remove(0).unwrap();
    for (found, key) in [(loss, "loss"), (gradient, "grad.logits")] {
        let expected = floats(&format!("{case}/{key}"));
        let found = e.to_f64(&found).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            let expected = f64::from(expected);
            let error = (found - expected).abs() / expected.abs().max(1.0);
            assert!(error <= 5e-7, "{case} {key}: {found} for {expected}");
        }
    }
}

fn floats(key: &str) -> Vec<f32> {
    let bytes = std::fs::read(fixture("goldens/losses/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = file.tensor(key).unwrap().data().as_chunks::<4>().0;
    words.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

fn cross_entropies<E: Engine>(e: &E) {
    let soft = floats("soft_target_ce/in.target");
    let soft = e.tensor(&soft[..], &[4, 7]).unwrap();
    check(e, "soft_target_ce", Targets::Soft(&soft));
    let bytes = std::fs::read(fixture("goldens/losses/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor("ce_label_smoothing_0.1/in.target").unwrap();
    let ids = ids.data().as_chunks::<8>().0.iter();
    let ids: Vec<u32> = ids.map(|x| i64::from_le_bytes(*x) as u32).collect();
    let smoothed = Targets::Smoothed {
        ids: &ids,
        smoothing: 0.1,
    };
    check(e, "ce_label_smoothing_0.1", smoothed);
}

#[test]
fn candle() {
    cross_entropies(&Candle::new(Precision::F32));
    cross_entropies(&Candle::new(Precision::F64));
}

#[cfg(feature = "torch")]
#[test]
fn torch() {
    cross_entropies(&Torch::new(Device::Cpu, Precision::F32).unwrap());
    cross_entropies(&Torch::new(Device::Cpu, Precision::F64).unwrap());
}
