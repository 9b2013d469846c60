//! What engines share: layers composed of other operations, which a fused kernel must agree with,
//! and what is refused before a library sees it.

use super::{Activation, AdamW, Engine, EngineError, Result, Targets, Update};

/// [`Engine::mlp`] as its two layers.
pub(super) fn mlp<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    fc1: (&E::Tensor, &E::Tensor),
    activation: Activation,
    fc2: (&E::Tensor, &E::Tensor),
) -> Result<E::Tensor> {
    let hidden = engine.linear(x, fc1.0, Some(fc1.1))?;
    let hidden = engine.activation(&hidden, activation)?;
    engine.linear(&hidden, fc2.0, Some(fc2.1))
}

/// Sizes of packed projections `[B, N, 3 H d]`: `[B, N, H, d]`.
pub(super) fn packed_sizes(shape: &[usize], heads: usize) -> Result<[usize; 4]> {
    let refuse = |message| refuse("attention", message);
    let &[batch, tokens, packed] = shape else {
        return refuse(format!("qkv must be [B, N, 3 D], got {shape:?}"));
    };
    if heads == 0 || packed % (3 * heads) != 0 {
        return refuse(format!(
            "{packed} packed features do not divide into 3 x {heads} heads"
        ));
    }
    Ok([batch, tokens, heads, packed / 3 / heads])
}

/// [`Engine::attention_with_weights`] by two matrix products and a softmax.
pub(super) fn attention_with_weights<E: Engine>(
    engine: &E,
    qkv: &E::Tensor,
    heads: usize,
    bias: Option<&E::Tensor>,
    scale: f64,
) -> Result<(E::Tensor, E::Tensor)> {
    let [batch, tokens, heads, head_dim] = packed_sizes(&engine.shape(qkv), heads)?;
    let split = engine.reshape(qkv, &[batch, tokens, 3, heads, head_dim])?;
    let split = engine.permute(&split, &[2, 0, 3, 1, 4])?;
    let part = |i| {
        let part = engine.narrow(&split, 0, i, 1)?;
        engine.reshape(&part, &[batch, heads, tokens, head_dim])
    };
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let q = engine.affine(&q, scale, 0.0)?;
    let mut scores = engine.matmul(&q, &engine.permute(&k, &[0, 1, 3, 2])?)?;
    if let Some(bias) = bias {
        scores = engine.add(&scores, bias)?;
    }
    let weights = engine.softmax(&scores)?;
    let out = engine.permute(&engine.matmul(&weights, &v)?, &[0, 2, 1, 3])?;
    let out = engine.reshape(&out, &[batch, tokens, heads * head_dim])?;
    Ok((out, weights))
}

/// Sizes `[B, C]` of logits that the targets fit.
pub(super) fn target_sizes<E: Engine>(
    engine: &E,
    logits: &E::Tensor,
    targets: &Targets<'_, E::Tensor>,
) -> Result<[usize; 2]> {
    let refuse = |message| refuse("cross_entropy", message);
    let logits = engine.shape(logits);
    let &[batch, classes] = logits.as_slice() else {
        return refuse(format!("logits must be [B, C], got {logits:?}"));
    };
    match targets {
        Targets::Soft(targets) => {
            let shape = engine.shape(targets);
            if shape != logits {
                return refuse(format!("targets {shape:?} for logits {logits:?}"));
            }
        }
        Targets::Classes(ids) if ids.len() != batch => {
            return refuse(format!("{} classes for {batch} rows", ids.len()));
        }
        Targets::Classes(ids) => {
            let outside = |(_, id): &(usize, &u32)| **id as usize >= classes;
            if let Some((row, id)) = ids.iter().enumerate().find(outside) {
                return refuse(format!(
                    "class {id} of row {row} in logits [{batch}, {classes}]"
                ));
            }
        }
    }
    Ok([batch, classes])
}

/// [`Engine::cross_entropy`] by a logarithm of softmax and a sum.
pub(super) fn cross_entropy<E: Engine>(
    engine: &E,
    logits: &E::Tensor,
    targets: Targets<'_, E::Tensor>,
) -> Result<E::Tensor> {
    let [batch, classes] = target_sizes(engine, logits, &targets)?;
    let log_probabilities = engine.log_softmax(logits)?;
    let picked = match targets {
        Targets::Soft(target) => engine.mul(&log_probabilities, target)?,
        Targets::Classes(ids) => {
            let mut one_hot = vec![0f32; batch * classes];
            for (row, &id) in ids.iter().enumerate() {
                one_hot[row * classes + id as usize] = 1.0;
            }
            let one_hot = engine.tensor(&one_hot[..], &[batch, classes])?;
            engine.mul(&log_probabilities, &one_hot)?
        }
    };
    engine.affine(&engine.sum(&picked, &[0, 1])?, -1.0 / batch as f64, 0.0)
}

/// Refuses entries that an axis does not have.
pub(super) fn check_index(shape: &[usize], axis: usize, index: &[u32]) -> Result<()> {
    let length = shape.get(axis).copied().unwrap_or(0);
    match index.iter().find(|&&i| i as usize >= length) {
        None => Ok(()),
        Some(wrong) => {
            let message = format!("entry {wrong} of axis {axis} in {shape:?}");
            refuse("index_select", message)
        }
    }
}

/// Refuses operands that are not `[.., M, K]` and `[.., K, N]` with equal leading axes.
pub(super) fn check_matmul(x: &[usize], y: &[usize]) -> Result<()> {
    match (x, y) {
        ([x_leading @ .., _, inner], [y_leading @ .., rows, _])
            if x_leading == y_leading && inner == rows =>
        {
            Ok(())
        }
        _ => refuse("matmul", format!("{x:?} times {y:?}")),
    }
}

/// Refuses a weight or a bias that is not `[D]` for x `[.., D]`.
pub(super) fn check_norm(x: &[usize], weight: &[usize], bias: &[usize]) -> Result<()> {
    match x {
        [.., width] if weight == [*width] && bias == [*width] => Ok(()),
        _ => {
            let message = format!("weight {weight:?} and bias {bias:?} for {x:?}");
            refuse("layer_norm", message)
        }
    }
}

/// Refuses a weight that is not `[O, I]` for x `[.., I]`, or a bias that is not `[O]`.
pub(super) fn check_linear(x: &[usize], weight: &[usize], bias: Option<&[usize]>) -> Result<()> {
    match (x, weight) {
        ([.., inputs], [outputs, columns])
            if inputs == columns && bias.is_none_or(|bias| bias == [*outputs]) =>
        {
            Ok(())
        }
        _ => {
            let message = format!("weight {weight:?} and bias {bias:?} for {x:?}");
            refuse("linear", message)
        }
    }
}

/// Refuses an AdamW step whose tensors differ in shape, or that is no step: both libraries would
/// run on over memory.
pub(super) fn check_updates<E: Engine>(
    engine: &E,
    settings: &AdamW,
    group: &[Update<'_, E::Tensor>],
) -> Result<()> {
    if settings.step == 0 {
        return refuse("adamw", "steps count from 1".to_owned());
    }
    for update in group {
        let shape = engine.shape(update.parameter);
        for (name, tensor) in [
            ("gradient", update.gradient),
            ("mean", &update.moments.mean),
            ("square", &update.moments.square),
        ] {
            let found = engine.shape(tensor);
            if found != shape {
                let message = format!("a {name} of {found:?} for a parameter of {shape:?}");
                return refuse("adamw", message);
            }
        }
    }
    Ok(())
}

fn refuse<T>(op: &'static str, message: String) -> Result<T> {
    Err(EngineError { op, message })
}
