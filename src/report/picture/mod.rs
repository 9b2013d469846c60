//! Attention maps and classes of pixels over their images, and sheets of them.

mod canvas;
mod error;
mod mask_sheet;
mod overlay;
mod segmentation;
mod sheet;
mod standing;
mod text;

pub use canvas::Picture;
pub use error::PictureError;
pub use mask_sheet::{MaskedImage, mask_sheet};
pub use overlay::{Map, overlay};
pub use segmentation::{Classes, SegmentedImage, index_png, segmented_sheet};
pub use sheet::{SheetRow, View, sheet};
pub use standing::{Standing, standing};
