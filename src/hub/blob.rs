//! Contents in the cache, which are taken for what their name says once they have been hashed.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::HubError;
use super::cache::failed;
use super::hash::Hash;
use crate::store::write_atomic;

/// A file whose name is an etag.
pub(super) struct Blob {
    path: PathBuf,
    etag: String,
}

impl Blob {
    pub(super) fn new(folder: &Path, etag: &str) -> Self {
        Self {
            path: folder.join(etag),
            etag: etag.to_owned(),
        }
    }

    /// The contents that a file of a snapshot is a link to; `None` where it is no link.
    pub(super) fn behind(file: &Path) -> Option<Self> {
        let path = file.with_file_name(std::fs::read_link(file).ok()?);
        let etag = path.file_name()?.to_str()?.to_owned();
        Some(Self { path, etag })
    }

    /// Where it is, once it is complete.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is while it arrives; huggingface_hub calls it so too.
    pub(super) fn partial(&self) -> PathBuf {
        self.beside("incomplete")
    }

    /// Whether it is there, of this size where one is known, and its hash is its name. What is
    /// hashed is marked, so that it is hashed again only after it has been written to.
    pub(super) fn is_sound(&self, size: Option<u64>) -> Result<bool, HubError> {
        let failed = failed("read", &self.path);
        let found = match self.path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found.map_err(&failed)?,
        };
        if size.is_some_and(|size| size != found.len()) {
            return Ok(false);
        }
        let Some(hash) = Hash::of_etag(&self.etag) else {
            return Ok(true);
        };
        if std::fs::read_to_string(self.mark()).is_ok_and(|mark| mark == stamp(&found)) {
            return Ok(true);
        }
        let mut hasher = hash.begin(found.len());
        File::open(&self.path)
            .and_then(|mut file| hasher.update_from(&mut file))
            .map_err(&failed)?;
        let sound = hasher.finish() == self.etag;
        if sound {
            self.note_sound(&found);
        }
        Ok(sound)
    }

    /// Marks contents that were hashed as they arrived.
    pub(super) fn note_hashed(&self) -> Result<(), HubError> {
        if Hash::of_etag(&self.etag).is_some() {
            let found = self.path.metadata().map_err(failed("read", &self.path))?;
            self.note_sound(&found);
        }
        Ok(())
    }

    /// A cache that may only be read keeps no mark: its files are hashed each time.
    fn note_sound(&self, found: &Metadata) {
        let _ = write_atomic(&self.mark(), stamp(found).as_bytes());
    }

    fn mark(&self) -> PathBuf {
        self.beside("verified")
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.path
            .with_file_name(format!("{}.{extension}", self.etag))
    }
}

/// What changes when a file is written to.
fn stamp(found: &Metadata) -> String {
    let [size, seconds, nanoseconds] = [found.size() as i64, found.mtime(), found.mtime_nsec()];
    format!("{size} {seconds}.{nanoseconds:09}\n")
}
