//! Schedules and layer decay against what BEiT's, DINO's, MAE's, mmcv's and mmengine's own code
//! gave (`tests/goldens/schedule`).

use mimbench::train::{LayerDecayRule, Position, Schedule, layer_groups};
use serde_json::Value;

use crate::support::fixture;

fn golden() -> Value {
    let text = std::fs::read_to_string(fixture("goldens/schedule/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("no {name}"))
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no {name}"))
}

/// Every value of the golden, to 1e-12 of itself.
#[track_caller]
fn assert_values(schedule: Schedule, peak: f64, (epochs, per_epoch): (u64, u64), expected: &Value) {
    let expected = expected.as_array().unwrap();
    assert_eq!(expected.len() as u64, epochs * per_epoch);
    for (iteration, expected) in expected.iter().enumerate() {
        let position = Position {
            iteration: iteration as u64,
            iterations_per_epoch: per_epoch,
            epochs,
        };
        let (found, expected) = (schedule.at(peak, position), expected.as_f64().unwrap());
        assert!(
            (found - expected).abs() <= 1e-12 * expected.abs(),
            "{schedule:?} at {iteration}: {found} for {expected}"
        );
    }
}

#[test]
fn cosines_of_beit_and_dino() {
    let golden = golden();
    let mut cases = 0;
    for family in ["beit_cosine", "dino_cosine"] {
        for case in golden[family].as_array().unwrap() {
            let args = &case["args"];
            let schedule = Schedule::BeitCosine {
                warmup_epochs: args["warmup_epochs"].as_u64().unwrap_or(0),
                warmup_steps: args["warmup_steps"].as_u64(),
                start: args["start_warmup_value"].as_f64().unwrap_or(0.0),
                end: number(args, "final_value"),
            };
            let length = (count(args, "epochs"), count(args, "niter_per_ep"));
            assert_values(
                schedule,
                number(args, "base_value"),
                length,
                &case["values"],
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 5);
}

#[test]
fn cosine_of_mae() {
    let case = &golden()["mae_cosine"];
    let args = &case["args"];
    let schedule = Schedule::MaeCosine {
        warmup_epochs: number(args, "warmup_epochs"),
        end: number(args, "min_lr"),
    };
    let length = (count(args, "epochs"), count(args, "iters_per_epoch"));
    assert_values(schedule, number(args, "lr"), length, &case["values"]);
}

#[test]
fn polynomials_of_mmcv_and_mmengine() {
    let golden = golden();
    for case in golden["mmcv1_poly"].as_array().unwrap() {
        let args = &case["args"];
        let schedule = Schedule::MmcvPolynomial {
            power: number(args, "power"),
            end: number(args, "min_lr"),
            warmup_steps: count(args, "warmup_iters"),
            warmup_ratio: number(args, "warmup_ratio"),
        };
        let length = (1, count(args, "max_iters"));
        assert_values(schedule, number(args, "base_lr"), length, &case["values"]);
    }
    let case = &golden["mmengine_linear_poly"];
    let args = &case["args"];
    let schedule = Schedule::MmenginePolynomial {
        power: number(args, "power"),
        end: 0.0,
        warmup_steps: count(args, "warm_end"),
        warmup_ratio: number(args, "start_factor"),
    };
    let length = (1, count(args, "total"));
    assert_values(schedule, number(args, "lr"), length, &case["values"]);
}

#[test]
fn layer_decay_of_mae_and_beit() {
    let golden = golden();
    for (rule, key) in [
        (LayerDecayRule::Mae, "layer_decay_mae"),
        (LayerDecayRule::Beit, "layer_decay_beit"),
        (LayerDecayRule::Mmseg, "layer_decay_beit"),
    ] {
        let case = &golden[key];
        let depth = count(case, "depth") as usize;
        let names: Vec<&str> = case["scale"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names.len(), 21);
        let parameters: Vec<(&str, &[usize])> =
            names.iter().map(|&name| (name, &[8][..])).collect();
        for group in layer_groups(rule, number(case, "layer_decay"), depth, &parameters) {
            assert_eq!(group.weight_decay_scale, 0.0);
            for place in group.members {
                let name = names[place];
                let layer = count(&case["layer_id"], name) as usize;
                assert_eq!(rule.layer(name, depth), layer, "{rule:?} {name}");
                let expected = number(&case["scale"], name);
                let error = (group.learning_rate_scale - expected).abs() / expected;
                assert!(error <= 1e-12, "{rule:?} {name}");
            }
        }
    }
}
