//! Integration tests, compiled once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod conformance;
mod goldens;
mod images;
mod knn;
mod scenes;
mod support;
