//! MAE's decoder: pixels of every patch from the tokens of those that were seen.

use crate::engine::{Engine, EngineError, Result};
use crate::nn::{LayerNorm, Linear, Loader, WeightError, select_tokens};
use crate::vit::{Blocks, Heads, VitConfig};

/// What the decoder does not share with its encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaeDecoderConfig {
    /// Token width W.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads of every block.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_width: usize,
}

impl MaeDecoderConfig {
    /// Its blocks, which have the epsilon, the activation and the biases of the encoder's
    /// (facebookresearch/mae `models_mae.py`, transformers `models/vit_mae/modeling_vit_mae.py`).
    pub(crate) fn blocks(&self, encoder: &VitConfig) -> VitConfig {
        let size = (self.width, self.depth, self.heads);
        VitConfig {
            heads: Heads::same(self.heads, self.depth),
            mlp_width: self.mlp_width,
            activation: encoder.activation,
            qkv_bias: encoder.qkv_bias,
            norm_eps: encoder.norm_eps,
            ..VitConfig::plain(encoder.patch_size, encoder.grid, size)
        }
    }
}

/// MAE's decoder on an engine.
#[derive(Clone, Debug)]
pub struct MaeDecoder<E: Engine> {
    /// Prefix tokens P of the encoder.
    prefix: usize,
    /// Patch tokens N.
    patches: usize,
    width: usize,
    embed: Linear<E>,
    /// `[1, 1, W]`, where patches may be missing.
    mask_token: Option<E::Tensor>,
    /// `[1, P + N, W]`
    positions: E::Tensor,
    blocks: Blocks<E>,
    norm: LayerNorm<E>,
    pred: Linear<E>,
}

impl<E: Engine> MaeDecoder<E> {
    /// From `decoder.embed`, where patches may be missing `decoder.mask_token`, `decoder.pos_embed`, `decoder.blocks.N`,
    /// `decoder.norm` and `decoder.pred`. MAE's positions are fixed sines and cosines: its recipe
    /// leaves `decoder.pos_embed` out of what is trained.
    pub fn load(
        loader: &mut Loader<'_, E>,
        encoder: &VitConfig,
        config: &MaeDecoderConfig,
        missing: bool,
    ) -> std::result::Result<Self, WeightError> {
        let width = config.width;
        let (prefix, patches) = (encoder.prefix(), encoder.patches());
        let pixels = encoder.patch_size.pow(2) * encoder.channels;
        let positions = [1, prefix + patches, width];
        Ok(Self {
            prefix,
            patches,
            width,
            embed: Linear::load(loader, "decoder.embed", encoder.width, width)?,
            mask_token: missing
                .then(|| loader.take("decoder.mask_token", &[1, 1, width]))
                .transpose()?,
            positions: loader.take("decoder.pos_embed", &positions)?,
            blocks: Blocks::load(loader, "decoder.", &config.blocks(encoder))?,
            norm: LayerNorm::load(loader, "decoder.norm", width, encoder.norm_eps)?,
            pred: Linear::load(loader, "decoder.pred", width, pixels)?,
        })
    }

    /// latent: `[B, P + K, D]`, the encoder's normalised tokens of K patches; restore: `[B, N]`
    /// row-major, for every patch of the grid its place among the K and the hidden ones that
    /// follow them -> the patches' pixels, each `(p, p, C)`: `[B, N, p p C]`
    pub fn forward(&self, engine: &E, latent: &E::Tensor, restore: &[u32]) -> Result<E::Tensor> {
        let tokens = self.embed.forward(engine, latent)?;
        let shape = engine.shape(&tokens);
        let all = self.prefix + self.patches;
        let (batch, seen) = match shape[..] {
            [batch, seen, _] if seen <= all && restore.len() == batch * self.patches => {
                (batch, seen)
            }
            _ => {
                return Err(EngineError {
                    op: "MAE's decoder",
                    message: format!(
                        "tokens of shape {shape:?} and {} places for samples of {all} tokens",
                        restore.len()
                    ),
                });
            }
        };
        let tokens = match &self.mask_token {
            _ if seen == all => tokens,
            Some(token) => {
                let hidden = engine.expand(token, &[batch, all - seen, self.width])?;
                engine.cat(&[&tokens, &hidden], 1)?
            }
            None => {
                return Err(EngineError {
                    op: "MAE's decoder",
                    message: format!("{seen} of {all} tokens, and no token for the others"),
                });
            }
        };
        let tokens = select_tokens(engine, &tokens, self.prefix, restore)?;
        let tokens = engine.add(&tokens, &self.positions)?;
        let tokens = self.blocks.all(engine, &tokens)?;
        let patches = engine.narrow(&tokens, 1, self.prefix, self.patches)?;
        self.pred
            .forward(engine, &self.norm.forward(engine, &patches)?)
    }
}
