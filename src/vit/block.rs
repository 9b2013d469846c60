//! One pre-norm transformer block.

use super::drop_path::BlockKeep;
use super::relative::{PairRows, RelativeTable};
use super::rope::Rotation;
use super::{MlpKind, RelativeBias, VitConfig};
use crate::engine::{Engine, Result};
use crate::nn::{Attention, GatedMlp, LayerNorm, Loader, Mixed, Mlp, Wanted, WeightError};

/// What positions add to the attention of a block.
#[derive(Debug)]
pub(super) struct Positions<'a, E: Engine> {
    /// Scores of every query and key, `[1 or B, H, N, N]`, shared by all blocks.
    pub shared_bias: Option<&'a E::Tensor>,
    /// Rows of the tables, where there are tables.
    pub pairs: Option<&'a PairRows>,
    /// The turn of queries and keys.
    pub rotation: Option<&'a Rotation<E>>,
}

#[derive(Clone, Debug)]
enum BlockMlp<E: Engine> {
    Plain(Mlp<E>),
    Gated(GatedMlp<E>),
}

/// `x + ls1(attn(norm1(x)))`, then `x + ls2(mlp(norm2(x)))`.
#[derive(Clone, Debug)]
pub(super) struct Block<E: Engine> {
    norm1: LayerNorm<E>,
    attn: Attention<E>,
    relative: Option<RelativeTable<E>>,
    scale1: Option<E::Tensor>,
    norm2: LayerNorm<E>,
    mlp: BlockMlp<E>,
    scale2: Option<E::Tensor>,
}

impl<E: Engine> Block<E> {
    /// Block `i` of its stack, from tensors below `prefix`.
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        i: usize,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let &VitConfig {
            width,
            mlp_width,
            norm_eps,
            activation,
            ..
        } = config;
        let heads = config.heads.of(i);
        let attn = format!("{prefix}.attn");
        let own_table = matches!(
            config.relative_bias,
            Some(RelativeBias::PerBlock | RelativeBias::Both)
        );
        let mlp = format!("{prefix}.mlp");
        let scale = |loader: &mut Loader<'_, E>, name: &str| {
            let name = format!("{prefix}.{name}.gamma");
            let scale = config.layer_scale.then(|| loader.take(&name, &[width]));
            scale.transpose()
        };
        Ok(Self {
            norm1: LayerNorm::load(loader, &format!("{prefix}.norm1"), width, norm_eps)?,
            attn: Attention::load(loader, &attn, width, &config.attention(heads))?,
            relative: own_table
                .then(|| RelativeTable::load(loader, &attn, config.grid, heads))
                .transpose()?,
            scale1: scale(loader, "ls1")?,
            norm2: LayerNorm::load(loader, &format!("{prefix}.norm2"), width, norm_eps)?,
            mlp: match config.mlp {
                MlpKind::Plain => {
                    BlockMlp::Plain(Mlp::load(loader, &mlp, (width, mlp_width), activation)?)
                }
                MlpKind::Gated { norm } => BlockMlp::Gated(GatedMlp::load(
                    loader,
                    &mlp,
                    (width, mlp_width),
                    activation,
                    norm.then_some(norm_eps),
                )?),
            },
            scale2: scale(loader, "ls2")?,
        })
    }

    /// x: `[B, N, D]` -> `[B, N, D]`, with what is wanted of the attention. With `keep`, each
    /// branch counts for an image as its factor says.
    pub(super) fn forward(
        &self,
        engine: &E,
        x: &E::Tensor,
        positions: &Positions<'_, E>,
        (wanted, keep): (Wanted, Option<&BlockKeep<E>>),
    ) -> Result<Mixed<E>> {
        let own = match (&self.relative, positions.pairs) {
            (Some(table), Some(pairs)) => Some(table.bias(engine, pairs)?),
            _ => None,
        };
        let bias = match (positions.shared_bias, own) {
            (Some(shared), Some(own)) => Some(engine.add(&own, shared)?),
            (Some(shared), None) => Some(shared.clone()),
            (None, own) => own,
        };
        let normed = self.norm1.forward(engine, x)?;
        let mut qkv = self.attn.project(engine, &normed)?;
        if let Some(rotation) = positions.rotation {
            qkv = rotation.apply(engine, &qkv)?;
        }
        let mixed = self.attn.mix(engine, &qkv, bias.as_ref(), wanted)?;
        let branch = kept(engine, &mixed.out, keep.map(|keep| &keep.attention))?;
        let x = residual(engine, x, &branch, self.scale1.as_ref())?;
        let normed = self.norm2.forward(engine, &x)?;
        let hidden = match &self.mlp {
            BlockMlp::Plain(mlp) => mlp.forward(engine, &normed)?,
            BlockMlp::Gated(mlp) => mlp.forward(engine, &normed)?,
        };
        let hidden = kept(engine, &hidden, keep.map(|keep| &keep.mlp))?;
        Ok(Mixed {
            out: residual(engine, &x, &hidden, self.scale2.as_ref())?,
            ..mixed
        })
    }
}

/// A branch times the factor of its image, where there are factors.
fn kept<E: Engine>(engine: &E, branch: &E::Tensor, keep: Option<&E::Tensor>) -> Result<E::Tensor> {
    match keep {
        Some(keep) => engine.mul(branch, keep),
        None => Ok(branch.clone()),
    }
}

/// `x + scale y`.
fn residual<E: Engine>(
    engine: &E,
    x: &E::Tensor,
    y: &E::Tensor,
    scale: Option<&E::Tensor>,
) -> Result<E::Tensor> {
    match scale {
        Some(scale) => engine.add(x, &engine.mul(y, scale)?),
        None => engine.add(x, y),
    }
}
