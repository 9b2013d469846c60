//! Temporary.
use serde::{Deserialize, Serialize};
/// Mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixSpec {
    /// a
    pub mixup: f64,
    /// a
    pub cutmix: f64,
    /// a
    pub probability: f64,
    /// a
    pub switch: f64,
}
impl Default for MixSpec {
    fn default() -> Self {
        Self {
            mixup: 0.8,
            cutmix: 1.0,
            probability: 1.0,
            switch: 0.5,
        }
    }
}
impl MixSpec {
    /// a
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
