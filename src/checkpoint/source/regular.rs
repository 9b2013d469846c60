//! Opening what must be a file: a pipe would be waited for, a device has no end.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::Path;

use super::CheckpointError;

/// The file at `path`, or that a link there leads to, and what it was when it was opened.
pub(in crate::checkpoint) fn open(path: &Path) -> Result<(File, Metadata), CheckpointError> {
    let read = |source| CheckpointError::Read {
        path: path.to_owned(),
        source,
    };
    let regular = |metadata: &Metadata| {
        if metadata.is_file() {
            Ok(())
        } else {
            Err(CheckpointError::NotRegular {
                path: path.to_owned(),
            })
        }
    };
    // Before it is opened, since a pipe's opening alone may wait for ever.
    regular(&std::fs::metadata(path).map_err(read)?)?;
    let file = File::open(path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    regular(&metadata)?;
    Ok((file, metadata))
}

/// The text of a file that has at most `most` bytes; `long` makes the error for others.
pub(in crate::checkpoint) fn text(
    path: &Path,
    most: u64,
    long: impl FnOnce() -> CheckpointError,
) -> Result<String, CheckpointError> {
    let (file, _) = open(path)?;
    let mut text = String::new();
    // Its length is not asked for: it may grow.
    let read = file.take(most + 1).read_to_string(&mut text);
    if text.len() as u64 > most {
        return Err(long());
    }
    match read {
        Ok(_) => Ok(text),
        Err(source) => Err(CheckpointError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
