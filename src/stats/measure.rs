//! A measured number with what is needed to judge it.

use serde::{Deserialize, Serialize};

use super::interval::{CONFIDENCE, IntervalError, wilson};

/// The unit of a measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Hundredths: accuracies, mean intersection over union.
    Percent,
    /// A number without unit: losses, mutual information.
    Unitless,
    /// Pixels of the input image: attention distances.
    Pixels,
    /// Natural units of information: entropies.
    Nats,
}

impl Unit {
    /// What values of the unit are confined to; pixels are those of an input of any size.
    pub const fn range(self) -> [f64; 2] {
        match self {
            Self::Percent => [0.0, 100.0],
            Self::Pixels => [0.0, f64::INFINITY],
            Self::Unitless | Self::Nats => [f64::NEG_INFINITY, f64::INFINITY],
        }
    }
}

/// One measured number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// What was measured: `top1`.
    pub name: String,
    /// Its value, in `unit`.
    pub value: f64,
    /// The unit of `value` and `interval`.
    pub unit: Unit,
    /// Number of images, or other trials, behind the value.
    pub n: u64,
    /// [low, high] at `confidence`, when the measure has one.
    pub interval: Option<[f64; 2]>,
    /// Confidence of `interval`.
    pub confidence: f64,
}

impl Measure {
    /// `hits` of `n` in percent, with Wilson's 95 % interval.
    ///
    /// # Errors
    /// `n = 0`, or more hits than trials.
    pub fn from_hits(name: impl Into<String>, hits: u64, n: u64) -> Result<Measure, IntervalError> {
        let interval = wilson(hits, n)?.map(|end| 100.0 * end);
        Ok(Measure {
            name: name.into(),
            value: 100.0 * hits as f64 / n as f64,
            unit: Unit::Percent,
            n,
            interval: Some(interval),
            confidence: CONFIDENCE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_become_a_percentage_and_survive_json() {
        let measure = Measure::from_hits("top1", 83, 100).unwrap();
        assert_eq!((measure.value, measure.n), (83.0, 100));
        let [low, high] = measure.interval.unwrap();
        assert!(low < 83.0 && 83.0 < high && high - low < 16.0);
        let json = serde_json::to_string(&measure).unwrap();
        assert!(json.contains(r#""unit":"percent""#));
        assert_eq!(serde_json::from_str::<Measure>(&json).unwrap(), measure);
        assert!(Measure::from_hits("top1", 0, 0).is_err());
    }
}
