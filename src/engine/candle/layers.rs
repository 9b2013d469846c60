//! Whole layers: the kernels on f32 tensors, candle's operations on f64 ones.

use candle_core::{D, DType, Result, bail};

use super::arithmetic;
use super::kernels::{self, Attended, Bias, Layers, Packed};
use super::storage::{elements, from_vec};
use super::tape::{Tensor, Value};
use super::views;
use crate::engine::Activation;
use crate::metric::PatchGrid;

/// Refuses tensors without elements, which kernels do not take.
pub(super) fn filled(x: &Tensor) -> Result<()> {
    match x.value.elem_count() {
        0 => bail!("a tensor {:?} without elements", x.value.dims()),
        _ => Ok(()),
    }
}

pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    filled(x)?;
    if x.value.dtype() == DType::F64 {
        return activation_f64(x, activation);
    }
    let x_value = x.value.contiguous()?;
    let y = kernels::activation(activation, &elements(&x_value)?);
    let y = from_vec(y, x_value.dims())?;
    Ok(Tensor::computed(y, [x], move |dy| {
        let dy = dy.contiguous()?;
        let dx = kernels::activation_gradient(activation, &elements(&x_value)?, &elements(&dy)?);
        Ok([Some(from_vec(dx, x_value.dims())?)])
    }))
}

/// Value and slope, from the definitions.
fn activation_f64(x: &Tensor, activation: Activation) -> Result<Tensor> {
    use std::f64::consts::{FRAC_1_SQRT_2, PI};
    let v = &x.value;
    let (y, slope) = match activation {
        Activation::Gelu => {
            let below = v.affine(FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
            let density = v.sqr()?.affine(-0.5, 0.0)?.exp()?;
            let density = density.affine((2.0 * PI).sqrt().recip(), 0.0)?;
            ((v * &below)?, (below + (v * density)?)?)
        }
        Activation::GeluTanh => {
            // Hendrycks and Gimpel, "Gaussian Error Linear Units", section 2.
            let (root, cubic) = ((2.0 / PI).sqrt(), 0.044_715);
            let square = v.sqr()?;
            let inner = (square.affine(root * cubic, root)? * v)?;
            let tanh = inner.tanh()?;
            let gate = tanh.affine(0.5, 0.5)?;
            let inner_slope = square.affine(3.0 * root * cubic, root)?;
            let gate_slope = (tanh.sqr()?.affine(-0.5, 0.5)? * inner_slope)?;
            ((v * &gate)?, (gate + (v * gate_slope)?)?)
        }
        Activation::QuickGelu => {
            let gate = candle_nn::ops::sigmoid(&v.affine(1.702, 0.0)?)?;
            let gate_slope = (&gate * gate.affine(-1.702, 1.702)?)?;
            ((v * &gate)?, (gate + (v * gate_slope)?)?)
        }
        Activation::Silu => {
            let gate = candle_nn::ops::sigmoid(v)?;
            let gate_slope = (&gate * gate.affine(-1.0, 1.0)?)?;
            ((v * &gate)?, (gate + (v * gate_slope)?)?)
        }
        Activation::Relu => (v.relu()?, v.gt(0f64)?.to_dtype(v.dtype())?),
    };
    Ok(Tensor::computed(y, [x], move |dy| {
        Ok([Some((dy * slope)?)])
    }))
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    filled(x)?;
    let width = weight.value.elem_count();
    if x.value.dtype() == DType::F64 {
        return layer_norm_f64(x, weight, bias, eps);
    }
    let [x_value, weight_value] = [x.value.contiguous()?, weight.value.contiguous()?];
    let normed = {
        let bias = bias.value.contiguous()?;
        kernels::layer_norm(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            &elements(&bias)?,
            eps as f32,
        )
    };
    let y = from_vec(normed.y, x_value.dims())?;
    let needs = [x, weight, bias].map(Tensor::tracked);
    Ok(Tensor::computed(y, [x, weight, bias], move |dy| {
        let dy = dy.contiguous()?;
        let [dx, dweight, dbias] = kernels::layer_norm_gradient(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            &normed.mean,
            &normed.rstd,
            &elements(&dy)?,
            needs,
        );
        let row = [width];
        shaped([(dx, x_value.dims()), (dweight, &row), (dbias, &row)])
    }))
}

fn layer_norm_f64(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let centred = x.value.broadcast_sub(&x.value.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let rstd = (variance + eps)?.sqrt()?.recip()?;
    let normed = centred.broadcast_mul(&rstd)?;
    let weight_value = weight.value.clone();
    let y = normed
        .broadcast_mul(&weight_value)?
        .broadcast_add(&bias.value)?;
    Ok(Tensor::computed(y, [x, weight, bias], move |dy| {
        let shape = weight_value.dims().to_vec();
        let dnormed = dy.broadcast_mul(&weight_value)?;
        let mean = dnormed.mean_keepdim(D::Minus1)?;
        let along = (&dnormed * &normed)?.mean_keepdim(D::Minus1)?;
        let dx = (dnormed.broadcast_sub(&mean)? - normed.broadcast_mul(&along)?)?;
        Ok([
            Some(dx.broadcast_mul(&rstd)?),
            Some(views::reduce(&(&dy * normed)?, &shape)?),
            Some(views::reduce(&dy, &shape)?),
        ])
    }))
}

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    filled(x)?;
    filled(weight)?;
    let shape = x.value.dims().to_vec();
    let (outputs, inputs) = weight.value.dims2()?;
    let rows = &shape[..shape.len() - 1];
    let out_shape = [rows, &[outputs]].concat();
    if x.value.dtype() == DType::F64 {
        let flat = views::reshape(x, &[rows.iter().product(), inputs])?;
        let mut y = arithmetic::matmul(&flat, &views::permute(weight, &[1, 0])?)?;
        if let Some(bias) = bias {
            y = arithmetic::add(&y, bias)?;
        }
        return views::reshape(&y, &out_shape);
    }
    let [x_value, weight_value] = [x.value.contiguous()?, weight.value.contiguous()?];
    let bias_value = bias.map(|bias| bias.value.contiguous()).transpose()?;
    let y = {
        let bias = bias_value.as_ref().map(elements).transpose()?;
        kernels::linear(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            bias.as_deref(),
            inputs,
        )
    };
    let y = from_vec(y, &out_shape)?;
    let needs = [
        x.tracked(),
        weight.tracked(),
        bias.is_some_and(Tensor::tracked),
    ];
    let parents: Vec<&Tensor> = [Some(x), Some(weight), bias]
        .into_iter()
        .flatten()
        .collect();
    let count = parents.len();
    Ok(Tensor::joined(y, &parents, move |dy| {
        let dy = dy.contiguous()?;
        let [dx, dweight, dbias] = kernels::linear_gradient(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            &elements(&dy)?,
            [inputs, outputs],
            needs,
        );
        let gradients = shaped([
            (dx, x_value.dims()),
            (dweight, weight_value.dims()),
            (dbias, &[outputs]),
        ])?;
        Ok(gradients.into_iter().take(count).collect())
    }))
}

pub(super) fn mlp(
    x: &Tensor,
    fc1: (&Tensor, &Tensor),
    activation: Activation,
    fc2: (&Tensor, &Tensor),
) -> Result<Tensor> {
    let parents = [x, fc1.0, fc1.1, fc2.0, fc2.1];
    parents.into_iter().try_for_each(filled)?;
    let values = parents.map(|parent| parent.value.contiguous());
    let [x_value, w1, b1, w2, b2] = values;
    let values = [x_value?, w1?, b1?, w2?, b2?];
    let shapes = values.each_ref().map(|value| value.dims().to_vec());
    let [x_shape, w1, b1, w2, b2] = shapes.each_ref().map(Vec::as_slice);
    let (Some((&width, rows)), &[hidden], &[outputs]) = (x_shape.split_last(), b1, b2) else {
        bail!("an MLP of {w1:?} + {b1:?} and {w2:?} + {b2:?} for inputs {x_shape:?}")
    };
    if w1 != [hidden, width] || w2 != [outputs, hidden] {
        bail!("an MLP of {w1:?} + {b1:?} and {w2:?} + {b2:?} for inputs {x_shape:?}")
    }
    let out_shape = [rows, &[outputs]].concat();
    let needs = parents.map(Tensor::tracked);
    if !needs.contains(&true) {
        let y = with_layers(&values, activation, kernels::mlp)?;
        return Ok(Tensor::constant(from_vec(y, &out_shape)?));
    }
    let (y, before) = with_layers(&values, activation, kernels::mlp_with_hidden)?;
    let y = from_vec(y, &out_shape)?;
    Ok(Tensor::computed(y, parents, move |dy| {
        let dy = dy.contiguous()?;
        let dy = elements(&dy)?;
        let gradients = with_layers(&values, activation, |x, layers| {
            kernels::mlp_gradient(x, &before, layers, &dy, needs)
        })?;
        let mut shapes = shapes.iter();
        let mut shaped = |gradient: Option<Vec<f32>>| {
            let shape = shapes.next().map(Vec::as_slice).unwrap_or_default();
            gradient
                .map(|gradient| from_vec(gradient, shape))
                .transpose()
        };
        let [dx, dw1, db1, dw2, db2] = gradients.map(&mut shaped);
        Ok([dx?, dw1?, db1?, dw2?, db2?])
    }))
}

/// Runs a kernel on the elements of x and the weights and biases of an MLP.
fn with_layers<R>(
    [x, w1, b1, w2, b2]: &[Value; 5],
    activation: Activation,
    kernel: impl FnOnce(&[f32], Layers<'_>) -> R,
) -> Result<R> {
    let layers = Layers {
        fc1: (&elements(w1)?, &elements(b1)?),
        activation,
        fc2: (&elements(w2)?, &elements(b2)?),
    };
    Ok(kernel(&elements(x)?, layers))
}

pub(super) fn attention(
    qkv: &Tensor,
    sizes: [usize; 4],
    bias: Option<&Tensor>,
    scale: f64,
) -> Result<Tensor> {
    Ok(attended(qkv, sizes, bias, scale, None)?.0)
}

pub(super) fn attention_with_statistics(
    qkv: &Tensor,
    sizes: [usize; 4],
    bias: Option<&Tensor>,
    scale: f64,
    patches: &PatchGrid,
) -> Result<(Tensor, Tensor)> {
    let (out, statistics) = attended(qkv, sizes, bias, scale, Some(patches))?;
    let [batch, _, heads, _] = sizes;
    let statistics = from_vec(statistics, &[batch, heads, 4])?;
    Ok((out, Tensor::constant(statistics)))
}

/// The mixed values `[B, N, D]`, and the elements of `[B, H, 4]` where patches are given.
fn attended(
    qkv: &Tensor,
    [batch, tokens, heads, head_dim]: [usize; 4],
    bias: Option<&Tensor>,
    scale: f64,
    patches: Option<&PatchGrid>,
) -> Result<(Tensor, Vec<f32>)> {
    let sizes = Packed {
        batch,
        tokens,
        heads,
        head_dim,
    };
    filled(qkv)?;
    let qkv_value = qkv.value.contiguous()?;
    let map = [batch, heads, tokens, tokens];
    let bias_value = match bias {
        None => None,
        Some(bias) => {
            let value = bias.value.contiguous()?;
            let strides = value.broadcast_as(&map)?.stride().to_vec();
            let [b, h, i, j] = strides[..] else {
                bail!("a bias of {:?} for maps of {map:?}", bias.value.dims())
            };
            Some((value, [b, h, i, j]))
        }
    };
    let scale = scale as f32;
    let attended = with_bias(bias_value.as_ref(), |bias| {
        Ok(kernels::attention(
            &elements(&qkv_value)?,
            sizes,
            bias,
            scale,
            patches,
        ))
    })?;
    let out_shape = [batch, tokens, heads * head_dim];
    let Attended {
        out,
        log_sums,
        statistics,
    } = attended;
    let y = from_vec(out, &out_shape)?;
    let out = y.clone();
    let needs_bias = bias.is_some_and(Tensor::tracked);
    let parents: Vec<&Tensor> = [Some(qkv), bias].into_iter().flatten().collect();
    let count = parents.len();
    let y = Tensor::joined(y, &parents, move |dy| {
        let dy = dy.contiguous()?;
        let gradient = with_bias(bias_value.as_ref(), |bias| {
            let attended = (&*elements(&out)?, &log_sums[..]);
            let dy = elements(&dy)?;
            let qkv = elements(&qkv_value)?;
            Ok(kernels::attention_gradient(
                &qkv, sizes, bias, scale, attended, &dy, needs_bias,
            ))
        })?;
        let dqkv = from_vec(gradient.qkv, qkv_value.dims())?;
        let dbias = match (gradient.bias, &bias_value) {
            (Some(gradient), Some((bias, _))) => {
                let images = gradient.len() / (heads * tokens * tokens);
                let gradient = from_vec(gradient, &[images, heads, tokens, tokens])?;
                Some(views::reduce(&gradient, bias.dims())?)
            }
            _ => None,
        };
        Ok([Some(dqkv), dbias].into_iter().take(count).collect())
    });
    Ok((y, statistics))
}

/// Runs a kernel with the bias's elements, where there is one.
fn with_bias<R>(
    bias: Option<&(Value, [usize; 4])>,
    kernel: impl FnOnce(Option<Bias<'_>>) -> Result<R>,
) -> Result<R> {
    match bias {
        None => kernel(None),
        Some((value, strides)) => kernel(Some(Bias {
            data: &elements(value)?,
            strides: *strides,
        })),
    }
}

/// logits: `[B, C]`; the targets fit.
pub(super) fn cross_entropy_classes(logits: &Tensor, classes: &[u32]) -> Result<Tensor> {
    filled(logits)?;
    let value = logits.value.contiguous()?;
    let width = value.dim(1)?;
    let (loss, log_sums) = kernels::cross_entropy_classes(&elements(&value)?, classes, width);
    let classes = classes.to_vec();
    let loss = from_vec(vec![loss], &[])?;
    Ok(Tensor::computed(loss, [logits], move |dloss| {
        let dloss = dloss.to_scalar::<f32>()?;
        let dx = kernels::cross_entropy_classes_gradient(
            &elements(&value)?,
            &classes,
            &log_sums,
            width,
            dloss,
        );
        Ok([Some(from_vec(dx, value.dims())?)])
    }))
}

pub(super) fn cross_entropy_soft(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    filled(logits)?;
    let value = logits.value.contiguous()?;
    let width = value.dim(1)?;
    let target_value = targets.value.contiguous()?;
    let (loss, log_sums) =
        kernels::cross_entropy_soft(&elements(&value)?, &elements(&target_value)?, width);
    let needs = [logits, targets].map(Tensor::tracked);
    let loss = from_vec(vec![loss], &[])?;
    Ok(Tensor::computed(loss, [logits, targets], move |dloss| {
        let dloss = dloss.to_scalar::<f32>()?;
        let logits = elements(&value)?;
        let targets = elements(&target_value)?;
        let dx = needs[0].then(|| {
            kernels::cross_entropy_soft_gradient(&logits, &targets, &log_sums, width, dloss)
        });
        let dtargets = needs[1].then(|| {
            kernels::cross_entropy_soft_targets_gradient(&logits, &log_sums, width, dloss)
        });
        shaped([(dx, value.dims()), (dtargets, value.dims())])
    }))
}

/// Gradients that are there, as tensors of their shapes.
pub(super) fn shaped<const N: usize>(
    gradients: [(Option<Vec<f32>>, &[usize]); N],
) -> Result<[Option<Value>; N]> {
    let mut shaped = [const { None }; N];
    for (slot, (gradient, shape)) in shaped.iter_mut().zip(gradients) {
        *slot = gradient
            .map(|gradient| from_vec(gradient, shape))
            .transpose()?;
    }
    Ok(shaped)
}
