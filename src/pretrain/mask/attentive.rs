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
