//! What turns an encoder's tokens into something else than features.

mod mae;
mod probe;
pub mod segmentation;

pub use mae::{MaeDecoder, MaeDecoderConfig};
pub use probe::{ProbeHeads, ProbeInput};
