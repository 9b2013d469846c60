//! What a stopped run goes on from: numbered generations of its state in one folder.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Progress, Terms, TrainError};
use crate::store::{
    StoreError, TensorFile, Tensors, delete, read_tensors_and_metadata, remove_leftovers,
};

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

/// Name, in an identity, of how many samples go through the network together: what a recipe leaves
/// to the machine.
pub const AT_ONCE: &str = "number of images at once (--batch)";

/// How far a run is, and what makes it that run.
#[derive(Clone, Debug)]
pub struct Standing {
    /// What comes next.
    pub progress: Progress,
    /// Whose state it is.
    pub identity: Identity,
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
    good: Option<Good>,
}

/// The generation that was loaded or written last.
#[derive(Clone, Copy, Debug)]
struct Good {
    number: u64,
    progress: Progress,
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
            good: None,
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

    /// The file of the state that was loaded or written last, where it is that of this position:
    /// training is a function of the position, so that another generation would say the same.
    pub fn holds(&self, progress: Progress) -> Option<PathBuf> {
        let good = self.good.filter(|good| good.progress == progress)?;
        Some(self.path(good.number))
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
        while let Some(number) = generations.pop() {
            match self.read(&self.path(number)) {
                Ok(saved) => {
                    let progress = saved.progress;
                    self.good = Some(Good { number, progress });
                    return Ok(Some(saved));
                }
                Err(TrainError::Store(error)) if !generations.is_empty() => {
                    notice(&format!("{error}; going back to the state before"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Writes a new generation whole -> its file. What then stays beside it, in case it is damaged,
    /// is the last that is known to be whole.
    ///
    /// # Errors
    /// It cannot be written; earlier generations are as before.
    pub fn save(&mut self, saved: &Saved) -> Result<PathBuf, TrainError> {
        let generations = self.generations()?;
        let number = generations.last().map_or(0, |number| number + 1);
        let path = self.path(number);
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
        let seal = seal(&header, &saved.tensors);
        let metadata = BTreeMap::from([(HEADER.to_owned(), header), (SEAL.to_owned(), seal)]);
        TensorFile::create(&path)?.write(saved.tensors.values(), &metadata)?;
        let before = self.good.map(|good| good.number);
        let before = before.or(generations.last().copied());
        let progress = saved.progress;
        self.good = Some(Good { number, progress });
        self.last = Instant::now();
        for old in generations {
            if Some(old) != before {
                delete(&self.path(old))?;
            }
        }
        Ok(path)
    }

    /// Whether there is a state, whosever and in whatever condition.
    pub fn holds_state(&self) -> Result<bool, StoreError> {
        Ok(!self.generations()?.is_empty())
    }

    /// Deletes all states.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        self.good = None;
        for number in self.generations()? {
            delete(&self.path(number))?;
        }
        Ok(())
    }

    /// Takes the states of another folder on the same disk in place of its own. Cut short, it
    /// leaves the last of them where it was.
    pub fn replace(&mut self, with: &Self) -> Result<(), StoreError> {
        remove_leftovers(&self.folder, "state-")?;
        self.clear()?;
        for number in with.generations()? {
            let to = self.path(number);
            std::fs::rename(with.path(number), &to).map_err(|source| StoreError::Io {
                action: "write",
                path: to,
                source,
            })?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// Numbers of the generations, ascending.
    fn generations(&self) -> Result<Vec<u64>, StoreError> {
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
            let name = entry.map_err(failed)?.file_name();
            let name = name.to_str();
            let number = name
                .and_then(|name| name.strip_prefix("state-")?.strip_suffix(".safetensors"))
                .and_then(|digits| digits.parse().ok());
            // What only looks like one is somebody else's.
            generations.extend(number.filter(|&number| name == Some(&file_name(number))));
        }
        generations.sort();
        Ok(generations)
    }

    /// How far the last state that is whole and of this layout is, whosever it is.
    pub fn standing(&self) -> Result<Option<Standing>, StoreError> {
        let mut generations = self.generations()?;
        while let Some(number) = generations.pop() {
            match self.open(&self.path(number)) {
                Ok((header, _)) if header.version == VERSION => {
                    return Ok(Some(Standing {
                        progress: header.progress,
                        identity: header.identity,
                    }));
                }
                // Who goes on from it says what is wrong with it.
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A state as it was written, whosever it is.
    fn open(&self, path: &Path) -> Result<(Header, Tensors), StoreError> {
        let damaged = |reason: String| StoreError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let (tensors, metadata) = read_tensors_and_metadata(path)?;
        let header = metadata.get(HEADER);
        let header = header.ok_or_else(|| damaged("it has no header".to_owned()))?;
        if metadata.get(SEAL) != Some(&seal(header, &tensors)) {
            return Err(damaged(
                "its contents are not those that were written".to_owned(),
            ));
        }
        let header = serde_json::from_str(header).map_err(|error| damaged(error.to_string()))?;
        Ok((header, tensors))
    }

    fn read(&self, path: &Path) -> Result<Saved, TrainError> {
        let (header, tensors) = self.open(path)?;
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

/// The file of a generation.
fn file_name(number: u64) -> String {
    format!("state-{number:08}.safetensors")
}

/// blake3 of the header and of every tensor, hexadecimal.
fn seal(header: &str, tensors: &Tensors) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header.as_bytes());
    for tensor in tensors.values() {
        hasher.update(&tensor.hash());
    }
    hasher.finalize().to_hex().to_string()
}
