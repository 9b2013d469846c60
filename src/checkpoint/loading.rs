//! One checkpoint, everything about it decided.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::card::{Card, Published};
use super::config_json::ConfigJson;
use super::dialect::{Dialect, Facts};
use super::pattern::matches;
use super::source::TensorSource;
use super::{Audit, AuditLine, CheckpointError, Fate};
use crate::data::Interpolation;
use crate::engine::Activation;
use crate::features::Token;
use crate::nn::Weights;
use crate::vit::{FinalNorm, VitConfig};

/// What the user says about every checkpoint of a command.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Attention heads.
    pub heads: Option<usize>,
    /// Patterns of keys to leave out.
    pub ignore_keys: Vec<String>,
}

/// Something the weights did not tell, what was taken, and on whose word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// What was chosen.
    pub field: String,
    /// The value taken.
    pub value: String,
    /// Who said so.
    pub from: String,
}

impl Choice {
    pub(super) fn new(field: &str, value: impl ToString, from: impl ToString) -> Self {
        Self {
            field: field.to_owned(),
            value: value.to_string(),
            from: from.to_string(),
        }
    }
}

/// The feature a family is evaluated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Which tokens.
    pub token: Token,
    /// Whether the final normalisation is applied.
    pub norm: bool,
}

/// What is known of the input a checkpoint expects.
#[derive(Clone, Debug)]
pub struct InputFacts {
    /// Height and width, pixels.
    pub size: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Shorter side before the centre crop, where the checkpoint's own files say one.
    pub resize: Option<usize>,
    /// Filter, where the checkpoint's own files say one.
    pub interpolation: Option<Interpolation>,
    /// Mean a channel.
    pub mean: Vec<f32>,
    /// Standard deviation a channel.
    pub std: Vec<f32>,
}

/// A checkpoint whose every tensor is accounted for.
#[derive(Debug)]
pub struct Checkpoint {
    /// Name in tables: the card's, else the file's stem.
    pub name: String,
    /// The weights.
    pub path: PathBuf,
    /// Hash of the weights, hexadecimal.
    pub blake3: String,
    /// Names under which the weights were saved.
    pub dialect: Dialect,
    /// The architecture.
    pub config: VitConfig,
    /// What was decided beyond the weights, in order.
    pub choices: Vec<Choice>,
    /// The fate of every key.
    pub audit: Audit,
    /// The encoder's tensors under canonical names.
    pub weights: Weights,
    /// The input it expects.
    pub input: InputFacts,
    /// The feature its family is evaluated by.
    pub feature: Feature,
    /// Numbers others published for it.
    pub published: Vec<Published>,
    opened: PathBuf,
    options: LoadOptions,
}

/// ImageNet statistics, the default of MAE, DINO, iBOT, MaskAlign and MEDiC
/// (`timm/data/constants.py`, IMAGENET_DEFAULT_MEAN and IMAGENET_DEFAULT_STD).
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// See [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// LayerNorm epsilon of timm's `VisionTransformer` and of MAE (`timm/layers/norm.py`).
const TIMM_NORM_EPS: f64 = 1e-6;

impl Checkpoint {
    /// Opens a safetensors file, or the one a card (`.toml`) names. A card of the same stem and a
    /// `config.json` beside the weights are read where they exist; options override the card,
    /// the card overrides `config.json`.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, CheckpointError> {
        let (weights_path, card) = resolve(path)?;
        let source = TensorSource::open(&weights_path)?;
        let config = ConfigJson::beside(&weights_path)?.unwrap_or_default();
        if let Some(position) = &config.norm_position {
            return Err(CheckpointError::NotPreNorm {
                path: weights_path,
                reason: format!(
                    "{} says norm_position = \"{position}\"",
                    config.path.display()
                ),
            });
        }
        let blake3 = source.blake3();
        if let Some(expected) = card.as_ref().and_then(|card| card.file.blake3.as_ref())
            && !expected.eq_ignore_ascii_case(&blake3)
        {
            return Err(CheckpointError::Checksum {
                path: weights_path,
                found: blake3,
                expected: expected.clone(),
            });
        }
        let mut choices = Vec::new();
        let dialect = match card.as_ref().and_then(|card| card.model.dialect) {
            Some(dialect) => {
                choices.push(Choice::new("dialect", dialect.name(), "card"));
                dialect
            }
            None => {
                let (dialect, choice) =
                    Dialect::recognise(source.entries()).ok_or_else(|| unknown_dialect(&source))?;
                choices.push(choice);
                dialect
            }
        };
        let audit = dialect.audit(source.entries(), &options.ignore_keys);
        for pattern in &options.ignore_keys {
            let used = |line: &AuditLine| matches(pattern, &line.key).is_some();
            if !audit.lines.iter().any(used) {
                return Err(CheckpointError::NothingIgnored {
                    path: weights_path,
                    pattern: pattern.clone(),
                });
            }
        }
        let mut entries = source.entries().clone();
        for key in audit.ignored() {
            entries.remove(key);
        }
        let facts = dialect.facts(&weights_path, &entries)?;
        let weights = dialect.load(&source, &audit)?;
        source.check_unchanged()?;
        let mut settle = Settle {
            path: &weights_path,
            card: card.as_ref(),
            json: &config,
            choices,
        };
        let vit = settle.config(&facts, options)?;
        let input = settle.input(&vit)?;
        let feature = settle.feature(&vit);
        let choices = settle.choices;
        Ok(Self {
            name: card.as_ref().map_or_else(
                || {
                    weights_path
                        .file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned()
                },
                |card| card.name.clone(),
            ),
            path: weights_path,
            blake3,
            dialect,
            config: vit,
            choices,
            audit,
            weights,
            input,
            feature,
            published: card.map(|card| card.published).unwrap_or_default(),
            opened: path.to_owned(),
            options: options.clone(),
        })
    }

    /// The same checkpoint read again, an error if it is not the same any more.
    pub fn reopen(&self) -> Result<Self, CheckpointError> {
        let again = Self::open(&self.opened, &self.options)?;
        if again.blake3 == self.blake3 && again.config == self.config {
            Ok(again)
        } else {
            Err(CheckpointError::Changed {
                path: self.path.clone(),
            })
        }
    }
}

/// The weights that `path` means, and their card: `path` itself, or one of its stem beside it.
fn resolve(path: &Path) -> Result<(PathBuf, Option<Card>), CheckpointError> {
    Ok(if path.extension().is_some_and(|x| x == "toml") {
        let card = Card::read(path)?;
        (card.weights(path)?, Some(card))
    } else {
        let card_path = path.with_extension("toml");
        let card = card_path
            .is_file()
            .then(|| Card::read(&card_path))
            .transpose()?;
        if let Some(card) = &card
            && !card.describes(&card_path, path)
        {
            let named = card.file.path.display();
            return Err(CheckpointError::Card {
                path: card_path,
                reason: format!("[file] path is {named}, not the file that it stands beside"),
            });
        }
        (path.to_owned(), card)
    })
}

/// What becomes of every key of a file, whether or not it can be loaded; every key is unknown
/// where no dialect recognises the file.
pub fn audit_file(path: &Path, options: &LoadOptions) -> Result<(PathBuf, Audit), CheckpointError> {
    let (weights_path, card) = resolve(path)?;
    let source = TensorSource::open(&weights_path)?;
    let dialect = card
        .and_then(|card| card.model.dialect)
        .or_else(|| Dialect::recognise(source.entries()).map(|(dialect, _)| dialect));
    let audit = match dialect {
        Some(dialect) => dialect.audit(source.entries(), &options.ignore_keys),
        None => Audit::new(source.entries(), |_| Fate::Unknown),
    };
    Ok((weights_path, audit))
}

/// Names a prefix that hides timm's keys, where there is one.
fn unknown_dialect(source: &TensorSource) -> CheckpointError {
    let kernel = "patch_embed.proj.weight";
    CheckpointError::UnknownDialect {
        path: source.path().to_owned(),
        keys: match source.entries().len() {
            0 => "no tensors".to_owned(),
            n => {
                let shown: Vec<_> = source
                    .entries()
                    .keys()
                    .take(4)
                    .map(String::as_str)
                    .collect();
                format!("{n} keys such as {}", shown.join(", "))
            }
        },
        prefix: source
            .entries()
            .keys()
            .find_map(|key| key.strip_suffix(kernel))
            .filter(|prefix| !prefix.is_empty())
            .map(str::to_owned),
    }
}

/// Decides what the weights leave open.
struct Settle<'a> {
    path: &'a Path,
    card: Option<&'a Card>,
    json: &'a ConfigJson,
    choices: Vec<Choice>,
}

impl Settle<'_> {
    fn chose(&mut self, field: &str, value: impl ToString, from: impl ToString) {
        self.choices.push(Choice::new(field, value, from));
    }

    fn unclear(&self, reason: String, hint: &'static str) -> CheckpointError {
        CheckpointError::Architecture {
            path: self.path.to_owned(),
            reason,
            hint,
        }
    }

    /// The first of card, `config.json` and a default, noted.
    fn first<T: serde::Serialize>(
        &mut self,
        field: &str,
        card: Option<T>,
        json: Option<T>,
        default: T,
        why: &str,
    ) -> T {
        let (value, from) = match (card, json) {
            (Some(value), _) => (value, "card"),
            (None, Some(value)) => (value, "config.json"),
            (None, None) => (default, why),
        };
        let shown = serde_json::to_string(&value).unwrap_or_default();
        self.chose(field, shown.trim_matches('"'), from);
        value
    }

    fn config(
        &mut self,
        facts: &Facts,
        options: &LoadOptions,
    ) -> Result<VitConfig, CheckpointError> {
        let told = [
            ("width", self.json.width, facts.width),
            ("depth", self.json.depth, facts.depth),
            ("patch size", self.json.patch_size, facts.patch_size),
            ("channels", self.json.channels, facts.channels),
        ];
        for (what, said, found) in told {
            if let Some(said) = said.filter(|&said| said != found) {
                return Err(self.unclear(
                    format!("config.json says {what} {said}, the weights have {found}"),
                    "the config.json belongs to another checkpoint: move one of the two",
                ));
            }
        }
        if let Some([height, width]) = self.input_size()
            && (height % facts.patch_size != 0 || width % facts.patch_size != 0)
        {
            return Err(self.unclear(
                format!(
                    "an input of {height} x {width} pixels is no whole number of patches of {}",
                    facts.patch_size
                ),
                "correct the input size of the card or config.json",
            ));
        }
        let (grid, class_position) = self.grid(facts)?;
        let heads = self.heads(facts.width, options)?;
        let card = self.card.map(|card| &card.model);
        let norm_eps = self.first(
            "norm_eps",
            card.and_then(|model| model.norm_eps),
            self.json.norm_eps,
            TIMM_NORM_EPS,
            "default of timm and MAE",
        );
        if !(norm_eps.is_finite() && norm_eps > 0.0) {
            return Err(self.unclear(
                format!("norm_eps is {norm_eps}"),
                "it is a small positive number such as 1e-6",
            ));
        }
        let activation = self.first(
            "activation",
            card.and_then(|model| model.activation),
            self.json.activation,
            Activation::Gelu,
            "default of timm and MAE",
        );
        Ok(VitConfig {
            patch_size: facts.patch_size,
            grid,
            channels: facts.channels,
            width: facts.width,
            depth: facts.depth,
            heads,
            mlp_width: facts.mlp_width,
            class_token: facts.class_token,
            class_position,
            final_norm: if facts.fc_norm {
                FinalNorm::MeanPatch
            } else {
                FinalNorm::Tokens
            },
            norm_eps,
            activation,
        })
    }

    /// Height and width of the input, where the card or `config.json` says it.
    fn input_size(&self) -> Option<[usize; 2]> {
        let card = self.card.and_then(|card| card.input.size);
        card.or(self.json.image_size)
    }

    /// Patch grid, and whether the class token has a position, from the number of positions.
    fn grid(&self, facts: &Facts) -> Result<([usize; 2], bool), CheckpointError> {
        let size = self.input_size();
        let n = facts.positions;
        let with_class = facts.class_token.then(|| (n - 1, true));
        for (patches, class_position) in with_class.into_iter().chain([(n, false)]) {
            let grid = match size {
                Some(size) => size.map(|side| side / facts.patch_size),
                None => [patches.isqrt(); 2],
            };
            if grid[0] * grid[1] == patches && patches > 0 {
                return Ok((grid, class_position));
            }
        }
        Err(match size {
            Some([height, width]) => self.unclear(
                format!(
                    "{n} positions do not fit an input of {height} x {width} pixels in patches of {}",
                    facts.patch_size
                ),
                "the input size of the card or config.json must be the one of the weights: position tables are not resized",
            ),
            None => self.unclear(
                format!("{n} positions are no square grid"),
                "give the input size in a card: [input] size = [height, width]",
            ),
        })
    }

    fn heads(&mut self, width: usize, options: &LoadOptions) -> Result<usize, CheckpointError> {
        // Widths of published ViTs whose heads are not 64 wide: so400m, ViT-H, ViT-g, bigG, ViT-7B.
        const NOT_64: [(usize, usize); 5] =
            [(1152, 16), (1280, 16), (1408, 16), (1664, 16), (4096, 32)];
        let card = self.card.and_then(|card| card.model.heads);
        let (heads, from) = if let Some(heads) = options.heads {
            (heads, "--heads".to_owned())
        } else if let Some(heads) = card {
            (heads, "card".to_owned())
        } else if let Some(heads) = self.json.heads {
            (heads, "config.json".to_owned())
        } else if let Some((_, heads)) = NOT_64.into_iter().find(|&(known, _)| known == width) {
            (heads, format!("the published ViT of width {width}"))
        } else if width.is_multiple_of(64) {
            (
                width / 64,
                format!("a guess: width {width} / 64; --heads tells"),
            )
        } else {
            return Err(self.unclear(
                format!(
                    "width {width} is no multiple of 64, so the number of heads cannot be guessed"
                ),
                "--heads H, or a card or config.json beside the file, tells it",
            ));
        };
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(self.unclear(
                format!("{heads} heads ({from}) do not divide the width {width}"),
                "the number of heads is in the training code or the paper",
            ));
        }
        self.chose("heads", heads, from);
        Ok(heads)
    }

    fn input(&mut self, vit: &VitConfig) -> Result<InputFacts, CheckpointError> {
        let card = self.card.map(|card| &card.input);
        let size = vit.input_size();
        let fits = |values: &Vec<f32>| values.len() == vit.channels;
        let (mean, std) = if vit.channels == 3 {
            (IMAGENET_MEAN.to_vec(), IMAGENET_STD.to_vec())
        } else {
            (vec![0.5; vit.channels], vec![0.5; vit.channels])
        };
        let why = if vit.channels == 3 {
            "ImageNet's, by default"
        } else {
            "by default"
        };
        let (card_mean, json_mean) = (
            card.and_then(|input| input.mean.clone()),
            self.json.mean.clone(),
        );
        let mean = self.first("mean", card_mean, json_mean, mean, why);
        let (card_std, json_std) = (
            card.and_then(|input| input.std.clone()),
            self.json.std.clone(),
        );
        let std = self.first("std", card_std, json_std, std, why);
        if !fits(&mean) || !fits(&std) || std.iter().any(|&x| !(x.is_finite() && x > 0.0)) {
            return Err(self.unclear(
                format!(
                    "mean {mean:?} and std {std:?} do not fit {} input channels",
                    vit.channels
                ),
                "give one finite mean and one positive std a channel",
            ));
        }
        let crop = self.json.crop_ratio.filter(|&ratio| ratio > 0.0);
        Ok(InputFacts {
            size,
            channels: vit.channels,
            resize: card
                .and_then(|input| input.resize)
                .or_else(|| crop.map(|ratio| (size[0].min(size[1]) as f64 / ratio) as usize)),
            interpolation: card
                .and_then(|input| input.interpolation)
                .or(self.json.interpolation),
            mean,
            std,
        })
    }

    fn feature(&mut self, vit: &VitConfig) -> Feature {
        let (feature, from) = if let Some(feature) = self.card.and_then(|card| card.feature) {
            (feature, "card")
        } else if vit.final_norm == FinalNorm::MeanPatch {
            (
                Feature {
                    token: Token::MeanPatch,
                    norm: true,
                },
                "fc_norm",
            )
        } else if self.json.mean_pooling == Some(true) {
            (
                Feature {
                    token: Token::MeanPatch,
                    norm: true,
                },
                "config.json",
            )
        } else if vit.class_token {
            (
                Feature {
                    token: Token::Cls,
                    norm: true,
                },
                "class token",
            )
        } else {
            (
                Feature {
                    token: Token::MeanPatch,
                    norm: true,
                },
                "no class token",
            )
        };
        let norm = if feature.norm { "norm" } else { "raw" };
        self.chose("feature", format!("{} {norm}", feature.token.name()), from);
        feature
    }
}
