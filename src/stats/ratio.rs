//! Ratios of sums over images, and means of them: mean intersection over union.

use pulp::Arch;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, GROUP, Resampled};
use super::error::{SampleError, same_length};
use super::paired::PairedDifference;

/// What one image adds to one of several ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioTerm {
    /// Place of the ratio.
    pub ratio: u32,
    /// Added to its numerator.
    pub numerator: f64,
    /// Added to its denominator, above 0.
    pub denominator: f64,
}

/// Images that each add to the numerators and denominators of a few of many ratios. The statistic is
/// the mean of the ratios that have a denominator; a resample of the images may have fewer of them
/// than all images have.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioSample {
    ratios: usize,
    /// `[n + 1]`, where the terms of each image begin, and where the last one's end.
    starts: Vec<usize>,
    terms: Vec<RatioTerm>,
}

/// 95 % percentile intervals over resampled images.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioIntervals {
    /// Of the mean.
    pub mean: [f64; 2],
    /// Of each ratio, over the resamples that have a denominator; none where fewer than two images
    /// add to it.
    pub each: Vec<Option<[f64; 2]>>,
}

/// By how much a ratio of one side exceeds that of the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioDifference {
    /// First minus second.
    pub difference: f64,
    /// [low, high] at 95 %, as of [`RatioIntervals::each`]: of this ratio alone, whatever the others.
    pub interval: Option<[f64; 2]>,
}

/// By how much the mean of the ratios of one side exceeds that of the other over the same images.
#[derive(Clone, Debug, PartialEq)]
pub struct PairedRatios {
    /// Of the means.
    pub mean: PairedDifference,
    /// Of each ratio; none where either side has none.
    pub each: Vec<Option<RatioDifference>>,
}

impl RatioSample {
    /// images: the terms of each, in order.
    ///
    /// # Errors
    /// A place beyond `ratios`, a number that is not finite, a denominator that is not above 0.
    pub fn new(
        ratios: usize,
        images: impl IntoIterator<Item = Vec<RatioTerm>>,
    ) -> Result<Self, SampleError> {
        let mut sample = Self {
            ratios,
            starts: vec![0],
            terms: Vec::new(),
        };
        for terms in images {
            for term in &terms {
                let &RatioTerm {
                    ratio,
                    numerator,
                    denominator,
                } = term;
                let is_number = numerator.is_finite() && denominator.is_finite();
                if ratio as usize >= ratios || !is_number || denominator <= 0.0 {
                    return Err(SampleError::Ratio {
                        image: sample.images(),
                        ratio: ratio as usize,
                        ratios,
                        numerator,
                        denominator,
                    });
                }
            }
            sample.terms.extend(terms);
            sample.starts.push(sample.terms.len());
        }
        Ok(sample)
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.starts.len() - 1
    }

    /// `[ratios]` over all images; none without a denominator.
    pub fn values(&self) -> Vec<Option<f64>> {
        let mut sums = vec![[0.0; 2]; self.ratios];
        for term in &self.terms {
            let [numerator, denominator] = &mut sums[term.ratio as usize];
            *numerator += term.numerator;
            *denominator += term.denominator;
        }
        let value = |[numerator, denominator]: [f64; 2]| {
            (denominator > 0.0).then(|| numerator / denominator)
        };
        sums.into_iter().map(value).collect()
    }

    /// The mean of the ratios over all images; none where no image adds to any.
    pub fn mean(&self) -> Option<f64> {
        mean(self.values().into_iter().flatten())
    }

    /// The mean of the ratios of one image alone; none where it adds to none.
    pub fn of_image(&self, image: usize) -> Option<f64> {
        let terms = &self.terms[self.starts[image]..self.starts[image + 1]];
        // Where it adds to one ratio twice, the sums count.
        let own = Self {
            ratios: self.ratios,
            starts: vec![0, terms.len()],
            terms: terms.to_vec(),
        };
        own.mean()
    }

    /// How many images add to each ratio.
    fn contributors(&self) -> Vec<usize> {
        let mut images = vec![0; self.ratios];
        for bounds in self.starts.windows(2) {
            let mut own: Vec<u32> = (self.terms[bounds[0]..bounds[1]].iter())
                .map(|term| term.ratio)
                .collect();
            own.sort_unstable();
            own.dedup();
            for ratio in own {
                images[ratio as usize] += 1;
            }
        }
        images
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// `[1 + ratios][resamples]`: the mean and each ratio, NaN where it has no denominator.
type Drawn = Vec<Vec<f64>>;

impl Bootstrap {
    /// The intervals of a sample's mean and of its ratios.
    ///
    /// # Errors
    /// No images, no resamples, no ratio with a denominator.
    pub fn ratio_intervals(&self, sample: &RatioSample) -> Result<RatioIntervals, SampleError> {
        let drawn = self.ratios(&[&[sample]])?;
        let [(mean, each)] = drawn
            .iter()
            .filter_map(|drawn| drawn.split_first())
            .collect::<Vec<_>>()[..]
        else {
            return Err(SampleError::Empty("samples"));
        };
        let several = sample.contributors();
        let interval = |(drawn, images): (&Vec<f64>, usize)| {
            let known = of_known(drawn.iter().copied()).filter(|_| images > 1)?;
            Some(known.interval())
        };
        Ok(RatioIntervals {
            mean: of_known(mean.iter().copied())
                .ok_or(SampleError::Empty("ratios"))?
                .interval(),
            each: each.iter().zip(several).map(interval).collect(),
        })
    }

    /// For each side the means over its samples, all of the same images under the same resamples.
    fn ratios(&self, sides: &[&[&RatioSample]]) -> Result<Vec<Drawn>, SampleError> {
        let first = sides.iter().flat_map(|side| side.iter()).next();
        let (n, ratios) = first.map_or((0, 0), |first| (first.images(), first.ratios));
        for sample in sides.iter().flat_map(|side| side.iter()) {
            same_length(n, sample.images())?;
            same_length(ratios, sample.ratios)?;
        }
        let groups = self.groups(n, |weights| {
            let side = |samples: &&[&RatioSample]| side(samples, ratios, weights);
            sides.iter().map(side).collect::<Vec<_>>()
        })?;
        let drawn = |side: usize| {
            let column = |column: usize| {
                let lanes = groups.iter().flat_map(|group| group[side][column]);
                lanes.take(self.resamples).collect()
            };
            (0..=ratios).into_par_iter().map(column).collect()
        };
        Ok((0..sides.len()).map(drawn).collect())
    }
}

/// weights: `[n, GROUP]` -> `[1 + ratios, GROUP]`, means over the samples.
fn side(samples: &[&RatioSample], ratios: usize, weights: &[[f64; GROUP]]) -> Vec<[f64; GROUP]> {
    let mut means = vec![[0.0; GROUP]; 1 + ratios];
    for sample in samples {
        let sums = Arch::new().dispatch(|| sums(sample, weights));
        let [mut total, mut count] = [[0.0; GROUP]; 2];
        for (mean, [numerator, denominator]) in means[1..].iter_mut().zip(&sums) {
            for lane in 0..GROUP {
                // NaN where there is no denominator.
                let value = numerator[lane] / denominator[lane];
                mean[lane] += value;
                if denominator[lane] > 0.0 {
                    total[lane] += value;
                    count[lane] += 1.0;
                }
            }
        }
        for lane in 0..GROUP {
            means[0][lane] += total[lane] / count[lane];
        }
    }
    for value in means.as_flattened_mut() {
        *value /= samples.len() as f64;
    }
    means
}

/// `[ratios]`, numerators and denominators of every resample of the group. Products and sums stay
/// apart, so that they are the same on every processor; sums of counts are exact.
#[inline(always)]
fn sums(sample: &RatioSample, weights: &[[f64; GROUP]]) -> Vec<[[f64; GROUP]; 2]> {
    let mut sums = vec![[[0.0; GROUP]; 2]; sample.ratios];
    for (bounds, weights) in sample.starts.windows(2).zip(weights) {
        for term in &sample.terms[bounds[0]..bounds[1]] {
            let [numerators, denominators] = &mut sums[term.ratio as usize];
            for lane in 0..GROUP {
                numerators[lane] += term.numerator * weights[lane];
                denominators[lane] += term.denominator * weights[lane];
            }
        }
    }
    sums
}

/// The resamples that have a value; none where none has.
fn of_known(values: impl Iterator<Item = f64>) -> Option<Resampled> {
    let known: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    (!known.is_empty()).then(|| Resampled::new(known))
}

/// All pairs among sides of the same images: (0, 1), (0, 2), ..., (1, 2), ... A side is one sample or
/// several runs' samples, and its value the mean of theirs.
///
/// Interval and p-value are of one bootstrap over the images, that of
/// [`paired_differences`](super::paired_differences) for means. A sign-flip permutation, which
/// exchanges the sides image by image, would test that both err alike on every image, and has no
/// interval that goes with it; a mean of ratios is no sum over images whose signs could be flipped.
///
/// # Errors
/// Different images or ratios, fewer than two sides, no images, no ratio with a denominator.
pub fn paired_ratio_differences(
    sides: &[&[&RatioSample]],
    bootstrap: &Bootstrap,
) -> Result<Vec<PairedRatios>, SampleError> {
    let [[first, ..], _, ..] = sides else {
        return Err(SampleError::Empty("pairs"));
    };
    if sides.iter().any(|side| side.is_empty()) {
        return Err(SampleError::Empty("runs"));
    }
    let n = first.images() as u64;
    let drawn = bootstrap.ratios(sides)?;
    let known: Vec<Known> = sides.iter().map(|side| Known::of(side)).collect();
    let places = 0..sides.len();
    let pairs = places
        .clone()
        .flat_map(|a| places.clone().skip(a + 1).map(move |b| (a, b)));
    let pair = |(a, b): (usize, usize)| {
        let column = |column: usize| {
            let values = drawn[a][column].iter().zip(&drawn[b][column]);
            of_known(values.map(|(a, b)| a - b))
        };
        let resampled = column(0).ok_or(SampleError::Empty("ratios"))?;
        let means = known[a].mean.zip(known[b].mean);
        let (mean_a, mean_b) = means.ok_or(SampleError::Empty("ratios"))?;
        let each = (0..first.ratios).into_par_iter().map(|ratio| {
            let [a, b] = [&known[a], &known[b]];
            let several = a.contributors[ratio].max(b.contributors[ratio]) > 1;
            Some(RatioDifference {
                difference: a.values[ratio]? - b.values[ratio]?,
                interval: column(1 + ratio)
                    .filter(|_| several)
                    .map(|resampled| resampled.interval()),
            })
        });
        Ok(PairedRatios {
            mean: PairedDifference {
                a,
                b,
                n,
                difference: mean_a - mean_b,
                interval: resampled.interval(),
                p: resampled.p_of_zero(),
            },
            each: each.collect(),
        })
    };
    pairs.map(pair).collect()
}

/// A side over all images.
struct Known {
    mean: Option<f64>,
    /// None where any run has none.
    values: Vec<Option<f64>>,
    /// Images that add to each ratio, in the run where they are most.
    contributors: Vec<usize>,
}

impl Known {
    fn of(side: &[&RatioSample]) -> Self {
        let runs = side.len() as f64;
        let means: Option<Vec<f64>> = side.iter().map(|run| run.mean()).collect();
        let mut values: Vec<Option<f64>> = Vec::new();
        let mut contributors: Vec<usize> = Vec::new();
        for run in side {
            let (own, images) = (run.values(), run.contributors());
            values = match values.is_empty() {
                true => own,
                false => (values.iter().zip(own))
                    .map(|(sum, own)| Some((*sum)? + own?))
                    .collect(),
            };
            contributors.resize(images.len(), 0);
            for (most, images) in contributors.iter_mut().zip(images) {
                *most = images.max(*most);
            }
        }
        for value in values.iter_mut().flatten() {
            *value /= runs;
        }
        Self {
            mean: means.map(|means| means.iter().sum::<f64>() / runs),
            values,
            contributors,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn unit(rng: &mut ChaCha8Rng) -> f64 {
        f64::from(rng.next_u32()) / f64::from(u32::MAX)
    }

    /// Images of counts: each of `ratios` classes is in a share of them, and of its pixels about
    /// `skill` are right.
    fn sample(n: usize, ratios: u32, skill: f64, seed: u64) -> RatioSample {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let images: Vec<Vec<RatioTerm>> = (0..n)
            .map(|_| {
                let classes = (0..ratios).filter(|class| {
                    let share = 0.9 / f64::from(class + 1);
                    unit(&mut rng) < share
                });
                let classes: Vec<u32> = classes.collect();
                let term = |ratio| {
                    let denominator = (1.0 + 99.0 * unit(&mut rng)).round();
                    let right = (skill + 0.3 * (unit(&mut rng) - 0.5)).clamp(0.0, 1.0);
                    RatioTerm {
                        ratio,
                        numerator: (right * denominator).round(),
                        denominator,
                    }
                };
                classes.into_iter().map(term).collect()
            })
            .collect();
        RatioSample::new(ratios as usize, images).unwrap()
    }

    /// The mean of the ratios where image `i` counts `counts[i]` times.
    fn by_hand(sample: &RatioSample, counts: &[u32], column: Option<usize>) -> f64 {
        let mut sums = vec![[0.0; 2]; sample.ratios];
        for (image, &count) in counts.iter().enumerate() {
            for term in &sample.terms[sample.starts[image]..sample.starts[image + 1]] {
                sums[term.ratio as usize][0] += f64::from(count) * term.numerator;
                sums[term.ratio as usize][1] += f64::from(count) * term.denominator;
            }
        }
        let value = |[a, b]: [f64; 2]| (b > 0.0).then(|| a / b);
        match column {
            Some(column) => value(sums[column]).unwrap(),
            None => mean(sums.into_iter().filter_map(value)).unwrap(),
        }
    }

    #[test]
    fn a_mean_of_ratios_is_a_statistic_of_counts() {
        let bootstrap = Bootstrap {
            seed: 5,
            resamples: 203,
        };
        let (a, b, c) = (
            sample(41, 9, 0.6, 1),
            sample(41, 9, 0.5, 2),
            sample(41, 9, 0.4, 3),
        );
        let intervals = bootstrap.ratio_intervals(&a).unwrap();
        let alone = bootstrap.statistic(41, |counts| by_hand(&a, counts, None));
        // Counts are integers, so that every sum is exact: the very same bits.
        assert_eq!(intervals.mean, alone.unwrap().interval());
        let first = bootstrap.statistic(41, |counts| by_hand(&a, counts, Some(0)));
        assert_eq!(intervals.each[0], Some(first.unwrap().interval()));

        let [pair] = &paired_ratio_differences(&[&[&a], &[&b, &c]], &bootstrap).unwrap()[..] else {
            panic!("two give one pair");
        };
        let side = |counts: &[u32], column| {
            let [b, c] = [&b, &c].map(|side| by_hand(side, counts, column));
            by_hand(&a, counts, column) - (b + c) / 2.0
        };
        let want = bootstrap
            .statistic(41, |counts| side(counts, None))
            .unwrap();
        assert_eq!(
            (pair.mean.interval, pair.mean.p),
            (want.interval(), want.p_of_zero())
        );
        let all = vec![1; 41];
        assert!((pair.mean.difference - side(&all, None)).abs() < 1e-15);
        let want = bootstrap
            .statistic(41, |counts| side(counts, Some(0)))
            .unwrap();
        let class = pair.each[0].unwrap();
        assert_eq!(class.interval, Some(want.interval()));
        assert!((class.difference - side(&all, Some(0))).abs() < 1e-15);
    }

    #[test]
    fn one_ratio_over_equal_denominators_is_a_mean() {
        let x = [2.1, 3.4, 0.2, 5.9, 4.4, 1.7, 3.3, 8.8, 2.0, 6.1];
        let images = x.map(|numerator| {
            vec![RatioTerm {
                ratio: 0,
                numerator,
                denominator: 1.0,
            }]
        });
        let bootstrap = Bootstrap::new(3);
        let found = bootstrap
            .ratio_intervals(&RatioSample::new(1, images).unwrap())
            .unwrap();
        let want = bootstrap.mean_intervals(&x, 1).unwrap();
        assert_eq!((found.mean, found.each), (want[0], vec![Some(want[0])]));
    }

    #[test]
    fn threads_change_no_bit_and_pairs_turn_round() {
        let bootstrap = Bootstrap {
            seed: 9,
            resamples: 101,
        };
        let [a, b] = [sample(50, 20, 0.5, 7), sample(50, 20, 0.45, 8)];
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            let pool = pool.build().unwrap();
            pool.install(|| paired_ratio_differences(&[&[&a], &[&b]], &bootstrap).unwrap())
        };
        let one = run(1);
        assert!((2..5).all(|threads| run(threads) == one));
        let back = &paired_ratio_differences(&[&[&b], &[&a]], &bootstrap).unwrap()[0];
        assert_eq!(back.mean.difference, -one[0].mean.difference);
        assert!((back.mean.interval[0] + one[0].mean.interval[1]).abs() < 1e-15);
        let same = &paired_ratio_differences(&[&[&a], &[&a]], &bootstrap).unwrap()[0].mean;
        assert_eq!(
            (same.difference, same.interval, same.p),
            (0.0, [0.0; 2], 1.0)
        );
    }

    #[test]
    fn a_ratio_of_one_image_has_no_interval() {
        let term = |ratio, numerator| RatioTerm {
            ratio,
            numerator,
            denominator: 4.0,
        };
        let images = [vec![term(0, 1.0), term(2, 2.0)], vec![term(0, 3.0)], vec![]];
        let sample = RatioSample::new(4, images).unwrap();
        assert_eq!(sample.values(), [Some(0.5), None, Some(0.5), None]);
        assert_eq!((sample.mean(), sample.of_image(2)), (Some(0.5), None));
        assert_eq!(sample.of_image(0), Some(0.375));
        let found = Bootstrap::new(0).ratio_intervals(&sample).unwrap();
        assert_eq!(found.each[0], Some([0.25, 0.75]));
        assert_eq!(found.each[1..], [None, None, None]);
    }

    #[test]
    fn what_has_no_ratio_is_refused() {
        let bootstrap = Bootstrap::new(0);
        let empty = RatioSample::new(2, [vec![], vec![]]).unwrap();
        assert!(bootstrap.ratio_intervals(&empty).is_err());
        let none = RatioSample::new(2, []).unwrap();
        assert!(bootstrap.ratio_intervals(&none).is_err());
        let a = sample(5, 2, 0.5, 1);
        let b = sample(6, 2, 0.5, 1);
        let pairs = |sides: &[&[&RatioSample]]| paired_ratio_differences(sides, &bootstrap);
        assert!(pairs(&[&[&a], &[&b]]).is_err() && pairs(&[&[&a]]).is_err());
        assert!(pairs(&[&[&a], &[]]).is_err());
        let term = |ratio, numerator, denominator| {
            let term = RatioTerm {
                ratio,
                numerator,
                denominator,
            };
            RatioSample::new(2, [vec![term]])
        };
        assert!(term(1, 0.0, 1.0).is_ok() && term(2, 0.0, 1.0).is_err());
        assert!(term(0, 0.0, 0.0).is_err() && term(0, f64::NAN, 1.0).is_err());
    }

    #[test]
    fn the_intervals_cover_the_truth() {
        // 600 samples of 80 images, the truth from 40,000. Of a sample so small a percentile interval
        // is a little short, and the more so where a class is in few of its images.
        let (n, samples) = (80, 600);
        let truth = sample(40_000, 6, 0.6, 0).mean().unwrap();
        let better = sample(40_000, 6, 0.65, 1).mean().unwrap();
        let mut covered = [0; 2];
        for seed in 0..samples {
            let bootstrap = Bootstrap {
                seed,
                resamples: 400,
            };
            let [a, b] = [
                sample(n, 6, 0.6, 10 + 2 * seed),
                sample(n, 6, 0.65, 11 + 2 * seed),
            ];
            let [low, high] = bootstrap.ratio_intervals(&a).unwrap().mean;
            covered[0] += i32::from((low..=high).contains(&truth));
            let [low, high] = paired_ratio_differences(&[&[&a], &[&b]], &bootstrap).unwrap()[0]
                .mean
                .interval;
            covered[1] += i32::from((low..=high).contains(&(truth - better)));
        }
        let shares = covered.map(|covered| f64::from(covered) / samples as f64);
        println!("coverage {shares:?}");
        // Three standard errors of 600 samples are 2.7 points.
        assert!(
            shares.iter().all(|share| (0.91..=0.975).contains(share)),
            "{shares:?}"
        );
    }
}
