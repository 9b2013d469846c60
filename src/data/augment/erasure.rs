//! Random erasing, as timm 1.0.31 does it per pixel (timm `data/random_erasing.py`, mode `pixel`).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::noise::normal;
use super::spec::Erase;
use crate::data::stream::Stream;

/// Tries of a box that fits (timm `data/random_erasing.py`).
const TRIES: usize = 10;

/// A box of a tensor that noise takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns, fewer than the tensor's.
    pub width: usize,
    /// Rows, fewer than the tensor's.
    pub height: usize,
    /// What the noise is a function of.
    pub noise: u64,
}

impl Erase {
    /// The boxes of a tensor of `width` x `height`; fewer than drawn where none fits.
    pub(super) fn draw(&self, stream: &mut Stream, width: usize, height: usize) -> Vec<Erasure> {
        if stream.unit() >= self.probability {
            return Vec::new();
        }
        let count = 1 + stream.below(self.count);
        let erasures = (0..count).filter_map(|_| self.place(stream, count, width, height));
        erasures.collect()
    }

    /// One of `count` boxes.
    fn place(
        &self,
        stream: &mut Stream,
        count: usize,
        width: usize,
        height: usize,
    ) -> Option<Erasure> {
        let logs = [self.aspect.ln(), (1.0 / self.aspect).ln()];
        for _ in 0..TRIES {
            let area = stream.between(self.area) * (width * height) as f64 / count as f64;
            let aspect = stream.between(logs).exp();
            let rows = (area * aspect).sqrt().round_ties_even() as usize;
            let columns = (area / aspect).sqrt().round_ties_even() as usize;
            if columns < width && rows < height {
                return Some(Erasure {
                    left: stream.below(width - columns + 1),
                    top: stream.below(height - rows + 1),
                    width: columns,
                    height: rows,
                    noise: stream.word(),
                });
            }
        }
        None
    }
}

impl Erasure {
    /// The standard normal numbers of the box, `[channels, height, width]`, one after another.
    pub fn noise(&self) -> impl Iterator<Item = f32> + use<> {
        let mut seed = *b"........................erasing1";
        seed[..8].copy_from_slice(&self.noise.to_le_bytes());
        let mut stream = ChaCha8Rng::from_seed(seed);
        std::iter::repeat_with(move || normal(stream.next_u32()) as f32)
    }

    /// Puts noise into a tensor, as far as the box lies in it.
    ///
    /// tensor: `[C, height, width]`
    pub(super) fn apply(&self, tensor: &mut [f32], width: usize, height: usize) {
        let mut noise = self.noise();
        for plane in tensor.chunks_exact_mut(width * height) {
            let rows = plane.chunks_exact_mut(width).skip(self.top);
            for row in rows.take(self.height) {
                for value in row.iter_mut().skip(self.left).take(self.width) {
                    if let Some(number) = noise.next() {
                        *value = number;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SampleKey;
    use super::*;

    fn stream(index: u64) -> Stream {
        SampleKey {
            seed: 8,
            pass: 0,
            index,
        }
        .stream()
    }

    const ALWAYS: Erase = Erase {
        probability: 1.0,
        area: [0.02, 1.0 / 3.0],
        aspect: 0.3,
        count: 1,
    };

    #[test]
    fn erases_as_often_as_asked() {
        let erased = |probability| {
            let erase = Erase {
                probability,
                ..ALWAYS
            };
            let draws = (0..10_000).map(|index| erase.draw(&mut stream(index), 224, 224));
            draws.filter(|erasures| !erasures.is_empty()).count()
        };
        assert_eq!((erased(0.0), erased(1.0)), (0, 10_000));
        // Five standard deviations.
        assert!(erased(0.25).abs_diff(2500) < 217);
    }

    #[test]
    fn areas_are_uniform_and_aspects_log_uniform() {
        const DRAWS: u64 = 20_000;
        // So large a tensor that rounding is of no weight, and shares that every aspect lets fit.
        const SIDE: usize = 20_000;
        let erase = Erase {
            area: [0.02, 0.28],
            ..ALWAYS
        };
        let [mut areas, mut logs, mut squares, mut across, mut down] = [0.0; 5];
        for index in 0..DRAWS {
            let erasures = erase.draw(&mut stream(index), SIDE, SIDE);
            let [erasure] = erasures[..] else {
                panic!("{erasures:?}");
            };
            let (width, height) = (erasure.width as f64, erasure.height as f64);
            areas += width * height / (SIDE * SIDE) as f64;
            let log = (height / width).ln();
            logs += log;
            squares += log * log;
            across += erasure.left as f64 / (SIDE as f64 - width);
            down += erasure.top as f64 / (SIDE as f64 - height);
        }
        let mean = |sum: f64| sum / DRAWS as f64;
        // Five standard errors: 0.26 / sqrt(12 n), and so on.
        assert!((mean(areas) - 0.15).abs() < 0.0027, "{}", mean(areas));
        let half = -(0.3_f64.ln());
        assert!(mean(logs).abs() < 0.0246, "{}", mean(logs));
        let variance = half * half / 3.0;
        assert!((mean(squares) / variance - 1.0).abs() < 0.032);
        assert!((mean(across) - 0.5).abs() < 0.0103, "{}", mean(across));
        assert!((mean(down) - 0.5).abs() < 0.0103, "{}", mean(down));
    }

    #[test]
    fn boxes_share_the_area_and_reach_both_ends() {
        let erase = Erase {
            area: [0.5, 0.5],
            aspect: 1.0,
            count: 2,
            ..ALWAYS
        };
        let mut counts = [0; 2];
        let mut places = std::collections::BTreeSet::new();
        for index in 0..2000 {
            let erasures = erase.draw(&mut stream(index), 10, 8);
            counts[erasures.len() - 1] += 1;
            // Squares of 40 and of 20 pixels.
            let side = [6, 4][erasures.len() - 1];
            for erasure in erasures {
                assert_eq!((erasure.width, erasure.height), (side, side));
                places.insert((side, erasure.left, erasure.top));
            }
        }
        assert!((776..1224).contains(&counts[0]), "{counts:?}");
        assert_eq!(places.len(), 5 * 3 + 7 * 5);
    }

    #[test]
    fn what_fits_nowhere_is_not_erased() {
        let erase = Erase {
            area: [1.0, 1.0],
            aspect: 1.0,
            ..ALWAYS
        };
        assert!(erase.draw(&mut stream(0), 16, 16).is_empty());
        // A tensor of one pixel has a box of none, as in timm.
        let erasures = ALWAYS.draw(&mut stream(0), 1, 1);
        assert!(erasures.iter().all(|erasure| erasure.width == 0));
    }

    #[test]
    fn noise_is_normal_and_a_function_of_its_key() {
        const NUMBERS: usize = 40_000;
        let erasure = |noise| Erasure {
            left: 1,
            top: 2,
            width: 3,
            height: 2,
            noise,
        };
        let numbers: Vec<f32> = erasure(5).noise().take(NUMBERS).collect();
        assert!(erasure(5).noise().take(NUMBERS).eq(numbers.iter().copied()));
        assert!(erasure(6).noise().next() != erasure(5).noise().next());
        let mean = |power: i32| {
            let powers = numbers.iter().map(|&x| f64::from(x).powi(power));
            powers.sum::<f64>() / NUMBERS as f64
        };
        // Five standard errors.
        assert!(mean(1).abs() < 0.025);
        assert!((mean(2) - 1.0).abs() < 0.036);
        assert!((mean(4) - 3.0).abs() < 0.25);

        let mut tensor = vec![9.0; 2 * 5 * 4];
        erasure(5).apply(&mut tensor, 4, 5);
        let mut noise = numbers.iter();
        for (place, value) in tensor.iter().enumerate() {
            let (row, column) = (place / 4 % 5, place % 4);
            let inside = (2..4).contains(&row) && (1..4).contains(&column);
            let want = if inside { noise.next().unwrap() } else { &9.0 };
            assert_eq!(value, want);
        }
    }
}
