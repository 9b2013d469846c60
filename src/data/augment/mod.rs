//! What happens to images in training: random crops, mirroring and colour jitter, as torchvision on
//! Pillow images, RandAugment and random erasing, as timm on them, bit for bit once the parameters are
//! drawn.
//!
//! [`AugmentSpec`] says what may happen, a [`Draw`] what does happen to one image in one pass, and
//! [`Augmenter`] carries it out. Draws are distributed like theirs, but are not their numbers: they are functions of seed, pass and sample, whatever order and thread an image is met in.

mod affine;
mod augmenter;
mod colour;
mod crop;
mod draw;
mod erasure;
mod error;
mod noise;
mod operation;
mod sharpness;
mod spec;
mod tone;

pub use augmenter::Augmenter;
pub use colour::Adjustment;
pub use crop::Crop;
pub use draw::{Draw, SampleKey};
pub use erasure::Erasure;
pub use error::AugmentError;
pub(crate) use noise::normal;
pub use operation::{Operation, OperationKind};
pub use spec::{AugmentSpec, CropSpec, Erase, Jitter, RandAugment};
