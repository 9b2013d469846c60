//! Keys without a bias where queries and values have one.

use crate::engine::{self, Engine};
use crate::train::Parameter;

/// Masks that keep the biases of keys at zero (microsoft/unilm `beit/modeling_finetune.py`,
/// `Attention`: parameters of queries and values alone).
pub(in crate::run) fn without_key_bias<E: Engine>(
    engine: &E,
    parameters: &[Parameter<E>],
) -> engine::Result<Vec<(usize, E::Tensor)>> {
    let biases = parameters.iter().enumerate();
    let biases = biases.filter(|(_, own)| own.name.ends_with("attn.qkv.bias"));
    let mask = |(place, own): (usize, &Parameter<E>)| {
        let shape = engine.shape(&own.tensor);
        let third = shape.iter().product::<usize>() / 3;
        let ones = |keys: bool| std::iter::repeat_n(if keys { 0f32 } else { 1.0 }, third);
        let mask: Vec<f32> = ones(false).chain(ones(true)).chain(ones(false)).collect();
        Ok((place, engine.tensor(&mask[..], &shape)?))
    };
    biases.map(mask).collect()
}
