//! Models as they are pre-trained: masks, targets and losses.

mod mae;
mod mask;
mod pixels;

pub use mae::{Mae, MaeConfig};
pub use mask::{Mask, MaskError};
pub use pixels::{normalise_patches, patch_pixels};
