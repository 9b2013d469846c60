//! The one Vision Transformer: a configuration, its layers, and the encoder and the classifier made
//! of them.

mod arch;
mod block;
mod classifier;
mod config;
mod embeddings;
mod encoder;
mod init;
mod model;
mod relative;

pub use arch::{Architecture, UnknownArchitecture};
pub use classifier::{Classifier, random_classifier_weights};
pub use config::{FinalNorm, VitConfig};
pub use encoder::{VitEncoder, tap_shape};
pub use init::random_weights;
pub use model::{Site, Vit};
pub use relative::relative_index;
