//! What engines share: layers composed of other operations, which a fused kernel must agree with,
//! and what is refused before a library sees it.

use super::{Activation, AdamW, Engine, EngineError, IGNORED, Result, Targets, Update};
use crate::metric::{DISTANCE_EPSILON, NMI_EPSILON, PatchGrid};

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
    let [q, k, v] = parts(engine, qkv, [batch, tokens, heads, head_dim])?;
    let weights = weights(engine, [&q, &k], bias, scale)?;
    let out = engine.permute(&engine.matmul(&weights, &v)?, &[0, 2, 1, 3])?;
    let out = engine.reshape(&out, &[batch, tokens, heads * head_dim])?;
    Ok((out, weights))
}

/// Queries, keys and values of packed projections, each `[B, H, N, d]`.
fn parts<E: Engine>(
    engine: &E,
    qkv: &E::Tensor,
    [batch, tokens, heads, head_dim]: [usize; 4],
) -> Result<[E::Tensor; 3]> {
    let split = engine.reshape(qkv, &[batch, tokens, 3, heads, head_dim])?;
    let split = engine.permute(&split, &[2, 0, 3, 1, 4])?;
    let part = |i| {
        let part = engine.narrow(&split, 0, i, 1)?;
        engine.reshape(&part, &[batch, heads, tokens, head_dim])
    };
    Ok([part(0)?, part(1)?, part(2)?])
}

/// `softmax(scale q kᵀ + bias)`: `[B, H, N, N]`.
fn weights<E: Engine>(
    engine: &E,
    [q, k]: [&E::Tensor; 2],
    bias: Option<&E::Tensor>,
    scale: f64,
) -> Result<E::Tensor> {
    let q = engine.affine(q, scale, 0.0)?;
    let mut scores = engine.matmul(&q, &engine.permute(k, &[0, 1, 3, 2])?)?;
    if let Some(bias) = bias {
        scores = engine.add(&scores, bias)?;
    }
    engine.softmax(&scores)
}

/// Refuses a grid that is not that of the tokens, or has no patch.
pub(super) fn check_patches(tokens: usize, patches: &PatchGrid) -> Result<()> {
    if patches.tokens() == tokens && patches.patches() > 0 {
        return Ok(());
    }
    refuse(
        "attention_with_statistics",
        format!("{patches:?} for {tokens} tokens"),
    )
}

/// [`Engine::attention_with_statistics`] by [`Engine::attention`], and the weights again.
pub(super) fn attention_with_statistics<E: Engine>(
    engine: &E,
    qkv: &E::Tensor,
    heads: usize,
    bias: Option<&E::Tensor>,
    scale: f64,
    patches: &PatchGrid,
) -> Result<(E::Tensor, E::Tensor)> {
    let sizes = packed_sizes(&engine.shape(qkv), heads)?;
    check_patches(sizes[1], patches)?;
    let out = engine.attention(qkv, heads, bias, scale)?;
    let bias = bias.map(|bias| engine.detach(bias)).transpose()?;
    let [q, k, _] = parts(engine, &engine.detach(qkv)?, sizes)?;
    let weights = weights(engine, [&q, &k], bias.as_ref(), scale)?;
    Ok((out, statistics(engine, &weights, patches)?))
}

/// [`crate::metric::attention_statistics`] of maps `[B, H, N, N]` -> `[B, H, 4]`.
fn statistics<E: Engine>(engine: &E, maps: &E::Tensor, patches: &PatchGrid) -> Result<E::Tensor> {
    /// Added to a probability, it makes 0 log 0 the number 0 and changes no other product.
    const SMALLEST: f64 = 1e-36;
    let (prefix, count) = (patches.prefix, patches.patches());
    let [batch, heads] = [0, 1].map(|axis| engine.shape(maps)[axis]);
    let maps = engine.narrow(&engine.narrow(maps, 2, prefix, count)?, 3, prefix, count)?;
    let renormalised = |epsilon| {
        let raised = engine.affine(&maps, 1.0, epsilon)?;
        let total = engine.sum(&raised, &[3])?;
        let total = engine.reshape(&total, &[batch, heads, count, 1])?;
        engine.mul(&raised, &engine.pow(&total, -1.0)?)
    };
    let entropy = |p: &E::Tensor, axis| {
        let logarithm = engine.log(&engine.affine(p, 1.0, SMALLEST)?)?;
        let sum = engine.sum(&engine.mul(p, &logarithm)?, &[axis])?;
        engine.affine(&sum, -1.0, 0.0)
    };
    // Sums over keys, then means over queries.
    let mean = |rows: &E::Tensor| engine.mean(rows, &[2]);
    let for_nmi = renormalised(NMI_EPSILON)?;
    let for_distance = renormalised(DISTANCE_EPSILON)?;
    let spans: Vec<f64> = (0..count * count)
        .map(|i| patches.distance(i / count, i % count))
        .collect();
    let spans = engine.tensor(&spans[..], &[count, count])?;
    let distance = |p| mean(&engine.sum(&engine.mul(p, &spans)?, &[3])?);
    let keys = entropy(&mean(&for_nmi)?, 2)?;
    let information = engine.sub(&keys, &mean(&entropy(&for_nmi, 3)?)?)?;
    // Of a single patch both are 0, and the root below would divide by them.
    let both = engine.affine(&keys, (count as f64).ln(), SMALLEST)?;
    let nmi = engine.mul(&information, &engine.pow(&both, -0.5)?)?;
    let columns = [
        nmi,
        distance(&for_distance)?,
        distance(&maps)?,
        mean(&entropy(&for_distance, 3)?)?,
    ]
    .map(|column| engine.reshape(&column, &[batch, heads, 1]));
    let [nmi, distance, distance_raw, entropy] = columns;
    engine.cat(&[&nmi?, &distance?, &distance_raw?, &entropy?], 2)
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
        Targets::Smoothed { smoothing, .. } if !(0.0..=1.0).contains(smoothing) => {
            return refuse(format!("a smoothing of {smoothing}"));
        }
        Targets::Classes(ids) | Targets::Smoothed { ids, .. } if ids.len() != batch => {
            return refuse(format!("{} classes for {batch} rows", ids.len()));
        }
        Targets::Classes(ids) | Targets::Smoothed { ids, .. } => {
            let outside = |(_, id): &(usize, &u32)| **id as usize >= classes && **id != IGNORED;
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
            let one_hot = distributions(engine, ids, classes, 0.0)?;
            engine.mul(&log_probabilities, &one_hot)?
        }
        Targets::Smoothed { ids, smoothing } => {
            let target = distributions(engine, ids, classes, smoothing)?;
            engine.mul(&log_probabilities, &target)?
        }
    };
    engine.affine(&engine.sum(&picked, &[0, 1])?, -1.0 / batch as f64, 0.0)
}

/// [`Targets::Smoothed`] written out: `[B, C]`. The classes have been checked.
pub(super) fn distributions<E: Engine>(
    engine: &E,
    ids: &[u32],
    classes: usize,
    smoothing: f64,
) -> Result<E::Tensor> {
    let share = smoothing / classes as f64;
    let mut rows = vec![share; ids.len() * classes];
    for (row, &id) in rows.chunks_exact_mut(classes).zip(ids) {
        match id {
            IGNORED => row.fill(0.0),
            id => row[id as usize] = 1.0 - smoothing + share,
        }
    }
    engine.tensor(&rows[..], &[ids.len(), classes])
}

/// Sizes of images whose channels lie last.
pub(super) fn image_sizes(op: &'static str, shape: &[usize]) -> Result<[usize; 4]> {
    match *shape {
        [batch, height, width, channels] if height > 0 && width > 0 => {
            Ok([batch, height, width, channels])
        }
        _ => refuse(op, format!("images must be [B, H, W, C], got {shape:?}")),
    }
}

/// [`Engine::convolution`] as nine products, one for each place of the kernel.
pub(super) fn convolution<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    weight: &E::Tensor,
) -> Result<E::Tensor> {
    let [batch, height, width, channels] = image_sizes("convolution", &engine.shape(x))?;
    let outputs = check_convolution(channels, &engine.shape(weight))?;
    let zeros = |shape: [usize; 4]| engine.tensor(&vec![0f32; shape.iter().product()][..], &shape);
    let line = zeros([batch, 1, width, channels])?;
    let column = zeros([batch, height + 2, 1, channels])?;
    let bordered = engine.cat(&[&line, x, &line], 1)?;
    let bordered = engine.cat(&[&column, &bordered, &column], 2)?;
    let mut sum = None;
    for place in 0..9 {
        let (down, right) = (place / 3, place % 3);
        let part = engine.narrow(&bordered, 1, down, height)?;
        let part = engine.narrow(&part, 2, right, width)?;
        let part = engine.reshape(&part, &[batch * height * width, channels])?;
        let weight = engine.narrow(&engine.narrow(weight, 2, down, 1)?, 3, right, 1)?;
        let weight = engine.reshape(&weight, &[outputs, channels])?;
        let product = engine.linear(&part, &weight, None)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => engine.add(&sum, &product)?,
        });
    }
    match sum {
        Some(sum) => engine.reshape(&sum, &[batch, height, width, outputs]),
        None => refuse("convolution", "a kernel without places".to_owned()),
    }
}

/// Output channels of a kernel `[O, I, 3, 3]` over I channels.
pub(super) fn check_convolution(channels: usize, weight: &[usize]) -> Result<usize> {
    match *weight {
        [outputs, inputs, 3, 3] if inputs == channels => Ok(outputs),
        _ => refuse(
            "convolution",
            format!("a kernel {weight:?} over {channels} channels"),
        ),
    }
}

/// Sizes of images that are to have another, which has pixels.
pub(super) fn check_resize(x: &[usize], size: [usize; 2]) -> Result<[usize; 4]> {
    match size.contains(&0) {
        true => refuse("resize_bilinear", format!("{x:?} to {size:?} pixels")),
        false => image_sizes("resize_bilinear", x),
    }
}

/// [`Engine::resize_bilinear`] as two matrix products.
pub(super) fn resize_bilinear<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    [to_height, to_width]: [usize; 2],
) -> Result<E::Tensor> {
    let [batch, height, width, channels] = check_resize(&engine.shape(x), [to_height, to_width])?;
    let matrix = |from: usize, to: usize, copies: usize| {
        let mut matrix = vec![0.0; to * from];
        // As [`linear_taps`], in f64.
        for (target, row) in matrix.chunks_exact_mut(from).enumerate() {
            let source = (target as f64 + 0.5) * (from as f64 / to as f64) - 0.5;
            let source = source.max(0.0);
            let below = (source as usize).min(from - 1);
            let part = source - below as f64;
            row[below] += 1.0 - part;
            row[(below + 1).min(from - 1)] += part;
        }
        let matrix = engine.tensor(&matrix[..], &[1, to, from])?;
        engine.expand(&matrix, &[copies, to, from])
    };
    let planes = engine.reshape(x, &[batch, height, width * channels])?;
    let planes = engine.matmul(&matrix(height, to_height, batch)?, &planes)?;
    let lines = engine.reshape(&planes, &[batch * to_height, width, channels])?;
    let lines = engine.matmul(&matrix(width, to_width, batch * to_height)?, &lines)?;
    engine.reshape(&lines, &[batch, to_height, to_width, channels])
}

/// The two places of `from` that each of `to` lies between, with their weights, in f32 and rounded
/// as PyTorch's are for f32 (`aten/src/ATen/native/UpSample.h`, `area_pixel_compute_source_index`).
pub(crate) fn linear_taps(from: usize, to: usize) -> impl Iterator<Item = [(usize, f32); 2]> {
    let scale = from as f32 / to as f32;
    (0..to).map(move |target| {
        let source = ((target as f32 + 0.5) * scale - 0.5).max(0.0);
        let below = (source as usize).min(from - 1);
        let part = source - below as f32;
        [(below, 1.0 - part), ((below + 1).min(from - 1), part)]
    })
}

/// Sizes of images of two lines and two columns at least.
pub(super) fn check_max_pool(x: &[usize]) -> Result<[usize; 4]> {
    let sizes = image_sizes("max_pool", x)?;
    match sizes[1].min(sizes[2]) {
        1 => refuse("max_pool", format!("no pair of pixels in {x:?}")),
        _ => Ok(sizes),
    }
}

/// [`Engine::max_pool`] by a choice that the host makes.
pub(super) fn max_pool<E: Engine>(engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
    let [batch, height, width, channels] = check_max_pool(&engine.shape(x))?;
    let values = engine.to_f64(x)?;
    let (rows, columns) = (height / 2, width / 2);
    let mut chosen = Vec::with_capacity(batch * rows * columns * channels);
    for place in 0..batch * rows * columns * channels {
        let (pixel, channel) = (place / channels, place % channels);
        let (line, column) = (pixel / columns, pixel % columns);
        let (image, row) = (line / rows, line % rows);
        let at = |down: usize, right: usize| {
            ((image * height + 2 * row + down) * width + 2 * column + right) * channels + channel
        };
        let taps = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)];
        let mut best = taps[0];
        for tap in taps {
            // NaN is the largest, as PyTorch has it.
            if values[tap] > values[best] || (values[tap].is_nan() && !values[best].is_nan()) {
                best = tap;
            }
        }
        chosen.push(best as u32);
    }
    let flat = engine.reshape(x, &[values.len()])?;
    let pooled = engine.index_select(&flat, 0, &chosen)?;
    engine.reshape(&pooled, &[batch, rows, columns, channels])
}

/// [`Engine::batch_norm`] by means.
pub(super) fn batch_norm<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    weight: &E::Tensor,
    bias: &E::Tensor,
    eps: f64,
) -> Result<(E::Tensor, E::Tensor, E::Tensor)> {
    let shape = engine.shape(x);
    let sides = [engine.shape(weight), engine.shape(bias)];
    check_norm("batch_norm", &shape, sides.each_ref().map(Vec::as_slice))?;
    let axes: Vec<_> = (0..shape.len() - 1).collect();
    let mean = engine.mean(x, &axes)?;
    let centred = engine.sub(x, &mean)?;
    let variance = engine.mean(&engine.mul(&centred, &centred)?, &axes)?;
    let scale = engine.pow(&engine.affine(&variance, 1.0, eps)?, -0.5)?;
    let normed = engine.mul(&centred, &engine.mul(&scale, weight)?)?;
    let normed = engine.add(&normed, bias)?;
    Ok((normed, engine.detach(&mean)?, engine.detach(&variance)?))
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

/// Refuses a `beta` of a smooth L1 loss that is no number from 0 on.
pub(super) fn check_beta(beta: f64) -> Result<()> {
    match beta.is_finite() && beta >= 0.0 {
        true => Ok(()),
        false => refuse("smooth_l1", format!("beta is {beta}")),
    }
}

/// Refuses a weight or a bias that is not `[D]` for x `[.., D]`.
pub(super) fn check_norm(
    op: &'static str,
    x: &[usize],
    [weight, bias]: [&[usize]; 2],
) -> Result<()> {
    match x {
        [.., width] if weight == [*width] && bias == [*width] => Ok(()),
        _ => {
            let message = format!("weight {weight:?} and bias {bias:?} for {x:?}");
            refuse(op, message)
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

/// Refuses values of another shape than what they overwrite: libtorch would repeat them.
pub(super) fn check_assignment(parameter: &[usize], value: &[usize]) -> Result<()> {
    if parameter == value {
        return Ok(());
    }
    refuse("assign", format!("{value:?} for {parameter:?}"))
}

fn refuse<T>(op: &'static str, message: String) -> Result<T> {
    Err(EngineError { op, message })
}
