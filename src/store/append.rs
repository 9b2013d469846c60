//! Files that grow line by line, and go on from where a saved state knew them to end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::StoreError;

/// A file that is only ever added to. What is added is the system's at once: a killed process loses
/// none of it.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl AppendFile {
    /// An empty file, in place of what was there, making its folder where needed.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
        let file = File::create(path).map_err(StoreError::io("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length: 0,
        })
    }

    /// The first `length` bytes of a file; what follows them is cut off.
    ///
    /// # Errors
    /// A file that is missing, or `Damaged` when it is shorter.
    pub fn resume(path: &Path, length: u64) -> Result<Self, StoreError> {
        let failed = StoreError::io("write", path);
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(&failed)?;
        let found = file.metadata().map_err(&failed)?.len();
        if found < length {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: format!("{found} bytes are left of {length}"),
            });
        }
        file.set_len(length).map_err(&failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
        })
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::io("write", &self.path))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Puts all of it on disk; gives its length in bytes.
    pub fn sync(&self) -> Result<u64, StoreError> {
        self.file
            .sync_all()
            .map_err(StoreError::io("write", &self.path))?;
        Ok(self.length)
    }
}
