//! The embedded CPU engine, over candle.
//!
//! candle's fused `LayerNorm`, `softmax_last_dim` and `sdpa` cut the gradient without a word
//! (`clippy.toml` bans them), so layers are composed here from operations whose gradients the
//! conformance test checks.

pub mod kernels;
mod storage;

use candle_core::{D, DType, Device, Tensor, Var};

use super::{
    Activation, AdamW, Engine, EngineError, EngineKind, HostSlice, Moments, Precision, Result,
    Update,
};
use storage::change;

/// Versions that decide how the engine computes.
pub const VERSIONS: &str = "candle 0.11, gemm 0.19";

/// candle on the CPU.
#[derive(Clone, Debug)]
pub struct Candle {
    precision: Precision,
}

impl Candle {
    /// An engine that computes in `precision`.
    pub fn new(precision: Precision) -> Self {
        Self { precision }
    }

    fn dtype(&self) -> DType {
        match self.precision {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
            Precision::Bf16 => DType::BF16,
        }
    }

    fn upload(&self, data: HostSlice<'_>, shape: &[usize]) -> candle_core::Result<Tensor> {
        match data {
            HostSlice::F32(data) => Tensor::from_slice(data, shape, &Device::Cpu),
            HostSlice::F64(data) => Tensor::from_slice(data, shape, &Device::Cpu),
        }?
        .to_dtype(self.dtype())
    }
}

/// Names the operation in candle's errors.
trait Named<T> {
    fn named(self, op: &'static str) -> Result<T>;
}

impl<T> Named<T> for candle_core::Result<T> {
    fn named(self, op: &'static str) -> Result<T> {
        self.map_err(|error| EngineError {
            op,
            message: error.to_string(),
        })
    }
}

impl Engine for Candle {
    type Tensor = Tensor;

    fn kind(&self) -> EngineKind {
        EngineKind::Candle
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn tensor<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Tensor> {
        self.upload(data.into(), shape).named("tensor")
    }

    fn parameter<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Tensor> {
        self.upload(data.into(), shape)
            .and_then(|x| Var::from_tensor(&x))
            .map(|x| x.as_tensor().clone())
            .named("parameter")
    }

    fn shape(&self, x: &Tensor) -> Vec<usize> {
        x.dims().to_vec()
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        x.to_dtype(DType::F32)
            .and_then(|x| x.flatten_all()?.to_vec1())
            .named("to_f32")
    }

    fn to_f64(&self, x: &Tensor) -> Result<Vec<f64>> {
        x.to_dtype(DType::F64)
            .and_then(|x| x.flatten_all()?.to_vec1())
            .named("to_f64")
    }

    fn grad(&self, loss: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
        if loss.elem_count() != 1 {
            return Err(EngineError {
                op: "grad",
                message: format!("the loss must be a scalar, got {:?}", loss.dims()),
            });
        }
        let gradients = loss.backward().named("grad")?;
        // candle also gives gradients of constants that meet a parameter.
        let gradient = |x: &&Tensor| gradients.get(x).filter(|_| x.is_variable()).cloned();
        Ok(inputs.iter().map(gradient).collect())
    }

    fn moments(&self, parameter: &Tensor) -> Result<Moments<Tensor>> {
        let zeros = || parameter.zeros_like().named("moments");
        Ok(Moments {
            mean: zeros()?,
            square: zeros()?,
        })
    }

    fn adamw(&self, settings: &AdamW, group: &[Update<'_, Tensor>]) -> Result<()> {
        for update in group {
            let gradient = self.to_f32(update.gradient)?;
            change(update.parameter, |p: &mut [f32]| {
                change(&update.moments.mean, |m: &mut [f32]| {
                    change(&update.moments.square, |v: &mut [f32]| {
                        kernels::adamw(settings, p, &gradient, m, v);
                    })
                })
            })
            .and_then(|mean| mean?)
            .named("adamw")?;
        }
        Ok(())
    }

    fn detach(&self, x: &Tensor) -> Tensor {
        x.detach()
    }

    fn reshape(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        x.reshape(shape).named("reshape")
    }

    fn permute(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        x.permute(axes).named("permute")
    }

    fn expand(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        x.broadcast_as(shape).named("expand")
    }

    fn narrow(&self, x: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
        x.narrow(axis, start, length).named("narrow")
    }

    fn cat(&self, xs: &[&Tensor], axis: usize) -> Result<Tensor> {
        Tensor::cat(xs, axis).named("cat")
    }

    fn index_select(&self, x: &Tensor, axis: usize, index: &[u32]) -> Result<Tensor> {
        Tensor::from_slice(index, index.len(), &Device::Cpu)
            .and_then(|index| x.contiguous()?.index_select(&index, axis))
            .named("index_select")
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x.broadcast_add(y).named("add")
    }

    fn sub(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x.broadcast_sub(y).named("sub")
    }

    fn mul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x.broadcast_mul(y).named("mul")
    }

    fn affine(&self, x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
        x.affine(scale, shift).named("affine")
    }

    fn sum(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        x.sum(axes).named("sum")
    }

    fn mean(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        x.mean(axes).named("mean")
    }

    fn matmul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        // candle's gradient of a product needs contiguous operands.
        x.contiguous()
            .and_then(|x| x.matmul(&y.contiguous()?))
            .named("matmul")
    }

    fn softmax(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::softmax(x, D::Minus1).named("softmax")
    }

    fn log_softmax(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::log_softmax(x, D::Minus1).named("log_softmax")
    }

    fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match activation {
            // Without a graph the fused forms are exact. Their gradients in candle use constants
            // of six digits, so with one the forms are composed.
            Activation::Gelu if !x.track_op() => x.gelu_erf(),
            #[expect(
                clippy::disallowed_methods,
                reason = "the tanh form is what is asked for"
            )]
            Activation::GeluTanh if !x.track_op() => x.gelu(),
            Activation::Gelu => x
                .affine(std::f64::consts::FRAC_1_SQRT_2, 0.0)
                .and_then(|scaled| scaled.erf()?.affine(0.5, 0.5)?.mul(x)),
            Activation::GeluTanh => x
                .sqr()
                .and_then(|square| square.affine(0.044_715, 1.0)?.mul(x))
                .and_then(|inner| {
                    inner
                        .affine((2.0 / std::f64::consts::PI).sqrt(), 0.0)?
                        .tanh()
                })
                .and_then(|tanh| tanh.affine(0.5, 0.5)?.mul(x)),
            Activation::QuickGelu => x
                .affine(1.702, 0.0)
                .and_then(|gate| x.mul(&candle_nn::ops::sigmoid(&gate)?)),
        }
        .named("activation")
    }

    fn layer_norm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
        let normalise = || {
            let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
            let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
            centred
                .broadcast_div(&(variance + eps)?.sqrt()?)?
                .broadcast_mul(weight)?
                .broadcast_add(bias)
        };
        normalise().named("layer_norm")
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let apply = || {
            let mut shape = x.dims().to_vec();
            let inputs = shape.pop().unwrap_or_default();
            let rows: usize = shape.iter().product();
            // One product over all rows: faster than candle's batched broadcast.
            let mut y = x.reshape((rows, inputs))?.matmul(&weight.t()?)?;
            if let Some(bias) = bias {
                y = y.broadcast_add(bias)?;
            }
            shape.push(y.dim(1)?);
            y.reshape(shape)
        };
        apply().named("linear")
    }
}
