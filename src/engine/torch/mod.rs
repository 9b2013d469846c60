//! libtorch, through the crate tch, on the processor and on CUDA devices.
//!
//! Operations are libtorch's own fused ones. A tensor made by [`Engine::tensor`] needs no
//! gradient, so inference keeps no graph. In [`Precision::Bf16`] tensors enter in f32, matrix
//! products cast their operands and give bf16, and layer norm, softmax, sums and losses work in
//! f32: the lists of PyTorch's autocast (`aten/src/ATen/autocast_mode.h`).

mod shim;

use std::fmt;

use tch::{Kind, Reduction, TchError};

use super::{
    Activation, AdamW, Device, Engine, EngineError, EngineKind, EngineUnavailable, HostSlice,
    IGNORED, Moments, Precision, Result, Targets, Update, composite,
};
use shim::{AdamWGroup, Version};

/// Versions that decide how the engine computes.
pub fn versions() -> String {
    format!("libtorch {} (tch 0.24)", Version::loaded())
}

/// libtorch on one device.
#[derive(Clone, Copy, Debug)]
pub struct Torch {
    device: Device,
    precision: Precision,
}

/// A handle to a tensor of libtorch.
pub struct Tensor(tch::Tensor);

impl Clone for Tensor {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor{:?}", self.0.size())
    }
}

impl Torch {
    /// An engine on `device`, in `precision`; its operations use as many threads as the rayon pool
    /// it is made in.
    pub fn new(
        device: Device,
        precision: Precision,
    ) -> std::result::Result<Self, EngineUnavailable> {
        let (found, expected) = (Version::loaded(), Version::built());
        if found != expected {
            return Err(EngineUnavailable::Version {
                found: found.to_string(),
                expected: expected.to_string(),
            });
        }
        if let Device::Cuda(index) = device {
            find_cuda(index)?;
        }
        shim::keep_buffers();
        shim::full_precision().map_err(|message| EngineUnavailable::Start { message })?;
        let threads = i32::try_from(rayon::current_num_threads()).unwrap_or(i32::MAX);
        tch::set_num_threads(threads);
        Ok(Self { device, precision })
    }

    /// Element type of what enters the engine, and of sums and losses.
    fn wide_kind(&self) -> Kind {
        match self.precision {
            Precision::F32 | Precision::Bf16 => Kind::Float,
            Precision::F64 => Kind::Double,
        }
    }

    fn place(&self) -> tch::Device {
        match self.device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda(index) => tch::Device::Cuda(index),
        }
    }

    fn upload(
        &self,
        op: &'static str,
        data: HostSlice<'_>,
        shape: &[usize],
    ) -> Result<tch::Tensor> {
        let (bytes, kind, length) = match data {
            HostSlice::F32(data) => (bytemuck::cast_slice(data), Kind::Float, data.len()),
            HostSlice::F64(data) => (bytemuck::cast_slice(data), Kind::Double, data.len()),
        };
        // libtorch would read on past the end.
        if shape.iter().product::<usize>() != length {
            return Err(EngineError {
                op,
                message: format!("{length} elements for shape {shape:?}"),
            });
        }
        tch::Tensor::f_from_data_size(bytes, &sizes(shape), kind)
            .and_then(|x| x.f_to_device(self.place())?.f_to_kind(self.wide_kind()))
            .named(op)
    }

    /// A number as a tensor without axes, which keeps other operands' element type and device.
    /// tch's own scalars panic when the operation they are given to has failed.
    fn number(&self, value: f64) -> std::result::Result<tch::Tensor, TchError> {
        tch::Tensor::f_from_slice(&[value])?
            .f_reshape([0; 0])?
            .f_to_kind(self.wide_kind())
    }

    /// An operand of a matrix product.
    fn operand(&self, x: &tch::Tensor) -> std::result::Result<tch::Tensor, TchError> {
        match self.precision {
            Precision::Bf16 => x.f_to_kind(Kind::BFloat16),
            Precision::F32 | Precision::F64 => Ok(x.shallow_clone()),
        }
    }

    /// An operand of what needs the range and the digits of f32.
    fn wide(&self, x: &tch::Tensor) -> std::result::Result<tch::Tensor, TchError> {
        x.f_to_kind(self.wide_kind())
    }

    fn host(&self, x: &tch::Tensor, kind: Kind) -> std::result::Result<tch::Tensor, TchError> {
        x.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(kind)
    }
}

/// Loads CUDA and looks for the device.
fn find_cuda(index: usize) -> std::result::Result<(), EngineUnavailable> {
    let version = || Version::loaded().to_string();
    shim::load_cuda().map_err(|reason| EngineUnavailable::NoCuda {
        version: version(),
        reason,
    })?;
    let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
    if count == 0 {
        return Err(EngineUnavailable::NoDevice { version: version() });
    }
    if index >= count {
        return Err(EngineUnavailable::NoSuchDevice { index, count });
    }
    Ok(())
}

/// Names the operation in libtorch's errors.
trait Named<T> {
    fn named(self, op: &'static str) -> Result<T>;
}

impl<T> Named<T> for std::result::Result<T, TchError> {
    fn named(self, op: &'static str) -> Result<T> {
        self.map_err(|error| EngineError {
            op,
            message: match error {
                TchError::Torch(text) => message(&text),
                other => other.to_string(),
            },
        })
    }
}

/// What libtorch's text says before it lists C++ frames, in one line.
fn message(text: &str) -> String {
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Exception raised from"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    // libtorch's CPU allocator says it in these words; its CUDA allocator says "out of memory".
    let no_memory = said.contains("not enough memory") || said.contains("can't allocate memory");
    if no_memory {
        format!("out of memory: {said}")
    } else {
        said
    }
}

fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&size| size as i64).collect()
}

fn wrap(result: std::result::Result<tch::Tensor, TchError>, op: &'static str) -> Result<Tensor> {
    result.map(Tensor).named(op)
}

/// Images `[B, H, W, C]` as a view `[B, C, H, W]`, whose memory is libtorch's channels last.
fn channels_second(x: &tch::Tensor) -> std::result::Result<tch::Tensor, TchError> {
    x.f_permute([0, 3, 1, 2])
}

/// The way back from [`channels_second`].
fn channels_last(x: tch::Tensor) -> std::result::Result<tch::Tensor, TchError> {
    x.f_permute([0, 2, 3, 1])
}

impl Engine for Torch {
    type Tensor = Tensor;

    fn kind(&self) -> EngineKind {
        EngineKind::Torch
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn tensor<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Tensor> {
        self.upload("tensor", data.into(), shape).map(Tensor)
    }

    fn parameter<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Tensor> {
        let x = self.upload("parameter", data.into(), shape)?;
        wrap(x.f_set_requires_grad(true), "parameter")
    }

    fn shape(&self, x: &Tensor) -> Vec<usize> {
        x.0.size().iter().map(|&size| size as usize).collect()
    }

    fn to_f32(&self, x: &Tensor) -> Result<Vec<f32>> {
        let mut data = vec![0.0; x.0.numel()];
        self.host(&x.0, Kind::Float)
            .and_then(|x| x.f_copy_data(&mut data, x.numel()))
            .named("to_f32")?;
        Ok(data)
    }

    fn to_f64(&self, x: &Tensor) -> Result<Vec<f64>> {
        let mut data = vec![0.0; x.0.numel()];
        self.host(&x.0, Kind::Double)
            .and_then(|x| x.f_copy_data(&mut data, x.numel()))
            .named("to_f64")?;
        Ok(data)
    }

    fn grad(&self, loss: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Option<Tensor>>> {
        if loss.0.numel() != 1 {
            return Err(EngineError {
                op: "grad",
                message: format!("the loss must be a scalar, got {:?}", loss.0.size()),
            });
        }
        let mut gradients: Vec<Option<Tensor>> = inputs.iter().map(|_| None).collect();
        let (places, asked): (Vec<usize>, Vec<&tch::Tensor>) = inputs
            .iter()
            .enumerate()
            .filter(|(_, x)| x.0.requires_grad())
            .map(|(place, x)| (place, &x.0))
            .unzip();
        if asked.is_empty() || !loss.0.requires_grad() {
            return Ok(gradients);
        }
        let found = tch::Tensor::f_run_backward(&[&loss.0], &asked, false, false).named("grad")?;
        for (place, gradient) in places.into_iter().zip(found) {
            gradients[place] = gradient.defined().then_some(Tensor(gradient));
        }
        Ok(gradients)
    }

    fn moments(&self, parameter: &Tensor) -> Result<Moments<Tensor>> {
        let zeros = || wrap(parameter.0.f_zeros_like(), "moments");
        Ok(Moments {
            mean: zeros()?,
            square: zeros()?,
        })
    }

    fn adamw(&self, settings: &AdamW, group: &[Update<'_, Tensor>]) -> Result<()> {
        composite::check_updates(self, settings, group)?;
        // A gradient may be a view; the fused step reads rows.
        let gradients: Vec<tch::Tensor> = group
            .iter()
            .map(|update| update.gradient.0.f_contiguous())
            .collect::<std::result::Result<_, _>>()
            .named("adamw")?;
        let group = AdamWGroup {
            parameters: group.iter().map(|update| &update.parameter.0).collect(),
            gradients: gradients.iter().collect(),
            means: group.iter().map(|update| &update.moments.mean.0).collect(),
            squares: group
                .iter()
                .map(|update| &update.moments.square.0)
                .collect(),
        };
        shim::adamw(settings, &group).map_err(|text| EngineError {
            op: "adamw",
            message: message(&text),
        })
    }

    fn assign(&self, parameter: &Tensor, value: &Tensor) -> Result<()> {
        composite::check_assignment(&self.shape(parameter), &self.shape(value))?;
        let mut parameter = parameter.0.shallow_clone();
        tch::no_grad(|| parameter.f_copy_(&value.0)).named("assign")
    }

    fn square_sums(&self, xs: &[&Tensor]) -> Result<Vec<f64>> {
        if xs.is_empty() {
            return Ok(Vec::new());
        }
        let sum = |x: &&Tensor| {
            let x = x.0.f_detach()?.f_to_kind(Kind::Double)?;
            // A scalar product would add up one after the other.
            x.f_square()?.f_sum(Kind::Double)
        };
        // Read once, so that a device is waited for once.
        let sums = xs
            .iter()
            .map(sum)
            .collect::<std::result::Result<Vec<_>, _>>()
            .and_then(|sums| tch::Tensor::f_stack(&sums, 0));
        self.to_f64(&Tensor(sums.named("square_sums")?))
    }

    fn peak_memory(&self) -> Result<Option<u64>> {
        match self.device {
            Device::Cpu => Ok(None),
            Device::Cuda(index) => shim::peak_memory(index as i8)
                .map(|bytes| u64::try_from(bytes).ok())
                .map_err(|message| EngineError {
                    op: "peak_memory",
                    message,
                }),
        }
    }

    fn detach(&self, x: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_detach(), "detach")
    }

    fn reshape(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        wrap(x.0.f_reshape(sizes(shape)), "reshape")
    }

    fn permute(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        wrap(x.0.f_permute(sizes(axes)), "permute")
    }

    fn expand(&self, x: &Tensor, shape: &[usize]) -> Result<Tensor> {
        wrap(x.0.f_expand(sizes(shape), false), "expand")
    }

    fn narrow(&self, x: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor> {
        wrap(
            x.0.f_narrow(axis as i64, start as i64, length as i64),
            "narrow",
        )
    }

    fn cat(&self, xs: &[&Tensor], axis: usize) -> Result<Tensor> {
        let xs: Vec<&tch::Tensor> = xs.iter().map(|x| &x.0).collect();
        wrap(tch::Tensor::f_cat(&xs, axis as i64), "cat")
    }

    fn index_select(&self, x: &Tensor, axis: usize, index: &[u32]) -> Result<Tensor> {
        composite::check_index(&self.shape(x), axis, index)?;
        let index: Vec<i64> = index.iter().map(|&i| i.into()).collect();
        wrap(
            tch::Tensor::f_from_slice(&index)
                .and_then(|index| index.f_to_device(self.place()))
                .and_then(|index| x.0.f_index_select(axis as i64, &index)),
            "index_select",
        )
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_add(&y.0), "add")
    }

    fn sub(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_sub(&y.0), "sub")
    }

    fn mul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_mul(&y.0), "mul")
    }

    fn affine(&self, x: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
        let apply = || {
            let scaled = x.0.f_mul(&self.number(scale)?)?;
            match shift {
                0.0 => Ok(scaled),
                _ => scaled.f_add(&self.number(shift)?),
            }
        };
        wrap(apply(), "affine")
    }

    fn sum(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        // No axes would mean all of them.
        if axes.is_empty() {
            return Ok(x.clone());
        }
        wrap(
            x.0.f_sum_dim_intlist(sizes(axes), false, self.wide_kind()),
            "sum",
        )
    }

    fn mean(&self, x: &Tensor, axes: &[usize]) -> Result<Tensor> {
        if axes.is_empty() {
            return Ok(x.clone());
        }
        wrap(x.0.f_mean_dim(sizes(axes), false, self.wide_kind()), "mean")
    }

    fn matmul(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        composite::check_matmul(&self.shape(x), &self.shape(y))?;
        let product = self
            .operand(&x.0)
            .and_then(|x| x.f_matmul(&self.operand(&y.0)?));
        wrap(product, "matmul")
    }

    fn softmax(&self, x: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_softmax(-1, self.wide_kind()), "softmax")
    }

    fn log_softmax(&self, x: &Tensor) -> Result<Tensor> {
        wrap(x.0.f_log_softmax(-1, self.wide_kind()), "log_softmax")
    }

    fn round_to_bf16(&self, x: &Tensor) -> Result<Tensor> {
        let rounded = x.0.f_to_kind(Kind::BFloat16);
        wrap(rounded.and_then(|x| self.wide(&x)), "round_to_bf16")
    }

    fn log(&self, x: &Tensor) -> Result<Tensor> {
        wrap(self.wide(&x.0).and_then(|x| x.f_log()), "log")
    }

    fn pow(&self, x: &Tensor, exponent: f64) -> Result<Tensor> {
        let apply = || self.wide(&x.0)?.f_pow(&self.number(exponent)?);
        wrap(apply(), "pow")
    }

    fn smooth_l1(&self, x: &Tensor, beta: f64) -> Result<Tensor> {
        composite::check_beta(beta)?;
        let loss = self
            .wide(&x.0)
            .and_then(|x| x.f_smooth_l1_loss(&x.f_zeros_like()?, Reduction::None, beta));
        wrap(loss, "smooth_l1")
    }

    fn activation(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        let x = &x.0;
        wrap(
            match activation {
                Activation::Gelu => x.f_gelu("none"),
                Activation::GeluTanh => x.f_gelu("tanh"),
                Activation::QuickGelu => self
                    .number(1.702)
                    .and_then(|slope| x.f_mul(&x.f_mul(&slope)?.f_sigmoid()?)),
                Activation::Silu => x.f_silu(),
                Activation::Relu => x.f_relu(),
            },
            "activation",
        )
    }

    fn layer_norm(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
        let sides = [self.shape(weight), self.shape(bias)];
        let sides = sides.each_ref().map(Vec::as_slice);
        composite::check_norm("layer_norm", &self.shape(x), sides)?;
        let width = weight.0.size();
        wrap(
            self.wide(&x.0)
                .and_then(|x| x.f_layer_norm(width, Some(&weight.0), Some(&bias.0), eps, false)),
            "layer_norm",
        )
    }

    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias_shape = bias.map(|bias| self.shape(bias));
        composite::check_linear(&self.shape(x), &self.shape(weight), bias_shape.as_deref())?;
        let apply = || {
            let bias = bias.map(|bias| self.operand(&bias.0)).transpose()?;
            self.operand(&x.0)?
                .f_linear(&self.operand(&weight.0)?, bias.as_ref())
        };
        wrap(apply(), "linear")
    }

    fn attention(
        &self,
        qkv: &Tensor,
        heads: usize,
        bias: Option<&Tensor>,
        scale: f64,
    ) -> Result<Tensor> {
        let [batch, tokens, heads, head_dim] = composite::packed_sizes(&self.shape(qkv), heads)?;
        let apply = || {
            let split = sizes(&[batch, tokens, 3, heads, head_dim]);
            let split = self.operand(&qkv.0)?.f_reshape(split)?;
            let split = split.f_permute([2, 0, 3, 1, 4])?;
            let part = |i| split.f_select(0, i);
            let bias = bias
                .map(|bias| {
                    let shape = sizes(&[batch, heads, tokens, tokens]);
                    self.operand(&bias.0)?.f_expand(shape, false)
                })
                .transpose()?;
            tch::Tensor::f_scaled_dot_product_attention(
                &part(0)?,
                &part(1)?,
                &part(2)?,
                bias.as_ref(),
                0.0,
                false,
                scale,
                false,
            )?
            .f_transpose(1, 2)?
            .f_reshape(sizes(&[batch, tokens, heads * head_dim]))
        };
        wrap(apply(), "attention")
    }

    fn convolution(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let [.., channels] = composite::image_sizes("convolution", &self.shape(x))?;
        composite::check_convolution(channels, &self.shape(weight))?;
        let apply = || {
            channels_second(&self.operand(&x.0)?)?
                .f_conv2d(
                    &self.operand(&weight.0)?,
                    None::<tch::Tensor>,
                    [1, 1],
                    [1, 1],
                    [1, 1],
                    1,
                )
                .and_then(channels_last)
        };
        wrap(apply(), "convolution")
    }

    fn resize_bilinear(&self, x: &Tensor, size: [usize; 2]) -> Result<Tensor> {
        composite::check_resize(&self.shape(x), size)?;
        let apply = || {
            channels_second(&x.0)?
                .f_upsample_bilinear2d(sizes(&size), false, None, None)
                .and_then(channels_last)
        };
        wrap(apply(), "resize_bilinear")
    }

    fn max_pool(&self, x: &Tensor) -> Result<Tensor> {
        composite::check_max_pool(&self.shape(x))?;
        let apply = || {
            channels_second(&x.0)?
                .f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
                .and_then(channels_last)
        };
        wrap(apply(), "max_pool")
    }

    fn batch_norm(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let sides = [self.shape(weight), self.shape(bias)];
        let sides = sides.each_ref().map(Vec::as_slice);
        composite::check_norm("batch_norm", &self.shape(x), sides)?;
        let apply = || {
            let shape = x.0.size();
            let rows = self.wide(&x.0)?.f_reshape([-1, weight.0.size()[0]])?;
            // What the library's own operation gives beside the output holds the epsilon already.
            let (variance, mean) =
                rows.f_detach()?
                    .f_var_mean_dim([0i64].as_slice(), false, false)?;
            let normed = rows.f_batch_norm(
                Some(&weight.0),
                Some(&bias.0),
                None::<&tch::Tensor>,
                None::<&tch::Tensor>,
                true,
                0.0,
                eps,
                true,
            )?;
            Ok((normed.f_reshape(shape)?, mean, variance))
        };
        let (normed, mean, variance) = apply().named("batch_norm")?;
        Ok((Tensor(normed), Tensor(mean), Tensor(variance)))
    }

    fn cross_entropy(&self, logits: &Tensor, targets: Targets<'_, Tensor>) -> Result<Tensor> {
        let [rows, _] = composite::target_sizes(self, logits, &targets)?;
        let classes = |ids: &[u32]| {
            let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
            tch::Tensor::f_from_slice(&ids).and_then(|ids| ids.f_to_device(self.place()))
        };
        let (targets, smoothing) = match targets {
            Targets::Soft(targets) => (self.wide(&targets.0), 0.0),
            Targets::Classes(ids) => (classes(ids), 0.0),
            Targets::Smoothed { ids, smoothing } => (classes(ids), smoothing),
        };
        let apply = || {
            // A mean over the rows that have a class would be the library's.
            let sum = self.wide(&logits.0)?.f_cross_entropy_loss(
                &targets?,
                None::<tch::Tensor>,
                Reduction::Sum,
                IGNORED.into(),
                smoothing,
            )?;
            sum.f_div(&self.number(rows as f64)?)
        };
        wrap(apply(), "cross_entropy")
    }
}
