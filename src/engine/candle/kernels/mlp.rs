//! Two affine layers with an activation between them.

use rayon::prelude::*;

use super::activation::{activate_gradient, activate_in_place, activation};
use super::linear::{linear, linear_gradient};
use crate::engine::Activation;

/// Elements of the hidden layer that one thread takes at a time.
const CHUNK: usize = 1 << 13;

/// The layers of an MLP: weights `[H, D]` and `[O, H]`, biases `[H]` and `[O]`.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Weight and bias of the first layer.
    pub fc1: (&'a [f32], &'a [f32]),
    /// What stands between.
    pub activation: Activation,
    /// Weight and bias of the second layer.
    pub fc2: (&'a [f32], &'a [f32]),
}

/// `fc2(act(fc1(x)))` without anything to go back with: x `[N, D]` -> `[N, O]`
pub fn mlp(x: &[f32], layers: Layers<'_>) -> Vec<f32> {
    let mut hidden = first(x, layers);
    hidden.par_chunks_mut(CHUNK).for_each(|hidden| {
        activate_in_place(layers.activation, hidden);
    });
    second(&hidden, layers)
}

/// [`mlp`] and the hidden layer before its activation, which [`mlp_gradient`] needs: `[N, H]`.
pub fn mlp_with_hidden(x: &[f32], layers: Layers<'_>) -> (Vec<f32>, Vec<f32>) {
    let hidden = first(x, layers);
    let activated = activation(layers.activation, &hidden);
    (second(&activated, layers), hidden)
}

fn first(x: &[f32], layers: Layers<'_>) -> Vec<f32> {
    let (weight, bias) = layers.fc1;
    linear(x, weight, Some(bias), weight.len() / bias.len().max(1))
}

fn second(activated: &[f32], layers: Layers<'_>) -> Vec<f32> {
    let (weight, bias) = layers.fc2;
    linear(activated, weight, Some(bias), layers.fc1.1.len())
}

/// Gradients of [`mlp`] with respect to x, fc1's weight and bias, fc2's weight and bias, those
/// that are needed. The activated layer is computed again rather than kept.
///
/// hidden: `[N, H]`, before the activation; dy: `[N, O]`
pub fn mlp_gradient(
    x: &[f32],
    hidden: &[f32],
    layers: Layers<'_>,
    dy: &[f32],
    needs: [bool; 5],
) -> [Option<Vec<f32>>; 5] {
    let width = layers.fc1.1.len();
    let [input, outputs] = [layers.fc1.0.len() / width.max(1), layers.fc2.1.len()];
    let [
        _,
        needs_fc1_weight,
        needs_fc1_bias,
        needs_fc2_weight,
        needs_fc2_bias,
    ] = needs;
    let below = needs[0] || needs_fc1_weight || needs_fc1_bias;
    let mut activated = Vec::new();
    if needs_fc2_weight {
        activated = activation(layers.activation, hidden);
    }
    let [dhidden, dweight2, dbias2] = linear_gradient(
        &activated,
        layers.fc2.0,
        dy,
        [width, outputs],
        [below, needs_fc2_weight, needs_fc2_bias],
    );
    drop(activated);
    let [dx, dweight1, dbias1] = match dhidden {
        None => [None, None, None],
        Some(mut dhidden) => {
            dhidden
                .par_chunks_mut(CHUNK)
                .zip(hidden.par_chunks(CHUNK))
                .for_each(|(dhidden, hidden)| {
                    activate_gradient(layers.activation, hidden, dhidden);
                });
            linear_gradient(
                x,
                layers.fc1.0,
                &dhidden,
                [input, width],
                [needs[0], needs_fc1_weight, needs_fc1_bias],
            )
        }
    };
    [dx, dweight1, dbias1, dweight2, dbias2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::linear::tests::{plain, plain_gradient, wide};
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};

    /// `x σ(1.702 x)` and its slope in f64.
    fn quick_gelu(x: f64) -> (f64, f64) {
        let gate = 1.0 / (1.0 + (-1.702 * x).exp());
        (x * gate, gate + 1.702 * x * gate * (1.0 - gate))
    }

    #[test]
    fn values_and_gradients_agree_with_f64_on_any_number_of_threads() {
        let (rows, width, hidden, outputs) = (41, 12, 260, 9);
        let x = noise(rows * width, 1);
        let [w1, b1] = [noise(hidden * width, 2), noise(hidden, 3)];
        let [w2, b2] = [noise(outputs * hidden, 4), noise(outputs, 5)];
        let dy = noise(rows * outputs, 6);
        let layers = Layers {
            fc1: (&w1, &b1),
            activation: Activation::QuickGelu,
            fc2: (&w2, &b2),
        };
        let [x64, w1_64, b1_64] = [&x, &w1, &b1].map(|x| wide(x));
        let [w2_64, b2_64, dy64] = [&w2, &b2, &dy].map(|x| wide(x));
        let before = plain(&x64, &w1_64, &b1_64, width);
        let activated: Vec<f64> = before.iter().map(|&x| quick_gelu(x).0).collect();
        let expected = plain(&activated, &w2_64, &b2_64, hidden);
        assert_close(&on_threads(|| mlp(&x, layers)), &expected, 2e-6);
        let (y, kept) = on_threads(|| mlp_with_hidden(&x, layers));
        assert_close(&y, &expected, 2e-6);
        assert_close(&kept, &before, 1e-6);

        let [mut dhidden, dw2, db2] = plain_gradient(&activated, &w2_64, &dy64, hidden);
        for (gradient, &x) in dhidden.iter_mut().zip(&before) {
            *gradient *= quick_gelu(x).1;
        }
        let [dx, dw1, db1] = plain_gradient(&x64, &w1_64, &dhidden, width);
        let found = on_threads(|| mlp_gradient(&x, &kept, layers, &dy, [true; 5]));
        for (found, expected) in found.iter().zip([dx, dw1, db1, dw2, db2]) {
            assert_close(found.as_ref().unwrap(), &expected, 2e-6);
        }
    }

    #[test]
    fn only_what_is_needed_is_computed() {
        let (w, b) = (noise(6, 1), noise(3, 2));
        let layers = Layers {
            fc1: (&w, &b),
            activation: Activation::Gelu,
            fc2: (&w, &b[..2]),
        };
        let (x, hidden, dy) = (noise(8, 3), noise(12, 4), noise(8, 5));
        for one in 0..5 {
            let needs = std::array::from_fn(|i| i == one);
            let found = mlp_gradient(&x, &hidden, layers, &dy, needs);
            assert_eq!(found.map(|gradient| gradient.is_some()), needs);
        }
    }
}
