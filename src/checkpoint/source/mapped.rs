//! A file whose tensors are read by memory map, of which no more stays in memory than is being
//! read; what describes the tensors is read into memory of its own.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{CheckpointError, regular};

/// Bytes that are read before their pages are let go.
const PIECE: usize = 1 << 22;
/// Bytes that tell what a file is: the name and the mark of a tar archive's first member are
/// among the first 512.
const HEAD: usize = 1 << 12;

/// When a file was last written to, and its length then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written(u64, Option<std::time::SystemTime>);

impl Written {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.len(), metadata.modified().ok())
    }
}

/// A file that is read where it lies.
#[derive(Debug)]
pub(super) struct Mapped {
    path: PathBuf,
    file: File,
    map: memmap2::Mmap,
    opened: Written,
}

impl Mapped {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let (file, metadata) = regular::open(path)?;
        let opened = Written::of(&metadata);
        // SAFETY: the map is read-only. What is assumed of other processes is that none shortens
        // the file or writes into it while one of its pieces is being read: the first would end
        // this process by a signal, the second change bytes behind a shared reference. Neither
        // can be ruled out by a program; both are looked for. `piece` compares the length right
        // before every access, so that a file that was shortened earlier is an error, and whoever
        // used the bytes asks afterwards whether the file was written to (`check_unchanged`).
        // Nothing but numbers is read through the map: what bounds and offsets come from is read
        // by `bytes_at` and does not change afterwards.
        #[expect(unsafe_code, reason = "a memory map")]
        let map = unsafe { memmap2::Mmap::map(&file) };
        Ok(Self {
            map: map.map_err(|source| CheckpointError::Read {
                path: path.to_owned(),
                source,
            })?,
            path: path.to_owned(),
            file,
            opened,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the file had when it was opened.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The first bytes, from which the format can be told.
    pub(super) fn head(&self) -> Result<Vec<u8>, CheckpointError> {
        self.bytes_at(0..self.len().min(HEAD))
    }

    /// A copy of the bytes of `range`, which lies inside the file and whose length the caller
    /// bounds.
    pub(super) fn bytes_at(&self, range: Range<usize>) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![0; range.len()];
        let mut file = &self.file;
        let read = file
            .seek(SeekFrom::Start(range.start as u64))
            .and_then(|_| file.read_exact(&mut bytes));
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.changed()),
            Err(source) => Err(CheckpointError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Whether the path still leads to the file as it was opened.
    pub(super) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        let metadata = std::fs::metadata(&self.path).map_err(|source| CheckpointError::Read {
            path: self.path.clone(),
            source,
        })?;
        if Written::of(&metadata) == self.opened {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> CheckpointError {
        CheckpointError::Changed {
            path: self.path.clone(),
        }
    }

    /// blake3 of the whole file.
    pub(super) fn blake3(&self) -> Result<blake3::Hash, CheckpointError> {
        let mut hasher = blake3::Hasher::new();
        self.read(0..self.len(), |piece| {
            hasher.update(piece);
        })?;
        Ok(hasher.finalize())
    }

    /// Hands the bytes of `range` to `take` in pieces whose lengths, but for the last, divide by
    /// every element's size.
    pub(super) fn read(
        &self,
        range: Range<usize>,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), CheckpointError> {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start.saturating_add(PIECE));
            take(self.piece(start..end)?);
            self.let_go(start..end);
            start = end;
        }
        Ok(())
    }

    /// The bytes of `range` in the map, if the file has not become shorter.
    pub(super) fn piece(&self, range: Range<usize>) -> Result<&[u8], CheckpointError> {
        let metadata = self
            .file
            .metadata()
            .map_err(|source| CheckpointError::Read {
                path: self.path.clone(),
                source,
            })?;
        if metadata.len() < self.opened.0 {
            return Err(self.changed());
        }
        self.map.get(range).ok_or_else(|| self.changed())
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
