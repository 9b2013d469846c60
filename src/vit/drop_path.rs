//! Stochastic depth: residual branches that are left out image by image (Huang et al. 2016).

use crate::engine::{Engine, Result};

/// What the branches of a batch's images count for in every block (timm `timm/layers/drop.py`,
/// `drop_path`): 0 where a branch is left out, else 1 over the probability of staying.
#[derive(Clone, Debug)]
pub struct DropPath<E: Engine> {
    blocks: Vec<Option<BlockKeep<E>>>,
}

/// The factors of one block's branches, each `[B, 1, 1]`.
#[derive(Clone, Debug)]
pub(super) struct BlockKeep<E: Engine> {
    pub(super) attention: E::Tensor,
    pub(super) mlp: E::Tensor,
}

/// How likely each block's branches are left out: from 0 at the first to `largest` at the last, at
/// equal distances.
pub fn drop_path_rates(largest: f64, depth: usize) -> Vec<f64> {
    let last = depth.saturating_sub(1).max(1) as f64;
    (0..depth)
        .map(|block| largest * block as f64 / last)
        .collect()
}

impl<E: Engine> DropPath<E> {
    /// Factors for a batch of `images`. Of image `i` in a block, `draw` gives two numbers, uniform
    /// in `[0, 1)`, for attention and MLP: a branch stays where its number is not below the rate.
    pub fn new(
        engine: &E,
        rates: &[f64],
        images: usize,
        draw: &mut dyn FnMut(usize) -> [f64; 2],
    ) -> Result<Self> {
        let mut blocks = Vec::with_capacity(rates.len());
        for &rate in rates {
            let factor = |number: f64| match number < rate {
                true => 0.0,
                false => 1.0 / (1.0 - rate),
            };
            let drawn: Vec<_> = (0..images).map(|image| draw(image).map(factor)).collect();
            let tensor = |branch: usize| {
                let factors: Vec<f64> = drawn.iter().map(|pair| pair[branch]).collect();
                engine.tensor(&factors[..], &[images, 1, 1])
            };
            let keep = || {
                Ok(BlockKeep {
                    attention: tensor(0)?,
                    mlp: tensor(1)?,
                })
            };
            blocks.push((rate > 0.0).then(keep).transpose()?);
        }
        Ok(Self { blocks })
    }

    /// The factors of block `i`, where it may leave any out.
    pub(super) fn of(&self, i: usize) -> Option<&BlockKeep<E>> {
        self.blocks.get(i)?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_from_zero_to_the_largest() {
        assert_eq!(drop_path_rates(0.1, 3), [0.0, 0.05, 0.1]);
        assert_eq!(drop_path_rates(0.2, 1), [0.0]);
        assert_eq!(drop_path_rates(0.2, 0), [0.0; 0]);
    }
}
