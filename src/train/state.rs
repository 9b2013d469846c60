//! What a stopped run goes on from: numbered generations of its state in one folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Progress, Terms, TrainError};
use crate::store::{
    NamedTensor, StoreError, TensorFile, Tensors, delete, read_tensors_and_metadata,
    remove_leftovers,
};

/// Generations that are kept: the last, and the one before in case the last is damaged.
const KEPT: usize = 2;

/// Version of the layout.
const VERSION: u32 = 1;

/// Key of the file's metadata under which everything beside tensors is.
const HEADER: &str = "mimbench";

/// Key of the file's metadata under which the hash of all contents is.
const SEAL: &str = "blake3";

/// A run at one moment.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What comes next.
    pub progress: Progress,
    /// Sums of the terms of the update under way.
    pub terms: Terms,
    /// What the run's monitor keeps.
    pub monitor: serde_json::Value,
    /// Tensors of the trainable and the monitor.
    pub tensors: Tensors,
}

/// What makes a run this one: names and values, in the order in which they are told apart.
pub type Identity = Vec<(String, String)>;

/// The part of a state that is no tensor.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    identity: Identity,
    progress: Progress,
    terms: Terms,
    monitor: serde_json::Value,
}

/// The folder of a run's states.
#[derive(Debug)]
pub struct StateFolder {
    folder: PathBuf,
    identity: Identity,
    every: Duration,
    last: Instant,
}

impl StateFolder {
    /// The states of the run of this identity below `folder`, saved `every` so often. The caller
    /// holds the run's lock.
    pub fn new(folder: &Path, identity: Identity, every: Duration) -> Self {
        Self {
            folder: folder.to_owned(),
            identity,
            every,
            last: Instant::now(),
        }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is time to save.
    pub fn due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// The last state that is whole; damaged ones are passed over with a word to `notice`.
    ///
    /// # Errors
    /// The state of another run, or none of several can be read.
    pub fn load(&mut self, notice: &mut dyn FnMut(&str)) -> Result<Option<Saved>, TrainError> {
        if !self.folder.is_dir() {
            return Ok(None);
        }
        remove_leftovers(&self.folder, "state-")?;
        let mut generations = self.generations()?;
        while let Some((_, path)) = generations.pop() {
            match self.read(&path) {
                Ok(saved) => return Ok(Some(saved)),
                Err(TrainError::Store(error)) if !generations.is_empty() => {
                    notice(&format!("{error}; going back to the state before"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes a new generation whole, then deletes those that are no longer needed -> its file.
    ///
    /// # Errors
    /// It cannot be written; earlier generations are as before.
    pub fn save(&mut self, saved: &Saved) -> Result<PathBuf, TrainError> {
        let generations = self.generations()?;
        let number = generations.last().map_or(0, |(number, _)| number + 1);
        let path = self.folder.join(format!("state-{number:08}.safetensors"));
        let tensors: Vec<_> = saved.tensors.values().cloned().collect();
        let header = Header {
            version: VERSION,
            identity: self.identity.clone(),
            progress: saved.progress,
            terms: saved.terms.clone(),
            monitor: saved.monitor.clone(),
        };
        let header = serde_json::to_string(&header).map_err(|error| StoreError::Io {
            action: "write",
            path: path.clone(),
            source: io::Error::other(error),
        })?;
        let seal = seal(&header, &tensors);
        let metadata = BTreeMap::from([(HEADER.to_owned(), header), (SEAL.to_owned(), seal)]);
        TensorFile::create(&path)?.write(&tensors, &metadata)?;
        let old = (generations.len() + 1).saturating_sub(KEPT);
        for (_, path) in generations.into_iter().take(old) {
            delete(&path)?;
        }
        self.last = Instant::now();
        Ok(path)
    }

    /// Whether there is a state, whosever and in whatever condition.
    pub fn holds_state(&self) -> Result<bool, StoreError> {
        Ok(!self.generations()?.is_empty())
    }

    /// Deletes all states.
    pub fn clear(&self) -> Result<(), StoreError> {
        for (_, path) in self.generations()? {
            delete(&path)?;
        }
        Ok(())
    }

    /// Takes the states of another folder on the same disk in place of its own. Cut short, it
    /// leaves the last of them where it was.
    pub fn replace(&self, with: &Self) -> Result<(), StoreError> {
        remove_leftovers(&self.folder, "state-")?;
        self.clear()?;
        for (_, path) in with.generations()? {
            let to = self.folder.join(path.file_name().unwrap_or_default());
            std::fs::rename(&path, &to).map_err(|source| StoreError::Io {
                action: "write",
                path: to,
                source,
            })?;
        }
        Ok(())
    }

    /// Numbers and files of the generations, ascending.
    fn generations(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let failed = |source| StoreError::Io {
            action: "list",
            path: self.folder.clone(),
            source,
        };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut generations = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let number = name
                .and_then(|name| name.strip_prefix("state-")?.strip_suffix(".safetensors"))
                .and_then(|digits| digits.parse().ok());
            generations.extend(number.map(|number: u64| (number, path)));
        }
        generations.sort();
        Ok(generations)
    }

    fn read(&self, path: &Path) -> Result<Saved, TrainError> {
        let damaged = |reason: String| StoreError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let (tensors, metadata) = read_tensors_and_metadata(path)?;
        let header = metadata.get(HEADER);
        let header = header.ok_or_else(|| damaged("it has no header".to_owned()))?;
        let listed: Vec<_> = tensors.values().cloned().collect();
        if metadata.get(SEAL) != Some(&seal(header, &listed)) {
            return Err(damaged("its contents are not those that were written".to_owned()).into());
        }
        let header: Header =
            serde_json::from_str(header).map_err(|error| damaged(error.to_string()))?;
        if header.version != VERSION {
            return Err(TrainError::OtherRun {
                path: path.to_owned(),
                what: "layout".to_owned(),
                found: header.version.to_string(),
                expected: VERSION.to_string(),
            });
        }
        for (at, (name, expected)) in self.identity.iter().enumerate() {
            let found = header.identity.get(at);
            if found.is_none_or(|(other, value)| other != name || value != expected) {
                return Err(TrainError::OtherRun {
                    path: path.to_owned(),
                    what: name.clone(),
                    found: found.map_or("missing", |(_, value)| value).to_owned(),
                    expected: expected.clone(),
                });
            }
        }
        Ok(Saved {
            progress: header.progress,
            terms: header.terms,
            monitor: header.monitor,
            tensors,
        })
    }
}

/// blake3 of the header and of every tensor, hexadecimal.
fn seal(header: &str, tensors: &[NamedTensor<'_>]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for tensor in tensors {
        hasher.update(&tensor.hash());
    }
    hasher.finalize().to_hex().to_string()
}
