//! The decoder in a file of MAE's pre-training, which an encoder leaves out.

use std::collections::BTreeMap;

use super::audit::Fate;
use super::dialect::{DECODER, Dialect};
use super::facts::Reader;
use super::rule::{Mapping, Part};
use super::{Audit, Checkpoint, CheckpointError, Choice, MappedWeights};
use crate::decoders::MaeDecoderConfig;
use crate::nn::WeightError;

/// What precedes the decoder's names in the model.
const PREFIX: &str = "decoder.";

/// Width and heads of every published MAE's decoder (facebookresearch/mae `models_mae.py`,
/// `mae_vit_base_patch16_dec512d8b` and its siblings).
const PUBLISHED: (usize, usize) = (512, 16);

/// A checkpoint with the decoder that it was pre-trained with.
#[derive(Debug)]
pub struct MaeCheckpoint<'a> {
    checkpoint: &'a Checkpoint,
    /// The decoder's architecture.
    pub decoder: MaeDecoderConfig,
    /// Its heads, which the weights do not tell, and who said so.
    pub heads: Choice,
    /// The fate of every key in encoder and decoder.
    pub audit: Audit,
    parts: BTreeMap<String, Part>,
}

impl Checkpoint {
    /// The same file with its decoder; `heads` is what the user says of the decoder's heads.
    pub fn mae(&self, heads: Option<usize>) -> Result<MaeCheckpoint<'_>, CheckpointError> {
        let left: BTreeMap<&str, &str> = self
            .audit
            .lines
            .iter()
            .filter_map(|line| match &line.fate {
                Fate::Dropped { reason } => Some((line.key.as_str(), reason.as_str())),
                _ => None,
            })
            .collect();
        let mut mapping = match self.dialect.decoder_names() {
            Some(names) => {
                // transformers saves it beside the encoder, MAE's own code among its tensors.
                let root = match self.dialect {
                    Dialect::HfVit => self.root.above(),
                    _ => self.root.clone(),
                };
                Mapping::new(&self.source, &root, names, &|key| !left.contains_key(key))
                    .map_err(of_decoder)?
            }
            None => Mapping {
                unknown: left.keys().map(|&key| key.to_owned()).collect(),
                ..Mapping::default()
            },
        };
        // Other tensors that the encoder leaves are no decoder's either.
        mapping
            .unknown
            .retain(|key| left.get(key.as_str()) == Some(&DECODER));
        if !mapping.unknown.is_empty() {
            return Err(CheckpointError::NotMae {
                path: self.path.clone(),
                keys: mapping.unknown.into_iter().collect(),
            });
        }
        let (decoder, heads) = self.decoder_config(&mapping, heads)?;
        let own = mapping.parts.into_iter();
        mapping.parts = own
            .map(|(name, part)| (format!("{PREFIX}{name}"), part))
            .collect();
        let mut audit = Audit::new(&self.source, Some(&mapping), &[]);
        for (line, before) in audit.lines.iter_mut().zip(&self.audit.lines) {
            if line.fate == Fate::Unknown {
                *line = before.clone();
            }
        }
        let mut parts = self.parts.clone();
        parts.extend(mapping.parts);
        Ok(MaeCheckpoint {
            checkpoint: self,
            decoder,
            heads,
            audit,
            parts,
        })
    }

    /// The architecture, from shapes and from what is said of the heads.
    fn decoder_config(
        &self,
        mapping: &Mapping,
        heads: Option<usize>,
    ) -> Result<(MaeDecoderConfig, Choice), CheckpointError> {
        let reader = Reader {
            source: &self.source,
            mapping,
            prefix: PREFIX,
        };
        let width = reader.shape("embed.weight", 2, "[W, D]")?[0];
        let depth = reader.depth()?;
        let mlp_width = reader.shape("blocks.0.mlp.fc1.weight", 2, "[H, W]")?[0];
        let told = [(heads, "asked for"), (self.decoder_heads, "config.json")];
        let told = told
            .into_iter()
            .find_map(|(heads, from)| Some((heads?, from)));
        let field = "decoder heads";
        let (heads, choice) = match told {
            Some((heads, from)) => (heads, Choice::new(field, heads, from)),
            None if width == PUBLISHED.0 => {
                let heads = PUBLISHED.1;
                let choice = Choice::new(field, heads, "the published MAEs' decoder");
                let flag = Some("decoder_num_attention_heads in config.json".to_owned());
                (heads, Choice { flag, ..choice })
            }
            None => {
                return Err(reader.unclear(
                    format!("nothing tells the heads of a decoder of width {width}"),
                    "decoder_num_attention_heads in a config.json beside the file tells",
                ));
            }
        };
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(reader.unclear(
                format!("{heads} heads do not divide the decoder's width {width}"),
                "the number of heads is in the training code",
            ));
        }
        let config = MaeDecoderConfig {
            width,
            depth,
            heads,
            mlp_width,
        };
        Ok((config, choice))
    }
}

impl MaeCheckpoint<'_> {
    /// The encoder's tensors under timm's names and the decoder's below `decoder.`, position
    /// tables brought to the input's grid; they are read as they are taken.
    pub fn weights(&self) -> MappedWeights<'_> {
        self.checkpoint.weights_of(self.parts.clone())
    }
}

/// The error with the decoder's name of a tensor that is missing.
fn of_decoder(error: CheckpointError) -> CheckpointError {
    match error {
        CheckpointError::Weight {
            path,
            source: WeightError::Missing { name },
        } => CheckpointError::Weight {
            path,
            source: WeightError::Missing {
                name: format!("{PREFIX}{name}"),
            },
        },
        error => error,
    }
}
