//! The curves of a run as it goes: `metrics.jsonl`, and an event file that TensorBoard reads.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::events::{file_version_record, scalars_record};
use crate::store::{AppendFile, CurvePoint, METRICS, StoreError, delete, write_atomic};

/// What event files' names begin with: TensorBoard looks for `tfevents` (tensorboard,
/// `backend/event_processing/io_wrapper.py`).
const EVENTS: &str = "events.out.tfevents.";

/// What ours end with, where others have the machine's name: nobody needs to know it.
const OURS: &str = ".mimbench";

/// Curves that cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum CurvesError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of somebody else's has the name of ours.
    #[error("{} holds no curves of mimbench's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
}

impl CurvesError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Foreign { .. } => {
                Some("choose another folder (--run DIR), or move the file away".to_owned())
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
    /// New curves in the folder of a run, in place of earlier ones.
    ///
    /// # Errors
    /// `Foreign`, or what the system says; nothing is overwritten then.
    pub fn create(folder: &Path) -> Result<Self, CurvesError> {
        let metrics = new_metrics(folder)?;
        let (events_name, events) = new_events(folder)?;
        Ok(Self {
            metrics,
            events,
            events_name,
        })
    }

    /// The curves of a folder as they were when a state was saved: what a killed run wrote after it
    /// is cut off, so that every step is in them once. A file that is missing or shorter than it
    /// was begins anew, with a word to `notice`: no result hangs on it.
    ///
    /// # Errors
    /// What the system says.
    pub fn resume(
        folder: &Path,
        lengths: &CurveLengths,
        notice: &mut dyn FnMut(&str),
    ) -> Result<Self, CurvesError> {
        let mut kept = |name: &str, length| match AppendFile::resume(&folder.join(name), length) {
            Ok(file) => Ok(Some(file)),
            Err(error) if is_lost(&error) => {
                notice(&format!("{error}; these curves begin anew"));
                Ok(None)
            }
            Err(error) => Err(error),
        };
        let metrics = match kept(METRICS, lengths.metrics)? {
            Some(metrics) => metrics,
            // The state says that what is left is ours.
            None => AppendFile::create(&folder.join(METRICS))?,
        };
        let (events_name, events) = match kept(&lengths.events_name, lengths.events)? {
            Some(events) => (lengths.events_name.clone(), events),
            None => new_events(folder)?,
        };
        Ok(Self {
            metrics,
            events,
            events_name,
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
            let bytes = match std::fs::read(&path) {
                // No result hangs on curves that somebody deleted.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                bytes => bytes.map_err(|source| StoreError::Io {
                    action: "read",
                    path: path.clone(),
                    source,
                })?,
            };
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

/// Whether a file is no longer what it was, and not merely out of reach.
fn is_lost(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. } => true,
        StoreError::Io { source, .. } => source.kind() == ErrorKind::NotFound,
    }
}

/// An empty `metrics.jsonl`, in place of one that is empty or begins with a point.
fn new_metrics(folder: &Path) -> Result<AppendFile, CurvesError> {
    let path = folder.join(METRICS);
    let failed = |source| StoreError::Io {
        action: "read",
        path: path.clone(),
        source,
    };
    let mut first = Vec::new();
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        file => {
            let mut lines = BufReader::new(file.map_err(failed)?);
            lines.read_until(b'\n', &mut first).map_err(failed)?;
        }
    }
    if !first.is_empty() && serde_json::from_slice::<CurvePoint>(&first).is_err() {
        return Err(CurvesError::Foreign { path });
    }
    Ok(AppendFile::create(&path)?)
}

/// A new event file and its name, in place of earlier ones of ours: TensorBoard joins all of a
/// folder.
fn new_events(folder: &Path) -> Result<(String, AppendFile), CurvesError> {
    for path in events(folder)? {
        delete(&path)?;
    }
    let now = jiff::Timestamp::now();
    let name = format!("{EVENTS}{:010}{OURS}", now.as_second());
    let mut events = AppendFile::create(&folder.join(&name))?;
    events.append(&file_version_record(seconds(now)))?;
    Ok((name, events))
}

/// Event files of ours in a run's folder.
fn events(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::Io {
        action: "list",
        path: folder.to_owned(),
        source,
    };
    let mut events = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(EVENTS) && name.ends_with(OURS) {
            events.push(entry.path());
        }
    }
    Ok(events)
}

/// Seconds since 1970.
fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1e3
}
