//! Layers over plain slices.

mod activation;
mod adamw;
mod elementwise;
mod loss;
mod norm;
mod output;
mod softmax;
mod vector;

pub use activation::{
    activate, activate_gradient, activate_in_place, activation, activation_gradient,
};
pub use adamw::adamw;
pub use elementwise::{add, column_sums, mul, scale_shift};
pub use loss::{
    cross_entropy_classes, cross_entropy_classes_gradient, cross_entropy_soft,
    cross_entropy_soft_gradient, cross_entropy_soft_targets_gradient,
};
pub use norm::{NormGradients, Normed, layer_norm, layer_norm_gradient};
pub use output::chunks;
pub use softmax::{exp_minus, exp_minus_rows, softmax_row, softmax_rows};
