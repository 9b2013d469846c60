//! The random numbers of one scene.

/// Bytes taken from the generator at a time: 64 BLAKE3 output blocks.
const BUFFER: usize = 4096;

/// A stream of random numbers that is a function of its seed alone: the extendable output of BLAKE3
/// over the seed's words. Only integer operations and exact float ones, so every platform agrees.
pub(super) struct Stream {
    output: blake3::OutputReader,
    buffer: [u8; BUFFER],
    used: usize,
}

impl Stream {
    /// The stream of `words`; `context` keeps it apart from every other use of BLAKE3.
    pub(super) fn new(context: &str, words: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for word in words {
            hasher.update(&word.to_le_bytes());
        }
        Self {
            output: hasher.finalize_xof(),
            buffer: [0; BUFFER],
            used: BUFFER,
        }
    }

    /// The next four bytes, little endian.
    pub(super) fn word(&mut self) -> u32 {
        if self.used == BUFFER {
            self.output.fill(&mut self.buffer);
            self.used = 0;
        }
        let word = u32::from_le_bytes(std::array::from_fn(|i| self.buffer[self.used + i]));
        self.used += 4;
        word
    }

    /// Uniform in `[0, 1)`, in steps of 2^-32.
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(self.word()) / 4_294_967_296.0
    }

    /// Uniform in `[low, high)`.
    pub(super) fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..n`, by taking the high half of a product (its bias is below `n / 2^32`).
    pub(super) fn below(&mut self, n: u32) -> usize {
        ((u64::from(self.word()) * u64::from(n)) >> 32) as usize
    }

    /// A unit vector of uniform direction: a point of the disc, scaled, which needs no sine or cosine
    /// (those differ in the last bit between platforms).
    pub(super) fn direction(&mut self) -> [f64; 2] {
        loop {
            let [x, y] = [self.range(-1.0, 1.0), self.range(-1.0, 1.0)];
            let square = x * x + y * y;
            if square > 1e-6 && square <= 1.0 {
                let norm = square.sqrt();
                return [x / norm, y / norm];
            }
        }
    }

    /// A unit vector near +x: the tangent of its angle is uniform in `[-tangent, tangent)`.
    pub(super) fn tilt(&mut self, tangent: f64) -> [f64; 2] {
        let y = self.range(-tangent, tangent);
        let norm = (1.0 + y * y).sqrt();
        [1.0 / norm, y / norm]
    }

    /// Close to normal with mean 0 and deviation 1: the sum of four uniform bytes, standardised.
    pub(super) fn bell(&mut self) -> f64 {
        // Four bytes have mean 4 * 127.5 and variance 4 * (256^2 - 1) / 12.
        const DEVIATION: f64 = 147.800_541_270_998_05;
        let sum: u32 = self.word().to_le_bytes().map(u32::from).iter().sum();
        (f64::from(sum) - 510.0) / DEVIATION
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_pinned() {
        let mut stream = Stream::new("a test", &[1, 2]);
        let words: Vec<u32> = (0..2000).map(|_| stream.word()).collect();
        // The reference: BLAKE3's own output, read in one piece.
        let mut hasher = blake3::Hasher::new_derive_key("a test");
        hasher
            .update(&1u64.to_le_bytes())
            .update(&2u64.to_le_bytes());
        let mut bytes = vec![0; 8000];
        hasher.finalize_xof().fill(&mut bytes);
        let expected: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert_eq!(words, expected);
        assert_ne!(words[0], Stream::new("a test", &[2, 1]).word());
    }

    #[test]
    fn the_distributions_have_the_moments_they_claim() {
        let mut stream = Stream::new("a test", &[]);
        let n = 20_000;
        let (mut sum, mut squares, mut counts, mut drift) = (0.0, 0.0, [0usize; 5], [0.0; 2]);
        for _ in 0..n {
            let x = stream.bell();
            sum += x;
            squares += x * x;
            counts[stream.below(5)] += 1;
            let [x, y] = stream.direction();
            assert!((x * x + y * y - 1.0).abs() < 1e-12);
            drift = [drift[0] + x, drift[1] + y];
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.03 && (squares / n - 1.0).abs() < 0.04);
        assert!(counts.iter().all(|&c| (c as f64 / n - 0.2).abs() < 0.015));
        assert!(drift.iter().all(|d| (d / n).abs() < 0.03));
    }
}
