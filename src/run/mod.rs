//! Carrying plans out: cells, cancellation, progress, and the one place that chooses an engine.

pub mod bench;
pub mod check;
pub mod convert;
pub mod demo;
mod dispatch;
pub mod features;
pub mod inspect;
pub mod knn;
mod machine;
mod progress;
mod record;

pub use dispatch::check_engine;
pub use progress::Terminal;
