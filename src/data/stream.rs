//! The random numbers of training.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Random numbers that are a function of what they are for and of three words.
///
/// Written here because rand may change what its own ranges draw from a seed.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    pub(crate) fn new(purpose: &[u8; 8], words: [u64; 3]) -> Self {
        let words = words.map(u64::to_le_bytes);
        let mut seed = [0; 32];
        let parts = words.iter().chain([purpose]);
        for (bytes, part) in seed.as_chunks_mut().0.iter_mut().zip(parts) {
            *bytes = *part;
        }
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// 64 random bits.
    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `[0, 1)`, with 53 bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform from `low` to `high`.
    pub(crate) fn between(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`; a bias below n / 2^64 is let be.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// Beta(alpha, alpha), from 0 to 1.
    ///
    /// A symmetric beta is made of a t of `2 alpha` degrees of freedom, and that of two uniform
    /// numbers (Devroye, "Random variate generation in one line of code", WSC 1996, after Bailey).
    /// Arranged so that no `alpha` above 0 divides infinities or zeros.
    pub(crate) fn symmetric_beta(&mut self, alpha: f64) -> f64 {
        let w = (1.0 - self.unit()).powf(1.0 / alpha);
        let cosine = (std::f64::consts::TAU * self.unit()).cos();
        let rest = 1.0 - w;
        0.5 + 0.5 * cosine * rest.sqrt() / (w + cosine * cosine * rest).sqrt()
    }
}
