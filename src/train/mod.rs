//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.

mod group;
mod optimizer;
mod optimizer_error;

pub use group::Group;
pub use optimizer::{Optimizer, OptimizerKind, Parameter};
pub use optimizer_error::OptimizerError;
