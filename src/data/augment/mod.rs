//! What happens to images in training: random resized crops, mirroring and colour jitter, as
//! torchvision on Pillow images, bit for bit once the parameters are drawn.
//!
//! [`AugmentSpec`] says what may happen, a [`Draw`] what does happen to one image in one pass, and
//! [`Augmenter`] carries it out. Draws are distributed like torchvision's, but are not its numbers:
//! they are functions of seed, pass and sample, whatever order and thread an image is met in.

mod augmenter;
mod colour;
mod crop;
mod draw;
mod error;
mod spec;

pub use augmenter::Augmenter;
pub use colour::Adjustment;
pub use crop::Crop;
pub use draw::{Draw, SampleKey};
pub use error::AugmentError;
pub use spec::{AugmentSpec, CropSpec, Jitter};
