//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.

mod clip;
mod decay;
mod ema;
mod group;
mod optimizer;
mod optimizer_error;
mod schedule;

pub use clip::{clip, global_norm};
pub use decay::{DecayExclusion, LayerDecayRule, layer_groups, plain_groups};
pub use ema::{Ema, EmaSettings, EmaWarmup};
pub use group::Group;
pub use optimizer::{Optimizer, OptimizerKind, Parameter};
pub use optimizer_error::OptimizerError;
pub use schedule::{Position, Schedule};
