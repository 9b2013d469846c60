//! MAE's pre-training model: an encoder of the patches that are seen, a decoder of all, and the
//! loss over the hidden ones (facebookresearch/mae `models_mae.py`).

use super::{Mask, normalise_patches, patch_pixels};
use crate::decoders::{MaeDecoder, MaeDecoderConfig};
use crate::engine::{Engine, EngineError, Result};
use crate::nn::{Loader, WeightError, select_tokens};
use crate::vit::{Vit, VitConfig};

/// Everything that decides the model and its loss besides weights and masks.
#[derive(Clone, Debug, PartialEq)]
pub struct MaeConfig {
    /// The encoder: positions are absolute, and its final normalisation is over tokens.
    pub encoder: VitConfig,
    /// The decoder.
    pub decoder: MaeDecoderConfig,
    /// Whether every patch of the target is normalised by its own mean and variance.
    pub normalise: bool,
}

/// Encoder and decoder on an engine.
#[derive(Clone, Debug)]
pub struct Mae<E: Engine> {
    encoder: Vit<E>,
    decoder: MaeDecoder<E>,
    normalise: bool,
}

impl<E: Engine> Mae<E> {
    /// From the encoder's tensors under timm's names and the decoder's below `decoder.`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &MaeConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            encoder: Vit::load(loader, &config.encoder)?,
            decoder: MaeDecoder::load(loader, &config.encoder, &config.decoder)?,
            normalise: config.normalise,
        })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Vit<E> {
        &self.encoder
    }

    /// The encoder over its prefix tokens and the patches that the mask keeps, in the mask's order.
    ///
    /// images: `[B, C, H, W]`, normalised -> `[B, P + K, D]`, normalised
    pub fn encode(&self, engine: &E, images: &E::Tensor, mask: &Mask) -> Result<E::Tensor> {
        let config = self.encoder.config();
        if config.relative_bias.is_some() || config.rope.is_some() {
            return Err(refused("the encoder's positions are not absolute ones"));
        }
        self.fits(engine, images, mask)?;
        let tokens = self.encoder.embed(engine, images)?;
        let Some(seen) = mask.seen() else {
            return Err(refused("the samples keep different numbers of patches"));
        };
        let tokens = select_tokens(engine, &tokens, config.prefix(), &seen)?;
        let tokens = self.encoder.blocks().all(engine, &tokens)?;
        self.encoder.normalise(engine, &tokens)
    }

    /// latent: [`Mae::encode`]'s -> pixels of every patch, each `(p, p, C)`: `[B, N, p p C]`
    pub fn decode(&self, engine: &E, latent: &E::Tensor, mask: &Mask) -> Result<E::Tensor> {
        self.decoder.forward(engine, latent, mask.restore())
    }

    /// Mean square of the differences over the pixels of the hidden patches.
    ///
    /// images: `[B, C, H, W]`, as encoded; prediction: `[B, N, p p C]` -> scalar
    pub fn loss(
        &self,
        engine: &E,
        images: &E::Tensor,
        prediction: &E::Tensor,
        mask: &Mask,
    ) -> Result<E::Tensor> {
        self.fits(engine, images, mask)?;
        let rows = mask.hidden_rows();
        if rows.is_empty() {
            return Err(refused(
                "no patch is hidden, so there is nothing to predict",
            ));
        }
        let config = self.encoder.config();
        let (channels, p) = (config.channels, config.patch_size);
        let target = patch_pixels(engine, images, channels, p, config.grid)?;
        // Every patch has as many pixels: the mean over patches of their means is that over pixels.
        let hidden = |patches: &E::Tensor| {
            let flat = [mask.batch() * mask.patches(), p * p * channels];
            engine.index_select(&engine.reshape(patches, &flat)?, 0, &rows)
        };
        let mut target = hidden(&target)?;
        if self.normalise {
            target = normalise_patches(engine, &target)?;
        }
        let difference = engine.sub(&hidden(prediction)?, &target)?;
        engine.mean(&engine.mul(&difference, &difference)?, &[0, 1])
    }

    /// Refuses a mask of other images.
    fn fits(&self, engine: &E, images: &E::Tensor, mask: &Mask) -> Result<()> {
        let batch = engine.shape(images).first().copied().unwrap_or_default();
        let patches = self.encoder.config().patches();
        if (mask.batch(), mask.patches()) == (batch, patches) {
            return Ok(());
        }
        Err(EngineError {
            op: "MAE",
            message: format!(
                "a mask of {} samples of {} patches for {batch} images of {patches}",
                mask.batch(),
                mask.patches()
            ),
        })
    }
}

fn refused(why: &str) -> EngineError {
    EngineError {
        op: "MAE",
        message: why.to_owned(),
    }
}
