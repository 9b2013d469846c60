//! Checkpoints of the Hugging Face hub: `hf://owner/name[@revision][/file]` becomes a path in the
//! hub's own cache, where Python's huggingface_hub finds the files too.

#[cfg(feature = "hub")]
mod blob;
#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod download;
mod error;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod hash;
mod reference;
#[cfg(feature = "hub")]
mod settings;

pub use error::HubError;
#[cfg(feature = "hub")]
pub use fetch::{Watcher, fetch};
pub use reference::HubReference;
#[cfg(feature = "hub")]
pub use settings::HubSettings;
