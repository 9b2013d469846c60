//! What can be wrong with an augmentation.

use crate::data::ImageError;

/// An augmentation cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AugmentError {
    /// A value makes no sense.
    #[error("augment.{field} {reason}")]
    Value {
        /// The field, as written in a protocol.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The input that images are made into makes no sense.
    #[error(transparent)]
    Input(#[from] ImageError),
}

impl AugmentError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Value { field, .. } => Some(match *field {
                "scale" => "shares of the image's area, as in scale = [0.08, 1.0]".to_owned(),
                "ratio" => "width by height, as in ratio = [0.75, 1.3333333333333333]".to_owned(),
                "flip" => "a probability, as in flip = 0.5".to_owned(),
                "jitter.hue" => "half a turn of the colour circle is the most: hue = 0.5".to_owned(),
                "jitter" => "take jitter out, or rand_augment".to_owned(),
                "rand_augment.operations"
                | "rand_augment.magnitude"
                | "rand_augment.deviation"
                | "rand_augment.probability" => {
                    "as in rand_augment = { operations = 2, magnitude = 9.0, deviation = 0.5, probability = 0.5 }"
                        .to_owned()
                }
                "erase.probability" | "erase.area" | "erase.aspect" | "erase.count" => {
                    "as in erase = { probability = 0.25, area = [0.02, 0.3333333333333333], aspect = 0.3, count = 1 }"
                        .to_owned()
                }
                _ => "as in jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }"
                    .to_owned(),
            }),
            Self::Input(error) => error.hint(),
        }
    }
}
