//! The encoder: embeddings, blocks, final normalisation.

use super::block::Block;
use super::embeddings::Embeddings;
use super::{FinalNorm, VitConfig};
use crate::engine::{Engine, Result};
use crate::nn::{LayerNorm, Loader, WeightError};

/// A place in the forward pass that [`Vit::forward`] shows to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Input of block 0: `[B, N, D]`.
    Embed,
    /// Softmax weights of a block: `[B, H, N, N]`.
    Attention(usize),
    /// Output of a block: `[B, N, D]`.
    Block(usize),
}

/// A plain pre-norm ViT on an engine.
#[derive(Clone, Debug)]
pub struct Vit<E: Engine> {
    config: VitConfig,
    embeddings: Embeddings<E>,
    blocks: Vec<Block<E>>,
    norm: LayerNorm<E>,
}

impl<E: Engine> Vit<E> {
    /// Builds the model out of tensors under timm's names.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let norm = match config.final_norm {
            FinalNorm::Tokens => "norm",
            FinalNorm::MeanPatch => "fc_norm",
        };
        Ok(Self {
            embeddings: Embeddings::load(loader, config)?,
            blocks: (0..config.depth)
                .map(|i| Block::load(loader, &format!("blocks.{i}"), config))
                .collect::<std::result::Result<_, _>>()?,
            norm: LayerNorm::load(loader, norm, config.width, config.norm_eps)?,
            config: config.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Runs blocks `0..depth` and shows every wanted site, in order, to `visit`.
    ///
    /// images: `[B, C, H, W]`, normalised; attention weights are formed only where `wants` says
    /// so -> the last block's output, before any final normalisation: `[B, N, D]`
    pub fn forward(
        &self,
        engine: &E,
        images: &E::Tensor,
        depth: usize,
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let mut show = |site, x: &E::Tensor| if wants(site) { visit(site, x) } else { Ok(()) };
        let mut x = self.embeddings.forward(engine, images)?;
        show(Site::Embed, &x)?;
        for (i, block) in self.blocks.iter().take(depth).enumerate() {
            x = if wants(Site::Attention(i)) {
                let (x, weights) = block.forward_with_weights(engine, &x)?;
                show(Site::Attention(i), &weights)?;
                x
            } else {
                block.forward(engine, &x)?
            };
            show(Site::Block(i), &x)?;
        }
        Ok(x)
    }

    /// The final normalisation: over tokens `[B, N, D]` or pooled vectors `[B, D]`.
    pub fn normalise(&self, engine: &E, x: &E::Tensor) -> Result<E::Tensor> {
        self.norm.forward(engine, x)
    }
}
