//! One checkpoint, everything about it decided.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::anchor::Anchor;
use super::card::{Card, Published};
use super::config_json::ConfigJson;
use super::dialect::{Dialect, PositionResize, recognise};
use super::facts::Facts;
use super::mapped::{MappedWeights, Regrid};
use super::pattern::matches;
use super::root::Root;
use super::rule::{Mapping, Part};
use super::settle::Settle;
use super::source::{TensorSource, in_folder};
use super::{Audit, CheckpointError};
use crate::data::Interpolation;
use crate::engine::{Activation, Precision};
use crate::features::Token;
use crate::spec::CardKey;
use crate::vit::{Heads, VitConfig};

/// What the user says about every checkpoint of a command; it overrides the card, which overrides
/// `config.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// Whose names the keys are.
    pub dialect: Option<Dialect>,
    /// The part of the file that holds the encoder, as in `teacher` or `model.student`.
    pub key: Option<String>,
    /// Attention heads.
    pub heads: Option<Heads>,
    /// Epsilon of every LayerNorm.
    pub norm_eps: Option<f64>,
    /// Activation of the MLP.
    pub activation: Option<Activation>,
    /// What rotary positions are computed in, where the periods are stored.
    pub rope_precision: Option<Precision>,
    /// Height and width of the input, pixels; position tables are brought to it.
    pub input_size: Option<[usize; 2]>,
    /// Whose way of doing that.
    pub position_resize: Option<PositionResize>,
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
    /// What decides it, where the value was only assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}", self.value, self.from)?;
        match &self.flag {
            Some(flag) => write!(f, "; {flag} decides)"),
            None => f.write_str(")"),
        }
    }
}

impl Choice {
    pub(super) fn new(field: &str, value: impl ToString, from: impl ToString) -> Self {
        Self {
            field: field.to_owned(),
            value: value.to_string(),
            from: from.to_string(),
            flag: None,
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
    /// Which card it has, where it has one.
    pub card: Option<CardKey>,
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
    /// The input it expects.
    pub input: InputFacts,
    /// The feature its family is evaluated by.
    pub feature: Feature,
    /// Numbers others published for it.
    pub published: Vec<Published>,
    /// Numbers of it that an evaluation must find again.
    pub anchors: Vec<Anchor>,
    /// Licence of the weights, where a card says it.
    pub licence: Option<String>,
    /// Heads of MAE's decoder by `config.json`.
    pub(super) decoder_heads: Option<usize>,
    /// Whether `config.json` says that the model pools the mean of its patches.
    pub(super) mean_pooling: bool,
    pub(super) root: Root,
    pub(super) source: TensorSource,
    pub(super) parts: BTreeMap<String, Part>,
    /// Position tables as they are in the file: rows before the patches', and the grid.
    stored: (usize, [usize; 2]),
    resize: PositionResize,
    /// What it was opened by.
    given: (PathBuf, LoadOptions),
}

impl Checkpoint {
    /// Opens a file of weights, or the one a card (`.toml`) names, or that under its usual name in a
    /// folder. A card of the same stem and a `config.json` beside the weights are read where they
    /// exist. Only what is asked for is read
    /// of the tensors, when a model is built.
    pub fn open(path: &Path, options: &LoadOptions) -> Result<Self, CheckpointError> {
        let given = (path.to_owned(), options.clone());
        let Opened {
            path,
            card,
            json,
            source,
        } = Opened::new(path)?;
        let (card, card_key) = card.unzip();
        if let Some(position) = &json.norm_position {
            return Err(CheckpointError::NotPreNorm {
                path,
                reason: format!(
                    "{} says norm_position = \"{position}\"",
                    json.path.display()
                ),
            });
        }
        let blake3 = source.blake3()?;
        if let Some(expected) = card.as_ref().and_then(|card| card.file.blake3.as_ref())
            && !expected.eq_ignore_ascii_case(&blake3)
        {
            return Err(CheckpointError::Checksum {
                path,
                found: blake3,
                expected: expected.clone(),
            });
        }
        let mut settle = Settle::new(&path, card.as_ref(), &json, options);
        let root = Root::find(&source, options.key.as_deref())?;
        settle.encoder(&root);
        let dialect = settle.dialect(recognise(&source, &root, &json), &source)?;
        let mapping = mapping(&source, &root, dialect, options)?;
        for pattern in &options.ignore_keys {
            if !source
                .entries()
                .keys()
                .any(|key| matches(pattern, key).is_some())
            {
                return Err(CheckpointError::NothingIgnored {
                    path,
                    pattern: pattern.clone(),
                });
            }
        }
        if !mapping.unknown.is_empty() {
            return Err(CheckpointError::UnknownKeys {
                path,
                dialect: dialect.name(),
                keys: mapping.unknown.into_iter().collect(),
            });
        }
        let audit = Audit::new(&source, Some(&mapping), &options.ignore_keys);
        for key in mapping.parts.values().flat_map(|part| part.recipe.keys()) {
            if let Some(entry) = source.entries().get(key)
                && entry.float.is_none()
            {
                return Err(CheckpointError::Dtype {
                    path,
                    name: key.to_owned(),
                    dtype: entry.dtype.clone(),
                });
            }
        }
        let facts = Facts::new(&source, &mapping)?;
        let (mut config, stored, resize) = settle.config(&facts, &mapping, dialect)?;
        let (target, margin) = settle.input_grid(&facts, stored.1)?;
        config.margin = margin;
        if target != stored.1 {
            settle.resized(&config, stored.1, target, resize);
            config.grid = target;
        }
        let native = stored.1.map(|side| side * facts.patch_size);
        let input = settle.input(&config, native, dialect, &facts)?;
        let feature = settle.feature(&config);
        let choices = settle.choices;
        let (published, anchors) = match &card {
            Some(card) => (card.published.clone(), card.anchors.clone()),
            None => Default::default(),
        };
        source.check_unchanged()?;
        Ok(Self {
            name: match &card {
                Some(card) => card.name.clone(),
                None => name(&path),
            },
            path,
            card: card_key,
            blake3,
            dialect,
            config,
            choices,
            audit,
            input,
            feature,
            licence: card.as_ref().and_then(|card| card.licence.clone()),
            published,
            anchors,
            decoder_heads: json.decoder_heads,
            mean_pooling: json.mean_pooling == Some(true),
            root,
            source,
            parts: mapping.parts,
            stored,
            resize,
            given,
        })
    }

    /// The same for another input size, height and width in pixels, on the word of `from`: position tables
    /// are brought to it.
    ///
    /// # Errors
    /// The size is no multiple of the patches', or the file is no longer what it was.
    pub fn at_size(&self, size: [usize; 2], from: &str) -> Result<Self, CheckpointError> {
        self.check_unchanged()?;
        let (path, options) = &self.given;
        let options = LoadOptions {
            input_size: Some(size),
            ..options.clone()
        };
        let mut opened = Self::open(path, &options)?;
        let choices = opened.choices.iter_mut();
        for choice in choices.filter(|choice| choice.field == "input") {
            from.clone_into(&mut choice.from);
        }
        opened.name.clone_from(&self.name);
        Ok(opened)
    }

    /// Its tensors, position tables brought to the input's grid; they are read as they are taken.
    pub fn weights(&self) -> MappedWeights<'_> {
        self.weights_of(self.parts.clone())
    }

    /// Numbers in its tensors, as they are in the file.
    pub fn elements(&self) -> usize {
        let parts = self.parts.values();
        parts.map(|part| part.shape.iter().product::<usize>()).sum()
    }

    /// [`Checkpoint::weights`] of other parts of the file.
    pub(super) fn weights_of(&self, parts: BTreeMap<String, Part>) -> MappedWeights<'_> {
        MappedWeights::new(&self.source, parts, self.regrid())
    }

    fn regrid(&self) -> Option<Regrid> {
        let (prefix, from) = self.stored;
        let to = self.config.grid;
        (from != to).then_some(Regrid {
            prefix,
            from,
            to,
            method: self.resize,
        })
    }

    /// How every tensor of the model is made of the file's: with the file's hash and the
    /// configuration, all that decides the model's features.
    pub fn making(&self) -> impl Serialize {
        (&self.parts, self.regrid())
    }

    /// Whether its keys may have a bias: where its code base leaves it out or masks it, it is zero
    /// for good.
    pub fn key_bias(&self) -> bool {
        !self.parts.values().any(|part| part.recipe.leaves_keys())
    }

    /// Whose way of bringing its position tables to another grid.
    pub fn position_resize(&self) -> PositionResize {
        self.resize
    }

    /// Every file that was opened for its weights.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.source.files()
    }

    /// An error if the file was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.source.check_unchanged()
    }
}

fn mapping(
    source: &TensorSource,
    root: &Root,
    dialect: Dialect,
    options: &LoadOptions,
) -> Result<Mapping, CheckpointError> {
    let gate = |key: &String| key.ends_with("mlp.gate_proj.weight");
    let names = dialect.names(source.entries().keys().any(gate));
    let ignored = |key: &str| {
        let mut patterns = options.ignore_keys.iter();
        patterns.any(|pattern| matches(pattern, key).is_some())
    };
    Mapping::new(source, root, names, &ignored)
}

/// What stands behind a path.
struct Opened {
    path: PathBuf,
    /// With what makes it this one.
    card: Option<(Card, CardKey)>,
    json: ConfigJson,
    source: TensorSource,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, CheckpointError> {
        let (path, card) = resolve(path)?;
        let source = TensorSource::open(&path)?;
        // A folder may have been given.
        let beside = source.files().next().unwrap_or(&path);
        Ok(Self {
            json: ConfigJson::beside(beside)?.unwrap_or_default(),
            path,
            card,
            source,
        })
    }
}

/// What a checkpoint without a card is called in tables: its file's stem, or where every
/// checkpoint's file is called alike, its folder's name.
fn name(path: &Path) -> String {
    const ALIKE: [&str; 4] = ["model", "pytorch_model", "open_clip_model", "checkpoint"];
    let text = |name: Option<&std::ffi::OsStr>| {
        let name = name.unwrap_or_default().to_string_lossy();
        name.into_owned()
    };
    let folder = |path: &Path| {
        let path = path.canonicalize().ok()?;
        let mut folders = path.ancestors().map(|folder| text(folder.file_name()));
        // The hub's cache: models--owner--name/snapshots/commit.
        let name = folders.next()?;
        if folders.next()? == "snapshots"
            && let Some(name) = folders.next()?.strip_prefix("models--")
        {
            return Some(name.replace("--", "/"));
        }
        Some(name).filter(|name| !name.is_empty())
    };
    let stem = text(path.file_stem());
    if path.is_dir() {
        return folder(path).unwrap_or(stem);
    }
    match stem.split('.').next() {
        Some(alike) if ALIKE.contains(&alike) => path
            .parent()
            .map(|parent| Path::new(".").join(parent))
            .and_then(|parent| folder(&parent))
            .unwrap_or(stem),
        _ => stem,
    }
}

/// The weights that `path` means, and their card: `path` itself, or one of its stem beside it; of a
/// folder, one beside the weights in it.
fn resolve(path: &Path) -> Result<(PathBuf, Option<(Card, CardKey)>), CheckpointError> {
    let inside = path.is_dir().then(|| in_folder(path)).flatten();
    if let Some(weights) = inside
        && weights.with_extension("toml").is_file()
    {
        return resolve(&weights);
    }
    Ok(if path.extension().is_some_and(|x| x == "toml") {
        let (card, key) = Card::read_with_key(path)?;
        (card.weights(path)?, Some((card, key)))
    } else {
        let card_path = path.with_extension("toml");
        let card = card_path
            .is_file()
            .then(|| Card::read_with_key(&card_path))
            .transpose()?;
        if let Some((card, _)) = &card
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
    let opened = Opened::new(path)?;
    let Opened {
        card, json, source, ..
    } = &opened;
    let mapping = Root::find(source, options.key.as_deref())
        .ok()
        .and_then(|root| {
            let card = card.as_ref().and_then(|(card, _)| card.model.dialect);
            let dialect = options
                .dialect
                .or(card)
                .or_else(|| recognise(source, &root, json).map(|(dialect, _)| dialect))?;
            mapping(source, &root, dialect, options).ok()
        });
    let audit = Audit::new(source, mapping.as_ref(), &options.ignore_keys);
    Ok((opened.path, audit))
}
