//! From pixels to the input of the first block.

use super::VitConfig;
use crate::engine::{Engine, Result};
use crate::nn::{LayerNorm, Linear, Loader, WeightError};

/// Patch projection, prefix tokens, absolute positions, and the norm before the first block.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<E: Engine> {
    proj: Linear<E>,
    /// Class token, distillation token, registers: each `[1, n, D]`.
    prefix: Vec<E::Tensor>,
    /// Of the first prefix tokens and every patch: `[1, n + h w, D]`.
    positions: Option<E::Tensor>,
    norm_pre: Option<LayerNorm<E>>,
}

impl<E: Engine> Embeddings<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let width = config.width;
        let tokens = [
            ("cls_token", usize::from(config.class_token)),
            ("dist_token", usize::from(config.distillation_token)),
            ("reg_token", config.registers),
        ];
        Ok(Self {
            proj: Linear::from_kernel(
                loader,
                "patch_embed.proj",
                (config.channels, config.patch_size),
                width,
                config.patch_bias,
            )?,
            prefix: tokens
                .into_iter()
                .filter(|&(_, count)| count > 0)
                .map(|(name, count)| loader.take(name, &[1, count, width]))
                .collect::<std::result::Result<_, _>>()?,
            positions: config
                .positions
                .map(|prefix| loader.take("pos_embed", &[1, prefix + config.patches(), width]))
                .transpose()?,
            norm_pre: config
                .norm_pre
                .then(|| LayerNorm::load(loader, "norm_pre", width, config.norm_eps))
                .transpose()?,
        })
    }

    /// images: `[B, C, H, W]`, normalised -> `[B, N, D]`
    pub(super) fn forward(
        &self,
        engine: &E,
        config: &VitConfig,
        images: &E::Tensor,
    ) -> Result<E::Tensor> {
        let &VitConfig {
            patch_size: p,
            grid: [rows, columns],
            channels,
            width,
            ..
        } = config;
        let batch = engine.shape(images).first().copied().unwrap_or_default();
        let mut images = images.clone();
        if config.margin != [0; 2] {
            images = engine.narrow(&images, 2, 0, rows * p)?;
            images = engine.narrow(&images, 3, 0, columns * p)?;
        }
        let patches = engine.reshape(&images, &[batch, channels, rows, p, columns, p])?;
        let patches = engine.permute(&patches, &[0, 2, 4, 1, 3, 5])?;
        let patches = engine.reshape(&patches, &[batch, rows * columns, channels * p * p])?;
        let patches = self.proj.forward(engine, &patches)?;
        let mut tokens = Vec::new();
        for token in &self.prefix {
            let count = engine.shape(token)[1];
            tokens.push(engine.expand(token, &[batch, count, width])?);
        }
        tokens.push(patches);
        let tokens = match (&self.positions, config.positions) {
            (Some(positions), Some(prefix)) => {
                self.place(engine, config, tokens, positions, prefix)?
            }
            _ => joined(engine, &tokens)?,
        };
        match &self.norm_pre {
            Some(norm) => norm.forward(engine, &tokens),
            None => Ok(tokens),
        }
    }

    /// Adds positions to the first `prefix` tokens and to the patches.
    fn place(
        &self,
        engine: &E,
        config: &VitConfig,
        mut tokens: Vec<E::Tensor>,
        positions: &E::Tensor,
        prefix: usize,
    ) -> Result<E::Tensor> {
        if prefix == config.prefix() {
            return engine.add(&joined(engine, &tokens)?, positions);
        }
        // Rows of the table follow the tokens that have one; the patches, last, always do.
        let last = tokens.len() - 1;
        let mut row = 0;
        for (i, token) in tokens.iter_mut().enumerate() {
            let count = engine.shape(token)[1];
            if i == last || row + count <= prefix {
                let rows = engine.narrow(positions, 1, row, count)?;
                *token = engine.add(token, &rows)?;
                row += count;
            }
        }
        joined(engine, &tokens)
    }
}

/// Joined along the tokens: each `[B, n, D]`.
fn joined<E: Engine>(engine: &E, tokens: &[E::Tensor]) -> Result<E::Tensor> {
    match tokens {
        [tokens] => Ok(tokens.clone()),
        _ => engine.cat(&tokens.iter().collect::<Vec<_>>(), 1),
    }
}
