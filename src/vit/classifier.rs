//! A ViT with a linear head.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::init::{cut_normal_tensor, random_weights};
use super::{DropPath, PatchView, Vit, VitConfig};
use crate::engine::{Engine, HostTensor, Result};
use crate::features::Token;
use crate::nn::{Linear, Loader, WeightError, Weights};

/// What a linear head reads of the last block's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HeadInput {
    /// One vector an image, as [`Vit::pool`] makes it.
    Pooled {
        /// Which tokens.
        token: Token,
        /// Whether the final normalisation is applied.
        norm: bool,
    },
    /// Class and distillation token after the final normalisation, each through a layer of its
    /// own; the mean of their logits counts (timm, `timm/models/deit.py`,
    /// `VisionTransformerDistilled.forward_head`).
    ClassAndDistillation,
}

/// A linear head's architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HeadConfig {
    /// What it reads.
    pub input: HeadInput,
    /// Numbers D' in what each of its layers reads.
    pub width: usize,
    /// Classes C.
    pub classes: usize,
}

impl HeadConfig {
    /// The head of timm's `VisionTransformer.forward`: of the class token after the final
    /// normalisation, or of the mean patch where there is no class token or where the
    /// normalisation is the mean's own.
    pub fn usual(config: &VitConfig, classes: usize) -> Self {
        let token = if config.class_token && config.final_norm.over_tokens() {
            Token::Cls
        } else {
            Token::MeanPatch
        };
        Self {
            input: HeadInput::Pooled { token, norm: true },
            width: config.width,
            classes,
        }
    }
}

/// One linear layer, or two beside each other, from the last block's tokens to logits.
#[derive(Clone, Debug)]
enum Head<E: Engine> {
    One {
        token: Token,
        norm: bool,
        layer: Linear<E>,
    },
    Two {
        class: Linear<E>,
        distillation: Linear<E>,
    },
}

impl<E: Engine> Head<E> {
    fn load(
        loader: &mut Loader<'_, E>,
        config: HeadConfig,
    ) -> std::result::Result<Self, WeightError> {
        let mut layer = |name| Linear::load(loader, name, config.width, config.classes);
        Ok(match config.input {
            HeadInput::Pooled { token, norm } => Self::One {
                token,
                norm,
                layer: layer("head")?,
            },
            HeadInput::ClassAndDistillation => Self::Two {
                class: layer("head")?,
                distillation: layer("head_dist")?,
            },
        })
    }
}

/// A ViT and a linear head over its last block's tokens.
#[derive(Clone, Debug)]
pub struct Classifier<E: Engine> {
    vit: Vit<E>,
    head: Head<E>,
    classes: usize,
}

impl<E: Engine> Classifier<E> {
    /// From a ViT's tensors under timm's names, `head.weight` `[C, D']` and `head.bias` `[C]`, and
    /// those of `head_dist` where the distillation token has a layer of its own.
    pub fn load(
        loader: &mut Loader<'_, E>,
        config: &VitConfig,
        head: HeadConfig,
    ) -> std::result::Result<Self, WeightError> {
        Ok(Self {
            vit: Vit::load(loader, config)?,
            head: Head::load(loader, head)?,
            classes: head.classes,
        })
    }

    /// The ViT below the head.
    pub fn vit(&self) -> &Vit<E> {
        &self.vit
    }

    /// Classes C.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// images: `[B, 3, H, W]`, normalised -> logits: `[B, C]`
    pub fn forward(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let depth = self.vit.config().depth;
        let nothing = &mut |_, _: &E::Tensor| Ok(());
        let tokens = self
            .vit
            .forward(engine, images, depth, &|_| false, nothing)?;
        self.logits(engine, &tokens)
    }

    /// [`Classifier::forward`] with branches left out.
    ///
    /// images: `[B, 3, H, W]`, normalised -> logits: `[B, C]`
    pub fn forward_dropping(
        &self,
        engine: &E,
        images: &E::Tensor,
        dropped: &DropPath<E>,
    ) -> Result<E::Tensor> {
        let how = (&PatchView::All, Some(dropped));
        let nothing = &mut |_, _: &E::Tensor| Ok(());
        let tokens = self.vit.train(engine, images, how, &|_| false, nothing)?;
        self.logits(engine, &tokens)
    }

    /// tokens: `[B, N, D]`, the last block's output -> logits: `[B, C]`
    pub fn logits(&self, engine: &E, tokens: &E::Tensor) -> Result<E::Tensor> {
        match &self.head {
            Head::One { token, norm, layer } => {
                layer.forward(engine, &self.vit.pool(engine, tokens, *token, *norm)?)
            }
            Head::Two {
                class,
                distillation,
            } => {
                let first = engine.narrow(tokens, 1, 0, 2)?;
                let first = self.vit.normalise(engine, &first)?;
                let width = self.vit.config().width;
                let batch = engine.shape(tokens)[0];
                let logits = |place, layer: &Linear<E>| {
                    let token = engine.narrow(&first, 1, place, 1)?;
                    layer.forward(engine, &engine.reshape(&token, &[batch, width])?)
                };
                let both = engine.add(&logits(0, class)?, &logits(1, distillation)?)?;
                engine.affine(&both, 0.5, 0.0)
            }
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
