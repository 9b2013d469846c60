//! A ViT as an [`Encoder`] in plain data.

use super::{FinalNorm, Site, Vit, VitConfig};
use crate::engine::{Engine, HostTensor, Result};
use crate::features::{Encoder, EncoderError, Tap, Token};

/// A frozen ViT and the engine it runs on.
#[derive(Clone, Debug)]
pub struct VitEncoder<E: Engine> {
    engine: E,
    vit: Vit<E>,
}

impl<E: Engine> VitEncoder<E> {
    /// A frozen encoder.
    pub fn new(engine: E, vit: Vit<E>) -> Self {
        Self { engine, vit }
    }

    fn host(&self, x: &E::Tensor) -> Result<HostTensor> {
        Ok(HostTensor {
            shape: self.engine.shape(x),
            data: self.engine.to_f32(x)?,
        })
    }

    /// x: `[B, N, D]`, any block's output -> `[B, D]` or `[B, 2 D]`
    fn pool(&self, x: &E::Tensor, token: Token, norm: bool) -> Result<E::Tensor> {
        let engine = &self.engine;
        let config = self.vit.config();
        let over_tokens = norm && config.final_norm == FinalNorm::Tokens;
        let x = if over_tokens {
            self.vit.normalise(engine, x)?
        } else {
            x.clone()
        };
        let cls = || {
            let first = engine.narrow(&x, 1, 0, 1)?;
            let shape = engine.shape(&first);
            engine.reshape(&first, &[shape[0], shape[2]])
        };
        let mean_patch = || {
            let first = usize::from(config.class_token);
            let mean = engine.mean(&engine.narrow(&x, 1, first, config.patches())?, &[1])?;
            if norm && config.final_norm == FinalNorm::MeanPatch {
                self.vit.normalise(engine, &mean)
            } else {
                Ok(mean)
            }
        };
        match token {
            Token::Cls => cls(),
            Token::MeanPatch => mean_patch(),
            Token::Concat => engine.cat(&[&cls()?, &mean_patch()?], 1),
        }
    }
}

impl<E: Engine> Encoder for VitEncoder<E> {
    fn shape(&self, tap: Tap) -> std::result::Result<Vec<usize>, EncoderError> {
        tap_shape(self.vit.config(), tap)
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
        let config = self.vit.config();
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
            (Tap::Attention(layer), Site::Attention(i)) => layer == i,
            (Tap::Embed, Site::Embed) => true,
            _ => false,
        };
        let wants = |site| taps.iter().any(|&tap| at(tap, site));
        let mut outputs = vec![None; taps.len()];
        let last = self
            .vit
            .forward(engine, &images, depth, &wants, &mut |site, x| {
                for (output, &tap) in outputs
                    .iter_mut()
                    .zip(taps)
                    .filter(|(_, tap)| at(**tap, site))
                {
                    *output = Some(match tap {
                        Tap::Pooled { token, norm, .. } => {
                            self.host(&self.pool(x, token, norm)?)?
                        }
                        _ => self.host(x)?,
                    });
                }
                Ok(())
            })?;
        taps.iter()
            .zip(outputs)
            .map(|(&tap, output)| match (tap, output) {
                (_, Some(output)) => Ok(output),
                (Tap::Tokens, None) if config.final_norm == FinalNorm::Tokens => {
                    Ok(self.host(&self.vit.normalise(engine, &last)?)?)
                }
                (Tap::Tokens, None) => Ok(self.host(&last)?),
                (_, None) => Err(EncoderError::NoSuchTap {
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
    Ok(match tap {
        Tap::Pooled {
            token: Token::Cls | Token::Concat,
            ..
        } if !config.class_token => {
            return refuse("the checkpoint has no class token");
        }
        Tap::Pooled {
            token: Token::Cls | Token::Concat,
            norm: true,
            ..
        } if config.final_norm == FinalNorm::MeanPatch => {
            return refuse("the checkpoint normalises only the mean of its patch tokens (fc_norm)");
        }
        Tap::Pooled {
            token: Token::Concat,
            ..
        } => vec![2 * config.width],
        Tap::Pooled { .. } => vec![config.width],
        Tap::Pixels => return refuse("raw pixels are read without a checkpoint"),
        Tap::Embed | Tap::Block(_) | Tap::Tokens => vec![tokens, config.width],
        Tap::Attention(_) => vec![config.heads, tokens, tokens],
    })
}
