//! Anchors: published numbers of a checkpoint evaluated as it is, which an evaluation must find
//! again.

use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

/// One number that follows from the weights, the images and the code alone: no training and no
/// selection stands between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// How the checkpoint is evaluated.
    pub kind: AnchorKind,
    /// Folder of the dataset below `$MIMBENCH_DATA`, whose validation images count.
    pub dataset: String,
    /// Validation images behind the number.
    pub images: u64,
    /// What was measured.
    pub measure: AnchorMeasure,
    /// The number, in the measure's unit.
    pub value: f64,
    /// How far from it an evaluation that is right may be, in the measure's unit.
    #[serde(default)]
    pub tolerance: f64,
    /// Why it may be off at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Paper and table, or repository and file.
    pub citation: String,
}

/// How a checkpoint is evaluated for an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorKind {
    /// Its own classification head names the class of every validation image.
    Classify,
}

/// What an anchor's number measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorMeasure {
    /// Images whose best class is the true one.
    Correct,
    /// The same in percent.
    Top1,
    /// Images whose true class is among the best five, percent.
    Top5,
    /// Mean cross-entropy, nats.
    Loss,
}

impl AnchorMeasure {
    /// Name in tables, with the unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Top1 => "top-1 (%)",
            Self::Top5 => "top-5 (%)",
            Self::Loss => "loss",
        }
    }
}

impl fmt::Display for AnchorMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Anchor {
    /// Whether a measured number is the anchor's, within its tolerance.
    pub fn agrees(&self, measured: f64) -> bool {
        // Decimals of a card have no exact binary form.
        const ROUNDING: f64 = 1e-9;
        (measured - self.value).abs() <= self.tolerance + ROUNDING
    }

    /// What no anchor can be.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self {
            measure,
            value,
            tolerance,
            images,
            ..
        } = self;
        let anchor = format!("anchor {measure} of {}", self.dataset);
        let mut parts = Path::new(&self.dataset).components();
        let folder = matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        );
        if !folder || self.dataset.chars().any(char::is_control) {
            return Err("an anchor's dataset is to be the name of one folder".to_owned());
        }
        if *images == 0 {
            return Err(format!("{anchor} is over no images"));
        }
        let (range, what) = match measure {
            AnchorMeasure::Correct => (0.0..=*images as f64, "a number of its images"),
            AnchorMeasure::Top1 | AnchorMeasure::Top5 => (0.0..=100.0, "in percent"),
            AnchorMeasure::Loss => (0.0..=f64::MAX, "a number that is not negative"),
        };
        let whole = *measure != AnchorMeasure::Correct || value.fract() == 0.0;
        if !range.contains(value) || !whole {
            return Err(format!("{anchor} is {value}; it is to be {what}"));
        }
        if !(0.0..=f64::MAX).contains(tolerance) {
            return Err(format!(
                "the tolerance of {anchor} is {tolerance}; it is to be a number that is not negative"
            ));
        }
        if *tolerance > 0.0 && self.reason.is_none() {
            return Err(format!(
                "the tolerance of {anchor} needs a reason for its {tolerance}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Anchor;

    fn anchor(rest: &str) -> Anchor {
        let text = format!(
            "kind = \"classify\"\ndataset = \"cifar10\"\nimages = 1000\ncitation = \"c\"\n{rest}"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_tolerance_is_the_largest_difference_that_agrees() {
        let exact = anchor("measure = \"correct\"\nvalue = 724");
        assert!(exact.check().is_ok());
        assert!(exact.agrees(724.0) && !exact.agrees(723.0));
        let near = anchor("measure = \"top1\"\nvalue = 83.664\ntolerance = 0.1\nreason = \"f16\"");
        assert!(near.check().is_ok());
        assert!(near.agrees(83.764) && near.agrees(83.564) && !near.agrees(83.766));
    }

    #[test]
    fn what_no_anchor_can_be_is_refused() {
        for (rest, said) in [
            (
                "measure = \"correct\"\nvalue = 1001",
                "number of its images",
            ),
            ("measure = \"correct\"\nvalue = 7.5", "number of its images"),
            ("measure = \"top1\"\nvalue = 100.5", "percent"),
            ("measure = \"loss\"\nvalue = nan", "not negative"),
            ("measure = \"loss\"\nvalue = 1\ntolerance = -1", "tolerance"),
            ("measure = \"loss\"\nvalue = 1\ntolerance = 0.1", "reason"),
        ] {
            let refused = anchor(rest).check().unwrap_err();
            assert!(refused.contains(said), "{rest}: {refused}");
        }
        for dataset in ["", "..", "a/b", "/a"] {
            let mut anchor = anchor("measure = \"loss\"\nvalue = 1");
            anchor.dataset = dataset.to_owned();
            assert!(anchor.check().is_err(), "{dataset}");
        }
    }
}
