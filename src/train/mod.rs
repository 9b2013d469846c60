//! Training: optimizers and schedules, the one loop, and the state that a killed run goes on from.

mod lbfgs;
mod logistic;

pub use lbfgs::{Iterate, LbfgsOptions, Minimum, Stop, minimise};
pub use logistic::{Logistic, LogisticData, LogisticError, LogisticOptions, Scaling};
