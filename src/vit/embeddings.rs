//! From pixels to the input of the first block.

use super::{PatchView, VitConfig};
use crate::engine::{Engine, Result};
use crate::nn::{LayerNorm, Linear, Loader, WeightError, select_tokens};

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

    /// images: `[B, C, H, W]`, normalised -> `[B, N, D]` of the prefix tokens and what `view` shows
    pub(super) fn forward(
        &self,
        engine: &E,
        config: &VitConfig,
        images: &E::Tensor,
        view: &PatchView<'_, E>,
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
        let patches = match *view {
            PatchView::All => self.proj.forward(engine, &patches)?,
            PatchView::Hiding { mask_token, hidden } => {
                let patches = self.proj.forward(engine, &patches)?;
                hide(engine, &patches, mask_token, hidden)?
            }
            PatchView::Seeing(seen) => {
                let seen = select_tokens(engine, &patches, 0, seen)?;
                self.proj.forward(engine, &seen)?
            }
        };
        let mut tokens = Vec::new();
        for token in &self.prefix {
            let count = engine.shape(token)[1];
            tokens.push(engine.expand(token, &[batch, count, width])?);
        }
        tokens.push(patches);
        let tokens = match (&self.positions, config.positions) {
            (Some(positions), Some(prefix)) => {
                self.place(engine, config, tokens, (positions, prefix), view)?
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
        (positions, prefix): (&E::Tensor, usize),
        view: &PatchView<'_, E>,
    ) -> Result<E::Tensor> {
        let seen = match view {
            PatchView::Seeing(seen) => Some(seen),
            PatchView::All | PatchView::Hiding { .. } => None,
        };
        if prefix == config.prefix() && seen.is_none() {
            return engine.add(&joined(engine, &tokens)?, positions);
        }
        // Rows of the table follow the tokens that have one; the patches, last, always do.
        let last = tokens.len() - 1;
        let mut row = 0;
        for (i, token) in tokens.iter_mut().enumerate() {
            let count = match i == last {
                true => config.patches(),
                false => engine.shape(token)[1],
            };
            if i < last && row + count > prefix {
                continue;
            }
            let mut rows = engine.narrow(positions, 1, row, count)?;
            if let (true, Some(seen)) = (i == last, seen) {
                let flat = engine.reshape(&rows, &[count, config.width])?;
                let chosen = engine.index_select(&flat, 0, seen)?;
                rows = engine.reshape(&chosen, &engine.shape(token))?;
            }
            *token = engine.add(token, &rows)?;
            row += count;
        }
        joined(engine, &tokens)
    }
}

/// Patches of which the hidden ones are the mask token.
///
/// patches: `[B, N, D]`; mask_token: `[1, 1, D]`; hidden: `[B, N]`
fn hide<E: Engine>(
    engine: &E,
    patches: &E::Tensor,
    mask_token: &E::Tensor,
    hidden: &[bool],
) -> Result<E::Tensor> {
    let shape = engine.shape(patches);
    let share = |of: bool| -> Result<E::Tensor> {
        let share: Vec<f32> = (hidden.iter())
            .map(|&hidden| f32::from(u8::from(hidden == of)))
            .collect();
        engine.tensor(&share[..], &[shape[0], shape[1], 1])
    };
    let own = engine.mul(patches, &share(false)?)?;
    let token = engine.expand(mask_token, &shape)?;
    engine.add(&own, &engine.mul(&token, &share(true)?)?)
}

/// Joined along the tokens: each `[B, n, D]`.
fn joined<E: Engine>(engine: &E, tokens: &[E::Tensor]) -> Result<E::Tensor> {
    match tokens {
        [tokens] => Ok(tokens.clone()),
        _ => engine.cat(&tokens.iter().collect::<Vec<_>>(), 1),
    }
}
