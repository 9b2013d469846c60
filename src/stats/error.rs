//! Samples that no statistic can be made of.

use thiserror::Error;

/// Why a statistic of a sample has no value.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SampleError {
    /// Nothing was measured.
    #[error("a statistic of no {0} has no value")]
    Empty(&'static str),
    /// More images than a resample can draw from.
    #[error("{0} images are more than a resample can draw from")]
    TooMany(usize),
    /// Two lists that belong together have different lengths.
    #[error("{left} values beside {right} are not of the same images")]
    Unequal {
        /// Length of one.
        left: usize,
        /// Length of the other.
        right: usize,
    },
    /// The values do not fill the rows of a matrix.
    #[error("{values} values are no rows of {columns}")]
    Ragged {
        /// How many there are.
        values: usize,
        /// How long a row is.
        columns: usize,
    },
    /// A value is NaN or infinite.
    #[error("value {index} is {value}, not a number")]
    NotFinite {
        /// Counted from 0.
        index: usize,
        /// NaN or an infinity.
        value: f64,
    },
    /// What an image adds to a ratio that there is not, or that has no value.
    #[error(
        "image {image} adds {numerator} / {denominator} to ratio {ratio} of {ratios}, which is no ratio"
    )]
    Ratio {
        /// Counted from 0.
        image: usize,
        /// Counted from 0.
        ratio: usize,
        /// How many there are.
        ratios: usize,
        /// Added to the numerator.
        numerator: f64,
        /// Added to the denominator.
        denominator: f64,
    },
    /// Runs whose values are not of one kind.
    #[error("{left} and {right} are not the same measure")]
    Unlike {
        /// One of them.
        left: String,
        /// Another.
        right: String,
    },
}

impl SampleError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Empty(_) => Some("check --data and --limit: nothing is left to count".into()),
            Self::NotFinite { .. } => {
                Some("a run that diverged has no value: look at its record".into())
            }
            Self::TooMany(_)
            | Self::Unequal { .. }
            | Self::Ragged { .. }
            | Self::Ratio { .. }
            | Self::Unlike { .. } => None,
        }
    }
}

/// Refuses NaN and infinities.
pub(super) fn finite(values: &[f64]) -> Result<(), SampleError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(SampleError::NotFinite {
            index,
            value: values[index],
        }),
        None => Ok(()),
    }
}

/// Refuses lists that are not of the same images.
pub(super) fn same_length(left: usize, right: usize) -> Result<(), SampleError> {
    match left == right {
        true => Ok(()),
        false => Err(SampleError::Unequal { left, right }),
    }
}
