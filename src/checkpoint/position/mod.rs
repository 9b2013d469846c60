//! Position tables of one patch grid brought to another, as each family's own code does it.
//!
//! Every method here treats rows and columns apart, so each is a matrix an axis, which one function
//! applies in f64. Source coordinates are computed in f32 where PyTorch does so, because a cubic
//! kernel turns their rounding into differences that f64 would not have.

mod absolute;
mod axis;
mod error;
mod geometric;
mod spline;
mod table;
mod uniform;

use axis::{Axis, resample};

pub use absolute::{AbsoluteResize, resize_absolute};
pub use error::PositionError;
pub use table::{TableResize, resize_table};
