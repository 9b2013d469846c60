//! Masks that show what a network attends to.

use super::Sample;
use crate::data::stream::Stream;

/// Least weight of a patch: products of f16 underflow to zeros, which are never drawn.
const LEAST: f64 = 1e-8;

/// Patches drawn one after another in proportion to their attention, none twice; the first `kept` are
/// seen, in the order they were drawn (OpenDriveLab/maskalign `models_pretrain.py`, which takes
/// `torch.multinomial`).
///
/// Of independent exponential times with the weights as their rates, the first comes in proportion to the
/// weights, and so does the next among the others.
///
/// attention: the class token's, `[N]`
pub(super) fn draw(attention: &[f32], kept: usize, stream: &mut Stream) -> Sample {
    let time = |&weight: &f32| -(1.0 - stream.unit()).ln() / f64::from(weight).max(LEAST);
    let times: Vec<_> = attention.iter().map(time).collect();
    Sample::of_noise(&times, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probability that `patch` is among the first `kept` drawn, by following every way of drawing.
    fn seen(weights: &[f64], patch: usize, kept: usize, drawn: &mut Vec<usize>) -> f64 {
        if drawn.contains(&patch) {
            return 1.0;
        }
        if drawn.len() == kept {
            return 0.0;
        }
        let left: Vec<_> = (0..weights.len()).filter(|i| !drawn.contains(i)).collect();
        let total: f64 = left.iter().map(|&i| weights[i]).sum();
        let mut probability = 0.0;
        for i in left {
            drawn.push(i);
            probability += weights[i] / total * seen(weights, patch, kept, drawn);
            drawn.pop();
        }
        probability
    }

    #[test]
    fn patches_are_drawn_in_proportion_and_none_twice() {
        const DRAWS: usize = 40_000;
        let attention = [0.4_f32, 0.05, 0.2, 0.1, 0.01, 0.14];
        let weights = attention.map(f64::from);
        for kept in [1, 2, 4] {
            let mut counts = [0; 6];
            for seed in 0..DRAWS {
                let mut stream = Stream::new(b"a test..", [seed as u64, 0, 0]);
                let sample = draw(&attention, kept, &mut stream);
                for &patch in &sample.order[..kept] {
                    counts[patch as usize] += 1;
                }
            }
            for (patch, count) in counts.into_iter().enumerate() {
                let p = seen(&weights, patch, kept, &mut vec![]);
                let deviation = (p * (1.0 - p) / DRAWS as f64).sqrt();
                let found = f64::from(count) / DRAWS as f64;
                assert!(
                    (found - p).abs() < 5.0 * deviation,
                    "{kept}: {found} for {p}"
                );
            }
        }
    }

    #[test]
    fn weights_that_underflowed_come_last() {
        for seed in 0..100 {
            let mut stream = Stream::new(b"a test..", [seed, 0, 0]);
            let sample = draw(&[0.0, 0.5, 0.0, 0.5], 2, &mut stream);
            assert!(sample.order[..2].iter().all(|patch| patch % 2 == 1));
        }
    }
}
