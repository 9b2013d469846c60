//! One pre-norm transformer block.

use super::VitConfig;
use crate::engine::{Engine, Result};
use crate::nn::{Attention, LayerNorm, Loader, Mlp, WeightError};

/// `x + attn(norm1(x))`, then `x + mlp(norm2(x))`.
#[derive(Clone, Debug)]
pub(super) struct Block<E: Engine> {
    norm1: LayerNorm<E>,
    attn: Attention<E>,
    norm2: LayerNorm<E>,
    mlp: Mlp<E>,
}

impl<E: Engine> Block<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let &VitConfig {
            width,
            heads,
            mlp_width,
            norm_eps,
            activation,
            ..
        } = config;
        Ok(Self {
            norm1: LayerNorm::load(loader, &format!("{prefix}.norm1"), width, norm_eps)?,
            attn: Attention::load(loader, &format!("{prefix}.attn"), width, heads)?,
            norm2: LayerNorm::load(loader, &format!("{prefix}.norm2"), width, norm_eps)?,
            mlp: Mlp::load(
                loader,
                &format!("{prefix}.mlp"),
                (width, mlp_width),
                activation,
            )?,
        })
    }

    /// x: `[B, N, D]` -> `[B, N, D]`
    pub(super) fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let mixed = self.attn.forward(engine, &self.norm1.forward(engine, x)?)?;
        self.mlp_residual(engine, &engine.add(x, &mixed)?)
    }

    /// [`Block::forward`] and the attention weights: `[B, H, N, N]`.
    pub(super) fn forward_with_weights(
        &self,
        engine: &E,
        x: &E::Tensor,
    ) -> Result<(E::Tensor, E::Tensor)> {
        let normed = self.norm1.forward(engine, x)?;
        let (mixed, weights) = self.attn.forward_with_weights(engine, &normed)?;
        Ok((self.mlp_residual(engine, &engine.add(x, &mixed)?)?, weights))
    }

    fn mlp_residual(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let normed = self.norm2.forward(engine, x)?;
        engine.add(x, &self.mlp.forward(engine, &normed)?)
    }
}
