//! Layers over plain slices: forward and backward, in f32.
//!
//! Nothing here knows a tensor. Results do not depend on the number of threads: element-wise work
//! is split anywhere, sums run over fixed runs of rows merged in order.

mod activation;
mod adamw;
mod attention;
mod attention_statistics;
mod batch_norm;
mod convolution;
mod elementwise;
mod gemm;
mod linear;
mod loss;
mod mlp;
mod norm;
mod output;
mod pool;
mod resize;
mod softmax;
mod square_sum;
mod vector;

pub use activation::{activation, activation_gradient};
pub use adamw::adamw;
pub use attention::{Attended, AttentionGradient, Bias, Packed, attention, attention_gradient};
pub use batch_norm::{BatchNormed, batch_norm, batch_norm_gradient};
pub use convolution::{Images, convolution, convolution_gradient};
pub use elementwise::{add, column_sums, mul, scale_shift, smooth_l1, smooth_l1_slope, sub};
pub use linear::{linear, linear_gradient};
pub use loss::{
    cross_entropy_classes, cross_entropy_classes_gradient, cross_entropy_soft,
    cross_entropy_soft_gradient, cross_entropy_soft_targets_gradient,
};
pub use mlp::{Layers, mlp, mlp_gradient, mlp_with_hidden};
pub use norm::{NormGradients, Normed, layer_norm, layer_norm_gradient};
pub use pool::{Pooled, max_pool, max_pool_gradient};
pub use resize::{Taps, resize, resize_gradient};
pub use softmax::{softmax, softmax_gradient};
pub use square_sum::square_sum;
