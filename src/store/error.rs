//! What can go wrong between memory and disk.

use std::path::{Path, PathBuf};

/// A file of the results or of the feature store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A part's contents are not what its header says.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The part.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind::{
            PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        Some(match self {
            Self::Io { source, .. } => match source.kind() {
                PermissionDenied | ReadOnlyFilesystem => {
                    "choose a place you may write: --results DIR, --store DIR or --out FILE"
                        .to_owned()
                }
                StorageFull | QuotaExceeded => {
                    "free some space or choose another disk (--store DIR, --out FILE)".to_owned()
                }
                _ => "check the path given with --results, --store or --out".to_owned(),
            },
            Self::Damaged { .. } => "delete the file: it will be computed again".to_owned(),
        })
    }
}
