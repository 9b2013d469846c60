//! A ViT with a linear head.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::init::{cut_normal_tensor, random_weights};
use super::{Vit, VitConfig};
use crate::engine::{Engine, HostTensor, Result};
use crate::features::Token;
use crate::nn::{Linear, Loader, WeightError, Weights};

/// A linear map of one vector an image, as timm's `VisionTransformer.forward` has it: of the class
/// token after the final normalisation, or of the mean patch where there is no class token or
/// where the normalisation is the mean's own.
#[derive(Clone, Debug)]
pub struct Classifier<E: Engine> {
    vit: Vit<E>,
    head: Linear<E>,
}

impl<E: Engine> Classifier<E> {
    /// From a ViT's tensors under timm's names, `head.weight` `[C, D]` and `head.bias` `[C]`.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
        classes: usize,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            vit: Vit::load(loader, config)?,
            head: Linear::load(loader, "head", config.width, classes)?,
        })
    }

    /// images: `[B, 3, H, W]`, normalised -> logits: `[B, C]`
    pub fn forward(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let depth = self.vit.config().depth;
        let nothing = &mut |_, _: &E::Tensor| Ok(());
        let tokens = self
            .vit
            .forward(engine, images, depth, &|_| false, nothing)?;
        let config = self.vit.config();
        let token = if config.class_token && config.final_norm.over_tokens() {
            Token::Cls
        } else {
            Token::MeanPatch
        };
        let pooled = self.vit.pool(engine, &tokens, token, true)?;
        self.head.forward(engine, &pooled)
    }
}

/// Weights of an untrained classifier, a function of the seed alone: [`random_weights`], and a
/// head that begins as every other linear layer does (timm,
/// `timm/models/vision_transformer.py`, `init_weights_vit_timm`).
pub fn random_classifier_weights(config: &VitConfig, classes: usize, seed: u64) -> Weights {
    let mut weights = random_weights(config, seed);
    // A stream of its own, so that the ViT below the head is the one without it.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(1);
    let head = cut_normal_tensor(&mut rng, vec![classes, config.width]);
    let bias = HostTensor {
        shape: vec![classes],
        data: vec![0.0; classes],
    };
    weights.insert("head.weight".to_owned(), head);
    weights.insert("head.bias".to_owned(), bias);
    weights
}
