//! Why records cannot be compared.

use crate::stats::SampleError;

/// Records that no paired test can be made of.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// Only one checkpoint.
    #[error("one checkpoint was given; a comparison needs two or more")]
    Alone,
    /// One record on both sides.
    #[error("{name} was given twice")]
    Twice {
        /// Name of the checkpoint.
        name: String,
    },
    /// Different settings.
    #[error("{left} and {right} were evaluated under different protocols: {}", fields.join("; "))]
    Protocols {
        /// One record's checkpoint and key.
        left: String,
        /// The other's.
        right: String,
        /// Settings that differ, with both values.
        fields: Vec<String>,
    },
    /// Different references.
    #[error("{left} and {right} looked for neighbours among different train images")]
    Train {
        /// One record's checkpoint and key.
        left: String,
        /// The other's.
        right: String,
    },
    /// Different images.
    #[error(
        "{left} and {right} were evaluated on different images: {only_left} of {left_images} are only in the first, {only_right} of {right_images} only in the second, such as {example}"
    )]
    Images {
        /// One record's checkpoint and key.
        left: String,
        /// The other's.
        right: String,
        /// Images of the first that the second lacks.
        only_left: usize,
        /// All of the first.
        left_images: usize,
        /// Images of the second that the first lacks.
        only_right: usize,
        /// All of the second.
        right_images: usize,
        /// Path of one of them.
        example: String,
        /// The seeds of both.
        seeds: [u64; 2],
    },
    /// One image, two classes.
    #[error("{left} and {right} do not agree on the class of {path}")]
    Labels {
        /// One record's checkpoint and key.
        left: String,
        /// The other's.
        right: String,
        /// The image, as the first lists it.
        path: String,
    },
    /// One image, two masks.
    #[error("{left} and {right} do not agree on which pixels of {path} are of which class")]
    Masks {
        /// One record's checkpoint and key.
        left: String,
        /// The other's.
        right: String,
        /// The image, as the first lists it.
        path: String,
    },
    /// The record has nothing of this name.
    #[error("{record} has no {wanted}; it has {}", known.join(", "))]
    Unknown {
        /// The record's checkpoint and key.
        record: String,
        /// Such as `measure top7`.
        wanted: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// More than one feature.
    #[error("{record} has {measure} of several features: {}", features.join(", "))]
    Features {
        /// The record's checkpoint and key.
        record: String,
        /// The measure.
        measure: String,
        /// All of them.
        features: Vec<String>,
    },
    /// Neither one feature for all nor one for each.
    #[error("{features} features were named for {sides} checkpoints")]
    FeatureCount {
        /// How many features.
        features: usize,
        /// How many checkpoints.
        sides: usize,
    },
    /// The measure is of all images together.
    #[error("{measure} of {record} was not kept image by image")]
    NotByImage {
        /// The record's checkpoint and key.
        record: String,
        /// The measure.
        measure: String,
    },
    /// What lies beside the record is not what it was made from.
    #[error("{record} says {measure} {recorded}, its images give {found}")]
    Outcomes {
        /// The record's checkpoint and key.
        record: String,
        /// The measure.
        measure: String,
        /// The value in the record.
        recorded: f64,
        /// The value from the images.
        found: f64,
    },
    /// No statistic can be given.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl ComparisonError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Alone | Self::Twice { .. } => {
                "name two checkpoints, or the keys of two records".to_owned()
            }
            Self::Protocols { .. } => {
                "run both under one protocol, or name the keys of records that were".to_owned()
            }
            Self::Images {
                seeds: [left, right],
                ..
            } if left != right => format!(
                "their seeds are {left} and {right}, and --limit and the attention protocols draw their images by the seed: run both with one --seed, or on all images"
            ),
            Self::Train { .. } | Self::Images { .. } => {
                "run both on one dataset with one --limit, or name the keys of records that were"
                    .to_owned()
            }
            Self::Labels { .. } | Self::Masks { .. } => {
                "the datasets' classes differ: run both on one of them".to_owned()
            }
            Self::Unknown { .. } => {
                "--measure, --feature and --k choose what is compared".to_owned()
            }
            Self::Features { .. } => {
                "--feature NAME chooses one; give it once for all, or once for each checkpoint"
                    .to_owned()
            }
            Self::FeatureCount { .. } => {
                "give --feature once for all, or once for each checkpoint".to_owned()
            }
            Self::NotByImage { .. } => {
                "top1 and top5, miou, macc, aacc and iou, and nmi, distance, distance_raw and entropy are"
                    .to_owned()
            }
            Self::Outcomes { .. } => {
                "move the record away and run its command again: features are kept".to_owned()
            }
            Self::Sample(error) => return error.hint(),
        })
    }
}
