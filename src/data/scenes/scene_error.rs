//! What can go wrong with made-up scenes.

use std::{io, path::PathBuf};

use super::{MAX_PER_CLASS, MAX_SIZE, MIN_SIZE};

/// Why scenes could not be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// The side of the images is out of range.
    #[error("scenes of {size} px: the side must be {MIN_SIZE} to {MAX_SIZE} px")]
    Size {
        /// The side asked for, in pixels.
        size: usize,
    },
    /// There is no such class.
    #[error("there is no scene class {class}: the classes are 0 to {}", classes - 1)]
    Class {
        /// The index asked for.
        class: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Too many images a class for the four digits of the file names.
    #[error("{count} scenes a class are more than {MAX_PER_CLASS}")]
    Count {
        /// The number asked for.
        count: usize,
    },
    /// No thread was allowed to draw.
    #[error("scenes need at least one worker")]
    NoWorkers,
    /// The directory holds something else than these scenes.
    #[error("{} exists and does not hold the scenes asked for ({wanted})", dir.display())]
    Differs {
        /// The directory.
        dir: PathBuf,
        /// What the marker file would have to say, on one line.
        wanted: String,
    },
    /// Another process is writing the same directory.
    #[error("another process is writing {}", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// The path has no last component that could be written beside.
    #[error("{} cannot be a dataset directory", dir.display())]
    NotADirectoryName {
        /// The path given.
        dir: PathBuf,
    },
    /// The file system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What was being written or read.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The PNG encoder refused.
    #[error("cannot encode {}: {source}", path.display())]
    Png {
        /// The image.
        path: PathBuf,
        /// The encoder's reason.
        source: png::EncodingError,
    },
}

impl SceneError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Size { .. } => Some("64 px suits the demo's small models".into()),
            Self::Class { .. } => None,
            Self::Count { .. } => Some(format!("ask for at most {MAX_PER_CLASS} scenes a class")),
            Self::NoWorkers => Some("pass --workers 1 or more".into()),
            Self::Differs { dir, .. } => Some(format!(
                "choose another directory, or delete {} if nothing in it is needed",
                dir.display()
            )),
            Self::Busy { .. } => Some("wait for it to end, or choose another directory".into()),
            Self::NotADirectoryName { .. } => Some("give a path that ends in a name".into()),
            Self::Io { .. } => {
                Some("check that the disk has room and the folder may be written to".into())
            }
            Self::Png { .. } => Some("check that the disk has room".into()),
        }
    }
}
