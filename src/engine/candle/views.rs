//! Operations that move elements without changing them.

use candle_core::{Device, Result};

use super::tape::{Tensor, Value};

pub(super) fn reshape(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let before = x.value.dims().to_vec();
    Ok(Tensor::computed(x.value.reshape(shape)?, [x], |dy| {
        Ok([Some(dy.reshape(before)?)])
    }))
}

pub(super) fn permute(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let value = x.value.permute(axes)?;
    let mut back = vec![0; axes.len()];
    for (to, &from) in axes.iter().enumerate() {
        back[from] = to;
    }
    Ok(Tensor::computed(value, [x], |dy| {
        Ok([Some(dy.permute(back)?)])
    }))
}

pub(super) fn expand(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let before = x.value.dims().to_vec();
    Ok(Tensor::computed(
        x.value.broadcast_as(shape)?,
        [x],
        move |dy| Ok([Some(reduce(&dy, &before)?)]),
    ))
}

pub(super) fn narrow(x: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
    let value = x.value.narrow(axis, start, length)?;
    let size = x.value.dim(axis)?;
    Ok(Tensor::computed(value, [x], move |dy| {
        let padded = dy.pad_with_zeros(axis, start, size - start - length)?;
        Ok([Some(padded)])
    }))
}

pub(super) fn cat(xs: &[&Tensor], axis: usize) -> Result<Tensor> {
    let values: Vec<&Value> = xs.iter().map(|x| &x.value).collect();
    let value = Value::cat(&values, axis)?;
    let lengths = values
        .iter()
        .map(|x| x.dim(axis))
        .collect::<Result<Vec<_>>>()?;
    Ok(Tensor::joined(value, xs, move |dy| {
        let mut start = 0;
        let mut part = |&length: &usize| {
            let part = dy.narrow(axis, start, length)?;
            start += length;
            Ok(Some(part))
        };
        lengths.iter().map(&mut part).collect()
    }))
}

pub(super) fn index_select(x: &Tensor, axis: usize, index: &[u32]) -> Result<Tensor> {
    let index = Value::from_slice(index, index.len(), &Device::Cpu)?;
    let value = x.value.contiguous()?.index_select(&index, axis)?;
    let shape = x.value.dims().to_vec();
    Ok(Tensor::computed(value, [x], move |dy| {
        let zeros = Value::zeros(shape, dy.dtype(), &Device::Cpu)?;
        let dx = zeros.index_add(&index, &dy.contiguous()?, axis)?;
        Ok([Some(dx)])
    }))
}

/// Sum of the elements that a broadcast of `shape` made out of one.
pub(super) fn reduce(gradient: &Value, shape: &[usize]) -> Result<Value> {
    let dims = gradient.dims();
    if dims == shape {
        return Ok(gradient.clone());
    }
    let added = dims.len() - shape.len();
    let axes: Vec<usize> = (0..dims.len())
        .filter(|&axis| axis < added || (shape[axis - added] == 1 && dims[axis] != 1))
        .collect();
    gradient.sum_keepdim(axes)?.reshape(shape)
}
