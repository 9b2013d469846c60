//! What students begin as, and which of it decays.

use std::collections::BTreeMap;

use mimbench::nn::Weights;
use mimbench::pretrain::{Blueprint, Method};
use mimbench::train::{DecayExclusion, plain_groups};
use mimbench::vit::VitConfig;

const DEPTH: usize = 3;

fn weights(initial: &str) -> Weights {
    let text = format!(
        "[student]
        arch = {{ width = 96, depth = {DEPTH}, heads = 3, mlp_width = 384, patch_size = 4, input_size = 32 }}
        encoding = \"dense\"
        positions = \"learned\"
        relative_bias = \"shared\"
        layer_scale = 0.1
        initial = {{ {initial} }}
        [mask]
        kind = \"block\"
        ratio = 0.4
        [teachers.t]
        [terms.t]
        kind = \"patch_distillation\"
        weight = 1.0
        teacher = \"t\"
        on = \"masked\"
        beta = 2.0
        normalise = \"layer\"
        head = \"h\"
        "
    );
    let method: Method = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
    let teacher = VitConfig::plain(4, [8, 8], (64, 2, 2));
    let teachers = BTreeMap::from([("t".to_owned(), teacher)]);
    let blueprint = Blueprint::new(&method, teachers).unwrap();
    blueprint.initial_weights(11).unwrap()
}

/// Numbers of a mean of 0 and a variance, whose squares have a variance of their own: within five
/// standard errors.
fn assert_moments(name: &str, numbers: &[f32], variance: f64, of_squares: f64) {
    let n = numbers.len() as f64;
    let mean = |power| {
        numbers
            .iter()
            .map(|&x| f64::from(x).powi(power))
            .sum::<f64>()
            / n
    };
    let first = mean(1).abs();
    assert!(first <= 5.0 * (variance / n).sqrt(), "{name}: mean {first}");
    let off = (mean(2) - variance).abs();
    assert!(
        off <= 5.0 * (of_squares / n).sqrt(),
        "{name}: variance {} for {variance}",
        mean(2)
    );
}

/// Of a normal distribution: squares have a variance of twice the variance's square.
fn assert_normal(name: &str, numbers: &[f32], deviation: f64) {
    let variance = deviation.powi(2);
    assert_moments(name, numbers, variance, 2.0 * variance.powi(2));
}

/// Tensors that are neither matrices nor tokens: what they begin as.
fn constant(name: &str) -> Option<f32> {
    if name.ends_with(".gamma") {
        return Some(0.1);
    }
    if name.contains("norm") && name.ends_with(".weight") {
        return Some(1.0);
    }
    (name.ends_with(".bias") || name.ends_with("relative_position_bias_table")).then_some(0.0)
}

const TOKENS: [&str; 3] = ["cls_token", "mask_token", "pos_embed"];

#[test]
fn xaviers_bound_holds_a_uniform_distribution() {
    for (name, tensor) in weights("kind = \"xavier\"").iter() {
        if let Some(value) = constant(name) {
            assert!(tensor.data.iter().all(|&x| x == value), "{name}");
        } else if TOKENS.contains(&name) {
            assert_normal(name, &tensor.data, 0.02);
        } else {
            let outputs = tensor.shape[0];
            let inputs = tensor.shape[1..].iter().product::<usize>();
            let bound = (6.0 / (inputs + outputs) as f64).sqrt();
            let largest = tensor.data.iter().fold(0f32, |most, x| most.max(x.abs()));
            // The largest of n misses the bound by a share of 1 / n on average.
            let rest = 1.0 - f64::from(largest) / bound;
            let n = tensor.data.len() as f64;
            assert!((-1e-7..20.0 / n).contains(&rest), "{name}: {rest}");
            // Fourth moment b^4 / 5, variance b^2 / 3.
            let of_squares = bound.powi(4) * (1.0 / 5.0 - 1.0 / 9.0);
            assert_moments(name, &tensor.data, bound.powi(2) / 3.0, of_squares);
        }
    }
}

#[test]
fn last_layers_are_divided_by_the_root_of_twice_their_place() {
    for rescale in [true, false] {
        let initial = format!("kind = \"truncated_normal\", std = 0.02, rescale = {rescale}");
        let mut rescaled = 0;
        for (name, tensor) in weights(&initial).iter() {
            if let Some(value) = constant(name) {
                assert!(tensor.data.iter().all(|&x| x == value), "{name}");
                continue;
            }
            let mut deviation = 0.02;
            for block in 0..DEPTH {
                let last = [
                    format!("blocks.{block}.attn.proj.weight"),
                    format!("blocks.{block}.mlp.fc2.weight"),
                ];
                if rescale && last.iter().any(|last| last == name) {
                    deviation /= (2.0 * (block + 1) as f64).sqrt();
                    rescaled += 1;
                }
            }
            // The cut is a hundred deviations away.
            assert_normal(name, &tensor.data, deviation);
        }
        assert_eq!(rescaled, if rescale { 2 * DEPTH } else { 0 });
    }
}

#[test]
fn a_wide_normal_is_cut_at_two() {
    let cut = weights("kind = \"truncated_normal\", std = 1.0, rescale = false");
    let numbers = &cut.find("blocks.0.mlp.fc1.weight").unwrap().data;
    assert!(numbers.iter().all(|x| x.abs() <= 2.0));
    // Variance 1 - 2 c φ(c) / (2 Φ(c) - 1) at c = 2; fourth moment 3 - 2 (c³ + 3 c) φ(c) / (2 Φ(c) - 1).
    let (density, within) = (0.053_990_966_513_188_06, 0.954_499_736_103_641_6);
    let variance = 1.0 - 4.0 * density / within;
    let fourth = 3.0 - 28.0 * density / within;
    assert_moments("cut", numbers, variance, fourth - variance * variance);
}

#[test]
fn beit_spares_vectors_class_token_and_positions() {
    let weights = weights("kind = \"xavier\"");
    let parameters: Vec<_> = (weights.iter())
        .map(|(name, tensor)| (name, &tensor.shape[..]))
        .collect();
    let groups = plain_groups(DecayExclusion::Beit, &parameters);
    let [decays, spared] = &groups[..] else {
        panic!("{groups:?}");
    };
    assert_eq!(
        (decays.weight_decay_scale, spared.weight_decay_scale),
        (1.0, 0.0)
    );
    let names = |members: &[usize]| -> Vec<&str> {
        members.iter().map(|&member| parameters[member].0).collect()
    };
    // A mask token and tables decay in microsoft/unilm `beit/optim_factory.py`, whose model lists
    // positions and class token alone.
    let (decays, spared) = (names(&decays.members), names(&spared.members));
    for name in ["mask_token", "rel_pos_bias.relative_position_bias_table"] {
        assert!(decays.contains(&name), "{name}");
    }
    for name in [
        "cls_token",
        "pos_embed",
        "norm.weight",
        "blocks.2.ls1.gamma",
        "heads.h.bias",
    ] {
        assert!(spared.contains(&name), "{name}");
    }
    let matrix = |name: &&str| name.ends_with(".weight") && !name.contains("norm");
    let matrices = parameters.iter().filter(|(name, _)| matrix(name)).count();
    assert_eq!(decays.len(), matrices + 2);
    assert_eq!(decays.len() + spared.len(), parameters.len());
}
