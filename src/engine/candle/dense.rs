//! Operations on images whose channels lie last: the kernels on f32 tensors.

use candle_core::Result;

use super::kernels::{self, BatchNormed, Images, Pooled, Taps};
use super::layers::{filled, shaped};
use super::storage::{elements, from_vec};
use super::tape::Tensor;

/// x: `[B, H, W, I]`, sizes: those of x and O, weight: `[O, I, 3, 3]` -> `[B, H, W, O]`
pub(super) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    [batch, height, width, inputs]: [usize; 4],
    outputs: usize,
) -> Result<Tensor> {
    filled(x)?;
    filled(weight)?;
    let images = Images {
        batch,
        height,
        width,
    };
    let channels = [inputs, outputs];
    let [x_value, weight_value] = [x.value.contiguous()?, weight.value.contiguous()?];
    let y = kernels::convolution(
        &elements(&x_value)?,
        &elements(&weight_value)?,
        images,
        channels,
    );
    let y = from_vec(y, &[batch, height, width, outputs])?;
    let needs = [x, weight].map(Tensor::tracked);
    Ok(Tensor::computed(y, [x, weight], move |dy| {
        let dy = dy.contiguous()?;
        let [dx, dweight] = kernels::convolution_gradient(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            &elements(&dy)?,
            images,
            channels,
            needs,
        );
        shaped([(dx, x_value.dims()), (dweight, weight_value.dims())])
    }))
}

/// x: `[B, H, W, C]`, taps: of the lines and of the columns of the output -> `[B, h, w, C]`
pub(super) fn resize(
    x: &Tensor,
    [batch, height, width, channels]: [usize; 4],
    taps: [Vec<Taps>; 2],
) -> Result<Tensor> {
    filled(x)?;
    let shape = [height, width, channels];
    let y = {
        let x = x.value.contiguous()?;
        kernels::resize(&elements(&x)?, shape, taps.each_ref().map(Vec::as_slice))
    };
    let [lines, columns] = taps.each_ref().map(Vec::len);
    let y = from_vec(y, &[batch, lines, columns, channels])?;
    Ok(Tensor::computed(y, [x], move |dy| {
        let dy = dy.contiguous()?;
        let taps = taps.each_ref().map(Vec::as_slice);
        let dx = kernels::resize_gradient(&elements(&dy)?, shape, taps);
        Ok([Some(from_vec(dx, &[batch, height, width, channels])?)])
    }))
}

/// x: `[B, H, W, C]` -> `[B, ⌊H/2⌋, ⌊W/2⌋, C]`
pub(super) fn max_pool(x: &Tensor, [batch, height, width, channels]: [usize; 4]) -> Result<Tensor> {
    filled(x)?;
    let shape = [height, width, channels];
    let Pooled { y, places } = {
        let x = x.value.contiguous()?;
        kernels::max_pool(&elements(&x)?, shape)
    };
    let y = from_vec(y, &[batch, height / 2, width / 2, channels])?;
    Ok(Tensor::computed(y, [x], move |dy| {
        let dy = dy.contiguous()?;
        let dx = kernels::max_pool_gradient(&elements(&dy)?, &places, shape);
        Ok([Some(from_vec(dx, &[batch, height, width, channels])?)])
    }))
}

/// x: `[.., C]`, weight, bias: `[C]` -> (`[.., C]`, mean `[C]`, variance `[C]`)
pub(super) fn batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
) -> Result<[Tensor; 3]> {
    filled(x)?;
    let [x_value, weight_value] = [x.value.contiguous()?, weight.value.contiguous()?];
    let BatchNormed {
        y,
        mean,
        variance,
        rstd,
    } = {
        let bias = bias.value.contiguous()?;
        kernels::batch_norm(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            &elements(&bias)?,
            eps,
        )
    };
    let row = [mean.len()];
    let y = from_vec(y, x_value.dims())?;
    let variance = Tensor::constant(from_vec(variance, &row)?);
    let mean_value = Tensor::constant(from_vec(mean.clone(), &row)?);
    let needs = [x, weight, bias].map(Tensor::tracked);
    let y = Tensor::computed(y, [x, weight, bias], move |dy| {
        let dy = dy.contiguous()?;
        let [dx, dweight, dbias] = kernels::batch_norm_gradient(
            &elements(&x_value)?,
            &elements(&weight_value)?,
            [&mean, &rstd],
            &elements(&dy)?,
            needs,
        );
        shaped([(dx, x_value.dims()), (dweight, &row), (dbias, &row)])
    });
    Ok([y, mean_value, variance])
}
