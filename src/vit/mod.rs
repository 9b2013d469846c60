//! The one Vision Transformer: a configuration, its layers, and the encoder and the classifier made
//! of them. Decoders are made of its blocks.

mod arch;
mod block;
mod blocks;
mod classifier;
mod config;
mod cost;
mod drop_path;
mod embeddings;
mod encoder;
mod final_norm;
mod heads;
mod init;
mod model;
mod patch_view;
mod pooler;
mod relative;
mod rope;

pub use arch::{Architecture, UnknownArchitecture};
pub use blocks::Blocks;
pub use classifier::{Classifier, HeadConfig, HeadInput, random_classifier_weights};
pub use config::{FinalNorm, MlpKind, Pooler, RelativeBias, VitConfig};
pub use drop_path::{DropPath, drop_path_rates};
pub use encoder::{VitEncoder, tap_shape};
pub use heads::{Heads, HeadsError};
pub use init::{random_elements, random_weights, stays_untrained, untrained};
pub use model::{Site, Vit};
pub use patch_view::PatchView;
pub use relative::{relative_index, table_rows};
pub use rope::{AXIAL_BASE, Rope};
