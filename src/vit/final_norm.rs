//! The last normalisation.

use super::{FinalNorm, VitConfig};
use crate::engine::{Engine, Result};
use crate::nn::{LayerNorm, Loader, WeightError};

/// The norms of a [`FinalNorm`].
#[derive(Clone, Debug)]
pub(super) struct FinalNormLayer<E: Engine> {
    /// Of the patch tokens, or of all tokens where `prefix` is none, or of the mean patch.
    norm: Option<LayerNorm<E>>,
    /// Of the prefix tokens.
    prefix: Option<LayerNorm<E>>,
}

impl<E: Engine> FinalNormLayer<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let (norm, prefix) = match config.final_norm {
            FinalNorm::Tokens => (Some("norm"), None),
            FinalNorm::Untied => (Some("norm"), Some("cls_norm")),
            FinalNorm::MeanPatch => (Some("fc_norm"), None),
            FinalNorm::None => (None, None),
        };
        let mut load = |name: Option<&str>| {
            name.map(|name| LayerNorm::load(loader, name, config.width, config.norm_eps))
                .transpose()
        };
        Ok(Self {
            norm: load(norm)?,
            prefix: load(prefix)?,
        })
    }

    /// x: tokens `[B, N, D]`, or vectors `[B, D]` of patches alone; `prefix` tokens come first.
    pub(super) fn forward(&self, engine: &E, x: &E::Tensor, prefix: usize) -> Result<E::Tensor> {
        let Some(norm) = &self.norm else {
            return Ok(x.clone());
        };
        match &self.prefix {
            Some(prefix_norm) if prefix > 0 => {
                let rest = engine.shape(x)[1] - prefix;
                let first = prefix_norm.forward(engine, &engine.narrow(x, 1, 0, prefix)?)?;
                if rest == 0 {
                    return Ok(first);
                }
                let rest = norm.forward(engine, &engine.narrow(x, 1, prefix, rest)?)?;
                engine.cat(&[&first, &rest], 1)
            }
            _ => norm.forward(engine, x),
        }
    }
}
