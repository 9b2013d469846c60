//! One pass over the images feeds every asker: taps say what is wanted, sinks take it.
//!
//! Everything here is plain data; no engine is named.

mod encoder;
mod extract;
mod matrix;
mod observer;
mod tap;

pub use encoder::{Encoder, EncoderError, PixelEncoder};
pub use extract::{
    Ask, Encoded, ExtractError, Extraction, Extractor, Outputs, PassOptions, Rider, Sink, Stored,
    pass,
};
pub use matrix::FeatureMatrix;
pub use observer::Observer;
pub use tap::{Tap, Token};
