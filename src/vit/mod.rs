//! The one Vision Transformer: a configuration, its layers and the encoder made of them.

mod block;
mod config;
mod embeddings;
mod encoder;
mod init;
mod model;

pub use config::{FinalNorm, VitConfig};
pub use encoder::{VitEncoder, tap_shape};
pub use init::random_weights;
pub use model::{Site, Vit};
