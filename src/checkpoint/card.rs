//! Checkpoint cards: what a checkpoint is, where it comes from, and what weights cannot tell.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CheckpointError;
use super::anchor::Anchor;
use super::dialect::{Dialect, PositionResize};
use super::loading::Feature;
use super::source::{printable, regular};
use crate::data::Interpolation;
use crate::engine::Activation;
use crate::spec::{CardKey, line_of};
use crate::vit::{Heads, Rope};

/// Bytes of a card. Those in `checkpoints/` have a few thousand.
const LONGEST: u64 = 1 << 20;
/// Characters of an error that quotes a card.
const SAID: usize = 1000;
/// Pixels along a side of an image.
const LONGEST_SIDE: usize = 1 << 16;
/// Heads of a block: as many as the widest ViTs have channels.
const MOST_HEADS: usize = 1 << 16;

/// One card (TOML). Only `name` and `[file] path` must be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Name in tables.
    pub name: String,
    /// The weights.
    pub file: CardFile,
    /// What the weights cannot tell about the architecture.
    #[serde(default)]
    pub model: CardModel,
    /// What the model was trained to see.
    #[serde(default)]
    pub input: CardInput,
    /// Which feature the family uses.
    pub feature: Option<Feature>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// What a reader must know before the numbers are compared or the weights are looked for.
    pub note: Option<String>,
    /// Numbers others published for this checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// Published numbers of the checkpoint evaluated as it is, which `mimbench verify` finds again.
    #[serde(default, rename = "anchor", skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<Anchor>,
}

/// Where the weights are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFile {
    /// Relative to the card.
    pub path: PathBuf,
    /// The file itself, for download.
    pub url: Option<String>,
    /// A page that offers the file or explains it.
    pub page: Option<String>,
    /// `owner/name` on the Hugging Face hub, or `owner/name/file`.
    pub hf: Option<String>,
    /// Hash of the file, hexadecimal; checked when given.
    pub blake3: Option<String>,
}

/// Facts of the architecture.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardModel {
    /// Dialect of the keys; recognised when absent.
    pub dialect: Option<Dialect>,
    /// Attention heads: a number, or text as in `6x11,12`.
    pub heads: Option<Heads>,
    /// Epsilon of every LayerNorm.
    pub norm_eps: Option<f64>,
    /// Activation of the MLP.
    pub activation: Option<Activation>,
    /// Whose way of bringing position tables to another input size.
    pub position_resize: Option<PositionResize>,
    /// Whether there is a class token: beside registers, its absence is doubted.
    pub class_token: Option<bool>,
    /// Rotary positions under timm's names, which leave no trace of them.
    pub rope: Option<Rope>,
}

/// The input the checkpoint expects.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardInput {
    /// Height and width, pixels.
    pub size: Option<[usize; 2]>,
    /// Shorter side before the centre crop, pixels.
    pub resize: Option<usize>,
    /// Filter of the resize.
    pub interpolation: Option<Interpolation>,
    /// Mean a channel, of values in [0, 1].
    pub mean: Option<Vec<f32>>,
    /// Standard deviation a channel.
    pub std: Option<Vec<f32>>,
}

/// A number somebody published.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// What was measured.
    pub measure: PublishedMeasure,
    /// The value, percent.
    pub value: f64,
    /// Epochs of pre-training, where the source says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Images of the pre-training in the source's words, where it says them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Paper and table, or repository and file.
    pub citation: String,
    /// What the number hides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What published numbers measure; on ImageNet-1K where no dataset is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PublishedMeasure {
    /// Accuracy of nearest neighbours over frozen features.
    #[serde(rename = "knn top1")]
    KnnTop1,
    /// Nearest neighbours on Imagenette.
    #[serde(rename = "imagenette knn top1")]
    ImagenetteKnnTop1,
    /// The same, five guesses.
    #[serde(rename = "imagenette knn top5")]
    ImagenetteKnnTop5,
    /// Nearest neighbours on Imagewoof.
    #[serde(rename = "imagewoof knn top1")]
    ImagewoofKnnTop1,
    /// The same, five guesses.
    #[serde(rename = "imagewoof knn top5")]
    ImagewoofKnnTop5,
    /// Accuracy of a linear classifier over frozen features.
    #[serde(rename = "linear top1")]
    LinearTop1,
    /// Accuracy after training the whole network with labels.
    #[serde(rename = "finetune top1")]
    FinetuneTop1,
    /// The same on CIFAR-100.
    #[serde(rename = "cifar100 finetune top1")]
    Cifar100FinetuneTop1,
    /// The same on Stanford Cars.
    #[serde(rename = "cars finetune top1")]
    CarsFinetuneTop1,
    /// The same on iNaturalist 2019.
    #[serde(rename = "inaturalist19 finetune top1")]
    Inaturalist19FinetuneTop1,
    /// Mean intersection over union on ADE20K, UperNet, the whole network trained.
    #[serde(rename = "ade20k miou")]
    Ade20kMiou,
    /// Average precision of boxes on COCO, the whole network trained.
    #[serde(rename = "coco box ap")]
    CocoBoxAp,
    /// Average precision of masks on COCO, the whole network trained.
    #[serde(rename = "coco mask ap")]
    CocoMaskAp,
}

/// The name that cards use.
impl fmt::Display for PublishedMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Measure, value, source, and what tells the number from others of its kind.
impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}", self.measure, self.value, self.citation)?;
        if let Some(epochs) = self.epochs {
            write!(f, "; {epochs} epochs")?;
        }
        for words in self.data.iter().chain(&self.note) {
            write!(f, "; {words}")?;
        }
        write!(f, ")")
    }
}

impl Card {
    /// Reads a card.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        Ok(Self::read_with_key(path)?.0)
    }

    /// Reads a card, and says which it is.
    pub fn read_with_key(path: &Path) -> Result<(Self, CardKey), CheckpointError> {
        let unusable = |reason: String| CheckpointError::Card {
            path: path.to_owned(),
            reason: printable(&reason, SAID),
        };
        let long = || unusable(format!("it is longer than {LONGEST} bytes"));
        let text = regular::text(path, LONGEST, long)?;
        let no_card = |error| unusable(line_of(&error, &text));
        let card: Self = toml::from_str(&text).map_err(no_card)?;
        card.check().map_err(unusable)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let key = CardKey::of(&stem, &text).map_err(no_card)?;
        Ok((card, key))
    }

    /// What no checkpoint can be, with the name of its field.
    fn check(&self) -> Result<(), String> {
        if self.name.chars().any(char::is_control) {
            return Err("name is to be one line of text".to_owned());
        }
        self.file.check()?;
        self.model.check()?;
        self.input.check()?;
        self.anchors.iter().try_for_each(Anchor::check)?;
        let percent = 0.0..=100.0;
        match self.published.iter().find(|p| !percent.contains(&p.value)) {
            Some(published) => Err(format!(
                "published {} is {}; it is in percent",
                published.measure, published.value
            )),
            None => Ok(()),
        }
    }

    /// The weights named by the card that lies at `card`; an error that says where to get them
    /// and where to put them, where they are absent.
    pub fn weights(&self, card: &Path) -> Result<PathBuf, CheckpointError> {
        let path = card.with_file_name(&self.file.path);
        if path.exists() {
            return Ok(path);
        }
        Err(CheckpointError::Absent {
            path: std::path::absolute(&path).unwrap_or(path),
            card: card.to_owned(),
            places: self.file.places(),
            note: self.note.clone(),
        })
    }

    /// Whether `weights` is what the card at `card` describes: the file it names, or the same
    /// file converted to another format.
    pub fn describes(&self, card: &Path, weights: &Path) -> bool {
        let named = card.with_file_name(&self.file.path);
        // The parent of a bare file name is empty, and an empty path is no folder.
        let folder = |path: &Path| Path::new(".").join(path.parent()?).canonicalize().ok();
        named.file_stem() == weights.file_stem()
            && folder(&named).is_some_and(|named| folder(weights) == Some(named))
    }
}

impl CardFile {
    fn check(&self) -> Result<(), String> {
        if self.path.file_name().is_none() {
            return Err("[file] path names no file".to_owned());
        }
        if self.path.extension().is_some_and(|x| x == "toml") {
            return Err("[file] path names a card, and is to name weights".to_owned());
        }
        match &self.blake3 {
            Some(hash) if !is_blake3(hash) => {
                Err("[file] blake3 is to be 64 hexadecimal digits, as b3sum prints them".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Addresses, the most direct first.
    fn places(&self) -> Vec<String> {
        let hub = self.hf.as_ref().map(|name| format!("hf://{name}"));
        [self.url.clone(), hub, self.page.clone()]
            .into_iter()
            .flatten()
            .collect()
    }
}

impl CardModel {
    fn check(&self) -> Result<(), String> {
        if let Some(heads) = &self.heads
            && heads.iter().any(|heads| !(1..=MOST_HEADS).contains(&heads))
        {
            return Err(format!(
                "[model] heads is {heads}; a block has 1 to {MOST_HEADS}"
            ));
        }
        match self.norm_eps {
            Some(eps) if !(eps > 0.0 && eps < 1.0) => Err(format!(
                "[model] norm_eps is {eps}; it is to be between 0 and 1"
            )),
            _ => Ok(()),
        }
    }
}

impl CardInput {
    fn check(&self) -> Result<(), String> {
        let sides = self.size.iter().flatten().map(|side| ("size", side));
        let mut sides = sides.chain(self.resize.iter().map(|side| ("resize", side)));
        if let Some((field, side)) = sides.find(|(_, side)| !(1..=LONGEST_SIDE).contains(*side)) {
            return Err(format!(
                "[input] {field} is {side}; a side has 1 to {LONGEST_SIDE} pixels"
            ));
        }
        let means = self.mean.iter().flatten();
        if let Some(mean) = means.clone().find(|mean| !mean.is_finite()) {
            return Err(format!("[input] mean is {mean}; it is to be a number"));
        }
        let stds = self.std.iter().flatten();
        // The reciprocal is what pixels are multiplied by.
        if let Some(std) = stds
            .clone()
            .find(|std| !(std.recip() > 0.0 && std.recip().is_finite()))
        {
            return Err(format!(
                "[input] std is {std}; it is to be a number above 0"
            ));
        }
        Ok(())
    }
}

/// Whether `text` is a hash as b3sum prints it.
fn is_blake3(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::anchor::AnchorMeasure;
    use super::{Card, PublishedMeasure};
    use crate::vit::Heads;

    #[test]
    fn the_documented_card_is_a_card() {
        let page = include_str!("../../checkpoints/README.md");
        let text = page
            .split("```toml")
            .nth(1)
            .and_then(|rest| rest.split("```").next())
            .unwrap();
        let card: Card = toml::from_str(text).unwrap();
        assert_eq!(card.model.heads, Some(Heads::same(12, 1)));
        assert_eq!(card.file.places().len(), 3);
        let published = &card.published[0];
        assert_eq!(published.measure, PublishedMeasure::KnnTop1);
        assert_eq!(
            published.to_string(),
            "knn top1 73.92 (MEDiC, table 1; 300 epochs; IN1K; k = 20)"
        );
        assert_eq!(card.anchors[0].measure, AnchorMeasure::Top1);
        assert_eq!(card.anchors[0].check(), Ok(()));
    }

    #[test]
    fn a_card_describes_its_file_in_any_format() {
        let card: Card = toml::from_str("name = \"x\"\n[file]\npath = \"x.pth\"\n").unwrap();
        let describes = |weights| card.describes(Path::new("src/x.toml"), Path::new(weights));
        assert!(describes("src/x.pth"));
        assert!(describes("src/x.safetensors"));
        assert!(describes("src/../src/x.pth"));
        assert!(!describes("src/y.pth"));
        assert!(!describes("tests/x.pth"));
    }
}
