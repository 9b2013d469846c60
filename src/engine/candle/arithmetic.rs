//! Element-wise operations, reductions and the matrix product.

use candle_core::{D, DType, Result};

use super::kernels;
use super::storage::{elements, from_vec};
use super::tape::{Tensor, Value};
use super::views::reduce;

/// `x + y` with broadcasting.
pub(super) fn sum_of(x: &Value, y: &Value) -> Result<Value> {
    match together(x, y, kernels::add).or_else(|| together(y, x, kernels::add)) {
        Some(sum) => sum,
        None => x.broadcast_add(y),
    }
}

/// `x y` with broadcasting.
fn product_of(x: &Value, y: &Value) -> Result<Value> {
    match together(x, y, kernels::mul).or_else(|| together(y, x, kernels::mul)) {
        Some(product) => product,
        None => x.broadcast_mul(y),
    }
}

/// `x - y` with broadcasting.
fn difference_of(x: &Value, y: &Value) -> Result<Value> {
    match together(x, y, kernels::sub) {
        Some(difference) => difference,
        None => x.broadcast_sub(y),
    }
}

/// `scale x + shift`.
fn scaled(x: &Value, scale: f64, shift: f64) -> Result<Value> {
    if x.dtype() != DType::F32 {
        return x.affine(scale, shift);
    }
    let x = x.contiguous()?;
    let y = kernels::scale_shift(&elements(&x)?, scale as f32, shift as f32);
    from_vec(y, x.dims())
}

/// Two f32 tensors by a kernel where y has the last axes of x; `None` of any others.
fn together(
    x: &Value,
    y: &Value,
    kernel: impl FnOnce(&[f32], &[f32]) -> Vec<f32>,
) -> Option<Result<Value>> {
    let run = || {
        let (x, y) = (x.contiguous()?, y.contiguous()?);
        let out = kernel(&elements(&x)?, &elements(&y)?);
        from_vec(out, x.dims())
    };
    let ones = y.dims().iter().take_while(|&&size| size == 1).count();
    let repeats = y.rank() <= x.rank() && x.dims().ends_with(&y.dims()[ones..]);
    (x.dtype() == DType::F32 && repeats).then(run)
}

pub(super) fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let value = sum_of(&x.value, &y.value)?;
    let shapes = [x, y].map(|side| side.tracked().then(|| side.value.dims().to_vec()));
    Ok(Tensor::computed(value, [x, y], move |dy| {
        each(shapes, |shape| reduce(&dy, &shape))
    }))
}

pub(super) fn sub(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let value = difference_of(&x.value, &y.value)?;
    let [x_shape, y_shape] = [x, y].map(|side| side.tracked().then(|| side.value.dims().to_vec()));
    Ok(Tensor::computed(value, [x, y], move |dy| {
        let dx = x_shape.map(|shape| reduce(&dy, &shape)).transpose()?;
        let dy = y_shape.map(|shape| reduce(&dy, &shape)?.neg());
        Ok([dx, dy.transpose()?])
    }))
}

pub(super) fn mul(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let value = product_of(&x.value, &y.value)?;
    let sides = [(x, y), (y, x)].map(|(side, other)| {
        let shape = || (side.value.dims().to_vec(), other.value.clone());
        side.tracked().then(shape)
    });
    Ok(Tensor::computed(value, [x, y], move |dy| {
        each(sides, |(shape, other)| {
            reduce(&product_of(&dy, &other)?, &shape)
        })
    }))
}

pub(super) fn affine(x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
    let value = scaled(&x.value, scale, shift)?;
    Ok(Tensor::computed(value, [x], move |dy| {
        Ok([Some(scaled(&dy, scale, 0.0)?)])
    }))
}

pub(super) fn round_to_bf16(x: &Tensor) -> Result<Tensor> {
    let rounded = |x: &Value| x.to_dtype(DType::BF16)?.to_dtype(x.dtype());
    let value = rounded(&x.value)?;
    Ok(Tensor::computed(value, [x], move |dy| {
        Ok([Some(rounded(&dy)?)])
    }))
}

pub(super) fn smooth_l1(x: &Tensor, beta: f64) -> Result<Tensor> {
    let kept = x.value.contiguous()?;
    let value = if kept.dtype() == DType::F32 {
        from_vec(
            kernels::smooth_l1(&elements(&kept)?, beta as f32),
            kept.dims(),
        )
    } else {
        let distance = kept.abs()?;
        let near = distance.minimum(beta)?;
        // Of the part below beta a parabola, of what is above it a line.
        let parabola = near
            .sqr()?
            .affine(if beta > 0.0 { 0.5 / beta } else { 0.0 }, 0.0)?;
        parabola + (distance - near)?
    }?;
    Ok(Tensor::computed(value, [x], move |dy| {
        let slope = if kept.dtype() == DType::F32 {
            let slope = kernels::smooth_l1_slope(&elements(&kept)?, beta as f32);
            from_vec(slope, kept.dims())
        } else if beta > 0.0 {
            kept.affine(1.0 / beta, 0.0)?.clamp(-1.0, 1.0)
        } else {
            kept.sign()
        }?;
        Ok([Some(product_of(&dy, &slope)?)])
    }))
}

pub(super) fn log(x: &Tensor) -> Result<Tensor> {
    let kept = x.value.clone();
    Ok(Tensor::computed(x.value.log()?, [x], move |dy| {
        Ok([Some((dy / kept)?)])
    }))
}

pub(super) fn pow(x: &Tensor, exponent: f64) -> Result<Tensor> {
    let kept = x.value.clone();
    let value = x.value.powf(exponent)?;
    Ok(Tensor::computed(value, [x], move |dy| {
        let slope = kept.powf(exponent - 1.0)?.affine(exponent, 0.0)?;
        Ok([Some((dy * slope)?)])
    }))
}

pub(super) fn sum(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let value = x.value.sum(axes)?;
    let shape = x.value.dims().to_vec();
    let kept = kept(&shape, axes);
    Ok(Tensor::computed(value, [x], move |dy| {
        Ok([Some(dy.reshape(kept)?.broadcast_as(shape)?)])
    }))
}

pub(super) fn mean(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let value = x.value.mean(axes)?;
    let shape = x.value.dims().to_vec();
    let kept = kept(&shape, axes);
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    Ok(Tensor::computed(value, [x], move |dy| {
        let share = dy.affine(1.0 / count as f64, 0.0)?;
        Ok([Some(share.reshape(kept)?.broadcast_as(shape)?)])
    }))
}

pub(super) fn matmul(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let (left, right) = (x.value.contiguous()?, y.value.contiguous()?);
    let value = left.matmul(&right)?;
    let needs = [x, y].map(Tensor::tracked);
    Ok(Tensor::computed(value, [x, y], move |dy| {
        let dy = dy.contiguous()?;
        let dx = needs[0].then(|| dy.matmul(&right.t()?)).transpose()?;
        let dy = needs[1].then(|| left.t()?.matmul(&dy)).transpose()?;
        Ok([dx, dy])
    }))
}

pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    let fused = x.value.dtype() == DType::F32;
    let y = if fused {
        let value = x.value.contiguous()?;
        let width = value.dim(D::Minus1)?;
        from_vec(kernels::softmax(&elements(&value)?, width), value.dims())?
    } else {
        candle_nn::ops::softmax(&x.value, D::Minus1)?
    };
    let kept = y.clone();
    Ok(Tensor::computed(y, [x], move |dy| {
        if fused {
            let dy = dy.contiguous()?;
            let width = dy.dim(D::Minus1)?;
            let dx = kernels::softmax_gradient(&elements(&kept)?, &elements(&dy)?, width);
            return Ok([Some(from_vec(dx, kept.dims())?)]);
        }
        let share = (&dy * &kept)?.sum_keepdim(D::Minus1)?;
        Ok([Some((dy.broadcast_sub(&share)? * kept)?)])
    }))
}

pub(super) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let y = candle_nn::ops::log_softmax(&x.value, D::Minus1)?;
    let kept = y.clone();
    Ok(Tensor::computed(y, [x], move |dy| {
        let total = dy.sum_keepdim(D::Minus1)?;
        Ok([Some((&dy - kept.exp()?.broadcast_mul(&total)?)?)])
    }))
}

/// The gradient of each side that needs one.
fn each<T>(
    sides: [Option<T>; 2],
    gradient: impl Fn(T) -> Result<Value>,
) -> Result<[Option<Value>; 2]> {
    let [x, y] = sides.map(|side| side.map(&gradient).transpose());
    Ok([x?, y?])
}

/// `shape` with 1 at `axes`.
fn kept(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let size = |(axis, &size)| if axes.contains(&axis) { 1 } else { size };
    shape.iter().enumerate().map(size).collect()
}
