//! Parts: runs of feature rows in one self-verifying file each.
//!
//! Layout, little-endian: the magic number, the blake3 of everything after it, the length of the
//! JSON header (u32), the header padded with spaces, one stamp of 48 bytes an image, the rows.
//! Header and stamps end on a multiple of 64 bytes.

use std::cmp::Reverse;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::f16;
use serde::{Deserialize, Serialize};

use super::{AtomicFile, StoreError, delete};

const MAGIC: [u8; 8] = *b"MIMPART1";
/// Magic number, hash and header length.
const PREAMBLE: usize = MAGIC.len() + blake3::OUT_LEN + 4;
const ALIGNMENT: usize = 64;
const STAMP_BYTES: usize = 48;

/// Element type of stored rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowType {
    /// As computed.
    #[default]
    F32,
    /// Rounded to half precision: half the disk.
    F16,
}

impl RowType {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        }
    }
}

/// Identity of one image when its features were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageStamp {
    /// Inode of the file.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Last modification, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Where the image begins in a shard; 0 in a file of its own.
    pub offset: u64,
    /// First half of the blake3 of its bytes.
    pub content: [u8; 16],
}

impl ImageStamp {
    fn to_bytes(self) -> [u8; STAMP_BYTES] {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.inode.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.mtime_ns.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.offset.to_le_bytes());
        bytes[32..].copy_from_slice(&self.content);
        bytes
    }

    fn from_bytes(bytes: &[u8; STAMP_BYTES]) -> Self {
        let eight = |at| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            eight
        };
        let mut content = [0; 16];
        content.copy_from_slice(&bytes[32..]);
        Self {
            inode: u64::from_le_bytes(eight(0)),
            size: u64::from_le_bytes(eight(8)),
            mtime_ns: i64::from_le_bytes(eight(16)),
            offset: u64::from_le_bytes(eight(24)),
            content,
        }
    }
}

/// What a part holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHeader {
    /// First image.
    pub start: usize,
    /// One past the last image.
    pub end: usize,
    /// Numbers in a row.
    pub dim: usize,
    /// Their type.
    pub rows: RowType,
    /// Images that could not be decoded, and why; their rows are zeros.
    pub skipped: Vec<(usize, String)>,
}

impl PartHeader {
    /// Images of the part.
    pub fn images(&self) -> usize {
        self.end - self.start
    }
}

/// A part in the making, in memory until it is committed.
#[derive(Debug)]
pub struct PartWriter {
    start: usize,
    dim: usize,
    row_type: RowType,
    stamps: Vec<u8>,
    rows: Vec<u8>,
    skipped: Vec<(usize, String)>,
}

impl PartWriter {
    /// An empty part whose first image is `start`.
    pub fn new(start: usize, dim: usize, row_type: RowType) -> Self {
        Self {
            start,
            dim,
            row_type,
            stamps: Vec::new(),
            rows: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// First image.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Images so far.
    pub fn images(&self) -> usize {
        self.stamps.len() / STAMP_BYTES
    }

    /// Appends one image and its row of `dim` numbers, or zeros and the reason it has none.
    pub fn push(&mut self, stamp: &ImageStamp, row: Result<&[f32], &str>) {
        let image = self.start + self.images();
        self.stamps.extend_from_slice(&stamp.to_bytes());
        match row {
            Ok(row) => match self.row_type {
                RowType::F32 => self.rows.extend(row.iter().flat_map(|x| x.to_le_bytes())),
                RowType::F16 => {
                    self.rows
                        .extend(row.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
                }
            },
            Err(reason) => {
                self.skipped.push((image, reason.to_owned()));
                self.rows
                    .resize(self.rows.len() + self.dim * self.row_type.bytes(), 0);
            }
        }
    }

    /// Appends the images of a part of the same kind of rows.
    fn append(&mut self, part: &Part) {
        let stamps = part.header.images() * STAMP_BYTES;
        self.stamps
            .extend_from_slice(&part.map[part.stamps_at..][..stamps]);
        self.rows.extend_from_slice(part.rows());
        self.skipped.extend_from_slice(&part.header.skipped);
    }

    /// Writes the part into `folder`, whole or not at all.
    pub fn commit(self, folder: &Path) -> Result<(), StoreError> {
        let mut stamps = self.stamps;
        let images = stamps.len() / STAMP_BYTES;
        stamps.resize(stamps.len().next_multiple_of(ALIGNMENT), 0);
        let header = PartHeader {
            start: self.start,
            end: self.start + images,
            dim: self.dim,
            rows: self.row_type,
            skipped: self.skipped,
        };
        let path = folder.join(format!("{:010}-{:010}.part", header.start, header.end));
        let mut json = serde_json::to_vec(&header)
            .map_err(|error| StoreError::io("write", &path)(error.into()))?;
        json.resize(
            (PREAMBLE + json.len()).next_multiple_of(ALIGNMENT) - PREAMBLE,
            b' ',
        );
        let length = (json.len() as u32).to_le_bytes();
        let body = [&length[..], &json, &stamps, &self.rows];
        let mut hasher = blake3::Hasher::new();
        for bytes in body {
            hasher.update(bytes);
        }
        let mut file = AtomicFile::create(&path)?;
        for bytes in [&MAGIC[..], hasher.finalize().as_bytes()]
            .into_iter()
            .chain(body)
        {
            file.write_all(bytes)
                .map_err(StoreError::io("write", &path))?;
        }
        file.commit()
    }
}

/// A verified part, memory-mapped.
#[derive(Debug)]
pub struct Part {
    /// What it holds.
    pub header: PartHeader,
    path: PathBuf,
    map: memmap2::Mmap,
    stamps_at: usize,
    rows_at: usize,
}

impl Part {
    /// Maps a part and checks it against its header and its hash.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = StoreError::io("read", path);
        let damaged = |reason: &str| StoreError::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let file = File::open(path).map_err(&failed)?;
        // SAFETY: the map is read-only; parts are only ever replaced by renames, under the
        // store's lock, so the mapped file is never written or shortened by mimbench.
        #[expect(unsafe_code, reason = "a memory map")]
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(&failed)?;
        let (hash, body) = map
            .strip_prefix(&MAGIC)
            .and_then(|rest| rest.split_at_checked(blake3::OUT_LEN))
            .ok_or_else(|| damaged("it does not begin as a part does"))?;
        if blake3::hash(body).as_bytes() != hash {
            return Err(damaged("its contents do not match their hash"));
        }
        let length = body
            .first_chunk::<4>()
            .map_or(0, |length| u32::from_le_bytes(*length));
        let stamps_at = PREAMBLE + length as usize;
        let json = map
            .get(PREAMBLE..stamps_at)
            .ok_or_else(|| damaged("the header is cut short"))?;
        let header: PartHeader =
            serde_json::from_slice(json).map_err(|error| damaged(&error.to_string()))?;
        let images = header.end.saturating_sub(header.start);
        let extent = images.checked_mul(STAMP_BYTES).and_then(|stamps| {
            let rows_at = stamps_at.checked_add(stamps.checked_next_multiple_of(ALIGNMENT)?)?;
            let rows = images
                .checked_mul(header.dim)?
                .checked_mul(header.rows.bytes())?;
            Some((rows_at, rows_at.checked_add(rows)?))
        });
        let (rows_at, end) = extent.ok_or_else(|| damaged("the header's numbers overflow"))?;
        if images == 0 || end != map.len() {
            return Err(damaged("its length is not what the header says"));
        }
        Ok(Self {
            header,
            path: path.to_owned(),
            map,
            stamps_at,
            rows_at,
        })
    }

    /// Identity of each image, in order.
    pub fn stamps(&self) -> impl Iterator<Item = ImageStamp> {
        let (stamps, _) = self.map[self.stamps_at..self.rows_at].as_chunks::<STAMP_BYTES>();
        stamps
            .iter()
            .take(self.header.images())
            .map(ImageStamp::from_bytes)
    }

    /// The same part with other stamps, one an image, written over this one.
    pub fn restamp(&self, stamps: &[ImageStamp]) -> Result<(), StoreError> {
        let PartHeader {
            start, dim, rows, ..
        } = self.header;
        let mut part = PartWriter::new(start, dim, rows);
        part.append(self);
        part.stamps = stamps.iter().flat_map(|stamp| stamp.to_bytes()).collect();
        part.commit(self.path.parent().unwrap_or(Path::new(".")))
    }

    fn rows(&self) -> &[u8] {
        &self.map[self.rows_at..]
    }

    /// Copies the row of image `image` (counted over the whole split) into `out`.
    pub fn copy_row(&self, image: usize, out: &mut [f32]) {
        let bytes = self.header.dim * self.header.rows.bytes();
        let at = self.rows_at + (image - self.header.start) * bytes;
        let row = &self.map[at..at + bytes];
        match self.header.rows {
            RowType::F32 => {
                for (x, bytes) in out.iter_mut().zip(row.as_chunks::<4>().0) {
                    *x = f32::from_le_bytes(*bytes);
                }
            }
            RowType::F16 => {
                for (x, bytes) in out.iter_mut().zip(row.as_chunks::<2>().0) {
                    *x = f16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// Largest part that merging makes, bytes of rows.
const MERGED_BYTES: usize = 256 << 20;
/// Number of parts from which on they are merged: every part in use is one memory map, of which
/// a process may have some ten thousand.
const MANY_PARTS: usize = 128;

/// Merges runs of adjacent intact parts where there are very many; a merged part replaces its
/// sources only once it is on disk.
pub fn merge_parts(folder: &Path) -> Result<(), StoreError> {
    let paths = list_parts(folder)?;
    if paths.len() < MANY_PARTS {
        return Ok(());
    }
    let mut run: Option<(PartWriter, Vec<PathBuf>)> = None;
    for path in paths {
        // What cannot be merged is judged by whoever uses the parts.
        let Ok(part) = Part::open(&path) else {
            continue;
        };
        let joins = run.as_ref().is_some_and(|(merged, _)| {
            merged.start + merged.images() == part.header.start
                && (merged.dim, merged.row_type) == (part.header.dim, part.header.rows)
                && merged.rows.len() + part.rows().len() <= MERGED_BYTES
        });
        if !joins {
            replace(run.take(), folder)?;
        }
        let (merged, sources) = run.get_or_insert_with(|| {
            let PartHeader {
                start, dim, rows, ..
            } = part.header;
            (PartWriter::new(start, dim, rows), Vec::new())
        });
        merged.append(&part);
        sources.push(path);
    }
    replace(run, folder)
}

fn replace(run: Option<(PartWriter, Vec<PathBuf>)>, folder: &Path) -> Result<(), StoreError> {
    let Some((merged, sources)) = run.filter(|(_, sources)| sources.len() > 1) else {
        return Ok(());
    };
    merged.commit(folder)?;
    for source in sources {
        delete(&source)?;
    }
    Ok(())
}

/// Paths of the parts in `folder`, by first image and the longest first; none where there is no
/// such folder.
pub fn list_parts(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = StoreError::io("list", folder);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry.map_err(&failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "part")
        {
            parts.push(path);
        }
    }
    // Names are `start-end` in ten digits each.
    parts.sort_by_cached_key(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let (start, end) = stem.split_once('-').unwrap_or((&stem, ""));
        (start.to_owned(), Reverse(end.to_owned()))
    });
    Ok(parts)
}

/// Images that the parts in `folder` hold, as their names tell; whether they are sound is seen when
/// they are opened.
pub fn list_spans(folder: &Path) -> Result<Vec<Range<usize>>, StoreError> {
    let span = |path: PathBuf| {
        let stem = path.file_stem()?.to_str()?;
        let (start, end) = stem.split_once('-')?;
        Some(start.parse().ok()?..end.parse().ok()?)
    };
    Ok(list_parts(folder)?.into_iter().filter_map(span).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(i: u64) -> ImageStamp {
        ImageStamp {
            inode: i,
            size: 10 + i,
            mtime_ns: -(i as i64),
            offset: i,
            content: [i as u8; 16],
        }
    }

    fn write(folder: &Path, row_type: RowType) -> PathBuf {
        let mut part = PartWriter::new(7, 3, row_type);
        part.push(&stamp(0), Ok(&[1.0, -2.5, 0.1]));
        part.push(&stamp(1), Err("no image"));
        part.push(&stamp(2), Ok(&[4.0, 5.0, 6.0]));
        part.commit(folder).unwrap();
        list_parts(folder).unwrap().remove(0)
    }

    #[test]
    fn what_is_written_is_read() {
        for (row_type, third) in [(RowType::F32, 0.1), (RowType::F16, 0.099_975_586)] {
            let folder = tempfile::tempdir().unwrap();
            let part = Part::open(&write(folder.path(), row_type)).unwrap();
            assert_eq!((part.header.start, part.header.end), (7, 10));
            assert_eq!(part.header.skipped, [(8, "no image".to_owned())]);
            assert_eq!(
                part.stamps().collect::<Vec<_>>(),
                [stamp(0), stamp(1), stamp(2)]
            );
            let mut row = [0.0; 3];
            part.copy_row(7, &mut row);
            assert_eq!(row, [1.0, -2.5, third]);
            part.copy_row(9, &mut row);
            assert_eq!(row, [4.0, 5.0, 6.0]);
        }
    }

    #[test]
    fn many_parts_become_few_of_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..MANY_PARTS {
            // A gap, which merging must not close.
            let start = if i < 100 { i } else { i + 10 };
            let mut part = PartWriter::new(start, 1, RowType::F32);
            if i == 5 {
                part.push(&stamp(5), Err("no image"));
            } else {
                part.push(&stamp(i as u64), Ok(&[i as f32]));
            }
            part.commit(folder.path()).unwrap();
        }
        let damaged = &list_parts(folder.path()).unwrap()[50];
        std::fs::write(damaged, b"MIMPART1").unwrap();
        merge_parts(folder.path()).unwrap();
        let paths = list_parts(folder.path()).unwrap();
        let parts: Vec<_> = paths
            .iter()
            .filter_map(|path| Part::open(path).ok())
            .collect();
        let spans: Vec<_> = parts
            .iter()
            .map(|part| (part.header.start, part.header.end))
            .collect();
        assert_eq!(spans, [(0, 50), (51, 100), (110, 138)]);
        assert_eq!(parts[0].header.skipped, [(5, "no image".to_owned())]);
        let mut row = [0.0];
        parts[2].copy_row(137, &mut row);
        assert_eq!(row, [127.0]);
        assert_eq!(parts[2].stamps().last(), Some(stamp(127)));
        assert!(paths.contains(damaged));
    }

    #[test]
    fn the_longest_of_overlapping_parts_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for (start, images) in [(0, 1), (0, 3), (1, 1)] {
            let mut part = PartWriter::new(start, 1, RowType::F32);
            for i in 0..images {
                part.push(&stamp(i), Ok(&[0.0]));
            }
            part.commit(folder.path()).unwrap();
        }
        let paths = list_parts(folder.path()).unwrap();
        let spans: Vec<_> = paths
            .iter()
            .map(|path| Part::open(path).unwrap().header)
            .map(|header| (header.start, header.end))
            .collect();
        assert_eq!(spans, [(0, 3), (0, 1), (1, 2)]);
    }

    #[test]
    fn any_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), RowType::F32);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(Part::open(&path).is_err(), "byte {at}");
        }
        for length in 0..good.len() {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(Part::open(&path).is_err(), "{length} bytes");
        }
    }
}
