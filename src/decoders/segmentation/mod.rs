//! Classes of pixels from an encoder's blocks: UperNet over BEiT's neck and the linear heads of
//! frozen encoders, under mmsegmentation's names. Channels lie last.

mod config;
mod conv_module;
mod decoder;
mod error;
mod fcn;
mod initial;
mod linear_head;
mod neck;
mod pass;
mod segmenter;
mod sliding;
mod statistics;
mod uper_head;
mod uper_net;
mod upscale;
mod view_logits;

pub use config::{
    AuxiliaryConfig, BlocksRead, LinearHeadConfig, SegmentationHead, SegmenterConfig,
    UperNetConfig, blocks_read,
};
pub use decoder::{Predictions, SegmentationDecoder};
pub use error::SegmentationError;
pub use fcn::FcnHead;
pub use initial::initial_weights;
pub use linear_head::LinearHead;
pub use neck::Neck;
pub use pass::Pass;
pub use segmenter::Segmenter;
pub use sliding::{LineOf, LogitsOf, Sliding, View, Window};
pub use statistics::Statistics;
pub use uper_head::UperHead;
pub use uper_net::UperNet;
pub use view_logits::LineLogits;
