//! One cell of a table, with everything needed to repeat it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{AttentionMaps, Outcomes, RecordError};
use crate::spec::{CardKey, Kind};
use crate::stats::Measure;
use crate::store::{CurvePoint, StoreError, curves_path, read_curves, write_atomic};

/// Raised when the meaning of a field changes.
pub const SCHEMA: u32 = 2;

/// One checkpoint under one protocol on one dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// What makes the cell this one.
    pub cell: CellKey,
    /// What was evaluated.
    pub subject: SubjectRecord,
    /// Under which rules.
    pub protocol: ProtocolRecord,
    /// On which images.
    pub data: DataRecord,
    /// How images became inputs: size, resize, filter, mean and std.
    pub input: serde_json::Value,
    /// By what it was computed.
    pub compute: ComputeRecord,
    /// What the headline was chosen by, looking at the validation set.
    pub selection: Selection,
    /// The results.
    pub measures: Vec<Measured>,
    /// What a reader must know about them.
    pub notes: Vec<String>,
    /// blake3 of what lies beside the record.
    pub beside: BesideRecord,
    /// blake3 of the record's JSON without this field, hexadecimal: a value that was changed by hand
    /// is noticed.
    pub seal: String,
}

/// blake3 of the files beside a record, hexadecimal, as they were when it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideRecord {
    /// Of [`Outcomes::path`].
    pub outcomes: Option<String>,
    /// Of [`AttentionMaps::path`].
    pub maps: Option<String>,
    /// Of [`curves_path`]; records of what is not trained do without the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curves: Option<String>,
    /// Of [`segmentation_sheet`]; other records do without the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
}

/// What makes a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellKey {
    /// Hash of the others, of engine, precision and type of stored features, and of the versions
    /// of the numerics and the evaluation; hexadecimal, also the record's file name.
    pub key: String,
    /// Identity of the network: weights, architecture, input.
    pub subject: String,
    /// Hash of the protocol's settings.
    pub protocol: String,
    /// Hash of paths, sizes and labels of both splits.
    pub data: String,
    /// Seed.
    pub seed: u64,
}

/// What was evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubjectRecord {
    /// Name in tables.
    pub name: String,
    /// The weights; none for raw pixels.
    pub path: Option<PathBuf>,
    /// Which card the checkpoint has, where it has one.
    pub card: Option<CardKey>,
    /// blake3 of the weights, hexadecimal.
    pub blake3: Option<String>,
    /// Dialect of the weights.
    pub dialect: Option<String>,
    /// The architecture.
    pub architecture: serde_json::Value,
    /// What the weights did not tell: field, value and on whose word.
    pub choices: serde_json::Value,
    /// Keys that were left out on request.
    pub ignored_keys: Vec<String>,
}

/// Under which rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRecord {
    /// What is measured.
    pub kind: Kind,
    /// Name.
    pub name: String,
    /// Version.
    pub version: u32,
    /// Hash of every setting after defaults.
    pub hash: String,
    /// Every setting, TOML.
    pub text: String,
    /// Settings given on the command line.
    pub modified: Vec<String>,
}

/// On which images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// The folder, as given.
    pub root: PathBuf,
    /// The public dataset that the folder is a complete copy of, as protocols name it.
    pub dataset: Option<String>,
    /// Number of classes.
    pub classes: usize,
    /// Class-stratified limit a split, where one was set.
    pub limit: Option<usize>,
    /// Train split, where the protocol looks at it.
    pub train: Option<SplitRecord>,
    /// Validation images that were looked at.
    pub val: SplitRecord,
    /// Hash of inode, size and time of every file: equal means unchanged since.
    pub stamps: String,
}

/// One split.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// Images.
    pub images: usize,
    /// Hash of paths, labels and contents of all images.
    pub fingerprint: String,
    /// Images left out because they could not be decoded.
    pub skipped: usize,
}

/// By what it was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComputeRecord {
    /// Engine.
    pub engine: String,
    /// Element type of the forward pass.
    pub precision: String,
    /// Device, with its name where the system tells.
    pub device: String,
    /// Threads of the forward pass and the search.
    pub threads: usize,
    /// Images in a forward pass.
    pub batch: usize,
    /// Element type of stored features.
    pub stored: String,
    /// Image decoders and their versions.
    pub decoder: String,
    /// Version of mimbench, and the commit it was built from where known.
    pub mimbench: String,
    /// Version of everything that can change a feature's bits.
    pub numerics: u32,
    /// When the record was written, RFC 3339.
    pub created: String,
    /// Seconds that the cell took, waiting for other processes left out.
    pub wall_seconds: f64,
    /// Images that were encoded for this record; the rest came from the store.
    pub encoded: usize,
    /// Images a second over decoding and forward pass, where any were encoded.
    pub images_per_second: Option<f64>,
    /// Largest resident memory of the process so far, bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// What was chosen by looking at the validation set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Nothing: every setting was fixed beforehand.
    #[default]
    None,
    /// The head: the block, the pooling or the learning rate.
    BestHead,
    /// The epoch.
    BestEpoch,
    /// The head and the epoch.
    BestHeadAndEpoch,
}

impl Selection {
    /// Whether something was chosen.
    pub fn is_made(&self) -> bool {
        *self != Self::None
    }
}

/// One result and what it belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The feature, the layer or the head, in words.
    pub feature: String,
    /// Block, counted from 0, where it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The other block, where it belongs to two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_layer: Option<usize>,
    /// Attention head, counted from 0, where it belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// Class, counted from 0, where it belongs to one; `feature` is then its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<u32>,
    /// Neighbours, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    /// The peak learning rate of a trained head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Whether tables show it.
    pub headline: bool,
    /// What it was chosen by among others of the record.
    #[serde(default, skip_serializing_if = "is_none")]
    pub selection: Selection,
    /// The result.
    #[serde(flatten)]
    pub measure: Measure,
}

fn is_none(selection: &Selection) -> bool {
    !selection.is_made()
}

impl Measured {
    /// A result that belongs to nothing in particular and that tables do not show.
    pub fn of(measure: Measure) -> Self {
        Self {
            feature: String::new(),
            layer: None,
            other_layer: None,
            head: None,
            class: None,
            k: None,
            learning_rate: None,
            headline: false,
            selection: Selection::None,
            measure,
        }
    }
}

impl Record {
    /// The record's file under `results`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results.join("records").join(format!("{key}.json"))
    }

    /// The record in a file.
    ///
    /// # Errors
    /// A file that cannot be read, does not parse, is of another schema, was changed by hand, or is
    /// called after another cell.
    pub fn load(path: &Path) -> Result<Self, RecordError> {
        let at = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecordError::Read { path: at(), source })?;
        let parse = |field: String, error: serde_json::Error| RecordError::Parse {
            path: at(),
            field,
            reason: error.to_string(),
        };
        let Versioned { schema } =
            serde_json::from_str(&text).map_err(|error| parse("schema".to_owned(), error))?;
        if schema != SCHEMA {
            return Err(RecordError::Schema {
                path: at(),
                found: schema,
            });
        }
        let json = &mut serde_json::Deserializer::from_str(&text);
        let record: Self = serde_path_to_error::deserialize(json).map_err(|error| {
            let field = error.path().to_string();
            parse(field, error.into_inner())
        })?;
        if record.seal != record.sealed().seal {
            return Err(RecordError::Changed { path: at() });
        }
        if path
            .file_stem()
            .is_none_or(|stem| stem != record.cell.key.as_str())
        {
            return Err(RecordError::Name {
                path: at(),
                key: record.cell.key,
            });
        }
        Ok(record)
    }

    /// Every record under `results`, in the order of protocol kinds and names, subjects and keys.
    ///
    /// # Errors
    /// Those of [`Record::load`], of every record that has one: a record is never left out.
    pub fn all(results: &Path) -> Result<Vec<Self>, RecordError> {
        let folder = results.join("records");
        let read = |source: std::io::Error| RecordError::Read {
            path: folder.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(read(error)),
        };
        let mut records = Vec::new();
        let mut errors = Vec::new();
        for entry in entries {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|x| x == "json") {
                match Self::load(&path) {
                    Ok(record) => records.push(record),
                    Err(error) => errors.push(error),
                }
            }
        }
        errors.sort_by_cached_key(RecordError::to_string);
        match errors.len() {
            0 => {}
            1 => return Err(errors.remove(0)),
            _ => return Err(RecordError::Several(errors)),
        }
        records.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(records)
    }

    fn place(&self) -> (Kind, &str, &str, &str) {
        (
            self.protocol.kind,
            &self.protocol.name,
            &self.subject.name,
            &self.cell.key,
        )
    }

    /// The record with the seal of its present contents.
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers in plain structures serialise"
    )]
    #[must_use]
    pub fn sealed(&self) -> Self {
        let mut record = self.clone();
        record.seal.clear();
        let json = serde_json::to_vec(&record).expect("a record serialises");
        record.seal = blake3::hash(&json).to_hex()[..32].to_owned();
        record
    }

    /// What became of every image.
    ///
    /// # Errors
    /// The file is missing, damaged, or not the one that the record was written with.
    pub fn outcomes(&self, results: &Path) -> Result<Outcomes, RecordError> {
        let key = &self.cell.key;
        let outcomes = Outcomes::read(results, key)?;
        self.belongs(&Outcomes::path(results, key), &self.beside.outcomes)?;
        Ok(outcomes)
    }

    /// Attention maps of some images; none where none were kept.
    ///
    /// # Errors
    /// The file is missing, damaged, or not the one that the record was written with.
    pub fn maps(&self, results: &Path) -> Result<Vec<AttentionMaps>, RecordError> {
        let key = &self.cell.key;
        let path = AttentionMaps::path(results, key);
        if self.beside.maps.is_none() && !path.is_file() {
            return Ok(Vec::new());
        }
        let maps = AttentionMaps::read_all(results, key);
        let maps = maps.map_err(|error| RecordError::beside(key, error))?;
        self.belongs(&path, &self.beside.maps)?;
        Ok(maps)
    }

    /// The curves of its training; none where nothing was trained.
    ///
    /// # Errors
    /// The file is missing, damaged, or not the one that the record was written with.
    pub fn curves(&self, results: &Path) -> Result<Vec<CurvePoint>, RecordError> {
        let key = &self.cell.key;
        let path = curves_path(results, key);
        if self.beside.curves.is_none() && !path.is_file() {
            return Ok(Vec::new());
        }
        let curves = read_curves(&path).map_err(|error| RecordError::beside(key, error))?;
        self.belongs(&path, &self.beside.curves)?;
        Ok(curves)
    }

    /// The sheet of segmented images, PNG; none where none was drawn, or where it was deleted.
    ///
    /// # Errors
    /// The file cannot be read, or is not the one that the record was written with.
    pub fn sheet(&self, results: &Path) -> Result<Option<Vec<u8>>, RecordError> {
        let path = segmentation_sheet(results, &self.cell.key);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        self.belongs(&path, &self.beside.sheet)?;
        Ok(Some(bytes))
    }

    /// Whether the files beside it are those that it was written with.
    pub fn is_whole(&self, results: &Path) -> bool {
        let key = &self.cell.key;
        let optional = |path: &Path, known: &Option<String>| match known {
            None => !path.is_file(),
            known => self.belongs(path, known).is_ok(),
        };
        self.belongs(&Outcomes::path(results, key), &self.beside.outcomes)
            .is_ok()
            && optional(&AttentionMaps::path(results, key), &self.beside.maps)
            && self.has_its_curves(&curves_path(results, key))
            && self.has_its_sheet(&segmentation_sheet(results, key))
    }

    /// Runs are deleted to free their disk: no result hangs on their curves.
    fn has_its_curves(&self, path: &Path) -> bool {
        !path.is_file() || self.belongs(path, &self.beside.curves).is_ok()
    }

    /// No result hangs on pictures either.
    fn has_its_sheet(&self, path: &Path) -> bool {
        !path.is_file() || self.belongs(path, &self.beside.sheet).is_ok()
    }

    fn belongs(&self, path: &Path, known: &Option<String>) -> Result<(), RecordError> {
        let found = hash(path).ok().flatten();
        if found.is_some() && found == *known {
            return Ok(());
        }
        Err(RecordError::Outcomes {
            path: path.to_owned(),
            reason: "is not the file that the record beside it was written with".to_owned(),
        })
    }

    /// Writes the record, whole or not at all, with the hashes of what lies beside it and under a
    /// new seal; gives it as it is written.
    pub fn write(&self, results: &Path) -> Result<Self, StoreError> {
        let key = &self.cell.key;
        let path = Self::path(results, key);
        let beside = BesideRecord {
            outcomes: hash(&Outcomes::path(results, key))?,
            maps: hash(&AttentionMaps::path(results, key))?,
            curves: hash(&curves_path(results, key))?,
            sheet: hash(&segmentation_sheet(results, key))?,
        };
        let record = Self {
            beside,
            ..self.clone()
        }
        .sealed();
        let json = serde_json::to_vec_pretty(&record);
        let mut json = json.map_err(|error| StoreError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        json.push(b'\n');
        write_atomic(&path, &json)?;
        Ok(record)
    }

    /// Whether a setting, the images, the weights or the precision of the stored features are
    /// other than the protocol's.
    pub fn modified(&self) -> bool {
        !self.protocol.modified.is_empty()
            || self.data.limit.is_some()
            || !self.subject.ignored_keys.is_empty()
            || self.compute.stored != "f32"
    }

    /// Images left out of either split.
    pub fn skipped(&self) -> usize {
        let train = self.data.train.as_ref().map_or(0, |split| split.skipped);
        train + self.data.val.skipped
    }
}

/// The folder of the pictures that belong to the record of `key`: `sheet.png`, and whatever else was
/// drawn of its images.
pub fn segmentation_folder(results: &Path, key: &str) -> PathBuf {
    results.join("segmentation").join(key)
}

/// The sheet of segmented images of the record of `key`.
pub fn segmentation_sheet(results: &Path, key: &str) -> PathBuf {
    segmentation_folder(results, key).join("sheet.png")
}

/// blake3 of a file, hexadecimal; none where there is none.
fn hash(path: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(blake3::hash(&bytes).to_hex().to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// The one field that every schema has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}
