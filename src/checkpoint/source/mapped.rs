//! A file that is read where it lies: piece by piece, so that no more of it is in memory than is
//! being read and a file that becomes shorter is an error; by memory map where a tensor's elements
//! are scattered.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{CheckpointError, regular};

/// Bytes that are read at a time: they stay in the second-level cache.
const PIECE: usize = 1 << 19;
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

/// Fills `bytes` from an offset, whatever else reads the file at the same time.
#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// An open file.
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
        // SAFETY: the map is read-only, and only `view` gives bytes of it out. What is assumed of
        // other processes is that none shortens the file or writes into it while such a view is
        // being gathered: the first would end this process by a signal, the second change bytes
        // behind a shared reference. A program cannot rule either out; both are looked for. The
        // length is compared right before, so that a file that was shortened earlier is an error,
        // and whoever used the bytes asks afterwards whether the file was written to
        // (`check_unchanged`). Only numbers come from the map: bounds and offsets are copied out
        // of the file and do not change afterwards.
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
        self.fill(&mut bytes, range.start)?;
        Ok(bytes)
    }

    /// Copies the bytes from `start` on.
    fn fill(&self, bytes: &mut [u8], start: usize) -> Result<(), CheckpointError> {
        match read_exact_at(&self.file, bytes, start as u64) {
            Ok(()) => Ok(()),
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
        let mut piece = vec![0; range.len().min(PIECE)];
        let mut start = range.start;
        while start < range.end {
            let length = piece.len().min(range.end - start);
            self.fill(&mut piece[..length], start)?;
            take(&piece[..length]);
            start += length;
        }
        Ok(())
    }

    /// The bytes of `range` in the map, if the file has not become shorter: for views whose
    /// elements are far from each other, so that no more is read than they need.
    pub(super) fn view(&self, range: Range<usize>) -> Result<&[u8], CheckpointError> {
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
