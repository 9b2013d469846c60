//! A ViT with a linear head.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::init::{cut_normal_tensor, random_weights};
use super::{FinalNorm, Vit, VitConfig};
use crate::engine::{Engine, HostTensor, Result};
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
        let pooled = self.pool(engine, &tokens)?;
        self.head.forward(engine, &pooled)
    }

    /// tokens: `[B, N, D]`, the last block's output -> `[B, D]`
    fn pool(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        let config = self.vit.config();
        let patches = |x| {
            let first = usize::from(config.class_token);
            let patches = engine.narrow(x, 1, first, config.patches())?;
            engine.mean(&patches, &[1])
        };
        match config.final_norm {
            // The norm treats every token alone, so that the class token's is enough.
            FinalNorm::Tokens if config.class_token => {
                let batch = engine.shape(tokens).first().copied().unwrap_or_default();
                let token = engine.narrow(tokens, 1, 0, 1)?;
                let token = engine.reshape(&token, &[batch, config.width])?;
                self.vit.normalise(engine, &token)
            }
            FinalNorm::Tokens => patches(&self.vit.normalise(engine, tokens)?),
            FinalNorm::MeanPatch => self.vit.normalise(engine, &patches(tokens)?),
        }
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
