//! The encoder: embeddings, blocks, final normalisation, pooling.

use super::block::{Block, Positions};
use super::embeddings::Embeddings;
use super::final_norm::FinalNormLayer;
use super::pooler::PoolerLayer;
use super::relative::{RelativeTable, relative_index};
use super::rope::{Rope, Rotation};
use super::{FinalNorm, RelativeBias, VitConfig};
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
    shared_table: Option<RelativeTable<E>>,
    /// Empty where there are no tables.
    relative_index: Vec<u32>,
    rotation: Option<Rotation<E>>,
    blocks: Vec<Block<E>>,
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
        let heads = config.heads.of(0);
        let shared = matches!(
            config.relative_bias,
            Some(RelativeBias::Shared | RelativeBias::Both)
        );
        Ok(Self {
            embeddings: Embeddings::load(loader, config)?,
            shared_table: shared
                .then(|| RelativeTable::load(loader, "rel_pos_bias", config.grid, heads))
                .transpose()?,
            relative_index: match config.relative_bias {
                Some(_) => relative_index(config.grid),
                None => Vec::new(),
            },
            rotation: config
                .rope
                .map(|rope| rotation(loader, rope, config))
                .transpose()?,
            blocks: (0..config.depth)
                .map(|i| Block::load(loader, i, config))
                .collect::<std::result::Result<_, _>>()?,
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
        self.embeddings.forward(engine, &self.config, images)
    }

    /// Runs blocks `0..depth` over embedded tokens and shows every wanted site, in order, to
    /// `visit`. Without relative biases and rotary positions the tokens may be any subset of the
    /// embedded ones.
    ///
    /// tokens: `[B, N, D]`; attention weights are formed only where `wants` says so -> the last
    /// block's output, before any final normalisation: `[B, N, D]`
    pub fn blocks(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        depth: usize,
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let shared_bias = match &self.shared_table {
            Some(table) => Some(table.bias(engine, &self.config, &self.relative_index)?),
            None => None,
        };
        let positions = Positions {
            shared_bias: shared_bias.as_ref(),
            index: &self.relative_index,
            rotation: self.rotation.as_ref(),
        };
        let mut x = tokens.clone();
        for (i, block) in self.blocks.iter().take(depth).enumerate() {
            let wants_weights = wants(Site::Attention(i));
            let (output, weights) =
                block.forward(engine, &x, &self.config, &positions, wants_weights)?;
            if let Some(weights) = weights {
                visit(Site::Attention(i), &weights)?;
            }
            x = output;
            if wants(Site::Block(i)) {
                visit(Site::Block(i), &x)?;
            }
        }
        Ok(x)
    }

    /// [`Vit::embed`] and [`Vit::blocks`].
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
        self.blocks(engine, &tokens, depth, wants, visit)
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
            (Token::Pooled, Some(pooler)) => {
                pooler.forward(engine, &self.normalise(engine, tokens)?)
            }
            (Token::Pooled, None) => Err(EngineError {
                op: "pool",
                message: NO_POOLER.to_owned(),
            }),
        }
    }
}

fn rotation<E: Engine>(
    loader: &mut Loader<'_, E>,
    rope: Rope,
    config: &VitConfig,
) -> std::result::Result<Rotation<E>, WeightError> {
    const PERIODS: &str = "rope_embed.periods";
    let heads = config.heads.of(0);
    let head_dim = config.width / heads;
    let periods = match rope {
        Rope::Normalised { base: None, .. } => loader.constant(PERIODS, &[head_dim / 4])?.data,
        _ => Vec::new(),
    };
    Rotation::new(
        loader.engine(),
        rope,
        &periods,
        (config.prefix(), config.grid),
        (heads, head_dim),
    )
    .map_err(|source| WeightError::Engine {
        name: PERIODS.to_owned(),
        source,
    })
}
