//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.

mod clip;
mod curves;
mod decay;
mod ema;
mod events;
mod group;
mod lbfgs;
mod logistic;
mod optimizer;
mod optimizer_error;
mod schedule;

pub use clip::{clip, global_norm};
pub use curves::{CurveLengths, Curves, CurvesError};
pub use decay::{DecayExclusion, LayerDecayRule, layer_groups, plain_groups};
pub use ema::{Ema, EmaSettings, EmaWarmup};
pub use group::Group;
pub use lbfgs::{Iterate, LbfgsOptions, Minimum, Stop, minimise};
pub use logistic::{Logistic, LogisticData, LogisticError, LogisticOptions, Scaling};
pub use optimizer::{Optimizer, OptimizerKind, Parameter};
pub use optimizer_error::OptimizerError;
pub use schedule::{Position, Schedule};
