//! Images: which there are, in which order, under which label, and how they become inputs.

pub mod augment;
pub mod check;
mod cifar;
mod dataset;
mod dataset_error;
mod decode;
mod folder;
mod image_error;
mod input;
mod loader;
mod manifest;
mod mix;
mod normalise;
mod png_samples;
mod pnm;
mod preparation;
mod queue;
mod resize;
pub mod scenes;
pub mod segmentation;
mod shards;
mod statistics;
pub(crate) mod stream;
mod subset;
mod synset;

pub use cifar::CifarSet;
pub use dataset::{Dataset, LabelSource, OpenOptions, Sample, Split};
pub use dataset_error::{CifarProblem, DatasetError, LabelProblem, ShardProblem};
pub use decode::{Colour, Limits, Pixels, decode};
pub use image_error::{ImageError, ImageFormat};
pub use input::{InputSpec, Preprocessor, Resize};
pub use loader::{
    Images, LoadError, Loaded, Mixed, Pick, load_batches, most_waiting, ranged_batches,
};
pub use manifest::{FileStamp, content_hash, fingerprint};
pub use mix::{Cut, MixDraw, MixError, MixSpec};
pub use preparation::Preparation;
pub use queue::InOrder;
pub use resize::{Interpolation, Resizer, Window};
pub use statistics::Statistics;

/// Decoders whose versions decide the bytes of an image.
pub const DECODERS: &str = "libjpeg-turbo-rs 0.9.0, png 0.18, image-webp 0.2";
