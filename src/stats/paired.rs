//! Differences between checkpoints on the same images.

use serde::{Deserialize, Serialize};

use super::bootstrap::Bootstrap;
use super::error::{SampleError, finite, same_length};
use super::mcnemar::mcnemar;

/// How two classifiers share the images out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairedHits {
    /// Images that both get right.
    pub both: u64,
    /// Images that only the first gets right.
    pub only_a: u64,
    /// Images that only the second gets right.
    pub only_b: u64,
    /// Images that neither gets right.
    pub neither: u64,
}

impl PairedHits {
    /// a, b: `[n]`, whether each is right.
    ///
    /// # Errors
    /// Lists of different lengths, no images.
    pub fn count(a: &[bool], b: &[bool]) -> Result<Self, SampleError> {
        same_length(a.len(), b.len())?;
        if a.is_empty() {
            return Err(SampleError::Empty("images"));
        }
        let count = |pair| a.iter().zip(b).filter(|&(&a, &b)| (a, b) == pair).count() as u64;
        Ok(Self {
            both: count((true, true)),
            only_a: count((true, false)),
            only_b: count((false, true)),
            neither: count((false, false)),
        })
    }

    /// Number of images.
    pub fn n(&self) -> u64 {
        self.both + self.only_a + self.only_b + self.neither
    }

    /// The exact two-sided p-value of both being as good.
    pub fn p(&self) -> f64 {
        mcnemar(self.only_a, self.only_b)
    }
}

/// By how much the mean of `a` exceeds that of `b` over the same images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedDifference {
    /// Place of one in the list.
    pub a: usize,
    /// Place of the other.
    pub b: usize,
    /// Number of images.
    pub n: u64,
    /// Mean of `a` minus mean of `b`, in the unit of the values.
    pub difference: f64,
    /// [low, high] at 95 %: the percentile interval over the images.
    pub interval: [f64; 2],
    /// The bootstrap's two-sided p-value of no difference, at least 2 / (resamples + 1).
    pub p: f64,
}

/// All pairs among values `[n]` of the same images: (0, 1), (0, 2), ..., (1, 2), ... The images
/// are drawn once for all of them.
///
/// # Errors
/// Lists of different lengths, fewer than two of them, no images, a value that is not finite.
pub fn paired_differences(
    values: &[&[f64]],
    bootstrap: &Bootstrap,
) -> Result<Vec<PairedDifference>, SampleError> {
    let [first, _, ..] = values else {
        return Err(SampleError::Empty("pairs"));
    };
    for values in values {
        same_length(first.len(), values.len())?;
        finite(values)?;
    }
    let places = 0..values.len();
    let pairs: Vec<(usize, usize)> = places
        .clone()
        .flat_map(|a| places.clone().skip(a + 1).map(move |b| (a, b)))
        .collect();
    let differences: Vec<f64> = (0..first.len())
        .flat_map(|image| {
            pairs
                .iter()
                .map(move |&(a, b)| values[a][image] - values[b][image])
        })
        .collect();
    let resampled = bootstrap.means(&differences, pairs.len())?;
    let n = first.len();
    Ok(pairs
        .iter()
        .zip(&resampled)
        .enumerate()
        .map(|(column, (&(a, b), resampled))| {
            let own = differences.iter().skip(column).step_by(pairs.len());
            PairedDifference {
                a,
                b,
                n: n as u64,
                difference: own.sum::<f64>() / n as f64,
                interval: resampled.interval(),
                p: resampled.p_of_zero(),
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 10] = [2.1, 3.4, 0.2, 5.9, 4.4, 1.7, 3.3, 8.8, 2.0, 6.1];
    const Y: [f64; 10] = [1.9, 3.1, 1.2, 4.0, 4.9, 1.1, 2.2, 7.0, 2.5, 5.2];

    #[test]
    fn hits_are_shared_out() {
        let a = [true, true, false, true, false];
        let b = [true, false, true, false, false];
        let hits = PairedHits::count(&a, &b).unwrap();
        let want = PairedHits {
            both: 1,
            only_a: 2,
            only_b: 1,
            neither: 1,
        };
        assert_eq!((hits, hits.n(), hits.p()), (want, 5, 1.0));
        let unequal = PairedHits::count(&a, &b[1..]).unwrap_err();
        assert_eq!(unequal, SampleError::Unequal { left: 5, right: 4 });
        assert!(PairedHits::count(&[], &[]).is_err());
    }

    #[test]
    fn the_difference_has_scipys_interval() {
        // scipy 1.17, `bootstrap((x, y), lambda a, b, axis: np.mean(a - b, axis=axis),
        // paired=True, n_resamples=2_000_000, method="percentile")`: [-0.09, 1.05], and 5.097 % of
        // its resamples are at most 0. The differences are tenths, and so are the resampled means'
        // hundredths: an end is off by one of them at most.
        let bootstrap = Bootstrap {
            seed: 3,
            resamples: 200_000,
        };
        let [xy] = paired_differences(&[&X, &Y], &bootstrap).unwrap()[..] else {
            panic!("two give one pair");
        };
        assert!((xy.difference - 0.48).abs() < 1e-12);
        assert_eq!((xy.a, xy.b, xy.n), (0, 1, 10));
        for (end, want) in xy.interval.iter().zip([-0.09, 1.05]) {
            assert!((end - want).abs() < 0.0101, "{end} {want}");
        }
        // Three standard errors of 200,000 draws.
        assert!((xy.p - 2.0 * 0.05097).abs() < 2.0 * 0.0015, "{}", xy.p);
    }

    #[test]
    fn all_pairs_see_the_same_resamples() {
        let bootstrap = Bootstrap {
            seed: 3,
            resamples: 500,
        };
        let z = X.map(|x| x + 1.0);
        let all = paired_differences(&[&X, &Y, &z], &bootstrap).unwrap();
        let pairs: Vec<_> = all.iter().map(|pair| (pair.a, pair.b)).collect();
        assert_eq!(pairs, [(0, 1), (0, 2), (1, 2)]);
        let alone = paired_differences(&[&X, &Y], &bootstrap).unwrap();
        assert_eq!(all[0], alone[0]);
        assert!((all[1].interval[1] + 1.0).abs() < 1e-12 && all[1].p < 0.004);
        let back = paired_differences(&[&Y, &X], &bootstrap).unwrap()[0];
        assert_eq!(back.difference, -alone[0].difference);
        assert!((back.interval[0] + alone[0].interval[1]).abs() < 1e-12);
        let same = paired_differences(&[&X, &X], &bootstrap).unwrap()[0];
        assert_eq!((same.interval, same.p), ([0.0, 0.0], 1.0));
        assert!(paired_differences(&[&X], &bootstrap).is_err());
        assert!(paired_differences(&[&X, &Y[1..]], &bootstrap).is_err());
        let infinite = [f64::INFINITY; 10];
        assert!(paired_differences(&[&X, &infinite], &bootstrap).is_err());
    }
}
