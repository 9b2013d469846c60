//! What the evaluation of a checkpoint's own head asks: nothing beyond the images and their input.

use serde::{Deserialize, Serialize};

/// The evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifyTask {}
