//! The bootstrap: what a statistic might have been on other images of the same kind.

use pulp::{Arch, Simd, WithSimd};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::error::{SampleError, finite};
use super::interval::CONFIDENCE;

/// Resamples whose sums are formed together: as many as the widest vectors have lanes.
pub(super) const GROUP: usize = 8;

/// Columns whose sums are formed together: a cache line of the values.
const PANEL: usize = 8;

/// Images drawn with replacement, as many as there are (Efron, Annals of Statistics 7, 1979).
///
/// Resample `r` draws from its own stream of ChaCha8, a function of the seed and `r`, and every sum
/// runs over the images in their order: neither threads nor vector widths change a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Seed of all draws.
    pub seed: u64,
    /// How often the images are drawn.
    pub resamples: usize,
}

/// The values of one statistic over the resamples.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled {
    /// Ascending, at least one.
    sorted: Vec<f64>,
}

impl Bootstrap {
    /// Resamples where nothing else is asked for: the ends of a 95 % interval then lie on 250
    /// values each, and the smallest p-value is 2e-4.
    pub const RESAMPLES: usize = 10_000;

    /// [`Bootstrap::RESAMPLES`] resamples.
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            resamples: Self::RESAMPLES,
        }
    }

    /// values: `[n, columns]`, an image a row -> the 95 % percentile interval of each column's mean.
    ///
    /// # Errors
    /// No values, no whole rows, a value that is not finite, no resamples.
    pub fn mean_intervals(
        &self,
        values: &[f64],
        columns: usize,
    ) -> Result<Vec<[f64; 2]>, SampleError> {
        let means = self.means(values, columns)?;
        Ok(means.iter().map(Resampled::interval).collect())
    }

    /// values: `[n, columns]`, an image a row -> the resampled means of each column. All columns
    /// see the same resamples.
    ///
    /// # Errors
    /// Those of [`Bootstrap::mean_intervals`].
    pub fn means(&self, values: &[f64], columns: usize) -> Result<Vec<Resampled>, SampleError> {
        if columns == 0 || values.is_empty() {
            return Err(SampleError::Empty("values"));
        }
        if !values.len().is_multiple_of(columns) {
            let values = values.len();
            return Err(SampleError::Ragged { values, columns });
        }
        finite(values)?;
        let n = values.len() / columns;
        let groups = self.groups(n, |weights| {
            Arch::new().dispatch(Sums {
                values,
                columns,
                weights,
            })
        })?;
        let column = |column: usize| {
            let sums = groups.iter().flat_map(|group| group[column]);
            let means = sums.take(self.resamples).map(|sum| sum / n as f64);
            Resampled::new(means.collect())
        };
        Ok((0..columns).into_par_iter().map(column).collect())
    }

    /// Any statistic of `n` images, as a function of how often each was drawn: `[n]`.
    ///
    /// # Errors
    /// No images, no resamples, a statistic that is not finite.
    pub fn statistic(
        &self,
        n: usize,
        statistic: impl Fn(&[u32]) -> f64 + Sync,
    ) -> Result<Resampled, SampleError> {
        let draws = self.draws(n)?;
        let values: Vec<f64> = (0..self.resamples)
            .into_par_iter()
            .map(|resample| statistic(&draws.counts(resample)))
            .collect();
        finite(&values)?;
        Ok(Resampled::new(values))
    }

    /// What becomes of every [`GROUP`] resamples; weights: `[n, GROUP]`, how often each image was
    /// drawn. The lanes behind the last resample mean nothing.
    pub(super) fn groups<T: Send>(
        &self,
        n: usize,
        of: impl Fn(&[[f64; GROUP]]) -> T + Sync,
    ) -> Result<Vec<T>, SampleError> {
        let draws = self.draws(n)?;
        let starts: Vec<usize> = (0..self.resamples).step_by(GROUP).collect();
        let group = |weights: &mut Vec<[f64; GROUP]>, start: usize| {
            for (lane, resample) in (start..self.resamples).take(GROUP).enumerate() {
                for (weights, count) in weights.iter_mut().zip(draws.counts(resample)) {
                    weights[lane] = f64::from(count);
                }
            }
            of(weights)
        };
        let groups = starts.into_par_iter();
        Ok(groups.map_init(|| vec![[0.0; GROUP]; n], group).collect())
    }

    fn draws(&self, n: usize) -> Result<Draws, SampleError> {
        if self.resamples == 0 {
            return Err(SampleError::Empty("resamples"));
        }
        match u32::try_from(n) {
            Ok(0) => Err(SampleError::Empty("images")),
            Ok(n) => Ok(Draws {
                n,
                rejected: n.wrapping_neg() % n,
                rng: ChaCha8Rng::seed_from_u64(self.seed),
            }),
            Err(_) => Err(SampleError::TooMany(n)),
        }
    }
}

/// Draws of `n` among `n` images.
struct Draws {
    n: u32,
    /// 2^32 mod n: so many words too many for every image to have as many as the others.
    rejected: u32,
    rng: ChaCha8Rng,
}

impl Draws {
    /// How often each image is in a resample: `[n]`, adding up to `n`.
    fn counts(&self, resample: usize) -> Vec<u32> {
        let mut rng = self.rng.clone();
        rng.set_stream(resample as u64);
        let mut counts = vec![0; self.n as usize];
        for _ in 0..self.n {
            counts[self.image(&mut rng)] += 1;
        }
        counts
    }

    /// Uniform in `0..n` (Lemire, ACM Transactions on Modeling and Computer Simulation 29, 2019).
    /// Written here because rand may change what its own ranges draw from a seed.
    fn image(&self, rng: &mut ChaCha8Rng) -> usize {
        loop {
            let product = u64::from(rng.next_u32()) * u64::from(self.n);
            if product as u32 >= self.rejected {
                return (product >> 32) as usize;
            }
        }
    }
}

/// Weighted sums of columns, for several sets of weights at once.
struct Sums<'a> {
    /// `[n, columns]`
    values: &'a [f64],
    columns: usize,
    /// `[n, GROUP]`
    weights: &'a [[f64; GROUP]],
}

impl WithSimd for Sums<'_> {
    /// `[columns, GROUP]`
    type Output = Vec<[f64; GROUP]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut sums = vec![[0.0; GROUP]; self.columns];
        let (panels, rest) = sums.as_chunks_mut::<PANEL>();
        for (panel, sums) in panels.iter_mut().enumerate() {
            self.panel(simd, panel * PANEL, sums);
        }
        let first = self.columns - rest.len();
        for (column, sums) in rest.iter_mut().enumerate() {
            self.panel(simd, first + column, std::array::from_mut(sums));
        }
        sums
    }
}

impl Sums<'_> {
    /// Products and sums stay apart, unlike fused ones the same on every processor.
    #[inline(always)]
    fn panel<S: Simd, const C: usize>(&self, simd: S, first: usize, sums: &mut [[f64; GROUP]; C]) {
        let vectors = GROUP / S::F64_LANES;
        let weights = S::as_simd_f64s(self.weights.as_flattened()).0;
        for vector in 0..vectors {
            let mut totals = [simd.splat_f64s(0.0); C];
            let rows = self.values.chunks_exact(self.columns);
            for (row, weights) in rows.zip(weights.chunks_exact(vectors)) {
                if let Some(values) = row[first..].first_chunk::<C>() {
                    for (total, &value) in totals.iter_mut().zip(values) {
                        let product = simd.mul_f64s(simd.splat_f64s(value), weights[vector]);
                        *total = simd.add_f64s(*total, product);
                    }
                }
            }
            for (sums, total) in sums.iter_mut().zip(totals) {
                S::as_mut_simd_f64s(sums).0[vector] = total;
            }
        }
    }
}

impl Resampled {
    pub(super) fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self { sorted: values }
    }

    /// The 95 % percentile interval (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    /// chapter 13).
    pub fn interval(&self) -> [f64; 2] {
        let tail = (1.0 - CONFIDENCE) / 2.0;
        [self.quantile(tail), self.quantile(1.0 - tail)]
    }

    /// The two-sided p-value of the statistic's being 0: twice the smaller share of resamples on
    /// either side of it, the sample itself counted among them (Davison and Hinkley, Bootstrap
    /// Methods and their Application, 1997, section 4.2).
    pub fn p_of_zero(&self) -> f64 {
        let below = self.sorted.partition_point(|&value| value <= 0.0);
        let above = self.sorted.len() - self.sorted.partition_point(|&value| value < 0.0);
        let share = (1 + below.min(above)) as f64 / (1 + self.sorted.len()) as f64;
        (2.0 * share).min(1.0)
    }

    /// Between the two nearest values, in proportion (numpy's `linear`).
    fn quantile(&self, share: f64) -> f64 {
        let place = share * (self.sorted.len() - 1) as f64;
        let (lower, upper) = (place.floor() as usize, place.ceil() as usize);
        let low = self.sorted[lower];
        low + (self.sorted[upper] - low) * place.fract()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 10] = [2.1, 3.4, 0.2, 5.9, 4.4, 1.7, 3.3, 8.8, 2.0, 6.1];

    fn matrix(n: usize, columns: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let unit = |_| f64::from(rng.next_u32()) / f64::from(u32::MAX);
        (0..n * columns).map(unit).collect()
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy 2, `np.percentile([3, 1, 4, 1, 5, 9, 2, 6, 5, 3.5], [2.5, 97.5])`.
        let values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.5];
        let [low, high] = Resampled::new(values.into()).interval();
        assert!(low == 1.0 && (high - 8.325).abs() < 1e-14);
        assert_eq!(Resampled::new(vec![2.0]).interval(), [2.0, 2.0]);
    }

    #[test]
    fn intervals_are_scipys() {
        let bootstrap = Bootstrap {
            seed: 1,
            resamples: 200_000,
        };
        // scipy 1.17, `bootstrap((x,), np.mean, n_resamples=2_000_000, method="percentile")`:
        // [2.36, 5.35], all means being hundredths; with `np.median` [1.9, 5.9], which are atoms.
        let means = bootstrap.mean_intervals(&X, 1).unwrap();
        for (end, want) in means[0].iter().zip([2.36, 5.35]) {
            assert!((end - want).abs() < 0.0101, "{end} {want}");
        }
        let median = |counts: &[u32]| {
            let pairs = X.iter().zip(counts);
            let mut drawn: Vec<f64> = pairs
                .flat_map(|(&x, &count)| (0..count).map(move |_| x))
                .collect();
            drawn.sort_by(f64::total_cmp);
            (drawn[4] + drawn[5]) / 2.0
        };
        let medians = bootstrap.statistic(X.len(), median).unwrap();
        assert_eq!(medians.interval(), [1.9, 5.9]);
    }

    #[test]
    fn a_mean_is_a_statistic_of_counts() {
        let bootstrap = Bootstrap {
            seed: 5,
            resamples: 101,
        };
        let (n, columns) = (37, 11);
        let values = matrix(n, columns, 2);
        let all = bootstrap.means(&values, columns).unwrap();
        for (column, resampled) in all.iter().enumerate() {
            let mean = |counts: &[u32]| {
                let own = values.iter().skip(column).step_by(columns);
                let products = own.zip(counts).map(|(x, &count)| x * f64::from(count));
                products.sum::<f64>() / n as f64
            };
            // The very same bits: products and sums in the same order.
            assert_eq!(&bootstrap.statistic(n, mean).unwrap(), resampled);
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let bootstrap = Bootstrap {
            seed: 9,
            resamples: 203,
        };
        let values = matrix(50, 19, 3);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| {
                let sum = |counts: &[u32]| {
                    let products = values.iter().zip(counts).map(|(x, &c)| x * f64::from(c));
                    products.sum()
                };
                let means = bootstrap.means(&values, 19).unwrap();
                (means, bootstrap.statistic(50, sum).unwrap())
            })
        };
        let one = run(1);
        assert!((2..6).all(|threads| run(threads) == one));
        let other = Bootstrap {
            seed: 10,
            ..bootstrap
        };
        assert_ne!(other.means(&values, 19).unwrap(), one.0);
        // More resamples begin with the same ones.
        let draws = bootstrap.draws(50).unwrap();
        assert_ne!(draws.counts(0), draws.counts(1));
        assert!((0..9).all(|r| draws.counts(r).iter().sum::<u32>() == 50));
    }

    #[test]
    fn the_draws_are_pinned() {
        let draws = Bootstrap::new(0).draws(6).unwrap();
        let first: Vec<_> = (0..4).map(|resample| draws.counts(resample)).collect();
        let want = [
            [0, 0, 1, 2, 3, 0],
            [0, 0, 1, 1, 3, 1],
            [2, 1, 0, 1, 0, 2],
            [2, 3, 0, 0, 0, 1],
        ];
        assert_eq!(first, want);
    }

    #[test]
    fn every_image_is_drawn_as_often_as_the_others() {
        // Counts are binomial with n and 1 / n: mean 1 and variance 1 - 1 / n.
        let draws = Bootstrap::new(4).draws(7).unwrap();
        let rounds = 20_000;
        let mut sums = [0f64; 7];
        let mut squares = 0.0;
        for resample in 0..rounds {
            for (sum, count) in sums.iter_mut().zip(draws.counts(resample)) {
                *sum += f64::from(count);
                squares += (f64::from(count) - 1.0).powi(2);
            }
        }
        let rounds = rounds as f64;
        // Five standard errors.
        assert!(sums.iter().all(|sum| (sum / rounds - 1.0).abs() < 0.035));
        assert!((squares / rounds / 7.0 - 6.0 / 7.0).abs() < 0.03);
    }

    #[test]
    fn the_intervals_cover_the_truth() {
        // 2,000 samples of 100 images whose values are 1 with probability 0.3, and of 100 sums of
        // twelve uniform numbers. A percentile interval of so few is a little short: its width is
        // z sqrt((n - 1) / n) where t would be right, 94.4 % instead of 95 %.
        let (n, samples) = (100, 2000);
        let mut covered = [0; 2];
        for sample in 0..samples {
            let numbers = matrix(n, 13, 1000 + sample);
            let rows = numbers.chunks_exact(13);
            let values: Vec<f64> = rows
                .flat_map(|row| {
                    [
                        f64::from(u8::from(row[0] < 0.3)),
                        row[1..].iter().sum::<f64>(),
                    ]
                })
                .collect();
            let bootstrap = Bootstrap {
                seed: sample,
                resamples: 999,
            };
            let intervals = bootstrap.mean_intervals(&values, 2).unwrap();
            for ((covered, [low, high]), truth) in covered.iter_mut().zip(intervals).zip([0.3, 6.0])
            {
                *covered += i32::from((low..=high).contains(&truth));
            }
        }
        let shares = covered.map(|covered| f64::from(covered) / samples as f64);
        println!("coverage {shares:?}");
        // Three standard errors of 2,000 samples are 1.5 points.
        assert!(
            shares.iter().all(|s| (0.93..=0.96).contains(s)),
            "{shares:?}"
        );
    }

    #[test]
    fn the_p_value_counts_the_sample_itself() {
        let p = |values: &[f64]| Resampled::new(values.to_vec()).p_of_zero();
        assert_eq!(p(&[1.0; 99]), 0.02);
        assert_eq!(p(&[0.0; 99]), 1.0);
        assert_eq!(p(&[-1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), 0.5);
        assert_eq!(p(&[-1.0, 1.0]), 1.0);
    }

    #[test]
    fn what_cannot_be_resampled_is_refused() {
        let bootstrap = Bootstrap::new(0);
        let error = |values: &[f64], columns| bootstrap.means(values, columns).unwrap_err();
        assert_eq!(error(&[], 1), SampleError::Empty("values"));
        assert_eq!(error(&X, 0), SampleError::Empty("values"));
        let ragged = SampleError::Ragged {
            values: 10,
            columns: 3,
        };
        assert_eq!(error(&X, 3), ragged);
        assert!(matches!(
            error(&[1.0, f64::NAN], 1),
            SampleError::NotFinite { index: 1, .. }
        ));
        let none = Bootstrap {
            seed: 0,
            resamples: 0,
        };
        assert_eq!(
            none.means(&X, 1).unwrap_err(),
            SampleError::Empty("resamples")
        );
        assert!(bootstrap.statistic(0, |_| 0.0).is_err());
        assert!(bootstrap.statistic(3, |_| f64::NAN).is_err());
    }
}
