//! What can be wrong with a picture.

use crate::data::ImageError;

/// Why a picture cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// An image without pixels, or with another number of bytes than its size says.
    #[error("{bytes} bytes are not the red, green and blue of {width} x {height} pixels")]
    Pixels {
        /// Bytes given.
        bytes: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// Maps without values, or with another number of them than their shape says.
    #[error("{values} values are not {heads} attention maps of {rows} x {columns} patches")]
    Maps {
        /// Values given.
        values: usize,
        /// Number of heads.
        heads: usize,
        /// Patches down.
        rows: usize,
        /// Patches across.
        columns: usize,
    },
    /// A map with a NaN or an infinity.
    #[error("an attention map holds {value}")]
    NotFinite {
        /// The value.
        value: f32,
    },
    /// A sheet of nothing.
    #[error("a sheet needs at least one row")]
    NoRows,
    /// Rows of different images.
    #[error("one sheet cannot show both {first} and {other}")]
    OtherImage {
        /// Image of the first row.
        first: String,
        /// Image of another.
        other: String,
    },
    /// A row without the query that the sheet is of.
    #[error("{name} has {queries} query patches, and none with index {index}")]
    NoQuery {
        /// The checkpoint.
        name: String,
        /// Its queries.
        queries: usize,
        /// Index of the query.
        index: usize,
    },
    /// A query outside its grid.
    #[error("the patch at row {row}, column {column} is outside the grid of {rows} x {columns}")]
    QueryOutside {
        /// Row of the patch.
        row: usize,
        /// Column of the patch.
        column: usize,
        /// Patches down.
        rows: usize,
        /// Patches across.
        columns: usize,
    },
    /// A map of classes with another number of pixels than its image.
    #[error("{values} classes are not those of {width} x {height} pixels")]
    Classes {
        /// Classes given.
        values: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A class without a colour.
    #[error("class {class} has no colour: there are {colours}")]
    Colour {
        /// The class.
        class: u16,
        /// Colours of the palette; a PNG file has 256 at most.
        colours: usize,
    },
    /// Resizing failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Encoding failed.
    #[error("cannot encode a PNG of {width} x {height} pixels: {source}")]
    Png {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// What the encoder said.
        source: png::EncodingError,
    },
}

impl PictureError {
    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFinite { .. } => {
                Some("look at the checkpoint: its forward pass does not stay finite".into())
            }
            Self::OtherImage { .. } => {
                Some("evaluate the checkpoints on the same list of images".into())
            }
            Self::NoQuery { .. } | Self::QueryOutside { .. } => {
                Some("evaluate the checkpoints with the same query patches".into())
            }
            Self::Colour { .. } => {
                Some("give every class of the dataset a colour, and draw no ignored pixels".into())
            }
            Self::Image(error) => error.hint(),
            Self::Pixels { .. }
            | Self::Maps { .. }
            | Self::Classes { .. }
            | Self::NoRows
            | Self::Png { .. } => None,
        }
    }
}
