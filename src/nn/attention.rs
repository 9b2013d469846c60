//! Multi-head self-attention with packed projections.

use super::{LayerNorm, Linear, Loader, WeightError};
use crate::engine::{Engine, Result};
use crate::metric::PatchGrid;

/// What an attention layer consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionConfig {
    /// Heads; they divide the width.
    pub heads: usize,
    /// Whether queries, keys and values have a bias.
    pub bias: bool,
    /// Whether queries and keys are normalised a head.
    pub qk_norm: bool,
    /// Whether the mixed values are normalised before their projection.
    pub norm: bool,
    /// Epsilon of these norms.
    pub norm_eps: f64,
}

/// `proj(norm?(softmax(q kᵀ / √head_dim + bias) v))`.
#[derive(Clone, Debug)]
pub struct Attention<E: Engine> {
    qkv: Linear<E>,
    qk_norm: Option<[LayerNorm<E>; 2]>,
    norm: Option<LayerNorm<E>>,
    proj: Linear<E>,
    heads: usize,
    scale: f64,
}

impl<E: Engine> Attention<E> {
    /// From `prefix.qkv` `[3 D, D]` and `prefix.proj` `[D, D]`; `prefix.q_norm`, `prefix.k_norm`
    /// `[head_dim]` and `prefix.norm` `[D]` where there are such.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        width: usize,
        config: &AttentionConfig,
    ) -> std::result::Result<Self, WeightError> {
        let head_dim = width / config.heads;
        let eps = config.norm_eps;
        let norm = |loader: &mut Loader<'_, E>, name: &str, width| {
            LayerNorm::load(loader, &format!("{prefix}.{name}"), width, eps)
        };
        let qkv = format!("{prefix}.qkv");
        Ok(Self {
            qkv: if config.bias {
                Linear::load(loader, &qkv, width, 3 * width)?
            } else {
                Linear::without_bias(loader, &qkv, width, 3 * width)?
            },
            qk_norm: if config.qk_norm {
                Some([
                    norm(loader, "q_norm", head_dim)?,
                    norm(loader, "k_norm", head_dim)?,
                ])
            } else {
                None
            },
            norm: config
                .norm
                .then(|| norm(loader, "norm", width))
                .transpose()?,
            proj: Linear::load(loader, &format!("{prefix}.proj"), width, width)?,
            heads: config.heads,
            scale: 1.0 / (head_dim as f64).sqrt(),
        })
    }

    /// Queries, keys and values: x `[B, N, D]` -> `[B, N, 3 D]`
    pub fn project(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        let qkv = self.qkv.forward(engine, x)?;
        let Some(norms) = &self.qk_norm else {
            return Ok(qkv);
        };
        let shape = engine.shape(x);
        let width = shape[2];
        let by_head = [shape[0], shape[1], self.heads, width / self.heads];
        let mut parts = Vec::new();
        for (i, norm) in norms.iter().enumerate() {
            let part = engine.narrow(&qkv, 2, i * width, width)?;
            let normed = norm.forward(engine, &engine.reshape(&part, &by_head)?)?;
            parts.push(engine.reshape(&normed, &shape)?);
        }
        let values = engine.narrow(&qkv, 2, 2 * width, width)?;
        engine.cat(&[&parts[0], &parts[1], &values], 2)
    }

    /// The mixed values are the same bits whatever is `wanted`.
    ///
    /// qkv: `[B, N, 3 D]`; bias: broadcastable to `[B, H, N, N]`
    pub fn mix(
        &self,
        engine: &E,
        qkv: &E::Tensor,
        bias: Option<&E::Tensor>,
        wanted: Wanted,
    ) -> Result<Mixed<E>> {
        let (heads, scale) = (self.heads, self.scale);
        let (mut out, statistics) = match &wanted.statistics {
            None => (engine.attention(qkv, heads, bias, scale)?, None),
            Some(patches) => {
                let (out, statistics) =
                    engine.attention_with_statistics(qkv, heads, bias, scale, patches)?;
                (out, Some(statistics))
            }
        };
        let weights = if wanted.weights {
            let (_, weights) = engine.attention_with_weights(qkv, heads, bias, scale)?;
            Some(weights)
        } else {
            None
        };
        if let Some(norm) = &self.norm {
            out = norm.forward(engine, &out)?;
        }
        Ok(Mixed {
            out: self.proj.forward(engine, &out)?,
            weights,
            statistics,
        })
    }
}

/// What is wanted of an attention layer besides its output.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The softmax weights.
    pub weights: bool,
    /// What they say about these patches.
    pub statistics: Option<PatchGrid>,
}

/// Output of an attention layer, and what else was wanted.
#[derive(Clone, Debug)]
pub struct Mixed<E: Engine> {
    /// `[B, N, D]`
    pub out: E::Tensor,
    /// `[B, H, N, N]`
    pub weights: Option<E::Tensor>,
    /// `[B, H, 4]`, in the order of [`crate::metric::AttentionStatistic::ALL`].
    pub statistics: Option<E::Tensor>,
}
