//! Sections that protocols share: which images, and how an image becomes an input.

use serde::{Deserialize, Serialize};

/// Which images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSection {
    /// Folder under `$MIMBENCH_DATA` when `--data` is not given.
    pub dataset: String,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            dataset: "imagenet-1k".to_owned(),
        }
    }
}

/// How an image becomes an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InputSection {
    /// Mean and standard deviation.
    pub normalise: Normalise,
    /// Shorter side before the centre crop.
    pub resize: ResizeChoice,
    /// Filter of the resize.
    pub interpolation: InterpolationChoice,
}

impl Default for InputSection {
    fn default() -> Self {
        Self {
            normalise: Normalise::Card,
            resize: ResizeChoice::Dino,
            interpolation: InterpolationChoice::Bicubic,
        }
    }
}

/// Mean and standard deviation of the input. Evaluating with another normalisation than the
/// checkpoint was trained with has cost 19 points of accuracy, so it is the checkpoint's by
/// default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// The checkpoint's own.
    Card,
    /// ImageNet's.
    Imagenet,
    /// 0.5 and 0.5.
    Half,
    /// OpenAI CLIP's.
    Clip,
}

/// Shorter side before the centre crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeChoice {
    /// 256/224 of the input size, as DINO resizes to 256 for 224; inputs of up to 64 pixels
    /// (CIFAR, MNIST) are taken whole.
    Dino,
    /// What the checkpoint's card or `config.json` says.
    Card,
    /// The input size itself: nothing is cropped from the longer side's middle but the excess.
    Whole,
}

/// Filter of the resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationChoice {
    /// What the checkpoint's card or `config.json` says.
    Card,
    /// Cubic, a = -0.5, antialiased.
    Bicubic,
    /// Linear, antialiased.
    Bilinear,
}
