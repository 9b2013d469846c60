//! Protocols: the file, what it extends, what `--set` changes, and every setting resolved.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::data::segmentation::MaskSpec;

use super::overlay::merge;
use super::{
    AttentionTask, CachedTask, ClassifyTask, DataSection, FinetunePreset, FinetuneTask,
    InputSection, Kind, KnnTask, LinearPreset, LinearTask, SegmentPreset, SegmentTask, Setting,
    SpecError, line_of,
};

/// A protocol with every setting resolved.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Name in tables.
    pub name: String,
    /// Raised whenever a number may change.
    pub version: u32,
    /// Which images.
    pub data: DataSection,
    /// How an image becomes an input.
    pub input: InputSection,
    /// The evaluation.
    pub task: Task,
    /// blake3 of all settings, hexadecimal.
    pub hash: String,
    /// All settings as TOML.
    pub text: String,
    /// Settings given on the command line, as given.
    pub modified: Vec<String>,
}

/// What is measured, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// `kind = "knn"`.
    Knn(KnnTask),
    /// `kind = "linear"`.
    Linear(Box<LinearTask>),
    /// `kind = "linear_cached"`.
    LinearCached(CachedTask),
    /// `kind = "finetune"`.
    Finetune(Box<FinetuneTask>),
    /// `kind = "classify"`.
    Classify(ClassifyTask),
    /// `kind = "segment"`.
    Segment(Box<SegmentTask>),
    /// `kind = "attention"`.
    Attention(AttentionTask),
}

/// A value that means nothing.
#[derive(Debug)]
pub(super) struct WrongValue {
    /// Its key path.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// What is wrong in a section, whose errors begin with its name, as of a field of that name.
pub(super) fn of_section<E: ToString>(name: &str, checked: Result<(), E>) -> Result<(), String> {
    checked.map_err(|error| {
        let text = error.to_string();
        text.strip_prefix(name).unwrap_or(&text).to_owned()
    })
}

/// A file, its kind's task in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T: Default> {
    kind: Kind,
    name: String,
    version: u32,
    /// A protocol beside this file whose settings hold where this one is silent.
    #[serde(default, skip_serializing, rename = "extends")]
    _extends: Option<String>,
    #[serde(default)]
    data: DataSection,
    #[serde(default)]
    input: InputSection,
    #[serde(default)]
    task: T,
}

impl Task {
    /// What is measured.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Knn(_) => Kind::Knn,
            Self::Linear(_) => Kind::Linear,
            Self::LinearCached(_) => Kind::LinearCached,
            Self::Finetune(_) => Kind::Finetune,
            Self::Classify(_) => Kind::Classify,
            Self::Segment(_) => Kind::Segment,
            Self::Attention(_) => Kind::Attention,
        }
    }

    /// Whether a network or heads over it are trained, image by image.
    pub fn trains(&self) -> bool {
        self.kind().trains()
    }

    fn check(&self) -> Result<(), WrongValue> {
        match self {
            Self::Knn(task) => task.check(),
            Self::Linear(task) => task.check(),
            Self::LinearCached(task) => task.check(),
            Self::Finetune(task) => task.check(),
            Self::Classify(_) => Ok(()),
            Self::Segment(task) => task.check(),
            Self::Attention(task) => task.check(),
        }
    }
}

impl Protocol {
    /// The protocol of `kind` that is used when no file is given, under `settings`.
    pub fn builtin(kind: Kind, settings: &[Setting]) -> Result<Self, SpecError> {
        let path = Path::new("built-in protocol");
        Self::resolve(path, kind.builtin().to_owned(), Some(kind), settings)
    }

    /// A linear probe that is built in, under `settings`.
    pub fn preset(preset: LinearPreset, settings: &[Setting]) -> Result<Self, SpecError> {
        let path = Path::new("built-in protocol");
        Self::resolve(
            path,
            preset.text().to_owned(),
            Some(preset.kind()),
            settings,
        )
    }

    /// A fine-tuning recipe that is built in, under `settings`.
    pub fn finetune(preset: FinetunePreset, settings: &[Setting]) -> Result<Self, SpecError> {
        let path = Path::new("built-in protocol");
        let kind = Some(Kind::Finetune);
        Self::resolve(path, preset.text().to_owned(), kind, settings)
    }

    /// A segmentation recipe that is built in, under `settings`.
    pub fn segment(preset: SegmentPreset, settings: &[Setting]) -> Result<Self, SpecError> {
        let path = Path::new("built-in protocol");
        let kind = Some(Kind::Segment);
        Self::resolve(path, preset.text().to_owned(), kind, settings)
    }

    /// The protocol that a file of another kind holds as `text`, under `settings`.
    pub fn text(
        path: &Path,
        text: &str,
        kind: Kind,
        settings: &[Setting],
    ) -> Result<Self, SpecError> {
        Self::resolve(path, text.to_owned(), Some(kind), settings)
    }

    /// The protocol in a file under `settings`; it must be of the `expected` kind, where one is.
    pub fn read(
        path: &Path,
        expected: Option<Kind>,
        settings: &[Setting],
    ) -> Result<Self, SpecError> {
        let text = read(path)?;
        let protocol = Self::resolve(path, text.clone(), expected, &[])?;
        for known in Self::built_in() {
            let known = known?;
            if (&known.name, known.version) == (&protocol.name, protocol.version)
                && known.hash != protocol.hash
            {
                return Err(SpecError::TakenName {
                    path: path.to_owned(),
                    name: known.name,
                });
            }
        }
        Self::resolve(path, text, expected, settings)
    }

    /// The built-in protocol of a name.
    pub fn named(name: &str) -> Option<Self> {
        let mut known = Self::built_in().flatten();
        known.find(|protocol| protocol.name == name)
    }

    /// Every protocol that is built in.
    fn built_in() -> impl Iterator<Item = Result<Self, SpecError>> {
        let kinds = [Kind::Knn, Kind::Classify, Kind::Attention].into_iter();
        let presets = LinearPreset::ALL.into_iter();
        let of_kind = kinds.map(|kind| Self::builtin(kind, &[]));
        let recipes = FinetunePreset::ALL.into_iter();
        of_kind
            .chain(presets.map(|preset| Self::preset(preset, &[])))
            .chain(recipes.map(|preset| Self::finetune(preset, &[])))
            .chain(
                SegmentPreset::ALL
                    .into_iter()
                    .map(|preset| Self::segment(preset, &[])),
            )
    }

    fn resolve(
        path: &Path,
        text: String,
        expected: Option<Kind>,
        settings: &[Setting],
    ) -> Result<Self, SpecError> {
        // The kind first, then its own structure, so that errors know their line.
        let kind = kind(path, &text, expected)?;
        let protocol = match kind {
            Kind::Knn => resolve(path, &text, kind, settings, Task::Knn)?,
            Kind::Linear => resolve(path, &text, kind, settings, |task| {
                Task::Linear(Box::new(task))
            })?,
            Kind::LinearCached => resolve(path, &text, kind, settings, Task::LinearCached)?,
            Kind::Finetune => resolve(path, &text, kind, settings, |task| {
                Task::Finetune(Box::new(task))
            })?,
            Kind::Classify => resolve(path, &text, kind, settings, Task::Classify)?,
            Kind::Segment => resolve(path, &text, kind, settings, |task| {
                Task::Segment(Box::new(task))
            })?,
            Kind::Attention => resolve(path, &text, kind, settings, Task::Attention)?,
        };
        let checked = protocol.task.check();
        checked.map_err(|WrongValue { field, reason }| SpecError::Value {
            protocol: protocol.name.clone(),
            field,
            reason,
            kind,
        })?;
        Ok(protocol)
    }

    /// What is measured.
    pub fn kind(&self) -> Kind {
        self.task.kind()
    }

    /// How masks are read, where they say what images show.
    pub fn masks(&self) -> Option<&MaskSpec> {
        match &self.task {
            Task::Segment(task) => Some(&task.masks),
            _ => None,
        }
    }
}

fn kind(path: &Path, text: &str, expected: Option<Kind>) -> Result<Kind, SpecError> {
    let wrong = |reason: String| SpecError::Parse {
        path: path.to_owned(),
        reason,
        kind: expected,
    };
    let table: Table = toml::from_str(text).map_err(|error| wrong(line_of(&error, text)))?;
    let names = || Kind::ALL.map(|kind| format!("\"{kind}\"")).join(" or ");
    let named = table.get("kind").and_then(Value::as_str);
    let named = named.ok_or_else(|| match expected {
        Some(kind) => wrong(format!("kind = \"{kind}\" is missing")),
        None => wrong(format!("kind = {} is missing", names())),
    })?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == named);
    match (kind, expected) {
        (Some(kind), None) => Ok(kind),
        (Some(kind), Some(expected)) if kind == expected => Ok(kind),
        (_, Some(expected)) => Err(SpecError::Kind {
            path: path.to_owned(),
            found: named.to_owned(),
            expected: expected.name(),
        }),
        (None, None) => Err(wrong(format!("kind = \"{named}\" is not {}", names()))),
    }
}

fn resolve<T: Default + DeserializeOwned + Serialize>(
    path: &Path,
    text: &str,
    kind: Kind,
    settings: &[Setting],
    task: impl FnOnce(T) -> Task,
) -> Result<Protocol, SpecError> {
    let wrong = |path: &Path, reason: String| SpecError::Parse {
        path: path.to_owned(),
        reason,
        kind: Some(kind),
    };
    let parse = |path: &Path, text: &str| -> Result<Table, SpecError> {
        let invalid = |error: toml::de::Error| wrong(path, line_of(&error, text));
        // Read from the text as well, for errors that know their line.
        toml::from_str::<File<T>>(text).map_err(invalid)?;
        toml::from_str(text).map_err(invalid)
    };
    let mut table = parse(path, text)?;
    if let Some(base) = table.remove("extends") {
        let base = path.with_file_name(base.as_str().unwrap_or_default());
        let text = read(&base)?;
        self::kind(&base, &text, Some(kind))?;
        let mut base_table = parse(&base, &text)?;
        if base_table.contains_key("extends") {
            return Err(SpecError::Chain { path: base });
        }
        merge(&mut base_table, table);
        table = base_table;
    }
    for setting in settings {
        setting.apply(&mut table)?;
    }
    table.insert("kind".to_owned(), Value::String(kind.name().to_owned()));
    let file: File<T> = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| {
            let settings: Vec<_> = settings.iter().map(|setting| setting.0.as_str()).collect();
            SpecError::Set {
                setting: settings.join(" --set "),
                reason: error.message().replace('\n', ", "),
            }
        })?;
    let text = toml::to_string(&file).map_err(|error| wrong(path, error.to_string()))?;
    Ok(Protocol {
        name: file.name,
        version: file.version,
        data: file.data,
        input: file.input,
        task: task(file.task),
        hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
        text,
        modified: settings.iter().map(|setting| setting.0.clone()).collect(),
    })
}

fn read(path: &Path) -> Result<String, SpecError> {
    std::fs::read_to_string(path).map_err(|source| SpecError::Read {
        path: path.to_owned(),
        source,
    })
}
