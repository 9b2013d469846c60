//! The encoder: embeddings, blocks, final normalisation, pooling.

use super::blocks::Blocks;
use super::embeddings::Embeddings;
use super::final_norm::FinalNormLayer;
use super::pooler::PoolerLayer;
use super::{DropPath, FinalNorm, PatchView, VitConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::features::Token;
use crate::nn::{Loader, WeightError};

/// A place in the forward pass that [`Vit::forward`] shows to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Input of block 0: `[B, N, D]`.
    Embed,
    /// Softmax weights of a block: `[B, H, N, N]`.
    Attention(usize),
    /// What the softmax weights of a block say about the patches: `[B, H, 4]`, in the order of
    /// [`crate::metric::AttentionStatistic::ALL`].
    AttentionStatistics(usize),
    /// Output of a block: `[B, N, D]`.
    Block(usize),
}

/// Why [`Token::Pooled`] cannot be had.
pub(super) const NO_POOLER: &str = "the checkpoint has no pooling of its own";

/// A pre-norm ViT on an engine.
#[derive(Clone, Debug)]
pub struct Vit<E: Engine> {
    config: VitConfig,
    embeddings: Embeddings<E>,
    blocks: Blocks<E>,
    norm: FinalNormLayer<E>,
    pooler: Option<PoolerLayer<E>>,
}

impl<E: Engine> Vit<E> {
    /// Builds the model out of tensors under canonical names: timm's `VisionTransformer`'s, with
    /// `relative_position_bias_table`, `fc1_g` and the like from its `Beit` and `Eva`, and
    /// `cls_norm`, `rope_embed.periods` and `projection.weight` for what timm has no name for.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            embeddings: Embeddings::load(loader, config)?,
            blocks: Blocks::load(loader, "", config)?,
            norm: FinalNormLayer::load(loader, config)?,
            pooler: config
                .pooler
                .map(|pooler| PoolerLayer::load(loader, pooler, config))
                .transpose()?,
            config: config.clone(),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Input of block 0.
    ///
    /// images: `[B, C, H, W]`, normalised -> `[B, N, D]`
    pub fn embed(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let view = PatchView::All;
        self.embeddings.forward(engine, &self.config, images, &view)
    }

    /// [`Vit::embed`] and all blocks over what a view shows of the images, with branches left out ->
    /// the last block's output, before any final normalisation: `[B, N, D]`
    pub fn train(
        &self,
        engine: &E,
        images: &E::Tensor,
        (view, dropped): (&PatchView<'_, E>, Option<&DropPath<E>>),
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let config = &self.config;
        let tokens = self.embeddings.forward(engine, config, images, view)?;
        (self.blocks).train(engine, &tokens, (view, dropped), wants, visit)
    }

    /// The stack of blocks; without relative biases and rotary positions it runs over any subset of
    /// the embedded tokens.
    pub fn blocks(&self) -> &Blocks<E> {
        &self.blocks
    }

    /// [`Vit::embed`], and the blocks `0..depth` ([`Blocks::forward`]) -> the last block's output,
    /// before any final normalisation: `[B, N, D]`
    pub fn forward(
        &self,
        engine: &E,
        images: &E::Tensor,
        depth: usize,
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let tokens = self.embed(engine, images)?;
        if wants(Site::Embed) {
            visit(Site::Embed, &tokens)?;
        }
        self.blocks.forward(engine, &tokens, depth, wants, visit)
    }

    /// The final normalisation where it is over tokens, else the tokens as they are:
    /// `[B, N, D]` -> `[B, N, D]`
    pub fn normalise(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        if self.config.final_norm.over_tokens() {
            self.norm.forward(engine, tokens, self.config.prefix())
        } else {
            Ok(tokens.clone())
        }
    }

    /// One vector an image; with `norm`, under the final normalisation where it stands in this
    /// architecture.
    ///
    /// tokens: `[B, N, D]`, any block's output -> `[B, D]`, `[B, 2 D]` or the pooler's width
    pub fn pool(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        token: Token,
        norm: bool,
    ) -> Result<E::Tensor> {
        let over_tokens = norm && self.config.final_norm.over_tokens();
        let part = |start, count, prefix| {
            let part = engine.narrow(tokens, 1, start, count)?;
            if over_tokens {
                self.norm.forward(engine, &part, prefix)
            } else {
                Ok(part)
            }
        };
        let cls = || {
            let class = part(0, 1, 1)?;
            let shape = engine.shape(&class);
            engine.reshape(&class, &[shape[0], shape[2]])
        };
        let mean_patch = || {
            let patches = part(self.config.prefix(), self.config.patches(), 0)?;
            let mean = engine.mean(&patches, &[1])?;
            if norm && self.config.final_norm == FinalNorm::MeanPatch {
                self.norm.forward(engine, &mean, 0)
            } else {
                Ok(mean)
            }
        };
        match (token, &self.pooler) {
            (Token::Cls, _) => cls(),
            (Token::MeanPatch, _) => mean_patch(),
            (Token::Concat, _) => engine.cat(&[&cls()?, &mean_patch()?], 1),
            (Token::Pooled, Some(pooler)) => pooler.forward(
                engine,
                &self.normalise(engine, tokens)?,
                self.config.prefix(),
            ),
            (Token::Pooled, None) => Err(EngineError {
                op: "pool",
                message: NO_POOLER.to_owned(),
            }),
        }
    }
}
