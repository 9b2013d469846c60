//! A file by memory map, of which no more stays in memory than is being read.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CheckpointError;

/// Bytes that are read before their pages are let go.
const PIECE: usize = 1 << 22;

/// When a file was last written to, and its length then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written(u64, Option<std::time::SystemTime>);

impl Written {
    fn of(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = std::fs::metadata(path).map_err(|source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(metadata.len(), metadata.modified().ok()))
    }
}

/// A file that is read where it lies.
#[derive(Debug)]
pub(super) struct Mapped {
    path: PathBuf,
    map: memmap2::Mmap,
    opened: Written,
}

impl Mapped {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let read = |source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let opened = Written::of(path)?;
        // SAFETY: the map is read-only, and whoever reads weights through it asks afterwards
        // whether the file was written to meanwhile (`check_unchanged`).
        #[expect(unsafe_code, reason = "a memory map")]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(read)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            opened,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(super) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        if Written::of(&self.path)? == self.opened {
            Ok(())
        } else {
            Err(CheckpointError::Changed {
                path: self.path.clone(),
            })
        }
    }

    /// blake3 of the whole file.
    pub(super) fn blake3(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        self.read(0..self.map.len(), |piece| {
            hasher.update(piece);
        });
        hasher.finalize()
    }

    /// Hands the bytes of `range` to `take` in pieces whose lengths, but for the last, divide by
    /// every element's size.
    pub(super) fn read(&self, range: Range<usize>, mut take: impl FnMut(&[u8])) {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(PIECE));
            take(&self.map[start..end]);
            self.let_go(start..end);
            start = end;
        }
    }

    /// The pages stay in the system's cache, but count no longer as this process's.
    #[cfg(unix)]
    pub(super) fn let_go(&self, range: Range<usize>) {
        // SAFETY: the map is shared, read-only and backed by the file, so that a page that is let
        // go comes back with the same bytes when it is read again.
        #[expect(unsafe_code, reason = "advice that drops pages")]
        let advised = unsafe {
            self.map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                range.start,
                range.len(),
            )
        };
        // Advice that the system does not take costs memory and changes no byte.
        drop(advised);
    }

    #[cfg(not(unix))]
    pub(super) fn let_go(&self, _range: Range<usize>) {}
}
