//! Writing a file whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::StoreError;

/// A file that appears under its name only when [`AtomicFile::commit`] has put all of it on disk;
/// dropped before that, it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts a file, making its folder where needed.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(StoreError::io("write", &temporary))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            writer: Some(BufWriter::with_capacity(1 << 20, file)),
        })
    }

    /// Puts the file on disk under its name, replacing what was there.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let failed = StoreError::io("write", &self.path);
        if let Some(writer) = self.writer.take() {
            let file = writer
                .into_inner()
                .map_err(|error| failed(error.into_error()))?;
            file.sync_all().map_err(&failed)?;
        }
        std::fs::rename(&self.temporary, &self.path).map_err(&failed)?;
        // The rename itself is on disk once its folder is.
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(&failed)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        // After a commit the temporary name is gone and this finds nothing.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Writes `bytes` to `path`, whole or not at all.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes)
        .map_err(StoreError::io("write", path))?;
    file.commit()
}

/// Deletes a file.
pub fn delete(path: &Path) -> Result<(), StoreError> {
    std::fs::remove_file(path).map_err(StoreError::io("delete", path))
}

/// Deletes a folder with everything in it.
pub fn delete_folder(path: &Path) -> Result<(), StoreError> {
    std::fs::remove_dir_all(path).map_err(StoreError::io("delete", path))
}

/// Deletes what killed processes left half-written in `folder` under [`AtomicFile`]'s names that
/// begin with `prefix`; the caller holds the lock under which such files are written.
pub fn remove_leftovers(folder: &Path, prefix: &str) -> Result<(), StoreError> {
    let failed = StoreError::io("clean", folder);
    for entry in std::fs::read_dir(folder).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let process = name.strip_suffix(".tmp").and_then(|name| {
            let (_, process) = name.rsplit_once('.')?;
            process.parse::<u32>().ok()
        });
        if name.starts_with(prefix) && process.is_some() {
            delete(&entry.path())?;
        }
    }
    Ok(())
}
