//! Two affine layers with an activation between them.

use rayon::prelude::*;

use super::activation::{activate, activate_gradient, activate_in_place};
use super::linear::{linear, linear_gradient};
use super::output;
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
    let activated = output::chunks(hidden.len(), CHUNK, |chunk, out| {
        activate(
            layers.activation,
            &hidden[chunk * CHUNK..][..out.len()],
            out,
        );
    });
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
        activated = output::chunks(hidden.len(), CHUNK, |chunk, out| {
            activate(
                layers.activation,
                &hidden[chunk * CHUNK..][..out.len()],
                out,
            );
        });
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
