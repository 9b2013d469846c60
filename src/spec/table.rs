//! Definitions of the papers' tables: what a column says and how it can be measured, and which
//! rows are checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    CardKey, Kind, PaperError, PretrainPreset, PretrainSweep, Protocol, ResolvedRecipe, Sweep,
    line_of,
};

/// One table of one paper (TOML).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableDefinition {
    /// Paper and table in one word: `medic-1`.
    pub id: String,
    /// Whose table.
    pub paper: Paper,
    /// Its number in the paper, or `figure 6`.
    pub table: String,
    /// What is compared, on what data, with which model and epochs.
    pub title: String,
    /// From left to right, without the rows' labels.
    pub columns: Vec<ColumnDefinition>,
    /// The built-in sweep whose points are rows.
    pub sweep: Option<String>,
    /// Rows that are checkpoints with a card, or points of the sweep.
    #[serde(default)]
    pub rows: Vec<RowDefinition>,
    /// Their cards, in the same order.
    #[serde(skip)]
    pub cards: Vec<Option<CardKey>>,
    /// Hashes of their recipes, in the same order.
    #[serde(skip)]
    pub recipes: Vec<Option<String>>,
}

/// The papers whose tables are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paper {
    /// MEDiC.
    Medic,
    /// MaskAlign.
    #[serde(rename = "maskalign")]
    MaskAlign,
    /// Hybrid Distillation.
    HybridDistillation,
    /// MIM-HD.
    MimHd,
}

impl Paper {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 4] = [
        Self::Medic,
        Self::MaskAlign,
        Self::HybridDistillation,
        Self::MimHd,
    ];

    /// The word in files and ids.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Medic => "medic",
            Self::MaskAlign => "maskalign",
            Self::HybridDistillation => "hybrid-distillation",
            Self::MimHd => "mim-hd",
        }
    }

    /// The name for readers, with which citations begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Medic => "MEDiC",
            Self::MaskAlign => "MaskAlign",
            Self::HybridDistillation => "Hybrid Distillation",
            Self::MimHd => "MIM-HD",
        }
    }

    /// The paper of a [`Paper::slug`].
    pub fn of_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|paper| paper.slug() == slug)
    }
}

/// One column.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnDefinition {
    /// Unique in its table, as in the CSV file's field `column`.
    pub name: String,
    /// Numbers or words.
    pub kind: ColumnKind,
    /// Unit of the numbers; words such as epochs have none.
    pub unit: Option<ColumnUnit>,
    /// Which of two numbers is better.
    pub better: Option<Preference>,
    /// Digits after the point of measured numbers; published ones keep what is printed.
    pub decimals: Option<u8>,
    /// What measures this very number.
    pub measured: Option<Measurement>,
    /// Name of the built-in protocol whose settings count where the paper says none; the usual one,
    /// where absent.
    pub preset: Option<String>,
    /// The paper's own settings of that protocol, by key path.
    #[serde(default)]
    pub paper_settings: BTreeMap<String, toml::Value>,
    /// What the paper chose by looking at the validation set.
    #[serde(default)]
    pub select: Select,
    /// The column whose values are of the epochs that this one shows.
    pub epoch_of: Option<String>,
}

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Numbers, which can be compared.
    Number,
    /// Words, shown as they are printed.
    Text,
}

/// Unit of a column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ColumnUnit {
    /// Hundredths.
    #[serde(rename = "%")]
    Percent,
    /// Pixels.
    #[serde(rename = "px")]
    Pixels,
    /// None.
    #[serde(rename = "none")]
    None,
}

impl ColumnUnit {
    /// The sign behind a heading.
    pub const fn sign(self) -> Option<&'static str> {
        match self {
            Self::Percent => Some("%"),
            Self::Pixels => Some("px"),
            Self::None => None,
        }
    }
}

/// Which of two numbers is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The larger.
    Higher,
    /// The smaller.
    Lower,
    /// Neither.
    None,
}

/// What the paper chose by looking at the validation set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// Nothing, as far as it says.
    #[default]
    None,
    /// The number of neighbours.
    BestK,
    /// The block.
    BestLayer,
    /// The epoch of the pre-training.
    BestEpoch,
}

/// What measures a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Kind of the protocol.
    pub protocol: MeasuredBy,
    /// On which images.
    pub dataset: MeasuredOn,
    /// Name of the measure in records: `top1`.
    pub measure: String,
    /// Neighbours, where there are any.
    pub k: Option<usize>,
}

/// Kinds of protocols that papers report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredBy {
    /// kNN classification of frozen features.
    Knn,
    /// Attention distances and mutual information.
    Attention,
    /// A linear classifier over frozen features.
    Linear,
    /// The whole network trained with labels.
    Finetune,
    /// Semantic segmentation.
    Segment,
}

impl MeasuredBy {
    /// The word in protocol files and records; also the subcommand.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Attention => "attention",
            Self::Linear => "linear",
            Self::Finetune => "finetune",
            Self::Segment => "segment",
        }
    }

    /// Names of what it gives, in records.
    pub const fn measures(self) -> &'static [&'static str] {
        match self {
            Self::Knn => &["top1", "top5", "top5_strict"],
            Self::Attention => &[
                "nmi",
                "distance",
                "distance_raw",
                "entropy",
                "rank_me",
                "uniformity",
                "alignment",
            ],
            Self::Linear | Self::Finetune => &["top1", "top5"],
            Self::Segment => &["miou", "macc", "aacc"],
        }
    }

    /// The kind of mimbench's own protocols.
    pub const fn kind(self) -> Kind {
        match self {
            Self::Knn => Kind::Knn,
            Self::Attention => Kind::Attention,
            Self::Linear => Kind::Linear,
            Self::Finetune => Kind::Finetune,
            Self::Segment => Kind::Segment,
        }
    }
}

/// Datasets that papers report on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasuredOn {
    /// ImageNet-1K.
    #[serde(rename = "imagenet-1k")]
    Imagenet1k,
    /// Imagenette: ten easy classes of ImageNet's.
    Imagenette,
    /// Imagewoof: ten breeds of dogs.
    Imagewoof,
    /// CIFAR-100.
    #[serde(rename = "cifar-100")]
    Cifar100,
    /// Stanford Cars.
    Cars,
    /// iNaturalist 2017.
    #[serde(rename = "inat-2017")]
    Inat2017,
    /// iNaturalist 2018.
    #[serde(rename = "inat-2018")]
    Inat2018,
    /// iNaturalist 2019.
    #[serde(rename = "inat-2019")]
    Inat2019,
    /// ADE20K.
    Ade20k,
}

impl MeasuredOn {
    /// The name in protocols and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imagenet1k => "imagenet-1k",
            Self::Imagenette => "imagenette",
            Self::Imagewoof => "imagewoof",
            Self::Cifar100 => "cifar-100",
            Self::Cars => "cars",
            Self::Inat2017 => "inat-2017",
            Self::Inat2018 => "inat-2018",
            Self::Inat2019 => "inat-2019",
            Self::Ade20k => "ade20k",
        }
    }
}

/// A row that is a checkpoint, what a recipe leads to, or both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowDefinition {
    /// Counted from 1, as in the CSV file's field `row`.
    pub row: usize,
    /// Stem of its card in `checkpoints/`.
    pub checkpoint: Option<String>,
    /// Its point of the table's sweep.
    pub point: Option<String>,
}

impl TableDefinition {
    /// The definition in `text`, which was read from `file`; `cards` are all that there are.
    ///
    /// # Errors
    /// One that names the file and the line or the field.
    pub fn parse(file: &Path, text: &str, cards: &[CardKey]) -> Result<Self, PaperError> {
        let mut definition: Self = toml::from_str(text).map_err(|error| PaperError::Toml {
            file: file.to_owned(),
            reason: line_of(&error, text),
        })?;
        definition.check(file)?;
        let rows = definition.rows.iter();
        let found: Result<_, PaperError> = rows.map(|row| row.card(file, cards)).collect();
        definition.cards = found?;
        definition.recipes = definition.resolved(file)?;
        Ok(definition)
    }

    fn check(&self, file: &Path) -> Result<(), PaperError> {
        let wrong = |field: &str, reason: String| Err(PaperError::field(file, field, reason));
        let id = format!("{}-{}", self.paper.slug(), self.table.replace(' ', "-"));
        if self.id != id {
            return wrong("id", format!("is \"{}\" and is to be \"{id}\"", self.id));
        }
        if file.file_stem().is_none_or(|stem| stem != id.as_str()) {
            return wrong("id", format!("belongs into a file called {id}.toml"));
        }
        if self.title.trim().is_empty() {
            return wrong("title", "is empty".to_owned());
        }
        if self.columns.is_empty() {
            return wrong("columns", "there are none".to_owned());
        }
        let mut names = BTreeSet::new();
        for column in &self.columns {
            if !names.insert(&column.name) {
                return wrong("columns", format!("two are called \"{}\"", column.name));
            }
            column.check(file)?;
        }
        let mut rows = BTreeSet::new();
        for definition in &self.rows {
            let RowDefinition { row, .. } = definition;
            if !rows.insert(row) {
                return wrong("rows", format!("row {row} is there twice"));
            }
            if definition.checkpoint.is_none() && definition.point.is_none() {
                return wrong(
                    "rows",
                    format!("row {row} has neither checkpoint nor point"),
                );
            }
        }
        for column in &self.columns {
            let Some(of) = &column.epoch_of else {
                continue;
            };
            let mut others = self.columns.iter();
            let known = others.any(|other| {
                other.name == *of && other.select == Select::BestEpoch && other.measured.is_some()
            });
            if !known || column.measured.is_some() || column.kind != ColumnKind::Number {
                let field = format!("column \"{}\": epoch_of", column.name);
                let reason = format!(
                    "is for a column of numbers without measured, and \"{of}\" one with measured and select = \"best_epoch\""
                );
                return Err(PaperError::field(file, field, reason));
            }
        }
        Ok(())
    }

    /// Hashes of the recipes of the rows that are points of the sweep.
    fn resolved(&self, file: &Path) -> Result<Vec<Option<String>>, PaperError> {
        let wrong = |field: &str, reason: String| PaperError::field(file, field, reason);
        let Some(name) = &self.sweep else {
            let point = self.rows.iter().find(|row| row.point.is_some());
            return match point {
                None => Ok(vec![None; self.rows.len()]),
                Some(row) => Err(wrong(
                    "rows",
                    format!("row {} is a point of no sweep: sweep = \"NAME\"", row.row),
                )),
            };
        };
        let known = PretrainSweep::named(name)
            .ok_or_else(|| wrong("sweep", format!("{name} is no built-in sweep")))?;
        let sweep = Sweep::parse(Path::new(name), known.text())
            .map_err(|error| wrong("sweep", error.to_string()))?;
        let base = PretrainPreset::named(&sweep.base)
            .ok_or_else(|| wrong("sweep", format!("{} is no built-in recipe", sweep.base)))?;
        let hash = |row: &RowDefinition| {
            let Some(name) = &row.point else {
                return Ok(None);
            };
            let mut points = sweep.points.iter();
            let point = points.find(|point| point.name == *name);
            let point = point.ok_or_else(|| {
                wrong(
                    "rows",
                    format!("row {}: {name} is no point of the sweep", row.row),
                )
            })?;
            let recipe = ResolvedRecipe::preset(base, &point.settings)
                .map_err(|error| wrong("sweep", error.to_string()))?;
            Ok(Some(recipe.hash))
        };
        self.rows.iter().map(hash).collect()
    }

    /// The card of a row.
    pub fn card(&self, row: usize) -> Option<&CardKey> {
        let mut rows = self.rows.iter().zip(&self.cards);
        rows.find_map(|(found, card)| card.as_ref().filter(|_| found.row == row))
    }

    /// The hash of the recipe of a row.
    pub fn recipe(&self, row: usize) -> Option<&str> {
        let mut rows = self.rows.iter().zip(&self.recipes);
        rows.find_map(|(found, recipe)| recipe.as_deref().filter(|_| found.row == row))
    }

    /// The file that holds its published values, within a folder of such files.
    pub fn csv(&self) -> PathBuf {
        format!("{}.csv", self.id).into()
    }
}

impl RowDefinition {
    fn card(&self, file: &Path, cards: &[CardKey]) -> Result<Option<CardKey>, PaperError> {
        let Self {
            row, checkpoint, ..
        } = self;
        let Some(checkpoint) = checkpoint else {
            return Ok(None);
        };
        let mut named = cards.iter().filter(|card| card.stem == *checkpoint);
        named.next().cloned().map(Some).ok_or_else(|| {
            let stems = cards.iter().map(|card| &card.stem);
            let nearest = stems.min_by_key(|stem| strsim::levenshtein(stem, checkpoint));
            let nearest = nearest.map_or_else(String::new, |stem| {
                format!("; the nearest of the cards' names is {stem}")
            });
            let reason = format!("row {row}: checkpoint \"{checkpoint}\" has no card{nearest}");
            PaperError::field(file, "rows", reason)
        })
    }
}

impl ColumnDefinition {
    /// The settings that count where the paper says none; none where nothing measures the column.
    pub fn usual(&self) -> Option<toml::Table> {
        let measured = self.measured.as_ref()?;
        let protocol = match &self.preset {
            Some(preset) => Protocol::named(preset)?,
            None => Protocol::builtin(measured.protocol.kind(), &[]).ok()?,
        };
        protocol.text.parse().ok()
    }

    fn check(&self, file: &Path) -> Result<(), PaperError> {
        let field = |name: &str| format!("column \"{}\": {name}", self.name);
        let wrong = |name: &str, reason: String| Err(PaperError::field(file, field(name), reason));
        if self.name.trim().is_empty() {
            return wrong("name", "is empty".to_owned());
        }
        if self.kind == ColumnKind::Text {
            let numeric = [
                ("unit", self.unit.is_some()),
                ("better", self.better.is_some()),
                ("decimals", self.decimals.is_some()),
                ("measured", self.measured.is_some()),
            ];
            if let Some((name, _)) = numeric.into_iter().find(|(_, given)| *given) {
                return wrong(name, "is for columns of numbers".to_owned());
            }
        }
        if self.decimals.is_some_and(|decimals| decimals > 6) {
            return wrong("decimals", "are at most 6".to_owned());
        }
        let Some(measured) = &self.measured else {
            let given = [
                ("paper_settings", !self.paper_settings.is_empty()),
                ("preset", self.preset.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                None => Ok(()),
                Some((name, _)) => wrong(name, "is for columns with measured".to_owned()),
            };
        };
        if let Some(preset) = &self.preset {
            let kind = measured.protocol.kind();
            if Protocol::named(preset).is_none_or(|protocol| protocol.kind() != kind) {
                let reason = format!("\"{preset}\" is no built-in protocol of kind {kind}");
                return wrong("preset", reason);
            }
        }
        let measures = measured.protocol.measures();
        if !measures.contains(&measured.measure.as_str()) {
            let given = &measured.measure;
            let reason = format!("is \"{given}\", not {}", measures.join(" or "));
            return wrong("measured.measure", reason);
        }
        match (measured.protocol, measured.k) {
            (MeasuredBy::Knn, None | Some(0)) => {
                return wrong("measured.k", "is to be given for knn".to_owned());
            }
            (MeasuredBy::Knn, Some(_)) | (_, None) => {}
            (_, Some(_)) => return wrong("measured.k", "is for knn".to_owned()),
        }
        let Some(known) = self.usual() else {
            return Ok(());
        };
        for (path, value) in &self.paper_settings {
            let Some(default) = setting(&known, path) else {
                let reason = format!("{} has no setting {path}", measured.protocol.name());
                return wrong("paper_settings", reason);
            };
            if default.type_str() != value.type_str() && path != "task.layers" {
                let reason = format!(
                    "{path} is of type {}, not {}",
                    default.type_str(),
                    value.type_str()
                );
                return wrong("paper_settings", reason);
            }
        }
        Ok(())
    }
}

/// What stands in a resolved protocol at a key path such as `task.vote`.
pub fn setting<'a>(protocol: &'a toml::Table, path: &str) -> Option<&'a toml::Value> {
    let mut keys = path.split('.');
    let first = protocol.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.as_table()?.get(key))
}

#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(in super::super) const DEFINITION: &str = r#"
id = "medic-1"
paper = "medic"
table = "1"
title = "kNN on ImageNet-1K, ViT-B/16"

[[columns]]
name = "Epochs"
kind = "number"

[[columns]]
name = "Backbone"
kind = "text"

[[columns]]
name = "top-1"
kind = "number"
unit = "%"
better = "higher"
decimals = 2
measured = { protocol = "knn", dataset = "imagenet-1k", measure = "top1", k = 20 }
paper_settings = { "task.vote" = "dino", "task.temperature" = 0.07, "task.feature" = "cls", "data.dataset" = "imagenet-1k" }

[[rows]]
row = 1
checkpoint = "mae-vit-base-16"

[[rows]]
row = 3
checkpoint = "medic-vit-base-16"
"#;

    pub(in super::super) fn cards() -> [CardKey; 2] {
        ["mae-vit-base-16", "medic-vit-base-16"]
            .map(|stem| CardKey::of(stem, "name = \"of a test\"").unwrap())
    }

    pub(in super::super) fn definition() -> TableDefinition {
        TableDefinition::parse(Path::new("medic-1.toml"), DEFINITION, &cards()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    fn error(from: &str, to: &str) -> String {
        assert!(DEFINITION.contains(from), "{from}");
        let text = DEFINITION.replace(from, to);
        let parsed = TableDefinition::parse(Path::new("t/medic-1.toml"), &text, &cards());
        let error = parsed.unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    }

    #[test]
    fn a_definition_is_read() {
        let definition = definition();
        assert_eq!(definition.card(3), Some(&cards()[1]));
        assert_eq!(definition.card(2), None);
        let measured = definition.columns[2].measured.clone().unwrap();
        assert_eq!(
            (measured.protocol, measured.dataset),
            (MeasuredBy::Knn, MeasuredOn::Imagenet1k)
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_file_and_line_or_field() {
        for (from, to, said) in [
            (
                "id = \"medic-1\"",
                "id = \"medic-2\"",
                "id: is \"medic-2\" and is to be \"medic-1\"",
            ),
            (
                "table = \"1\"",
                "table = \"figure 6\"",
                "id: is \"medic-1\" and is to be \"medic-figure-6\"",
            ),
            (
                "paper = \"medic\"",
                "paper = \"mae\"",
                "line 3: unknown variant `mae`",
            ),
            ("title = \"kNN on", "title = \"\" #", "title: is empty"),
            (
                "kind = \"text\"",
                "kind = \"text\"\nunit = \"%\"",
                "column \"Backbone\": unit: is for columns of numbers",
            ),
            (
                "name = \"Backbone\"",
                "name = \"Epochs\"",
                "columns: two are called \"Epochs\"",
            ),
            (
                "decimals = 2",
                "decimals = 20",
                "column \"top-1\": decimals: are at most 6",
            ),
            (
                ", k = 20",
                "",
                "column \"top-1\": measured.k: is to be given for knn",
            ),
            (
                "measure = \"top1\"",
                "measure = \"top7\"",
                "column \"top-1\": measured.measure: is \"top7\", not top1 or top5 or top5_strict",
            ),
            (
                "measured = {",
                "# {",
                "column \"top-1\": paper_settings: is for columns with measured",
            ),
            (
                "protocol = \"knn\"",
                "protocol = \"nn\"",
                "line 21: unknown variant `nn`",
            ),
            (
                "dataset = \"imagenet-1k\", m",
                "dataset = \"imagenet\", m",
                "line 21: unknown variant `imagenet`",
            ),
            (
                "task.vote",
                "task.votes",
                "column \"top-1\": paper_settings: knn has no setting task.votes",
            ),
            (
                "= 0.07",
                "= \"0.07\"",
                "column \"top-1\": paper_settings: task.temperature is of type float, not string",
            ),
            ("row = 3", "row = 1", "rows: row 1 is there twice"),
            (
                "\"mae-vit-base-16\"",
                "\"mae-vit-base\"",
                "rows: row 1: checkpoint \"mae-vit-base\" has no card; the nearest of the cards' names is mae-vit-base-16",
            ),
            ("better =", "beter =", "line 19: unknown field `beter`"),
        ] {
            let error = error(from, to);
            assert!(
                error.starts_with(&format!("t/medic-1.toml: {said}")),
                "{error}"
            );
        }
    }
}
