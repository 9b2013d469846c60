//! A ViT as an [`Encoder`] in plain data.

use super::model::NO_POOLER;
use super::{Classifier, FinalNorm, Pooler, Site, Vit, VitConfig};
use crate::engine::{Engine, HostTensor, Result};
use crate::features::{Encoder, EncoderError, Tap, Token};
use crate::metric::AttentionStatistic;

/// A frozen ViT, with or without its classification head, and the engine it runs on.
#[derive(Clone, Debug)]
pub struct VitEncoder<E: Engine> {
    engine: E,
    model: Model<E>,
}

#[derive(Clone, Debug)]
enum Model<E: Engine> {
    Vit(Vit<E>),
    Classifier(Classifier<E>),
}

impl<E: Engine> VitEncoder<E> {
    /// A frozen encoder.
    pub fn new(engine: E, vit: Vit<E>) -> Self {
        let model = Model::Vit(vit);
        Self { engine, model }
    }

    /// A frozen encoder that gives its logits too.
    pub fn classifier(engine: E, classifier: Classifier<E>) -> Self {
        let model = Model::Classifier(classifier);
        Self { engine, model }
    }

    fn vit(&self) -> &Vit<E> {
        match &self.model {
            Model::Vit(vit) => vit,
            Model::Classifier(classifier) => classifier.vit(),
        }
    }

    fn host(&self, x: &E::Tensor) -> Result<HostTensor> {
        Ok(HostTensor {
            shape: self.engine.shape(x),
            data: self.engine.to_f32(x)?,
        })
    }
}

impl<E: Engine> Encoder for VitEncoder<E> {
    fn shape(&self, tap: Tap) -> std::result::Result<Vec<usize>, EncoderError> {
        match (tap, &self.model) {
            (Tap::Logits, Model::Classifier(classifier)) => Ok(vec![classifier.classes()]),
            _ => tap_shape(self.vit().config(), tap),
        }
    }

    fn encode(
        &self,
        pixels: &[f32],
        batch: usize,
        taps: &[Tap],
    ) -> std::result::Result<Vec<HostTensor>, EncoderError> {
        for &tap in taps {
            self.shape(tap)?;
        }
        let engine = &self.engine;
        let vit = self.vit();
        let config = vit.config();
        let [height, width] = config.input_size();
        let images = engine.tensor(pixels, &[batch, config.channels, height, width])?;
        // Blocks above the highest tap are not computed.
        let depth = taps
            .iter()
            .map(|tap| match tap {
                Tap::Embed => 0,
                _ => tap.layer().map_or(config.depth, |layer| layer + 1),
            })
            .max()
            .unwrap_or(0);
        let at = |tap: Tap, site: Site| match (tap, site) {
            (Tap::Pooled { layer, .. } | Tap::Block(layer), Site::Block(i)) => layer == i,
            (Tap::Attention(layer), Site::Attention(i))
            | (Tap::AttentionStatistics(layer), Site::AttentionStatistics(i)) => layer == i,
            (Tap::Embed, Site::Embed) => true,
            _ => false,
        };
        let wants = |site| taps.iter().any(|&tap| at(tap, site));
        let mut outputs = vec![None; taps.len()];
        let last = vit.forward(engine, &images, depth, &wants, &mut |site, x| {
            for (output, &tap) in outputs
                .iter_mut()
                .zip(taps)
                .filter(|(_, tap)| at(**tap, site))
            {
                *output = Some(match tap {
                    Tap::Pooled { token, norm, .. } => {
                        self.host(&vit.pool(engine, x, token, norm)?)?
                    }
                    _ => self.host(x)?,
                });
            }
            Ok(())
        })?;
        taps.iter()
            .zip(outputs)
            .map(|(&tap, output)| match (tap, output, &self.model) {
                (_, Some(output), _) => Ok(output),
                (Tap::Tokens, None, _) => Ok(self.host(&vit.normalise(engine, &last)?)?),
                (Tap::Logits, None, Model::Classifier(classifier)) => {
                    Ok(self.host(&classifier.logits(engine, &last)?)?)
                }
                (_, None, _) => Err(EncoderError::NoSuchTap {
                    tap,
                    reason: "the forward pass does not reach it",
                }),
            })
            .collect()
    }
}

/// Shape of one image's part of `tap`, or why the architecture has no such thing.
pub fn tap_shape(config: &VitConfig, tap: Tap) -> std::result::Result<Vec<usize>, EncoderError> {
    let refuse = |reason| Err(EncoderError::NoSuchTap { tap, reason });
    if tap.layer().is_some_and(|layer| layer >= config.depth) {
        return refuse("the checkpoint has fewer blocks");
    }
    let tokens = config.tokens();
    let own_norm = config.final_norm == FinalNorm::MeanPatch;
    Ok(match tap {
        Tap::Pooled { norm: true, .. } if config.final_norm == FinalNorm::None => {
            return refuse("the checkpoint has no final normalisation");
        }
        Tap::Pooled { token, norm, .. } => match (token, config.pooler) {
            (Token::Cls | Token::Concat, _) if !config.class_token => {
                return refuse("the checkpoint has no class token");
            }
            (Token::Cls | Token::Concat, _) if norm && own_norm => {
                return refuse(
                    "the checkpoint normalises only the mean of its patch tokens (fc_norm)",
                );
            }
            (Token::Pooled, None) => return refuse(NO_POOLER),
            (Token::Pooled, _) if !norm => {
                return refuse("the checkpoint pools normalised tokens");
            }
            (Token::Pooled, Some(Pooler::Projection { width })) => vec![width],
            (Token::Concat, _) => vec![2 * config.width],
            (Token::Cls | Token::MeanPatch | Token::Pooled, _) => vec![config.width],
        },
        Tap::Pixels => return refuse("raw pixels are read without a checkpoint"),
        Tap::Logits => return refuse("the encoder is read without its classification head"),
        Tap::Embed | Tap::Block(_) | Tap::Tokens => vec![tokens, config.width],
        Tap::Attention(layer) => vec![config.heads.of(layer), tokens, tokens],
        Tap::AttentionStatistics(layer) => {
            vec![config.heads.of(layer), AttentionStatistic::ALL.len()]
        }
    })
}
