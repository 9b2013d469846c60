//! What turns an encoder's tokens into something else than features.

mod mae;

pub use mae::{MaeDecoder, MaeDecoderConfig};
