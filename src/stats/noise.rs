//! How much a value moves by chance: by the images it was measured on, and by the seed.

use serde::{Deserialize, Serialize};

use super::error::{SampleError, finite};
use super::interval::{CONFIDENCE, Z};
use super::measure::{Measure, Unit};

/// What a half-width accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseSource {
    /// The choice of the images; there is one seed only, and what another would do is not known.
    Images,
    /// The spread over seeds; the measure has no interval of its own.
    Seeds,
    /// Both.
    ImagesAndSeeds,
}

/// The half-width of the 95 % interval of a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// In the unit of the value.
    pub half_width: f64,
    /// What it accounts for.
    pub source: NoiseSource,
}

/// A standard deviation that several runs were needed to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The standard deviation.
    pub deviation: f64,
    /// Its degrees of freedom: runs less one.
    pub freedom: f64,
}

impl Noise {
    /// The half-width of the images' 95 % interval and independent spreads over seeds in one:
    /// `t u` with `u² = (half_width / z)² + Σ s²`, where z is the normal distribution's 0.975
    /// quantile and t that of Student's with `u⁴ / Σ (s⁴ / ν)` degrees of freedom (Guide to the
    /// Expression of Uncertainty in Measurement, JCGM 100:2008, sections 5.1.2 and G.4; the images'
    /// part has infinitely many). Seeds are run on the same images, so that their spread holds
    /// nothing of the images' part. None where neither is known.
    pub fn combined(images: Option<f64>, seeds: &[Spread]) -> Option<Self> {
        let source = match (images, seeds) {
            (None, []) => return None,
            (Some(_), []) => NoiseSource::Images,
            (None, _) => NoiseSource::Seeds,
            (Some(_), _) => NoiseSource::ImagesAndSeeds,
        };
        let variances = || seeds.iter().map(|seeds| seeds.deviation.powi(2));
        let variance = (images.unwrap_or(0.0) / Z).powi(2) + variances().sum::<f64>();
        let unsure: f64 = variances()
            .zip(seeds)
            .map(|(variance, seeds)| variance.powi(2) / seeds.freedom)
            .sum();
        // The empty sum is -0.
        let freedom = match unsure > 0.0 {
            true => variance.powi(2) / unsure,
            false => f64::INFINITY,
        };
        Some(Self {
            half_width: quantile(freedom) * variance.sqrt(),
            source,
        })
    }

    /// Whether a difference from the value may be chance.
    pub fn covers(&self, difference: f64) -> bool {
        difference.abs() <= self.half_width
    }

    /// The 95 % interval about a value, as far as the unit goes.
    pub fn interval(&self, value: f64, unit: Unit) -> [f64; 2] {
        let [least, most] = unit.range();
        let [low, high] = [value - self.half_width, value + self.half_width];
        [low.max(least), high.min(most)]
    }
}

/// The quantile of Student's distribution that a 95 % interval ends at.
fn quantile(freedom: f64) -> f64 {
    if freedom == f64::INFINITY {
        return Z;
    }
    let within = CONFIDENCE * density_up_to(f64::INFINITY, freedom);
    // The integral is concave, and the quantile no less than the normal distribution's: Newton's
    // steps approach it from below.
    let mut t = Z;
    for _ in 0..50 {
        let step = (within - density_up_to(t, freedom)) / density(t, freedom);
        t += step;
        if step < 1e-13 * t {
            break;
        }
    }
    t
}

/// Student's density, but for its constant factor.
fn density(x: f64, freedom: f64) -> f64 {
    (-(freedom + 1.0) / 2.0 * (x * x / freedom).ln_1p()).exp()
}

/// The integral of Student's density, but for its constant factor, from 0 to `end`: by Simpson's
/// rule in u, where x = sinh u, so that the density's tails are exponential whatever its degrees of
/// freedom (at least one).
fn density_up_to(end: f64, freedom: f64) -> f64 {
    /// Beyond sinh 36 lies less than what f64 tells apart.
    const LARGEST: f64 = 36.0;
    const STEPS: u32 = 1024;
    let step = end.asinh().min(LARGEST) / f64::from(STEPS);
    let height = |place: u32| {
        let u = f64::from(place) * step;
        u.cosh() * density(u.sinh(), freedom)
    };
    let weight = |place: u32| match place {
        0 | STEPS => 1.0,
        odd if odd % 2 == 1 => 4.0,
        _ => 2.0,
    };
    let sum: f64 = (0..=STEPS).map(|place| weight(place) * height(place)).sum();
    sum * step / 3.0
}

/// One measure over runs that differ by seed alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seeds {
    /// Number of runs.
    pub runs: usize,
    /// Mean of their values.
    pub mean: f64,
    /// Standard deviation of a run, estimated from them (n - 1); none for a single one.
    pub deviation: Option<f64>,
    /// Of a single run's value; none where a single run has no interval.
    pub noise: Option<Noise>,
}

impl Seeds {
    /// Mean, spread and noise of one measure, one entry a run. The images' part of the noise is the
    /// root mean square of the runs' own.
    ///
    /// # Errors
    /// No runs, measures of different names or units, a value that is not finite.
    pub fn of(measures: &[&Measure]) -> Result<Self, SampleError> {
        let Some((first, others)) = measures.split_first() else {
            return Err(SampleError::Empty("runs"));
        };
        for other in others {
            if (&other.name, other.unit) != (&first.name, first.unit) {
                let word = |measure: &Measure| format!("{} ({:?})", measure.name, measure.unit);
                let (left, right) = (word(first), word(other));
                return Err(SampleError::Unlike { left, right });
            }
        }
        let values: Vec<f64> = measures.iter().map(|measure| measure.value).collect();
        finite(&values)?;
        let mean = mean(&values);
        let spread = spread(&values);
        let squares: Option<Vec<f64>> = measures
            .iter()
            .map(|measure| Some(half_width(measure.interval?).powi(2)))
            .collect();
        let images = squares.map(|squares| self::mean(&squares).sqrt());
        Ok(Self {
            runs: values.len(),
            mean,
            deviation: spread.map(|spread| spread.deviation),
            noise: Noise::combined(images, spread.as_slice()),
        })
    }

    /// How well the mean of the runs is known, as far as seeds are concerned; none for a single one.
    pub fn of_mean(&self) -> Option<Spread> {
        let runs = self.runs as f64;
        Some(Spread {
            deviation: self.deviation? / runs.sqrt(),
            freedom: runs - 1.0,
        })
    }
}

/// Half of an interval's length.
pub fn half_width([low, high]: [f64; 2]) -> f64 {
    (high - low) / 2.0
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation, where there are two values or more.
fn spread(values: &[f64]) -> Option<Spread> {
    let freedom = values.len().checked_sub(1).filter(|&freedom| freedom > 0)? as f64;
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(Spread {
        deviation: (squares / freedom).sqrt(),
        freedom,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(value: f64, interval: Option<[f64; 2]>) -> Measure {
        Measure {
            name: "top1".into(),
            value,
            unit: Unit::Percent,
            n: 5000,
            interval,
            confidence: CONFIDENCE,
        }
    }

    #[test]
    fn quantiles_of_students_distribution() {
        // scipy 1.17, `scipy.stats.t.ppf(0.975, freedom)`.
        for (freedom, want) in [
            (1.0, 12.706204736174694),
            (1.5, 6.016663104427929),
            (2.0, 4.302652729749462),
            (2.3, 3.807163208232131),
            (4.0, 2.7764451051977934),
            (7.7, 2.3217367528308643),
            (30.0, 2.0422724563012378),
            (123.4, 1.9793749463174197),
            (1e5, 1.9599877075346095),
            (1e8, 1.9599640082627663),
        ] {
            let got = quantile(freedom);
            assert!((got - want).abs() < 1e-9 * want, "{freedom}: {got} {want}");
        }
        assert_eq!(quantile(f64::INFINITY), Z);
    }

    #[test]
    fn seeds_widen_the_noise() {
        let of = |values: &[f64], interval: bool| {
            let runs = values.iter().map(|&value| {
                let interval = interval.then_some([value - 0.5, value + 0.3]);
                measure(value, interval)
            });
            let runs: Vec<Measure> = runs.collect();
            Seeds::of(&runs.iter().collect::<Vec<_>>()).unwrap()
        };
        let one = of(&[71.2], true);
        assert_eq!((one.runs, one.mean, one.deviation), (1, 71.2, None));
        let noise = one.noise.unwrap();
        assert_eq!(noise.source, NoiseSource::Images);
        assert!((noise.half_width - 0.4).abs() < 1e-12);
        assert!(noise.covers(-0.39) && !noise.covers(0.41) && one.of_mean().is_none());

        // numpy: v = [71.2, 71.9, 70.8], h = 0.4; s = v.std(ddof=1), u = sqrt((h / z)**2 + s**2),
        // nu = u**4 / (s**4 / 2), t.ppf(0.975, nu) * u; without h it is t.ppf(0.975, 2) * s.
        let three = of(&[71.2, 71.9, 70.8], true);
        let noise = three.noise.unwrap();
        assert_eq!((three.runs, noise.source), (3, NoiseSource::ImagesAndSeeds));
        assert!((three.mean - 71.3).abs() < 1e-12);
        assert!((three.deviation.unwrap() - 0.5567764362830063).abs() < 1e-12);
        assert!((noise.half_width - 2.077063208431475).abs() < 1e-9);
        let mean = three.of_mean().unwrap();
        assert!((mean.deviation - 0.321455).abs() < 1e-6 && mean.freedom == 2.0);
        let noise = of(&[71.2, 71.9, 70.8], false).noise.unwrap();
        assert_eq!(noise.source, NoiseSource::Seeds);
        assert!((noise.half_width - 2.3956156534332544).abs() < 1e-9);

        // Seeds that change nothing leave the images' part.
        let noise = of(&[71.2, 71.2], true).noise.unwrap();
        assert!((noise.half_width - 0.4).abs() < 1e-9);
        assert_eq!(of(&[71.2, 71.2], false).noise.unwrap().half_width, 0.0);
        assert_eq!(of(&[71.2], false).noise, None);
    }

    #[test]
    fn an_interval_ends_where_the_unit_does() {
        let noise = Noise {
            half_width: 4.0,
            source: NoiseSource::Images,
        };
        assert_eq!(noise.interval(95.0, Unit::Percent), [91.0, 99.0]);
        assert_eq!(noise.interval(98.0, Unit::Percent), [94.0, 100.0]);
        assert_eq!(noise.interval(1.0, Unit::Pixels), [0.0, 5.0]);
        assert_eq!(noise.interval(1.0, Unit::Nats), [-3.0, 5.0]);
    }

    #[test]
    fn a_run_is_within_its_noise_as_often_as_it_should_be() {
        // Runs of a value whose images' part and seeds' part both have deviation 1: the images'
        // part is common to all seeds, so that a run moves by both from the truth.
        let mut state = 1u64;
        let mut bell = || {
            let sum: f64 = (0..12)
                .map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
                    (state >> 11) as f64 / (1u64 << 53) as f64
                })
                .sum();
            sum - 6.0
        };
        let rounds = 1000;
        let covered = (0..rounds).filter(|_| {
            let images = bell();
            let runs: Vec<Measure> = (0..4)
                .map(|_| images + bell())
                .map(|value| measure(value, Some([value - Z, value + Z])))
                .collect();
            let seeds = Seeds::of(&runs.iter().collect::<Vec<_>>()).unwrap();
            seeds.noise.unwrap().covers(runs[0].value)
        });
        let share = covered.count() as f64 / f64::from(rounds);
        println!("coverage {share}");
        assert!((0.94..=0.98).contains(&share), "{share}");
    }

    #[test]
    fn runs_of_different_measures_have_no_spread() {
        let [a, mut b] = [measure(1.0, None), measure(2.0, None)];
        b.name = "top5".into();
        let error = Seeds::of(&[&a, &b]).unwrap_err().to_string();
        assert_eq!(
            error,
            "top1 (Percent) and top5 (Percent) are not the same measure"
        );
        assert!(Seeds::of(&[]).is_err());
        assert!(Seeds::of(&[&measure(f64::NAN, None)]).is_err());
    }
}
