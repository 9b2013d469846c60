//! Pixels out of a student's tokens.

use serde::{Deserialize, Serialize};

use super::{Reads, Sides, mean_of, not_negative};
use crate::decoders::{MaeDecoder, MaeDecoderConfig};
use crate::engine::{Engine, Result};
use crate::nn::{Linear, Loader, WeightError, select_tokens};
use crate::pretrain::blank::{Begin, Blank, encoder_blanks, norm_blanks, sin_cos_positions};
use crate::pretrain::scene::{Positions, Scene, missing};
use crate::pretrain::student::Encoding;
use crate::pretrain::target::layer_norm;
use crate::pretrain::{normalise_patches, patch_pixels};
use crate::vit::VitConfig;

/// The difference of a decoder's pixels from the image's: the mean over patches and their numbers
/// (facebookresearch/mae `models_mae.py`; MEDiC, eq. 4; microsoft/SimMIM `models/simmim.py`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelReconstructionSpec {
    /// What it counts for.
    pub weight: f64,
    /// Which patches.
    pub on: Positions,
    /// Measure of a difference.
    pub loss: PixelLoss,
    /// What is normalised patch by patch before.
    pub normalise: PixelNorm,
    /// What makes pixels of tokens.
    pub decoder: PixelDecoder,
}

/// Measure of a difference of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelLoss {
    /// Its square: MAE.
    L2,
    /// Its absolute value: SimMIM.
    L1,
}

/// What is normalised patch by patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelNorm {
    /// The image's pixels, by their unbiased variance: MAE's `norm_pix_loss`.
    Target,
    /// The decoder's, as a layer norm does, against the image's as they are: MEDiC, eq. 4.
    Prediction,
    /// Nothing.
    None,
}

/// What makes pixels of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PixelDecoder {
    /// MAE's: blocks over all patches at fixed positions, a learned token in the places of those that
    /// the encoder has not seen.
    Transformer {
        /// Token width.
        width: usize,
        /// Blocks.
        depth: usize,
        /// Attention heads.
        heads: usize,
        /// Hidden width of the MLPs; four times the tokens' where absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mlp_width: Option<usize>,
        /// Which tokens of an encoder of all patches it reads.
        #[serde(default)]
        reads: DecoderInput,
    },
    /// One linear layer over every patch's token: SimMIM's.
    Linear {},
}

/// Which tokens of an encoder of all patches a decoder reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderInput {
    /// Those of the patches that are seen; its own mask token takes the places of the others
    /// (aicip/MEDiC, `replace_mask_tokens`).
    #[default]
    Visible,
    /// All of them.
    All,
}

impl PixelDecoder {
    fn transformer(self) -> Option<MaeDecoderConfig> {
        match self {
            Self::Transformer {
                width,
                depth,
                heads,
                mlp_width,
                ..
            } => Some(MaeDecoderConfig {
                width,
                depth,
                heads,
                mlp_width: mlp_width.unwrap_or(4 * width),
            }),
            Self::Linear {} => None,
        }
    }

    /// Its blocks behind this encoder, where it has some.
    pub(in crate::pretrain) fn blocks(self, encoder: &VitConfig) -> Option<VitConfig> {
        self.transformer().map(|config| config.blocks(encoder))
    }
}

impl PixelReconstructionSpec {
    /// Whether a token of the decoder's own stands in the places of hidden patches.
    fn replaces(&self, sides: Sides<'_>) -> bool {
        let visible = matches!(
            self.decoder,
            PixelDecoder::Transformer {
                reads: DecoderInput::Visible,
                ..
            }
        );
        sides.unseen || (sides.hides && visible)
    }

    pub(super) fn reads() -> Reads {
        Reads {
            normed: true,
            ..Reads::default()
        }
    }

    pub(super) fn check(&self) -> std::result::Result<(), String> {
        not_negative("weight", self.weight)?;
        let PixelDecoder::Transformer {
            width,
            depth,
            heads,
            mlp_width,
            ..
        } = self.decoder
        else {
            return Ok(());
        };
        if depth == 0 || heads == 0 || width == 0 || !width.is_multiple_of(heads) {
            return Err(format!(
                "decoder has {depth} blocks of {heads} heads over a width of {width}, which they have to divide"
            ));
        }
        if mlp_width == Some(0) {
            return Err("decoder.mlp_width is 0".to_owned());
        }
        match width.is_multiple_of(4) {
            true => Ok(()),
            false => Err(format!(
                "decoder.width is {width}, and sines and cosines of two axes take a multiple of 4"
            )),
        }
    }

    /// Tensors below `decoder.`; the mask token is none of a student that has every patch.
    pub(super) fn blanks(&self, sides: Sides<'_>) -> Vec<Blank> {
        let student = sides.student;
        let pixels = student.patch_size.pow(2) * student.channels;
        let linear = |name: &str, outputs: usize, inputs: usize| {
            [
                Blank::new(
                    format!("decoder.{name}.weight"),
                    &[outputs, inputs],
                    Begin::Matrix,
                ),
                Blank::new(
                    format!("decoder.{name}.bias"),
                    &[outputs],
                    Begin::Constant(0.0),
                ),
            ]
        };
        let Some(config) = self.decoder.transformer() else {
            return linear("pred", pixels, student.width).into();
        };
        let width = config.width;
        let mut blanks = encoder_blanks("decoder.", &config.blocks(student));
        blanks.extend(norm_blanks("decoder.norm", width));
        blanks.extend(linear("embed", width, student.width));
        blanks.extend(linear("pred", pixels, width));
        if self.replaces(sides) {
            let name = "decoder.mask_token".to_owned();
            blanks.push(Blank::new(name, &[1, 1, width], Begin::Token));
        }
        let positions = sin_cos_positions(width, student.grid, student.prefix());
        blanks.push(Blank::exactly("decoder.pos_embed", positions));
        blanks
    }
}

/// The decoder and how its pixels are compared.
#[derive(Clone, Debug)]
pub struct PixelReconstruction<E: Engine> {
    spec: PixelReconstructionSpec,
    channels: usize,
    patch_size: usize,
    grid: [usize; 2],
    /// Whether the decoder's own token stands in the places of hidden patches.
    replaces: bool,
    decoder: Decoder<E>,
}

#[derive(Clone, Debug)]
enum Decoder<E: Engine> {
    Transformer(Box<MaeDecoder<E>>),
    Linear(Linear<E>),
}

impl<E: Engine> PixelReconstruction<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        spec: &PixelReconstructionSpec,
        sides: Sides<'_>,
    ) -> std::result::Result<Self, WeightError> {
        let student = sides.student;
        let replaces = spec.replaces(sides);
        let pixels = student.patch_size.pow(2) * student.channels;
        let decoder = match spec.decoder.transformer() {
            Some(config) => Decoder::Transformer(Box::new(MaeDecoder::load(
                loader, student, &config, replaces,
            )?)),
            None => Decoder::Linear(Linear::load(loader, "decoder.pred", student.width, pixels)?),
        };
        Ok(Self {
            spec: spec.clone(),
            channels: student.channels,
            patch_size: student.patch_size,
            grid: student.grid,
            replaces,
            decoder,
        })
    }

    /// Pixels of every patch, each `(p, p, C)`; of a linear decoder over a sparse encoder those of
    /// the patches that are seen: rows `[.., p p C]` in the order of the batch.
    pub fn decode(&self, engine: &E, scene: &Scene<'_, E>) -> Result<E::Tensor> {
        let tokens = scene.normed()?;
        match &self.decoder {
            Decoder::Transformer(decoder) => {
                let mask = scene.mask;
                let every: Vec<u32> = (0..mask.patches() as u32).collect();
                let pixels = match (scene.encoding, self.replaces) {
                    (Encoding::Sparse, _) => decoder.forward(engine, tokens, mask.restore())?,
                    (Encoding::Dense, false) => {
                        decoder.forward(engine, tokens, &every.repeat(mask.batch()))?
                    }
                    (Encoding::Dense, true) => {
                        let seen = mask.seen().ok_or_else(|| {
                            missing("a decoder of seen patches takes as many of every image")
                        })?;
                        let seen = select_tokens(engine, tokens, scene.student.prefix, &seen)?;
                        decoder.forward(engine, &seen, mask.restore())?
                    }
                };
                let shape = engine.shape(&pixels);
                engine.reshape(&pixels, &[shape[0] * shape[1], shape[2]])
            }
            Decoder::Linear(layer) => {
                let on = match scene.encoding {
                    Encoding::Sparse => Positions::Visible,
                    Encoding::Dense => Positions::All,
                };
                let rows = scene.student_rows(engine, tokens, on)?;
                layer.forward(engine, &rows)
            }
        }
    }

    pub(super) fn loss(&self, engine: &E, scene: &Scene<'_, E>) -> Result<E::Tensor> {
        let decoded = self.decode(engine, scene)?;
        let pixels = patch_pixels(
            engine,
            scene.images,
            self.channels,
            self.patch_size,
            self.grid,
        )?;
        let shape = engine.shape(&pixels);
        let pixels = engine.reshape(&pixels, &[shape[0] * shape[1], shape[2]])?;
        let on = self.spec.on;
        let (mut predicted, mut target) = match (&self.decoder, scene.encoding) {
            (Decoder::Linear(_), Encoding::Sparse) => (decoded, scene.rows(engine, &pixels, on)?),
            _ => (
                scene.chosen(engine, &decoded, on)?,
                scene.chosen(engine, &pixels, on)?,
            ),
        };
        match self.spec.normalise {
            PixelNorm::Target => target = normalise_patches(engine, &target)?,
            PixelNorm::Prediction => predicted = layer_norm(engine, &predicted)?,
            PixelNorm::None => {}
        }
        let difference = engine.sub(&predicted, &target)?;
        let distance = match self.spec.loss {
            PixelLoss::L2 => engine.mul(&difference, &difference)?,
            PixelLoss::L1 => engine.smooth_l1(&difference, 0.0)?,
        };
        mean_of(engine, &distance)
    }
}
