//! The curves of a training run, a line of `metrics.jsonl` a point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::StoreError;

/// What a point of the curves was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CurveKind {
    /// Training steps.
    Train,
    /// The validation images.
    Val,
}

impl CurveKind {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// What was known of a run at one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// What the values were taken from.
    pub kind: CurveKind,
    /// Optimizer steps taken.
    pub step: u64,
    /// Passes over the train images, with the begun one's fraction.
    pub epoch: f64,
    /// Images seen.
    pub images: u64,
    /// Numbers by name: [`LEARNING_RATE`], `loss`, `loss/<term>`, `top1` (percent), `top1/<head>`
    /// and any other. In JSON a number that is not finite is `null`; it is read as NaN.
    #[serde(deserialize_with = "numbers")]
    pub values: BTreeMap<String, f64>,
}

/// The name of the learning rate among the values of a point.
pub const LEARNING_RATE: &str = "learning_rate";

fn numbers<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(source)?;
    let number = |(name, value): (_, Option<f64>)| (name, value.unwrap_or(f64::NAN));
    Ok(values.into_iter().map(number).collect())
}

/// The folder of the training run of the record of `key`.
pub fn run_folder(results: &Path, key: &str) -> PathBuf {
    results.join("runs").join(key)
}

/// The curves of the record of `key`.
pub fn curves_path(results: &Path, key: &str) -> PathBuf {
    run_folder(results, key).join(METRICS)
}

/// The name of the file of curves in the folder of its run.
pub const METRICS: &str = "metrics.jsonl";

/// The points of a file of curves; a last line that a killed run left unfinished is none.
///
/// # Errors
/// `Damaged` names the line that is no point.
pub fn read_curves(path: &Path) -> Result<Vec<CurvePoint>, StoreError> {
    let text = std::fs::read_to_string(path).map_err(|source| StoreError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().enumerate();
    lines
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| StoreError::Damaged {
                path: path.to_owned(),
                reason: format!("line {} is no point of a curve: {error}", at + 1),
            })
        })
        .collect()
}
