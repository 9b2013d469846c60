//! From pixels to the input of the first block.

use super::VitConfig;
use crate::engine::{Engine, Result};
use crate::nn::{Linear, Loader, WeightError};

/// Patch projection, class token and learned or stored positions.
#[derive(Clone, Debug)]
pub(super) struct Embeddings<E: Engine> {
    proj: Linear<E>,
    class_token: Option<E::Tensor>,
    positions: E::Tensor,
    config: VitConfig,
}

impl<E: Engine> Embeddings<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
    ) -> std::result::Result<Self, WeightError> {
        let patch = config.patch_size;
        // A convolution whose stride is its kernel is a linear map of each patch.
        loader.flatten_kernel(
            "patch_embed.proj.weight",
            config.width,
            [config.channels, patch, patch],
        )?;
        Ok(Self {
            proj: Linear::load(
                loader,
                "patch_embed.proj",
                config.channels * patch * patch,
                config.width,
            )?,
            class_token: config
                .class_token
                .then(|| loader.take("cls_token", &[1, 1, config.width]))
                .transpose()?,
            positions: loader.take("pos_embed", &[1, config.positions(), config.width])?,
            config: config.clone(),
        })
    }

    /// images: `[B, C, H, W]`, normalised -> `[B, N, D]`
    pub(super) fn forward(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let &VitConfig {
            patch_size: p,
            grid: [rows, columns],
            channels,
            width,
            ..
        } = &self.config;
        let batch = engine.shape(images).first().copied().unwrap_or_default();
        let patches = engine.reshape(images, &[batch, channels, rows, p, columns, p])?;
        let patches = engine.permute(&patches, &[0, 2, 4, 1, 3, 5])?;
        let patches = engine.reshape(&patches, &[batch, rows * columns, channels * p * p])?;
        let patches = self.proj.forward(engine, &patches)?;
        let Some(class_token) = &self.class_token else {
            return engine.add(&patches, &self.positions);
        };
        let class_token = engine.expand(class_token, &[batch, 1, width])?;
        if self.config.class_position {
            let tokens = engine.cat(&[&class_token, &patches], 1)?;
            engine.add(&tokens, &self.positions)
        } else {
            let patches = engine.add(&patches, &self.positions)?;
            engine.cat(&[&class_token, &patches], 1)
        }
    }
}
