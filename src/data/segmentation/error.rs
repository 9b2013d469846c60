//! What can be wrong with images and their masks.

use std::path::PathBuf;

use super::layout::{IMAGES, MASKS};
use crate::data::{DatasetError, ImageError, LoadError};

/// Segmentation data cannot be opened, read or prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationDataError {
    /// A folder or file cannot be listed or read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// Loading cannot go on.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What masks mean makes no sense.
    #[error("mask.{field} {reason}")]
    MaskSpec {
        /// The field, as written in a protocol.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An augmentation makes no sense.
    #[error("augment.{field} {reason}")]
    Augment {
        /// The field, as written in a protocol.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Whole images cannot be prepared like this.
    #[error("test.{field} {reason}")]
    Whole {
        /// The field, as written in a protocol.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What a network takes makes no sense.
    #[error(transparent)]
    Input(ImageError),
    /// There is no validation split.
    #[error("{} has no validation split: looked for {}", root.display(), looked_for.join(", "))]
    NoSplit {
        /// The root.
        root: PathBuf,
        /// Every name that would have been accepted, in order of preference.
        looked_for: Vec<String>,
        /// A folder of the root that has one.
        inside: Option<PathBuf>,
    },
    /// A folder of images without a folder of masks.
    #[error("{} has no masks: {} is not there", images.display(), masks.display())]
    NoMasks {
        /// The folder of images.
        images: PathBuf,
        /// Where their masks would be.
        masks: PathBuf,
    },
    /// A split without images.
    #[error("{} has no images", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Images and masks are not pairs.
    #[error("{} and {} are not pairs: {}", images.display(), masks.display(), faults.join("; "))]
    Unpaired {
        /// The folder of images.
        images: PathBuf,
        /// The folder of masks.
        masks: PathBuf,
        /// Each kind of fault, how often it is there and the first names.
        faults: Vec<String>,
    },
    /// The names of classes cannot be read from a file.
    #[error("{}: {problem}", path.display())]
    ClassNames {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An image cannot be decoded or resized.
    #[error("{path}: {problem}")]
    Image {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: ImageError,
    },
    /// A mask's pixels are colours.
    #[error("{path}: the mask is {found}, whose pixels are no class numbers")]
    ColourMask {
        /// The file.
        path: String,
        /// Which kind of PNG it is.
        found: &'static str,
    },
    /// A mask is no PNG file.
    #[error("{path}: the mask is no PNG file")]
    NotPng {
        /// The file.
        path: String,
    },
    /// A mask has a value that is no class and is not ignored.
    #[error("{path}: value {value} at column {column}, row {row} is beyond the {classes} classes")]
    MaskValue {
        /// The file.
        path: String,
        /// The value, as it is in the file.
        value: u16,
        /// Column of the first such pixel.
        column: usize,
        /// Its row.
        row: usize,
        /// Number of classes.
        classes: u32,
    },
    /// A mask does not cover its image.
    #[error(
        "{mask} is {} x {} pixels, but {image} is {} x {}{}",
        mask_size[1], mask_size[0], image_size[1], image_size[0],
        if *turned { ", turned as its EXIF orientation says" } else { "" }
    )]
    Size {
        /// The image's file.
        image: String,
        /// Its height and width in pixels.
        image_size: [usize; 2],
        /// The mask's file.
        mask: String,
        /// Its height and width in pixels.
        mask_size: [usize; 2],
        /// Whether the image lies on its side in the file.
        turned: bool,
    },
}

impl SegmentationDataError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Dataset(error) => return error.hint(),
            Self::Load(error) => return error.hint(),
            Self::Input(error) => return error.hint(),
            Self::Image { problem, .. } => return problem.hint(),
            Self::MaskSpec { field: "ignore", .. } => {
                "it is a value as it stands in the files, and of no class: ignore = 255".into()
            }
            Self::MaskSpec { .. } => "as in mask = { classes = 150, reduce_zero_label = true }".into(),
            Self::Augment { field, .. } => match *field {
                "scale" => "longest and shortest side in pixels, as in scale = [2048, 512]".into(),
                "ratio" => "factors of the scale, as in ratio = [0.5, 2.0]".into(),
                "crop" => "a side in pixels, as in crop = 512".into(),
                "category_share" => {
                    "the share that no class may reach, as in category_share = 0.75; 1 allows all".into()
                }
                _ => "a probability, as in flip = 0.5".into(),
            },
            Self::Whole { field: "scale", .. } => {
                "longest and shortest side in pixels, as in scale = [2048, 512]".into()
            }
            Self::Whole { .. } => "factors of the scale, as in ratios = [0.5, 1.0, 1.5]".into(),
            Self::NoSplit { inside: Some(inside), .. } => {
                format!("{} has one: give that folder", inside.display())
            }
            Self::NoSplit { .. } => format!(
                "give the folder that holds {IMAGES}/ and {MASKS}/, each with training/ and validation/, or train/ and val/"
            ),
            Self::NoMasks { .. } => {
                "a mask has its image's path below the split, and ends in .png".into()
            }
            Self::Empty { .. } => "finish unpacking the dataset, or take the folder away".into(),
            Self::Unpaired { .. } => {
                "every image has one mask of the same path that ends in .png; move away what has no partner".into()
            }
            Self::ClassNames { .. } => {
                "one name a line in the order of the classes, or lines of `value<TAB>name`; or remove the file".into()
            }
            Self::ColourMask { .. } => {
                "write the class number of every pixel into a PNG of 8 or 16 bits grey, or one with a palette".into()
            }
            Self::NotPng { .. } => {
                "write masks as PNG: other formats may have changed their values".into()
            }
            Self::MaskValue { .. } => {
                "check mask.classes, mask.ignore and mask.reduce_zero_label, or mend the mask".into()
            }
            Self::Size { turned: true, .. } => {
                "turn the image's pixels and drop the tag, for example with `exiftran -ai`".into()
            }
            Self::Size { .. } => {
                "masks have their image's size: use both as they were published, or resize the mask by nearest neighbour".into()
            }
        })
    }
}
