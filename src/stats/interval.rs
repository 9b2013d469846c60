//! Confidence intervals.

use thiserror::Error;

/// The confidence that every interval is given for.
pub const CONFIDENCE: f64 = 0.95;

/// The 0.975 quantile of the standard normal distribution.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// Counts that are no proportion.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum IntervalError {
    /// Nothing was counted.
    #[error("a proportion of 0 trials has no value")]
    NoTrials,
    /// More hits than trials.
    #[error("{hits} hits in {n} trials")]
    TooManyHits {
        /// Number of hits.
        hits: u64,
        /// Number of trials.
        n: u64,
    },
}

impl IntervalError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            IntervalError::NoTrials => {
                Some("the test set is empty: check --data and --limit".into())
            }
            IntervalError::TooManyHits { .. } => None,
        }
    }
}

/// Wilson's 95 % score interval [low, high] of the proportion `hits / n`, within 0..=1 (Wilson,
/// JASA 22, 1927; the `wilson` method of statsmodels' `proportion_confint`).
///
/// # Errors
/// `n = 0`, or more hits than trials.
pub fn wilson(hits: u64, n: u64) -> Result<[f64; 2], IntervalError> {
    if n == 0 {
        return Err(IntervalError::NoTrials);
    }
    if hits > n {
        return Err(IntervalError::TooManyHits { hits, n });
    }
    let trials = n as f64;
    let share = hits as f64 / trials;
    let z2 = Z * Z;
    let scale = 1.0 + z2 / trials;
    let centre = (share + z2 / (2.0 * trials)) / scale;
    let spread = share * (1.0 - share) / trials + z2 / (4.0 * trials * trials);
    let half = Z * spread.sqrt() / scale;
    // The ends are exactly 0 and 1 there; rounding would miss them.
    let low = if hits == 0 { 0.0 } else { centre - half };
    let high = if hits == n { 1.0 } else { centre + half };
    Ok([low, high])
}

/// The normal 95 % interval [low, high] of a mean of `n` values with this sample standard deviation.
pub fn of_mean(mean: f64, deviation: f64, n: u64) -> [f64; 2] {
    let half = Z * deviation / (n as f64).sqrt();
    [mean - half, mean + half]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_independent_values() {
        // Made with mpmath at 40 digits, checked against scipy's `binomtest`.
        let cases = [
            (0, 1, [0.0, 0.7934506856227627]),
            (1, 1, [0.2065493143772374, 1.0]),
            (0, 10, [0.0, 0.27753279986288926]),
            (7, 10, [0.3967781474611453, 0.8922087325936989]),
            (83, 100, [0.7445199523239887, 0.8910643388594007]),
            (2983, 3925, [0.7463888441427198, 0.7731027213460642]),
            (36960, 50000, [0.7353331713789091, 0.74303007636674]),
            (50000, 50000, [0.999923176725855, 1.0]),
            (1, 50000, [3.530499822832096e-06, 0.00011328970139120265]),
        ];
        for (hits, n, want) in cases {
            let got = wilson(hits, n).unwrap();
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-14, "{hits}/{n}: {got} {want}");
            }
        }
    }

    #[test]
    fn a_means_interval_narrows_with_the_root_of_n() {
        let [low, high] = of_mean(2.0, 0.5, 100);
        assert!((low - (2.0 - 0.097_998_199_2)).abs() < 1e-9);
        assert!((high - (2.0 + 0.097_998_199_2)).abs() < 1e-9);
    }

    #[test]
    fn no_trials_and_too_many_hits_are_refused() {
        assert_eq!(wilson(0, 0), Err(IntervalError::NoTrials));
        assert!(wilson(3, 2).is_err());
    }
}
