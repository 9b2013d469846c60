//! A checkpoint's own pooling, where that is neither the class token nor the mean patch.

use super::{Pooler, VitConfig};
use crate::engine::{Engine, Result};
use crate::nn::{LayerNorm, Linear, Loader, Mlp, WeightError};

/// From normalised tokens to one vector an image.
#[derive(Clone, Debug)]
pub(super) enum PoolerLayer<E: Engine> {
    ClassAndDistillation,
    Projection(Linear<E>),
    Attention(AttentionPool<E>),
}

impl<E: Engine> PoolerLayer<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        pooler: Pooler,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(match pooler {
            Pooler::ClassAndDistillation => Self::ClassAndDistillation,
            Pooler::Projection { width } => Self::Projection(Linear::without_bias(
                loader,
                "projection",
                config.width,
                width,
            )?),
            Pooler::Attention { mlp_width } => {
                Self::Attention(AttentionPool::load(loader, config, mlp_width)?)
            }
        })
    }

    /// tokens: `[B, N, D]`, after the final normalisation, `prefix` tokens first -> `[B, D']`
    pub(super) fn forward(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        prefix: usize,
    ) -> Result<E::Tensor> {
        let shape = engine.shape(tokens);
        let (batch, width) = (shape[0], shape[2]);
        match self {
            Self::ClassAndDistillation => engine.mean(&engine.narrow(tokens, 1, 0, 2)?, &[1]),
            Self::Projection(linear) => {
                let class = engine.narrow(tokens, 1, 0, 1)?;
                linear.forward(engine, &engine.reshape(&class, &[batch, width])?)
            }
            Self::Attention(pool) => {
                let patches = engine.narrow(tokens, 1, prefix, shape[1] - prefix)?;
                pool.forward(engine, &patches)
            }
        }
    }
}

/// One learned query attends to the patches, then `x + mlp(norm(x))` (timm,
/// `timm/layers/attention_pool.py`, `AttentionPoolLatent`).
#[derive(Clone, Debug)]
pub(super) struct AttentionPool<E: Engine> {
    /// `[1, 1, D]`
    latent: E::Tensor,
    q: Linear<E>,
    kv: Linear<E>,
    proj: Linear<E>,
    norm: LayerNorm<E>,
    mlp: Mlp<E>,
    heads: usize,
}

impl<E: Engine> AttentionPool<E> {
    fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
        mlp_width: usize,
    ) -> std::result::Result<Self, WeightError> {
        let width = config.width;
        Ok(Self {
            latent: loader.take("attn_pool.latent", &[1, 1, width])?,
            q: Linear::load(loader, "attn_pool.q", width, width)?,
            kv: Linear::load(loader, "attn_pool.kv", width, 2 * width)?,
            proj: Linear::load(loader, "attn_pool.proj", width, width)?,
            norm: LayerNorm::load(loader, "attn_pool.norm", width, config.norm_eps)?,
            mlp: Mlp::load(
                loader,
                "attn_pool.mlp",
                (width, mlp_width),
                config.activation,
            )?,
            heads: config.heads.of(0),
        })
    }

    /// tokens: `[B, N, D]` -> `[B, D]`
    fn forward(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        let shape = engine.shape(tokens);
        let (batch, count, width) = (shape[0], shape[1], shape[2]);
        let head_dim = width / self.heads;
        let q = self.q.forward(engine, &self.latent)?;
        let q = engine.affine(&q, 1.0 / (head_dim as f64).sqrt(), 0.0)?;
        let q = engine.reshape(&q, &[1, self.heads, 1, head_dim])?;
        let q = engine.expand(&q, &[batch, self.heads, 1, head_dim])?;
        let kv = self.kv.forward(engine, tokens)?;
        let kv = engine.reshape(&kv, &[batch, count, 2, self.heads, head_dim])?;
        let part = |i| {
            let part = engine.narrow(&kv, 2, i, 1)?;
            engine.reshape(&part, &[batch, count, self.heads, head_dim])
        };
        let k = engine.permute(&part(0)?, &[0, 2, 3, 1])?;
        let v = engine.permute(&part(1)?, &[0, 2, 1, 3])?;
        let weights = engine.softmax(&engine.matmul(&q, &k)?)?;
        let mixed = engine.reshape(&engine.matmul(&weights, &v)?, &[batch, width])?;
        let x = self.proj.forward(engine, &mixed)?;
        let normed = self.norm.forward(engine, &x)?;
        engine.add(&x, &self.mlp.forward(engine, &normed)?)
    }
}
