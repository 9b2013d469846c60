//! Carrying plans out: cells, cancellation, progress, and the one place that chooses an engine.

pub mod all;
pub mod attention;
pub mod bench;
pub mod cells;
pub mod check;
mod classify;
pub mod compare;
pub mod convert;
pub mod demo;
mod dispatch;
mod extraction;
pub mod features;
pub mod finetune;
pub mod forecast;
pub mod inspect;
mod knn;
mod linear;
mod linear_cached;
mod machine;
pub mod overview;
mod pair;
mod picture;
pub mod pretrain;
mod progress;
mod record;
pub mod report;
mod segment;
mod subjects;
pub mod table;
mod training;
pub mod verify;

pub use dispatch::check_engine;
pub use progress::Terminal;
pub use subjects::{open as open_subjects, open_each as open_each_subject};
