//! Layers, written once over [`crate::engine::Engine`].

mod adaptive_pool;
mod attention;
mod batch_norm;
mod init;
mod linear;
mod loader;
mod mlp;
mod model_error;
mod norm;
mod resize;
mod tokens;
mod weights;

pub use adaptive_pool::adaptive_average_pool;
pub use attention::{Attention, AttentionConfig, Mixed, Wanted};
pub use batch_norm::{BatchNorm, BatchNormConfig};
pub use init::Initial;
pub(crate) use init::standard_normal;
pub use linear::Linear;
pub use loader::Loader;
pub use mlp::{GatedMlp, Mlp};
pub use model_error::ModelError;
pub use norm::LayerNorm;
pub use resize::Resize;
pub use tokens::select_tokens;
pub use weights::{TensorStore, WeightError, Weights};
