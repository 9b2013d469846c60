//! What mimbench asks of a tensor library: one small trait with PyTorch's semantics, every
//! operation differentiable, and the engines that implement it.
//!
//! Models in [`crate::nn`], [`crate::vit`], [`crate::decoders`] and [`crate::pretrain`] are generic
//! over [`Engine`]; nothing else is. Only this folder names a tensor library.

pub mod candle;
mod composite;
mod compute;
mod host;
#[cfg(feature = "torch")]
pub mod torch;

pub(crate) use composite::linear_taps;
pub use compute::{Compute, EngineUnavailable};
pub use host::{HostSlice, HostTensor};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::metric::PatchGrid;

/// Version of everything that can change a bit of a feature: part of every store key, raised
/// whenever the numerics of decoding, resizing, the engines or the model change.
pub const NUMERICS_VERSION: u32 = 3;

/// The engines that can be asked for with `--engine`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// The embedded CPU engine.
    Candle,
    /// libtorch, on CPU and CUDA; in builds with the feature `torch`.
    Torch,
}

impl EngineKind {
    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candle => "candle",
            Self::Torch => "torch",
        }
    }

    /// The libraries that compute, with their versions.
    pub fn versions(self) -> String {
        match self {
            Self::Candle => candle::VERSIONS.to_owned(),
            #[cfg(feature = "torch")]
            Self::Torch => torch::versions(),
            #[cfg(not(feature = "torch"))]
            Self::Torch => "libtorch, not built in".to_owned(),
        }
    }
}

/// Where an engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor.
    Cpu,
    /// The CUDA device of this index.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = EngineUnavailable;

    /// Reads `cpu`, `cuda` (the first device) or `cuda:I`.
    fn from_str(text: &str) -> std::result::Result<Self, EngineUnavailable> {
        match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .filter(|index| index.bytes().all(|digit| digit.is_ascii_digit()))
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda),
        }
        .ok_or_else(|| EngineUnavailable::NoDeviceName {
            text: text.to_owned(),
        })
    }
}

/// Element type an engine computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point, the precision of every published number here.
    F32,
    /// 64-bit floating point, for checking gradients.
    F64,
    /// Tensors in f32, matrix products in bfloat16: what PyTorch's autocast does.
    Bf16,
}

impl Precision {
    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
        }
    }
}

/// The activation between the two layers of an MLP.
///
/// tanh-GELU in place of erf-GELU moves the tokens of a ViT by about 1e-4 of their maximum, so
/// the two are never exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Φ(x)` with the error function: PyTorch's `nn.GELU()`.
    Gelu,
    /// The tanh approximation: PyTorch's `nn.GELU(approximate="tanh")`.
    GeluTanh,
    /// `x σ(1.702 x)`: OpenAI CLIP's.
    QuickGelu,
    /// `x σ(x)`: the gate of a SwiGLU, PyTorch's `nn.SiLU()`.
    Silu,
    /// `max(x, 0)`: PyTorch's `nn.ReLU()`.
    Relu,
}

/// The class of a row that has none: it adds nothing to a loss, whose mean is over all rows all the
/// same, and has no gradient.
pub const IGNORED: u32 = u32::MAX;

/// What a classification loss is measured against; classes may be [`IGNORED`].
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// One class id a row.
    Classes(&'a [u32]),
    /// One class id a row, of which `smoothing` is spread evenly over all classes: the target is
    /// `1 - smoothing + smoothing / C` at the class and `smoothing / C` elsewhere, as in
    /// `torch.nn.CrossEntropyLoss(label_smoothing=..)`.
    Smoothed {
        /// One class id a row.
        ids: &'a [u32],
        /// What is spread, from 0 to 1.
        smoothing: f64,
    },
    /// One distribution a row: `[B, C]`.
    Soft(&'a T),
}

/// Settings of one AdamW step: Adam with decoupled weight decay, as `torch.optim.AdamW` computes
/// it (PyTorch, `torch/optim/adamw.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the running mean of gradients, then of their squares.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Fraction of a parameter that one unit of learning rate takes away.
    pub weight_decay: f64,
    /// Number of this step, from 1 on: it corrects the means for their start at zero.
    pub step: u32,
}

/// What AdamW keeps of one parameter, both in the parameter's shape and zero before the first
/// step.
#[derive(Clone, Debug)]
pub struct Moments<T> {
    /// Running mean of the gradients.
    pub mean: T,
    /// Running mean of their squares.
    pub square: T,
}

/// One parameter in an AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a, T> {
    /// A leaf made by [`Engine::parameter`].
    pub parameter: &'a T,
    /// Its gradient.
    pub gradient: &'a T,
    /// What is kept of it.
    pub moments: &'a Moments<T>,
}

/// An operation of the tensor library failed: a shape that does not fit, or, where the library
/// tells rather than ends the program, no memory.
#[derive(Debug, thiserror::Error)]
#[error("{op}: {message}")]
pub struct EngineError {
    /// The operation of [`Engine`] that failed.
    pub op: &'static str,
    /// What the tensor library said.
    pub message: String,
}

impl EngineError {
    /// Whether the device had no memory left, where the library tells.
    pub fn is_out_of_memory(&self) -> bool {
        self.message.contains("out of memory")
    }
}

/// Result of an engine operation.
pub type Result<T> = std::result::Result<T, EngineError>;

/// A tensor library on one device in one precision.
///
/// Axes count from 0. Binary operations broadcast as PyTorch's do. Tensors made by
/// [`Engine::tensor`] are constants: what is computed from constants alone keeps no graph, on
/// every engine, so inference needs no special mode. Index and class arguments are host slices,
/// so that the trait has no integer tensors. Whole layers are operations of their own; those made of
/// others have a composite here that an engine replaces where a fused kernel pays.
pub trait Engine: Clone + Send {
    /// A handle to a tensor; cloning shares the storage.
    type Tensor: Clone + Send + std::fmt::Debug;

    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// The element type it computes in.
    fn precision(&self) -> Precision;

    /// A constant of the engine's precision from row-major host data.
    fn tensor<'a>(&self, data: impl Into<HostSlice<'a>>, shape: &[usize]) -> Result<Self::Tensor>;

    /// A leaf that [`Engine::grad`] can be asked about, from row-major host data.
    fn parameter<'a>(
        &self,
        data: impl Into<HostSlice<'a>>,
        shape: &[usize],
    ) -> Result<Self::Tensor>;

    /// The tensor's dimensions.
    fn shape(&self, x: &Self::Tensor) -> Vec<usize>;

    /// Row-major copy on the host, rounded to f32.
    fn to_f32(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// Row-major copy on the host, exact.
    fn to_f64(&self, x: &Self::Tensor) -> Result<Vec<f64>>;

    /// Gradients of a scalar with respect to `inputs`, in their order; `None` where the loss does
    /// not depend on the input. The graph is used up, as by PyTorch's `backward()`: what it saved
    /// is let go on the way, and a second call on it is an error.
    fn grad(
        &self,
        loss: &Self::Tensor,
        inputs: &[&Self::Tensor],
    ) -> Result<Vec<Option<Self::Tensor>>>;

    /// Zero moments of a parameter.
    fn moments(&self, parameter: &Self::Tensor) -> Result<Moments<Self::Tensor>>;

    /// One AdamW step over a group of parameters with common settings, in place: every handle to a
    /// parameter and to its moments sees the new values. A graph made before the step can no
    /// longer be walked.
    fn adamw(&self, settings: &AdamW, group: &[Update<'_, Self::Tensor>]) -> Result<()>;

    /// Overwrites a leaf in place with values of its shape: every handle to it sees them. A graph
    /// made before can no longer be walked. The other tensor to overwrite is a constant that no
    /// graph saved.
    fn assign(&self, parameter: &Self::Tensor, value: &Self::Tensor) -> Result<()>;

    /// For each tensor the sum of the squares of its elements, added up in f64, without a graph:
    /// what norms are made of.
    fn square_sums(&self, xs: &[&Self::Tensor]) -> Result<Vec<f64>>;

    /// Largest number of bytes that tensors held so far on a device with memory of its own; `None`
    /// where that is the process's.
    fn peak_memory(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// The same values without their graph.
    fn detach(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// The same elements under another shape, row-major.
    fn reshape(&self, x: &Self::Tensor, shape: &[usize]) -> Result<Self::Tensor>;

    /// Axes reordered: output axis `i` is input axis `axes[i]`.
    fn permute(&self, x: &Self::Tensor, axes: &[usize]) -> Result<Self::Tensor>;

    /// Size-1 axes repeated to `shape`.
    fn expand(&self, x: &Self::Tensor, shape: &[usize]) -> Result<Self::Tensor>;

    /// `length` entries of `axis` from `start` on.
    fn narrow(
        &self,
        x: &Self::Tensor,
        axis: usize,
        start: usize,
        length: usize,
    ) -> Result<Self::Tensor>;

    /// Tensors joined along an existing axis.
    fn cat(&self, xs: &[&Self::Tensor], axis: usize) -> Result<Self::Tensor>;

    /// Entries `index` of `axis`, in that order, repeats allowed.
    fn index_select(&self, x: &Self::Tensor, axis: usize, index: &[u32]) -> Result<Self::Tensor>;

    /// Element-wise sum.
    fn add(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// Element-wise difference.
    fn sub(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// Element-wise product.
    fn mul(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// `scale * x + shift`.
    fn affine(&self, x: &Self::Tensor, scale: f64, shift: f64) -> Result<Self::Tensor>;

    /// Sum over `axes`, which are removed.
    fn sum(&self, x: &Self::Tensor, axes: &[usize]) -> Result<Self::Tensor>;

    /// Mean over `axes`, which are removed.
    fn mean(&self, x: &Self::Tensor, axes: &[usize]) -> Result<Self::Tensor>;

    /// Matrix product over the last two axes; the leading axes are equal.
    ///
    /// `[.., M, K] x [.., K, N] -> [.., M, N]`
    fn matmul(&self, x: &Self::Tensor, y: &Self::Tensor) -> Result<Self::Tensor>;

    /// `exp(x) / Σ exp(x)` over the last axis.
    fn softmax(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// Logarithm of [`Engine::softmax`].
    fn log_softmax(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// Every element, and in the gradient every element of the gradient, rounded to bfloat16 and
    /// back: what code does that computes a part in that type.
    fn round_to_bf16(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// Natural logarithm of every element.
    fn log(&self, x: &Self::Tensor) -> Result<Self::Tensor>;

    /// Every element to the power of `exponent`.
    fn pow(&self, x: &Self::Tensor, exponent: f64) -> Result<Self::Tensor>;

    /// `0.5 x² / beta` where `|x| < beta`, else `|x| - 0.5 beta`, of every element: PyTorch's
    /// `smooth_l1_loss` of the difference x without a reduction. With a `beta` of 0 it is `|x|`, whose
    /// slope at 0 is 0.
    fn smooth_l1(&self, x: &Self::Tensor, beta: f64) -> Result<Self::Tensor>;

    /// Element-wise activation.
    fn activation(&self, x: &Self::Tensor, activation: Activation) -> Result<Self::Tensor>;

    /// Normalisation over the last axis with biased variance, then `weight` and `bias`: `[D]`.
    fn layer_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Tensor,
        bias: &Self::Tensor,
        eps: f64,
    ) -> Result<Self::Tensor>;

    /// `x Wᵀ + b`: x `[.., I]`, weight `[O, I]`, bias `[O]` -> `[.., O]`.
    fn linear(
        &self,
        x: &Self::Tensor,
        weight: &Self::Tensor,
        bias: Option<&Self::Tensor>,
    ) -> Result<Self::Tensor>;

    /// Two linear layers with an activation between them.
    fn mlp(
        &self,
        x: &Self::Tensor,
        fc1: (&Self::Tensor, &Self::Tensor),
        activation: Activation,
        fc2: (&Self::Tensor, &Self::Tensor),
    ) -> Result<Self::Tensor> {
        composite::mlp(self, x, fc1, activation, fc2)
    }

    /// Multi-head self-attention `softmax(scale q kᵀ + bias) v` over packed projections.
    ///
    /// qkv: `[B, N, 3 D]`, rows `[q; k; v]` and head-major inside each (timm's layout); bias:
    /// broadcastable to `[B, H, N, N]`, not scaled -> `[B, N, D]`
    fn attention(
        &self,
        qkv: &Self::Tensor,
        heads: usize,
        bias: Option<&Self::Tensor>,
        scale: f64,
    ) -> Result<Self::Tensor> {
        Ok(self.attention_with_weights(qkv, heads, bias, scale)?.0)
    }

    /// [`Engine::attention`] and its weights: (`[B, N, D]`, `[B, H, N, N]`).
    fn attention_with_weights(
        &self,
        qkv: &Self::Tensor,
        heads: usize,
        bias: Option<&Self::Tensor>,
        scale: f64,
    ) -> Result<(Self::Tensor, Self::Tensor)> {
        composite::attention_with_weights(self, qkv, heads, bias, scale)
    }

    /// [`Engine::attention`], bit for bit, and what every head's weights say about the patches, as
    /// constants: (`[B, N, D]`, `[B, H, 4]`), in the order of
    /// [`crate::metric::AttentionStatistic::ALL`]. `patches` is the grid of all the tokens.
    fn attention_with_statistics(
        &self,
        qkv: &Self::Tensor,
        heads: usize,
        bias: Option<&Self::Tensor>,
        scale: f64,
        patches: &PatchGrid,
    ) -> Result<(Self::Tensor, Self::Tensor)> {
        composite::attention_with_statistics(self, qkv, heads, bias, scale, patches)
    }

    /// Convolution by 3 x 3 pixels over a border of zeros, of channels that lie last: PyTorch's
    /// `conv2d(padding=1)` without a bias.
    ///
    /// x: `[B, H, W, I]`, weight: `[O, I, 3, 3]` -> `[B, H, W, O]`
    fn convolution(&self, x: &Self::Tensor, weight: &Self::Tensor) -> Result<Self::Tensor> {
        composite::convolution(self, x, weight)
    }

    /// Images of another size, channels last: PyTorch's `interpolate(mode="bilinear",
    /// align_corners=False)`.
    ///
    /// x: `[B, H, W, C]`, size: height and width -> `[B, h, w, C]`
    fn resize_bilinear(&self, x: &Self::Tensor, size: [usize; 2]) -> Result<Self::Tensor> {
        composite::resize_bilinear(self, x, size)
    }

    /// The largest of every 2 x 2 pixels, channels last; a last line or column without a partner is
    /// left out: PyTorch's `max_pool2d(2)`. Of equal ones the first has the gradient.
    ///
    /// x: `[B, H, W, C]` -> `[B, ⌊H/2⌋, ⌊W/2⌋, C]`
    fn max_pool(&self, x: &Self::Tensor) -> Result<Self::Tensor> {
        composite::max_pool(self, x)
    }

    /// Every feature of the last axis normalised over all the others by the batch's own mean and
    /// biased variance, then scaled and shifted by weight and bias, `[C]`; the statistics come as
    /// constants.
    ///
    /// x: `[.., C]` -> (`[.., C]`, mean `[C]`, variance `[C]`)
    fn batch_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Tensor,
        bias: &Self::Tensor,
        eps: f64,
    ) -> Result<(Self::Tensor, Self::Tensor, Self::Tensor)> {
        composite::batch_norm(self, x, weight, bias, eps)
    }

    /// Mean over the batch of `-Σ_c target_c log softmax(logits)_c`.
    ///
    /// logits: `[B, C]` -> scalar
    fn cross_entropy(
        &self,
        logits: &Self::Tensor,
        targets: Targets<'_, Self::Tensor>,
    ) -> Result<Self::Tensor> {
        composite::cross_entropy(self, logits, targets)
    }
}
