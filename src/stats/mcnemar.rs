//! The exact test of two classifiers on the same images.

use std::f64::consts::TAU;

/// The two-sided p-value of McNemar's test (Psychometrika 12, 1947), exact: how likely so uneven a
/// split of the images that one of the two gets right and the other wrong would be if both were as
/// good, which is binomial with 1/2.
///
/// The probabilities are formed about the even split, so that no count is too large; the time is
/// that of the square root of their number.
pub fn mcnemar(only_a: u64, only_b: u64) -> f64 {
    if only_a == only_b {
        return 1.0;
    }
    let (fewer, more) = (only_a.min(only_b) as f64, only_a.max(only_b) as f64);
    // P(X = fewer) and, downwards, the terms of P(X <= fewer) in units of it.
    let largest = probability(fewer, more);
    let (mut term, mut sum, mut k) = (1.0, 1.0, fewer);
    while k > 0.0 && term > 1e-22 * sum {
        term *= k / (fewer + more - k + 1.0);
        sum += term;
        k -= 1.0;
    }
    (2.0 * largest * sum).min(1.0)
}

/// Probability of `fewer` heads and `more` tails in as many throws of a fair coin: Stirling's
/// formula with its error, as in Loader, Fast and Accurate Computation of Binomial Probabilities,
/// 2000.
fn probability(fewer: f64, more: f64) -> f64 {
    let throws = fewer + more;
    if fewer == 0.0 {
        return (-throws).exp2();
    }
    // How uneven the split is, in 0..1.
    let t = (more - fewer) / throws;
    let deviance = throws / 2.0 * (2.0 * t * t.atanh() + (-t * t).ln_1p());
    let errors = stirling_error(throws) - stirling_error(fewer) - stirling_error(more);
    (throws / (TAU * fewer * more)).sqrt() * (errors - deviance).exp()
}

/// ln n! - ln(sqrt(2 π n) (n / e)^n) for `n > 0`.
fn stirling_error(n: f64) -> f64 {
    /// From here on four terms of Stirling's series reach f64.
    const LARGE: f64 = 16.0;
    let (mut below, mut n) = (0.0, n);
    while n < LARGE {
        below += (n + 0.5) * (1.0 / n).ln_1p() - 1.0;
        n += 1.0;
    }
    let square = n * n;
    let series = 1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / 1680.0 / square) / square;
    below + (1.0 / 12.0 - series / square) / n
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn close(only_a: u64, only_b: u64, want: f64, tolerance: f64) {
        for (a, b) in [(only_a, only_b), (only_b, only_a)] {
            let got = mcnemar(a, b);
            assert!((got - want).abs() <= tolerance * want, "{a} {b}: {got:e}");
        }
    }

    #[test]
    fn known_cases() {
        // Sums of exact binomial terms with mpmath at 40 digits; statsmodels 0.15
        // `mcnemar([[0, b], [c, 0]], exact=True)` and scipy 1.17 `binomtest(b, b + c)` agree
        // to their own 13 digits.
        for (b, c, want) in [
            (0, 1, 1.0),
            (3, 4, 1.0),
            (15, 16, 1.0),
            (0, 10, 0.001953125),
            (10, 25, 0.016_673_847_800_120_71),
            (17, 40, 0.003_201_543_767_450_382),
            (59, 121, 4.434_449_263_755_177e-6),
            (1000, 1100, 0.030720707864242295),
            (0, 60, 1.734_723_475_976_807e-18),
            (5, 600, 1.0090299128469378e-170),
            (40_000, 41_000, 0.000447821823137557),
        ] {
            close(b, c, want, 2e-13);
        }
        for even in [0, 1, 7, 50_000, u64::MAX] {
            assert_eq!(mcnemar(even, even), 1.0);
        }
        // What f64 cannot hold is none: 1.7e-599.
        assert_eq!(mcnemar(1, 2000), 0.0);
    }

    #[test]
    fn huge_counts_lose_no_digits() {
        // mpmath at 30 digits, term by term; scipy has 9 to 10 of these digits.
        close(500_000, 501_000, 0.31803654084032255, 1e-11);
        close(500_000_000, 500_300_000, 2.415_044_865_998_08e-21, 1e-11);
        close(1_000_000_000, 1_000_100_000, 0.025352444671547586, 1e-11);
        close(1_000_000_000, 1_001_000_000, 1.0778319328032568e-110, 1e-11);
        close(100_000_000, 100_000_001, 1.0, 1e-11);
    }

    proptest! {
        #[test]
        fn small_counts_are_the_sum_of_pascals_triangle(b in 0u64..40, c in 0u64..40) {
            let n = b + c;
            let mut row = vec![1f64];
            for _ in 0..n {
                let inner = row.windows(2).map(|pair| pair[0] + pair[1]);
                row = [1.0].into_iter().chain(inner).chain([1.0]).collect();
            }
            let tail: f64 = row[..=b.min(c) as usize].iter().sum();
            let want = (2.0 * tail / (n as f64).exp2()).min(1.0);
            prop_assert!((mcnemar(b, c) - want).abs() <= 1e-13 * want);
        }
    }
}
