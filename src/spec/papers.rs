//! All tables of the papers, from the program itself or from folders.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::{CardKey, Conflict, Paper, PaperError, PaperTable, TableDefinition, line_of};

/// Definitions of the tables, below the repository.
const TABLES: &str = "protocols/tables";
/// Published values, below the repository.
const PUBLISHED: &str = "results/published";
/// Cards of checkpoints, below the repository.
const CARDS: &str = "checkpoints";

/// Where the tables are read from, where not from the program itself.
#[derive(Clone, Debug, Default)]
pub struct PaperFolders {
    /// Folder of definitions, `<id>.toml`.
    pub tables: Option<PathBuf>,
    /// Folder of values, `<id>.csv`, and of `conflicts/*.toml`.
    pub published: Option<PathBuf>,
    /// Folder of cards that definitions may name beside those of the program; of two of one name,
    /// the folder's counts.
    pub cards: Option<PathBuf>,
}

/// Every table and every conflict.
#[derive(Clone, Debug)]
pub struct Papers {
    /// In the order of papers and tables.
    pub tables: Vec<PaperTable>,
    /// In the order of papers.
    pub conflicts: Vec<Conflict>,
}

/// A text file.
struct TextFile {
    path: PathBuf,
    text: Cow<'static, str>,
}

impl TextFile {
    fn stem(&self) -> Cow<'_, str> {
        self.path.file_stem().unwrap_or_default().to_string_lossy()
    }

    fn card(&self) -> Result<CardKey, PaperError> {
        CardKey::of(&self.stem(), &self.text).map_err(|error| PaperError::Toml {
            file: self.path.clone(),
            reason: line_of(&error, &self.text),
        })
    }
}

impl Papers {
    /// The tables that the program has been built with.
    ///
    /// # Errors
    /// None but in a program built from damaged files.
    pub fn builtin() -> Result<Self, PaperError> {
        Self::read(&PaperFolders::default())
    }

    /// The tables of the folders that are given, and the program's own files in place of the others.
    ///
    /// # Errors
    /// A file that is damaged, or a definition or values without the other.
    pub fn read(folders: &PaperFolders) -> Result<Self, PaperError> {
        let own = files(None, CARDS, "toml", builtin::CARDS)?;
        let given = match folders.cards.as_deref() {
            Some(folder) => files(Some(folder), CARDS, "toml", &[])?,
            None => Vec::new(),
        };
        let cards: Result<Vec<CardKey>, PaperError> =
            given.iter().chain(&own).map(TextFile::card).collect();
        let cards = cards?;
        let definitions = files(
            folders.tables.as_deref(),
            TABLES,
            "toml",
            builtin::DEFINITIONS,
        )?;
        let mut values = files(
            folders.published.as_deref(),
            PUBLISHED,
            "csv",
            builtin::PUBLISHED,
        )?;
        let mut tables = Vec::new();
        for file in &definitions {
            let definition = TableDefinition::parse(&file.path, &file.text, &cards)?;
            let place = values.iter().position(|csv| csv.stem() == file.stem());
            let csv = place.ok_or_else(|| PaperError::Alone {
                file: file.path.clone(),
                other: definition.csv().display().to_string(),
            })?;
            let csv = values.swap_remove(csv);
            tables.push(PaperTable::parse(definition, &csv.path, &csv.text)?);
        }
        if let Some(csv) = values.into_iter().next() {
            return Err(PaperError::Alone {
                other: format!("{}.toml", csv.stem()),
                file: csv.path,
            });
        }
        tables.sort_by_cached_key(place);
        let mut conflicts = Vec::new();
        let listed = folders
            .published
            .as_deref()
            .map(|folder| folder.join("conflicts"));
        // A folder of values need not list any.
        let listed = match listed {
            Some(folder) if !folder.is_dir() => Vec::new(),
            listed => files(
                listed.as_deref(),
                &format!("{PUBLISHED}/conflicts"),
                "toml",
                builtin::CONFLICTS,
            )?,
        };
        let mut listed: Vec<_> = listed
            .into_iter()
            .map(|file| (Paper::of_slug(&file.stem()), file))
            .collect();
        listed.sort_by_key(|(paper, _)| *paper);
        for (paper, file) in listed {
            if paper.is_none() {
                let reason = "is to be a paper's name, as in medic.toml";
                return Err(PaperError::field(&file.path, "its name", reason));
            }
            conflicts.extend(Conflict::parse(&file.path, &file.text, &tables)?);
        }
        Ok(Self { tables, conflicts })
    }

    /// The table of an id.
    ///
    /// # Errors
    /// No table is called so.
    pub fn table(&self, id: &str) -> Result<&PaperTable, PaperError> {
        let found = self.tables.iter().find(|table| table.definition.id == id);
        found.ok_or_else(|| PaperError::Unknown {
            id: id.to_owned(),
            known: self
                .tables
                .iter()
                .map(|table| table.definition.id.clone())
                .collect(),
        })
    }
}

/// By paper, then tables by number, then figures.
fn place(table: &PaperTable) -> (Paper, usize, String) {
    let definition = &table.definition;
    let number = definition.table.parse().unwrap_or(usize::MAX);
    (definition.paper, number, definition.table.clone())
}

/// The files of a folder or, without one, the program's own, which lie in `home` of the repository.
fn files(
    folder: Option<&Path>,
    home: &str,
    extension: &str,
    own: &[(&str, &'static str)],
) -> Result<Vec<TextFile>, PaperError> {
    let Some(folder) = folder else {
        let own = own.iter().map(|&(stem, text)| TextFile {
            path: Path::new(home).join(format!("{stem}.{extension}")),
            text: text.into(),
        });
        return Ok(own.collect());
    };
    let mut files = Vec::new();
    for path in paths(folder, extension)? {
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|source| PaperError::Read {
            path: path.clone(),
            source,
        })?;
        files.push(TextFile {
            path,
            text: text.into(),
        });
    }
    Ok(files)
}

/// Files of a folder with this extension, in the order of their names.
fn paths(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, PaperError> {
    let failed = |source| PaperError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The files that are part of the program; `tests/it/tables.rs` keeps the lists complete.
mod builtin {
    /// The text of a file of the repository.
    macro_rules! text {
        ($($part:expr),*) => {
            include_str!(concat!("../../", $($part),*))
        };
    }

    /// Definitions and values under the tables' ids.
    macro_rules! tables {
        ($($id:literal)*) => {
            pub(super) const DEFINITIONS: &[(&str, &str)] =
                &[$(($id, text!("protocols/tables/", $id, ".toml"))),*];
            pub(super) const PUBLISHED: &[(&str, &str)] =
                &[$(($id, text!("results/published/", $id, ".csv"))),*];
        };
    }

    /// Conflicts under the papers' names.
    macro_rules! conflicts {
        ($($paper:literal)*) => {
            pub(super) const CONFLICTS: &[(&str, &str)] =
                &[$(($paper, text!("results/published/conflicts/", $paper, ".toml"))),*];
        };
    }

    /// Cards under the stems of their files.
    macro_rules! cards {
        ($($stem:literal)*) => {
            pub(super) const CARDS: &[(&str, &str)] =
                &[$(($stem, text!("checkpoints/", $stem, ".toml"))),*];
        };
    }

    tables! {
        "medic-1"
        "medic-2"
        "medic-3"
        "medic-4"
        "medic-5"
        "medic-6"
        "medic-12"
        "medic-13"
        "maskalign-1"
        "maskalign-2"
        "maskalign-3"
        "maskalign-4"
        "maskalign-5"
        "maskalign-6"
        "maskalign-7"
        "hybrid-distillation-1"
        "hybrid-distillation-2"
        "hybrid-distillation-3"
        "hybrid-distillation-4"
        "hybrid-distillation-5"
        "hybrid-distillation-6"
        "hybrid-distillation-7"
        "hybrid-distillation-8"
        "mim-hd-1"
        "mim-hd-3"
        "mim-hd-4"
        "mim-hd-5"
        "mim-hd-figure-6"
    }

    conflicts! { "medic" "maskalign" "hybrid-distillation" "mim-hd" }

    cards! {
        "beit-v2-vit-base-16-300-epochs"
        "beit-v2-vit-base-16"
        "beit-vit-base-16-imagenet-22k"
        "beit-vit-base-16"
        "bootmae-vit-base-16"
        "cae-v2-vit-base-16"
        "cae-vit-base-16"
        "clip-vit-base-16"
        "clip-vit-large-14"
        "cmae-vit-base-16"
        "data2vec-vit-base-16"
        "dbot-vit-base-16"
        "deit-vit-base-16"
        "dino-vit-base-16"
        "dino-vit-base-8"
        "dino-vit-small-16"
        "dino-vit-small-8"
        "dinov2-vit-base-14"
        "dinov2-vit-large-14"
        "dinov2-vit-small-14"
        "dmae-vit-base-16"
        "fd-clip-vit-base-16"
        "hybrid-distillation-mae-clip-vit-base"
        "hybrid-distillation-mae-clip-vit-large"
        "hybrid-distillation-mae-deit-vit-base"
        "ibot-vit-base-16"
        "mae-fine-tuned-vit-base-16"
        "mae-fine-tuned-vit-huge-14"
        "mae-fine-tuned-vit-large-16"
        "mae-vit-base-16"
        "mae-vit-large-16"
        "mae-vit-small"
        "mae-vit-tiny"
        "maskalign-clip-l-14-vit-large-16"
        "maskalign-vit-base-16"
        "maskalign-vit-large-16"
        "maskdistill-vit-base-16"
        "medic-token-cls-vit-base-16"
        "medic-token-pixel-vit-base-16"
        "medic-vit-base-16"
        "milan-vit-base-16"
        "mim-hd-vit-base-tinyimagenet"
        "mim-hd-vit-base"
        "mim-hd-vit-small"
        "mim-hd-vit-tiny"
        "moco-v3-vit-base-16"
        "moco-v3-vit-small-16"
        "moco-v3-vit-tiny"
        "mvp-vit-base-16"
        "sdae-vit-base-16"
        "semmae-vit-base-16"
        "simmim-vit-base-16"
        "tinymim-vit-base-16"
        "tinymim-vit-base-tinyimagenet"
        "tinymim-vit-small-16"
        "tinymim-vit-tiny-16"
    }
}
