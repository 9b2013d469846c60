//! Attention maps over their images, and sheets of them.

mod canvas;
mod error;
mod mask_sheet;
mod overlay;
mod sheet;
mod text;

pub use canvas::Picture;
pub use error::PictureError;
pub use mask_sheet::{MaskedImage, mask_sheet};
pub use overlay::{Map, overlay};
pub use sheet::{SheetRow, View, sheet};
