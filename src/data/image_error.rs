//! What can go wrong between the bytes of an image file and its tensor.

use std::fmt;

/// A file format that [`decode`](crate::data::decode) recognises by its first bytes.
///
/// Only JPEG, PNG, WebP, and of Netpbm's formats PGM and PPM, are decoded; the others exist so that
/// an error can name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// JPEG, JFIF or Exif (ITU-T T.81).
    Jpeg,
    /// PNG or APNG.
    Png,
    /// WebP, lossy, lossless or animated.
    WebP,
    /// GIF 87a or 89a.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF or BigTIFF.
    Tiff,
    /// Windows icon or cursor.
    Ico,
    /// Portable anymap (PBM, PGM, PPM, PAM).
    Pnm,
    /// Photoshop document.
    Psd,
    /// JPEG 2000.
    Jpeg2000,
    /// JPEG XL.
    JpegXl,
    /// An ISO base media file: AVIF or HEIF.
    Heif,
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Ico => "ICO",
            Self::Pnm => "PNM",
            Self::Psd => "PSD",
            Self::Jpeg2000 => "JPEG 2000",
            Self::JpegXl => "JPEG XL",
            Self::Heif => "AVIF/HEIF",
        })
    }
}

/// Why an image could not be turned into pixels or a tensor. It does not know the file's own path:
/// the caller, who does, adds it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// The file holds no bytes.
    #[error("the image file is empty")]
    Empty,
    /// The first bytes belong to no image format known here.
    #[error("not an image: the first bytes are [{start}]")]
    NotAnImage {
        /// Up to eight first bytes, in hexadecimal.
        start: String,
    },
    /// A known format that is not decoded.
    #[error("{0} images are not supported")]
    UnsupportedFormat(ImageFormat),
    /// A variant of a supported format that is not decoded.
    #[error("this {format} variant is not supported: {detail}")]
    UnsupportedVariant {
        /// The file's format.
        format: ImageFormat,
        /// What is unusual about it.
        detail: String,
    },
    /// The header promises more pixels than allowed (a decompression bomb, or a huge scan).
    #[error("the image is {width} x {height} pixels, more than the limit of {max_pixels}")]
    TooLarge {
        /// Width in pixels, from the header.
        width: usize,
        /// Height in pixels, from the header.
        height: usize,
        /// The limit in force.
        max_pixels: u64,
    },
    /// The data ends before the image does.
    #[error("the {0} data is truncated")]
    Truncated(ImageFormat),
    /// The data breaks the rules of its format.
    #[error("the {format} data is corrupt: {reason}")]
    Corrupt {
        /// The file's format.
        format: ImageFormat,
        /// What its decoder complained about.
        reason: String,
    },
    /// Resizing an image of such an extreme shape would need more memory than allowed.
    #[error(
        "resizing {width} x {height} pixels to {to_width} x {to_height} needs too much memory \
         for the limit of {max_pixels} pixels"
    )]
    ResizeTooLarge {
        /// Width of the decoded image in pixels.
        width: usize,
        /// Height of the decoded image in pixels.
        height: usize,
        /// Width to resize to.
        to_width: usize,
        /// Height to resize to.
        to_height: usize,
        /// The limit in force.
        max_pixels: u64,
    },
    /// An input specification that cannot be carried out.
    #[error("input.{field} {problem}")]
    Spec {
        /// The field's name, as written in a protocol file.
        field: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A crop that is empty or reaches beyond its image.
    #[error(
        "no crop of {width} x {height} pixels at column {left}, row {top} lies in an image of \
         {image_width} x {image_height}"
    )]
    Crop {
        /// First column.
        left: usize,
        /// First row.
        top: usize,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Width of the image in pixels.
        image_width: usize,
        /// Height of the image in pixels.
        image_height: usize,
    },
    /// The image that this one was to be mixed with has no tensor.
    #[error("it is mixed with {path}, which cannot be used: {reason}")]
    Partner {
        /// The other image.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The buffer for the tensor does not hold exactly channels x height x width values.
    #[error("the output buffer holds {actual} values, but the tensor has {expected}")]
    OutputLength {
        /// Channels x height x width.
        expected: usize,
        /// The buffer's length.
        actual: usize,
    },
}

impl ImageError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Empty | Self::Truncated(_) => {
                Some("the file was probably cut short: fetch it again".into())
            }
            Self::NotAnImage { .. } => {
                Some("remove the file from the dataset, or fetch it again".into())
            }
            Self::UnsupportedFormat(format) => Some(format!(
                "convert the {format} file to PNG, which keeps its pixels"
            )),
            Self::UnsupportedVariant { .. } => {
                Some("convert the file to PNG, which keeps its pixels".into())
            }
            Self::TooLarge { .. } | Self::ResizeTooLarge { .. } => {
                Some("it may be a decompression bomb; shrink it if it is a real image".into())
            }
            Self::Corrupt { .. } => {
                Some("open the file in an image viewer, or fetch it again".into())
            }
            Self::Spec { field, .. } => Some(match *field {
                "channels" => "write channels = 3 (colour) or channels = 1 (greyscale)".into(),
                "mean" | "std" => format!(
                    "give one finite number a channel, for example {field} = [0.5, 0.5, 0.5]; std must not be 0"
                ),
                _ => "give a whole number of pixels from 1 to 65535".into(),
            }),
            Self::Partner { path, .. } => Some(format!(
                "this image is as it should be: mend or replace {path}"
            )),
            Self::Crop { .. } | Self::OutputLength { .. } => None,
        }
    }
}
