//! Uncertainty: a value never travels without its n and its interval, nor a difference without its
//! test.

mod bootstrap;
mod error;
mod holm;
mod interval;
mod mcnemar;
mod measure;
mod noise;
mod paired;
mod ratio;

pub use bootstrap::{Bootstrap, Resampled};
pub use error::SampleError;
pub use holm::holm;
pub use interval::{CONFIDENCE, IntervalError, of_mean, wilson};
pub use mcnemar::mcnemar;
pub use measure::{Measure, Unit};
pub use noise::{Noise, NoiseSource, Seeds, Spread, half_width};
pub use paired::{PairedDifference, PairedHits, paired_differences};
pub use ratio::{
    PairedRatios, RatioDifference, RatioIntervals, RatioSample, RatioTerm, paired_ratio_differences,
};
