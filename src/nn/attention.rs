//! Multi-head self-attention with packed projections.

use super::{Linear, Loader, WeightError};
use crate::engine::{Engine, Result};

/// `proj(softmax(q kᵀ / √head_dim) v)`.
#[derive(Clone, Debug)]
pub struct Attention<E: Engine> {
    qkv: Linear<E>,
    proj: Linear<E>,
    heads: usize,
    scale: f64,
}

impl<E: Engine> Attention<E> {
    /// From `prefix.qkv` `[3 D, D]` and `prefix.proj` `[D, D]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        width: usize,
        heads: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            qkv: Linear::load(loader, &format!("{prefix}.qkv"), width, 3 * width)?,
            proj: Linear::load(loader, &format!("{prefix}.proj"), width, width)?,
            heads,
            scale: 1.0 / ((width / heads) as f64).sqrt(),
        })
    }

    /// x: `[B, N, D]` -> `[B, N, D]`
    pub fn forward(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let qkv = self.qkv.forward(engine, x)?;
        let mixed = engine.attention(&qkv, self.heads, None, self.scale)?;
        self.proj.forward(engine, &mixed)
    }

    /// [`Attention::forward`] and the attention weights: `[B, H, N, N]`.
    pub fn forward_with_weights(
        &self,
        engine: &E,
        x: &E::Tensor,
    ) -> Result<(E::Tensor, E::Tensor)> {
        let qkv = self.qkv.forward(engine, x)?;
        let (mixed, weights) = engine.attention_with_weights(&qkv, self.heads, None, self.scale)?;
        Ok((self.proj.forward(engine, &mixed)?, weights))
    }
}
