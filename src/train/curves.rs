//! The curves of a run as it goes: `metrics.jsonl`, and an event file that TensorBoard reads.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::events::{file_version_record, scalars_record};
use crate::store::{AppendFile, CurvePoint, METRICS, StoreError, delete, write_atomic};

/// What event files' names begin with: TensorBoard looks for `tfevents` (tensorboard,
/// `backend/event_processing/io_wrapper.py`).
const EVENTS: &str = "events.out.tfevents.";

/// Curves that cannot be written or gone on with.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files of a run are not those that its state was saved with.
    #[error("the curves cannot go on: {0}")]
    Resume(StoreError),
}

impl CurvesError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Resume(_) => {
                Some("bring the file back, or delete the run's folder to train anew".to_owned())
            }
        }
    }
}

/// How far the curves had come when a state was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurveLengths {
    /// Bytes of `metrics.jsonl`.
    pub metrics: u64,
    /// Name of the event file.
    pub events_name: String,
    /// Its bytes.
    pub events: u64,
}

/// The files that the curves of a run are written to.
#[derive(Debug)]
pub struct Curves {
    metrics: AppendFile,
    events: AppendFile,
    events_name: String,
}

impl Curves {
    /// New curves in the folder of a run, in place of any that are there.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(folder: &Path) -> Result<Self, CurvesError> {
        let metrics = AppendFile::create(&folder.join(METRICS))?;
        // TensorBoard joins all event files of a folder.
        for path in events(folder)? {
            delete(&path)?;
        }
        let now = jiff::Timestamp::now();
        // Where others write the machine's name: nobody needs to know it.
        let events_name = format!("{EVENTS}{:010}.mimbench", now.as_second());
        let mut events = AppendFile::create(&folder.join(&events_name))?;
        events.append(&file_version_record(seconds(now)))?;
        Ok(Self {
            metrics,
            events,
            events_name,
        })
    }

    /// The curves of a folder as they were when a state was saved: what a killed run wrote after it
    /// is cut off, so that every step is in them once.
    ///
    /// # Errors
    /// `Resume` when a file is missing or shorter than it was.
    pub fn resume(folder: &Path, lengths: &CurveLengths) -> Result<Self, CurvesError> {
        let open = |name: &str, length| {
            AppendFile::resume(&folder.join(name), length).map_err(CurvesError::Resume)
        };
        Ok(Self {
            metrics: open(METRICS, lengths.metrics)?,
            events: open(&lengths.events_name, lengths.events)?,
            events_name: lengths.events_name.clone(),
        })
    }

    /// Puts the curves of another folder in place of those in `folder`; a copy, so that a state
    /// beside them goes on from them as long as it is there.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace(folder: &Path, with: &Path) -> Result<(), StoreError> {
        for path in events(folder)? {
            delete(&path)?;
        }
        let mut files = events(with)?;
        files.push(with.join(METRICS));
        for path in files {
            let bytes = std::fs::read(&path).map_err(|source| StoreError::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
            write_atomic(&folder.join(path.file_name().unwrap_or_default()), &bytes)?;
        }
        Ok(())
    }

    /// Adds a point: a line, and in the event file a scalar `<kind>/<name>` a value.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, point: &CurvePoint) -> Result<(), CurvesError> {
        let mut line = serde_json::to_vec(point).map_err(|error| StoreError::Io {
            action: "write",
            path: METRICS.into(),
            source: error.into(),
        })?;
        line.push(b'\n');
        self.metrics.append(&line)?;
        let record = scalars_record(seconds(jiff::Timestamp::now()), point);
        Ok(self.events.append(&record)?)
    }

    /// Puts everything on disk; gives what a state must keep to go on from here.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self) -> Result<CurveLengths, CurvesError> {
        Ok(CurveLengths {
            metrics: self.metrics.sync()?,
            events_name: self.events_name.clone(),
            events: self.events.sync()?,
        })
    }
}

/// Event files of a run's folder.
fn events(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::Io {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let mut events = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(EVENTS) {
            events.push(entry.path());
        }
    }
    Ok(events)
}

/// Seconds since 1970.
fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}
