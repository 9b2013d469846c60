//! A stack of blocks and what positions add to its attention.

use super::block::{Block, Positions};
use super::drop_path::DropPath;
use super::relative::{PairRows, RelativeTable};
use super::rope::{Rope, Rotation};
use super::{PatchView, RelativeBias, Site, VitConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, Wanted, WeightError};

/// The blocks of an encoder or of a decoder.
#[derive(Clone, Debug)]
pub struct Blocks<E: Engine> {
    config: VitConfig,
    shared_table: Option<RelativeTable<E>>,
    /// Rows of the tables, where there are tables.
    pairs: Option<PairRows>,
    rotation: Option<Rotation<E>>,
    blocks: Vec<Block<E>>,
}

impl<E: Engine> Blocks<E> {
    /// From `blocks.N`, and `rel_pos_bias` and `rope_embed` where there are such, each after
    /// `prefix`, which is empty or ends with a dot. Of the architecture, what surrounds the blocks
    /// is not looked at.
    pub fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let shared = matches!(
            config.relative_bias,
            Some(RelativeBias::Shared | RelativeBias::Both)
        );
        let table = format!("{prefix}rel_pos_bias");
        Ok(Self {
            shared_table: shared
                .then(|| RelativeTable::load(loader, &table, config.grid, config.heads.of(0)))
                .transpose()?,
            pairs: (config.relative_bias).map(|_| PairRows::all(config.grid)),
            rotation: config
                .rope
                .map(|rope| rotation(loader, prefix, rope, config))
                .transpose()?,
            blocks: (0..config.depth)
                .map(|i| Block::load(loader, &format!("{prefix}blocks.{i}"), i, config))
                .collect::<std::result::Result<_, _>>()?,
            config: config.clone(),
        })
    }

    /// Runs blocks `0..depth` and shows every wanted site, in order, to `visit`. Without relative
    /// biases and rotary positions the tokens may be any that have their positions added.
    ///
    /// tokens: `[B, N, D]`; attention weights are formed and their statistics taken only where
    /// `wants` says so -> the last block's output: `[B, N, D]`, the same whatever is wanted
    pub fn forward(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        depth: usize,
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let training = Training::default();
        self.run(engine, tokens, (depth, &training), wants, visit)
    }

    /// All blocks as training runs them: over what a view shows of the patches, with branches left
    /// out: `[B, N, D]` -> `[B, N, D]`
    ///
    /// # Errors
    /// Some patches alone are seen, and positions are rotary: a turn belongs to a place in the grid.
    pub fn train(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        (view, dropped): (&PatchView<'_, E>, Option<&DropPath<E>>),
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let pairs = match (view, &self.pairs) {
            (PatchView::Seeing(_), _) if self.rotation.is_some() => {
                return Err(EngineError {
                    op: "blocks",
                    message: "some patches alone cannot have rotary positions".to_owned(),
                });
            }
            (PatchView::Seeing(seen), Some(all)) => {
                Some(all.of_seen(seen, engine.shape(tokens)[0]))
            }
            _ => None,
        };
        let training = Training { dropped, pairs };
        let depth = (self.config.depth, &training);
        self.run(engine, tokens, depth, wants, visit)
    }

    fn run(
        &self,
        engine: &E,
        tokens: &E::Tensor,
        (depth, training): (usize, &Training<'_, E>),
        wants: &dyn Fn(Site) -> bool,
        visit: &mut dyn FnMut(Site, &E::Tensor) -> Result<()>,
    ) -> Result<E::Tensor> {
        let pairs = training.pairs.as_ref().or(self.pairs.as_ref());
        let shared_bias = match (&self.shared_table, pairs) {
            (Some(table), Some(pairs)) => Some(table.bias(engine, pairs)?),
            _ => None,
        };
        let positions = Positions {
            shared_bias: shared_bias.as_ref(),
            pairs,
            rotation: self.rotation.as_ref(),
        };
        let mut x = tokens.clone();
        for (i, block) in self.blocks.iter().take(depth).enumerate() {
            let statistics = wants(Site::AttentionStatistics(i));
            let wanted = Wanted {
                weights: wants(Site::Attention(i)),
                statistics: statistics.then(|| self.config.patch_grid()),
            };
            let keep = training.dropped.and_then(|dropped| dropped.of(i));
            let mixed = block.forward(engine, &x, &positions, (wanted, keep))?;
            if let Some(weights) = mixed.weights {
                visit(Site::Attention(i), &weights)?;
            }
            if let Some(statistics) = mixed.statistics {
                visit(Site::AttentionStatistics(i), &statistics)?;
            }
            x = mixed.out;
            if wants(Site::Block(i)) {
                visit(Site::Block(i), &x)?;
            }
        }
        Ok(x)
    }

    /// All blocks, with nobody looking: `[B, N, D]` -> `[B, N, D]`
    pub fn all(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        let depth = self.config.depth;
        self.forward(engine, tokens, depth, &|_| false, &mut |_, _| Ok(()))
    }
}

/// What training changes of a pass.
#[derive(Debug)]
struct Training<'a, E: Engine> {
    dropped: Option<&'a DropPath<E>>,
    /// Rows of the tables where images show some patches alone.
    pairs: Option<PairRows>,
}

impl<E: Engine> Default for Training<'_, E> {
    fn default() -> Self {
        Self {
            dropped: None,
            pairs: None,
        }
    }
}

fn rotation<E: Engine>(
    loader: &mut Loader<'_, E>,
    prefix: &str,
    rope: Rope,
    config: &VitConfig,
) -> std::result::Result<Rotation<E>, WeightError> {
    let name = format!("{prefix}rope_embed.periods");
    let heads = config.heads.of(0);
    let head_dim = config.width / heads;
    let periods = match rope {
        Rope::Normalised { base: None, .. } => loader.constant(&name, &[head_dim / 4])?.data,
        _ => Vec::new(),
    };
    Rotation::new(
        loader.engine(),
        rope,
        &periods,
        (config.prefix(), config.grid),
        (heads, head_dim),
    )
    .map_err(|source| WeightError::Engine { name, source })
}
