//! Random erasing, as timm 1.0.31 does it per pixel (timm `data/random_erasing.py`, mode `pixel`).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::draw::Stream;
use super::noise::normal;
use super::spec::Erase;

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
