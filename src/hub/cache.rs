//! The cache's layout, which is huggingface_hub's: `blobs/<etag>` holds contents (and our
//! `blobs/<etag>.verified` that they have been hashed),
//! `snapshots/<commit>/<file>` links to them, `refs/<revision>` holds a commit.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::blob::Blob;
use super::client::is_hex;
use super::{HubError, HubReference, HubSettings};
use crate::store::{Lock, StoreError, write_atomic};

/// One repository's part of the cache.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(settings: &HubSettings, reference: &HubReference) -> Self {
        let name = format!("models--{}", reference.repository.replace('/', "--"));
        Self {
            folder: settings.cache.join(&name),
            locks: settings.cache.join(".locks").join(name),
        }
    }

    /// The commit that a revision was when it was last downloaded.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if is_hex(revision, 40) {
            return Some(revision.to_owned());
        }
        let commit = std::fs::read_to_string(self.reference(revision)).ok()?;
        let commit = commit.trim();
        is_hex(commit, 40).then(|| commit.to_owned())
    }

    /// Notes which commit a revision is.
    pub(super) fn note_commit(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        Ok(write_atomic(&self.reference(revision), commit.as_bytes())?)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// Where a file of a commit is.
    pub(super) fn file(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(file)
    }

    /// The contents of this name.
    pub(super) fn blob(&self, etag: &str) -> Blob {
        Blob::new(&self.folder.join("blobs"), etag)
    }

    /// Keeps others, huggingface_hub among them, from downloading the same contents.
    pub(super) fn lock(&self, etag: &str, waiting: &mut dyn FnMut(&str)) -> Result<Lock, HubError> {
        Ok(Lock::take(
            &self.locks.join(format!("{etag}.lock")),
            waiting,
        )?)
    }

    /// Makes `file` of `commit` a link to its contents.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        let link = self.file(commit, file);
        // From the file's folder up to the repository's: snapshots, commit, and the file's own.
        let up = "../".repeat(file.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if std::fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(());
        }
        make_folder_of(&link)?;
        let mut name = link.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let new = link.with_file_name(name);
        remove(&new)?;
        symlink(&target, &new)
            .and_then(|()| std::fs::rename(&new, &link))
            .map_err(failed("write", &link))
    }
}

/// Makes the folder in which `path` will be.
pub(super) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).map_err(failed("create", folder))
}

/// Deletes a file where there is one.
pub(super) fn remove(path: &Path) -> Result<(), HubError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("delete", path)(error)),
        _ => Ok(()),
    }
}

/// The system's error on a file of the cache.
pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> HubError {
    move |source| {
        HubError::Cache(StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
