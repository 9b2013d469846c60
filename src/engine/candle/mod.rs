//! The embedded CPU engine: candle's tensors, a tape and fused kernels.
//!
//! candle keeps the elements and does what is not worth a kernel. Its fused `LayerNorm`,
//! `softmax_last_dim` and `sdpa` cut the gradient without a word (`clippy.toml` bans them).
//! Kernels are for f32; f64, which is for checking gradients, takes candle's operations.

mod arithmetic;
mod dense;
pub mod kernels;
mod layers;
mod storage;
mod tape;
mod views;

pub use tape::Tensor;

use candle_core::{DType, Device, bail};

use super::{
    Activation, AdamW, Engine, EngineError, EngineKind, HostSlice, Moments, Precision, Result,
    Targets, Update, composite,
};
use crate::metric::PatchGrid;
use storage::{Element, change, elements};
use tape::Value;

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

    /// Whether layers are composed of candle's operations: kernels are for f32.
    fn composes(&self) -> bool {
        self.precision == Precision::F64
    }

    fn upload(&self, data: HostSlice<'_>, shape: &[usize]) -> candle_core::Result<Value> {
        let dtype = match self.precision {
            Precision::F32 => DType::F32,
            Precision::F64 => DType::F64,
            Precision::Bf16 => bail!("the candle engine computes in f32 and f64"),
        };
        match data {
            HostSlice::F32(data) => Value::from_slice(data, shape, &Device::Cpu),
            HostSlice::F64(data) => Value::from_slice(data, shape, &Device::Cpu),
        }?
        .to_dtype(dtype)
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
        let value = self.upload(data.into(), shape).named("tensor")?;
        Ok(Tensor::constant(value))
    }

    fn parameter<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Tensor> {
        let value = self.upload(data.into(), shape).named("parameter")?;
        Ok(Tensor::leaf(value))
    }

    fn shape(&self, x: &Tensor) -> Vec<usize> {
        x.value.dims().to_vec()
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        x.value
            .to_dtype(DType::F32)
            .and_then(|x| x.flatten_all()?.to_vec1())
            .named("to_f32")
    }

    fn to_f64(&self, x: &Tensor) -> Result<Vec<f64>> {
        x.value
            .to_dtype(DType::F64)
            .and_then(|x| x.flatten_all()?.to_vec1())
            .named("to_f64")
    }

    fn grad(&self, loss: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
        let gradients = tape::gradients(loss, inputs).named("grad")?;
        let constant = |gradient: Option<Value>| gradient.map(Tensor::constant);
        Ok(gradients.into_iter().map(constant).collect())
    }

    fn moments(&self, parameter: &Tensor) -> Result<Moments<Tensor>> {
        let zeros = || parameter.value.zeros_like().named("moments");
        Ok(Moments {
            mean: Tensor::constant(zeros()?),
            square: Tensor::constant(zeros()?),
        })
    }

    fn adamw(&self, settings: &AdamW, group: &[Update<'_, Tensor>]) -> Result<()> {
        composite::check_updates(self, settings, group)?;
        group.iter().try_for_each(apart).named("adamw")?;
        for update in group {
            update.parameter.changed();
            if self.composes() {
                adamw_f64(settings, update)
            } else {
                adamw_f32(settings, update)
            }
            .named("adamw")?;
        }
        Ok(())
    }

    fn assign(&self, parameter: &Tensor, value: &Tensor) -> Result<()> {
        composite::check_assignment(parameter.value.dims(), value.value.dims())?;
        parameter.changed();
        if self.composes() {
            overwrite::<f64>(parameter, value)
        } else {
            overwrite::<f32>(parameter, value)
        }
        .named("assign")
    }

    fn square_sums(&self, xs: &[&Tensor]) -> Result<Vec<f64>> {
        let sum = |x: &&Tensor| -> candle_core::Result<f64> {
            let x = &x.value;
            if self.composes() {
                return Ok(kernels::square_sum(&x.flatten_all()?.to_vec1::<f64>()?));
            }
            Ok(kernels::square_sum(&elements(&x.contiguous()?)?))
        };
        xs.iter()
            .map(sum)
            .collect::<candle_core::Result<_>>()
            .named("square_sums")
    }

    fn detach(&self, x: &Tensor) -> Result<Tensor> {
        Ok(Tensor::constant(x.value.clone()))
    }

    fn reshape(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        views::reshape(x, shape).named("reshape")
    }

    fn permute(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        views::permute(x, axes).named("permute")
    }

    fn expand(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        views::expand(x, shape).named("expand")
    }

    fn narrow(&self, x: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
        views::narrow(x, axis, start, length).named("narrow")
    }

    fn cat(&self, xs: &[&Tensor], axis: usize) -> Result<Tensor> {
        views::cat(xs, axis).named("cat")
    }

    fn index_select(&self, x: &Tensor, axis: usize, index: &[u32]) -> Result<Tensor> {
        composite::check_index(x.value.dims(), axis, index)?;
        views::index_select(x, axis, index).named("index_select")
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        arithmetic::add(x, y).named("add")
    }

    fn sub(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        arithmetic::sub(x, y).named("sub")
    }

    fn mul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        arithmetic::mul(x, y).named("mul")
    }

    fn affine(&self, x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
        arithmetic::affine(x, scale, shift).named("affine")
    }

    fn sum(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        arithmetic::sum(x, axes).named("sum")
    }

    fn mean(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        arithmetic::mean(x, axes).named("mean")
    }

    fn matmul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        composite::check_matmul(x.value.dims(), y.value.dims())?;
        arithmetic::matmul(x, y).named("matmul")
    }

    fn softmax(&self, x: &Tensor) -> Result<Tensor> {
        arithmetic::softmax(x).named("softmax")
    }

    fn log_softmax(&self, x: &Tensor) -> Result<Tensor> {
        arithmetic::log_softmax(x).named("log_softmax")
    }

    fn round_to_bf16(&self, x: &Tensor) -> Result<Tensor> {
        arithmetic::round_to_bf16(x).named("round_to_bf16")
    }

    fn log(&self, x: &Tensor) -> Result<Tensor> {
        arithmetic::log(x).named("log")
    }

    fn pow(&self, x: &Tensor, exponent: f64) -> Result<Tensor> {
        arithmetic::pow(x, exponent).named("pow")
    }

    fn smooth_l1(&self, x: &Tensor, beta: f64) -> Result<Tensor> {
        composite::check_beta(beta)?;
        arithmetic::smooth_l1(x, beta).named("smooth_l1")
    }

    fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        layers::activation(x, activation).named("activation")
    }

    fn layer_norm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
        let sides = [weight.value.dims(), bias.value.dims()];
        composite::check_norm("layer_norm", x.value.dims(), sides)?;
        layers::layer_norm(x, weight, bias, eps).named("layer_norm")
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias_shape = bias.map(|bias| bias.value.dims());
        composite::check_linear(x.value.dims(), weight.value.dims(), bias_shape)?;
        layers::linear(x, weight, bias).named("linear")
    }

    fn mlp(
        &self,
        x: &Tensor,
        fc1: (&Tensor, &Tensor),
        activation: Activation,
        fc2: (&Tensor, &Tensor),
    ) -> Result<Tensor> {
        if self.composes() {
            return composite::mlp(self, x, fc1, activation, fc2);
        }
        layers::mlp(x, fc1, activation, fc2).named("mlp")
    }

    fn attention(
        &self,
        qkv: &Tensor,
        heads: usize,
        bias: Option<&Tensor>,
        scale: f64,
    ) -> Result<Tensor> {
        if self.composes() {
            return Ok(composite::attention_with_weights(self, qkv, heads, bias, scale)?.0);
        }
        let sizes = composite::packed_sizes(qkv.value.dims(), heads)?;
        layers::attention(qkv, sizes, bias, scale).named("attention")
    }

    fn attention_with_statistics(
        &self,
        qkv: &Tensor,
        heads: usize,
        bias: Option<&Tensor>,
        scale: f64,
        patches: &PatchGrid,
    ) -> Result<(Tensor, Tensor)> {
        if self.composes() {
            return composite::attention_with_statistics(self, qkv, heads, bias, scale, patches);
        }
        let sizes = composite::packed_sizes(qkv.value.dims(), heads)?;
        composite::check_patches(sizes[1], patches)?;
        layers::attention_with_statistics(qkv, sizes, bias, scale, patches)
            .named("attention_with_statistics")
    }

    fn convolution(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        if self.composes() {
            return composite::convolution(self, x, weight);
        }
        let sizes = composite::image_sizes("convolution", x.value.dims())?;
        let outputs = composite::check_convolution(sizes[3], weight.value.dims())?;
        dense::convolution(x, weight, sizes, outputs).named("convolution")
    }

    fn resize_bilinear(&self, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
        if self.composes() {
            return composite::resize_bilinear(self, x, size);
        }
        let sizes = composite::check_resize(x.value.dims(), size)?;
        if sizes[1..3] == size {
            return Ok(x.clone());
        }
        let taps = [0, 1].map(|axis| composite::linear_taps(sizes[1 + axis], size[axis]).collect());
        dense::resize(x, sizes, taps).named("resize_bilinear")
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        if self.composes() {
            return composite::max_pool(self, x);
        }
        let sizes = composite::check_max_pool(x.value.dims())?;
        dense::max_pool(x, sizes).named("max_pool")
    }

    fn batch_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        if self.composes() {
            return composite::batch_norm(self, x, weight, bias, eps);
        }
        let sides = [weight.value.dims(), bias.value.dims()];
        composite::check_norm("batch_norm", x.value.dims(), sides)?;
        let [y, mean, variance] = dense::batch_norm(x, weight, bias, eps).named("batch_norm")?;
        Ok((y, mean, variance))
    }

    fn cross_entropy(&self, logits: &Tensor, targets: Targets<'_, Tensor>) -> Result<Tensor> {
        if self.composes() {
            return composite::cross_entropy(self, logits, targets);
        }
        let [_, classes] = composite::target_sizes(self, logits, &targets)?;
        match targets {
            Targets::Classes(ids) => layers::cross_entropy_classes(logits, ids),
            Targets::Smoothed { ids, smoothing } => {
                let targets = composite::distributions(self, ids, classes, smoothing)?;
                layers::cross_entropy_soft(logits, &targets)
            }
            Targets::Soft(targets) => layers::cross_entropy_soft(logits, targets),
        }
        .named("cross_entropy")
    }
}

/// A copy of the values into the parameter's memory; the values may be a view of it.
fn overwrite<T: Element>(parameter: &Tensor, value: &Tensor) -> candle_core::Result<()> {
    let value: Vec<T> = value.value.flatten_all()?.to_vec1()?;
    change(&parameter.value, |parameter: &mut [T]| {
        parameter.copy_from_slice(&value);
    })
}

/// Refuses an update whose tensors share memory: one that is written is locked.
fn apart(update: &Update<'_, Tensor>) -> candle_core::Result<()> {
    let moments = update.moments;
    let tensors = [
        update.parameter,
        update.gradient,
        &moments.mean,
        &moments.square,
    ];
    for (i, x) in tensors.iter().enumerate() {
        for y in &tensors[..i] {
            if storage::shared(&x.value, &y.value) {
                bail!("a parameter, its gradient and its moments must not share memory")
            }
        }
    }
    Ok(())
}

fn adamw_f32(settings: &AdamW, update: &Update<'_, Tensor>) -> candle_core::Result<()> {
    let gradient = update.gradient.value.contiguous()?;
    let gradient = elements(&gradient)?;
    let moments = update.moments;
    change(&update.parameter.value, |parameter: &mut [f32]| {
        change(&moments.mean.value, |mean: &mut [f32]| {
            change(&moments.square.value, |square: &mut [f32]| {
                kernels::adamw(settings, parameter, &gradient, mean, square);
            })
        })
    })??
}

fn adamw_f64(settings: &AdamW, update: &Update<'_, Tensor>) -> candle_core::Result<()> {
    let gradient: Vec<f64> = update.gradient.value.flatten_all()?.to_vec1()?;
    let moments = update.moments;
    let [beta1, beta2] = settings.betas;
    let keep = 1.0 - settings.learning_rate * settings.weight_decay;
    let rate = settings.learning_rate / (1.0 - beta1.powf(settings.step.into()));
    let root = (1.0 - beta2.powf(settings.step.into())).sqrt();
    change(&update.parameter.value, |parameter: &mut [f64]| {
        change(&moments.mean.value, |mean: &mut [f64]| {
            change(&moments.square.value, |square: &mut [f64]| {
                let moments = mean.iter_mut().zip(square);
                for ((p, g), (m, v)) in parameter.iter_mut().zip(&gradient).zip(moments) {
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *p = *p * keep - rate * *m / (v.sqrt() / root + settings.eps);
                }
            })
        })
    })??
}
