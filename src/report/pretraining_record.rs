//! What a finished run of pre-training was, beside its weights and among the results.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RecordError;
use crate::store::{CurvePoint, StoreError, read_curves, write_atomic};

/// Version of the layout.
pub const PRETRAINING_SCHEMA: u32 = 2;

/// The record's name in the folder of its run.
pub const PRETRAINING: &str = "pretraining.json";

/// A finished run of pre-training: `pretraining.json` beside its weights, and `pretraining/KEY.json`
/// among the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainingRecord {
    /// [`PRETRAINING_SCHEMA`] of the program that wrote it.
    pub schema: u32,
    /// Hash of the identity but for the images at once; hexadecimal, also the record's file name
    /// among the results.
    pub key: String,
    /// What its student is called.
    pub name: String,
    /// What makes the run this one: names and values.
    pub identity: Vec<(String, String)>,
    /// The recipe's name.
    pub recipe: String,
    /// Its version.
    pub version: u32,
    /// Hash of everything in it that decides the weights.
    pub hash: String,
    /// All its settings, as TOML.
    pub text: String,
    /// Settings of the command line, as given.
    pub modified: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Epochs.
    pub epochs: usize,
    /// The teachers.
    pub teachers: Vec<TeacherRecord>,
    /// Folder of the images.
    pub data: PathBuf,
    /// Hash of the paths, sizes and labels of the train images.
    pub manifest: String,
    /// Train images.
    pub images: usize,
    /// Mean of each term over the last epoch, without its weight.
    pub terms: Vec<(String, f64)>,
    /// What kNN said on the way, of the watched images.
    pub looks: Vec<Look>,
    /// Weights that were kept; the last are those that the run came to.
    pub kept: Vec<KeptWeights>,
    /// Images that went through the networks.
    pub encoded: usize,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Engine and its versions.
    pub engine: String,
    /// Where it was trained.
    pub device: String,
    /// Element type.
    pub precision: String,
    /// Images at once.
    pub at_once: usize,
    /// Versions of numerics and training.
    pub numerics: String,
    /// Version of this program.
    pub mimbench: String,
    /// blake3 of the curves that lie beside it among the results; none where the run's were gone.
    pub curves: Option<String>,
    /// blake3 of the record's JSON without this field, hexadecimal: a value that was changed by hand
    /// is noticed.
    pub seal: String,
}

/// A teacher of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TeacherRecord {
    /// Its name in the recipe.
    pub name: String,
    /// That of the checkpoint.
    pub checkpoint: String,
    /// Of its weights.
    pub blake3: String,
}

/// One look of kNN at the watched images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Epochs before it.
    pub epoch: usize,
    /// Validation images that were named right.
    pub hits: u64,
    /// Validation images.
    pub images: u64,
}

impl Look {
    /// Top-1, percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.images.max(1) as f64
    }
}

/// Weights that a run has kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWeights {
    /// Epochs before them.
    pub epoch: usize,
    /// The file, below the run's folder.
    pub file: PathBuf,
    /// Its blake3.
    pub blake3: String,
}

impl PretrainingRecord {
    /// The record's file under `results`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results.join("pretraining").join(format!("{key}.json"))
    }

    fn curves_path(results: &Path, key: &str) -> PathBuf {
        results.join("pretraining").join(format!("{key}.jsonl"))
    }

    /// The weights that the run came to.
    pub fn weights(&self) -> Option<&KeptWeights> {
        self.kept.iter().find(|kept| kept.epoch == self.epochs)
    }

    /// The record in a file.
    ///
    /// # Errors
    /// A file that cannot be read, does not parse, is of another schema, or was changed by hand.
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
        if schema != PRETRAINING_SCHEMA {
            return Err(RecordError::PretrainingSchema {
                path: at(),
                found: schema,
            });
        }
        let json = &mut serde_json::Deserializer::from_str(&text);
        let record: Self = serde_path_to_error::deserialize(json).map_err(|error| {
            let field = error.path().to_string();
            parse(field, error.into_inner())
        })?;
        match record.seal == record.sealed().seal {
            true => Ok(record),
            false => Err(RecordError::Changed { path: at() }),
        }
    }

    /// Every record under `results`, in the order of recipes, names, seeds and keys.
    ///
    /// # Errors
    /// Those of [`PretrainingRecord::load`], of every record that has one; a file that is called
    /// after another run.
    pub fn all(results: &Path) -> Result<Vec<Self>, RecordError> {
        let folder = results.join("pretraining");
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
            if path.extension().is_none_or(|x| x != "json") {
                continue;
            }
            match Self::load(&path) {
                Ok(record) if path == Self::path(results, &record.key) => records.push(record),
                Ok(Self { key, .. }) => errors.push(RecordError::Name { path, key }),
                Err(error) => errors.push(error),
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

    fn place(&self) -> (&str, &str, u64, &str) {
        (&self.recipe, &self.name, self.seed, &self.key)
    }

    /// The curves beside it among the results; none where they are gone, because no result hangs on
    /// them.
    ///
    /// # Errors
    /// The file is damaged, or not the one that the record was written with.
    pub fn curve_points(&self, results: &Path) -> Result<Vec<CurvePoint>, RecordError> {
        let path = Self::curves_path(results, &self.key);
        let found = match std::fs::read(&path) {
            Ok(bytes) => blake3::hash(&bytes).to_hex().to_string(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RecordError::Read { path, source }),
        };
        match self.curves.as_ref() == Some(&found) {
            true => read_curves(&path).map_err(|error| RecordError::beside(&self.key, error)),
            false => Err(RecordError::Outcomes {
                path,
                reason: "is not the file that the record beside it was written with".to_owned(),
            }),
        }
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

    /// Writes it into the folder of its run, whole or not at all.
    pub fn write_beside(&self, folder: &Path) -> Result<(), StoreError> {
        self.write(&folder.join(PRETRAINING))
    }

    /// Writes it and the curves of its run among the results, each whole or not at all.
    pub fn publish(&self, curves: Option<&[u8]>, results: &Path) -> Result<(), StoreError> {
        if let Some(curves) = curves {
            write_atomic(&Self::curves_path(results, &self.key), curves)?;
        }
        self.write(&Self::path(results, &self.key))
    }

    fn write(&self, path: &Path) -> Result<(), StoreError> {
        let json = serde_json::to_vec_pretty(self);
        let mut json = json.map_err(|error| StoreError::Io {
            action: "write",
            path: path.to_owned(),
            source: error.into(),
        })?;
        json.push(b'\n');
        write_atomic(path, &json)
    }
}

/// The one field that every schema has.
#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}
