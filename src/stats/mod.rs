//! Uncertainty: a value never travels without its n and its interval.

mod interval;
mod measure;

pub use interval::{CONFIDENCE, IntervalError, wilson};
pub use measure::{Measure, Unit};
