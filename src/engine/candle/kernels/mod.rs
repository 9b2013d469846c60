//! Layers over plain slices.

mod adamw;

pub use adamw::adamw;
