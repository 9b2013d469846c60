//! One pass over the images for any number of askers, on top of the feature store.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Encoder, EncoderError, FeatureMatrix, Observer, Tap};
use crate::data::{
    DatasetError, FileStamp, ImageError, InputSpec, LoadError, Loaded, Split, content_hash,
    load_batches,
};
use crate::engine::HostTensor;
use crate::store::{ImageStamp, Lock, Part, PartWriter, RowType, StoreError, list_parts};

/// Largest part kept in memory.
const PART_BYTES: usize = 256 << 20;

/// Extraction ended before every image had its features.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// An image is no image.
    #[error("{path}: {source}")]
    BadImage {
        /// The image.
        path: String,
        /// What is wrong with it.
        source: ImageError,
    },
    /// An image was no image when its features were stored.
    #[error("{path}: {reason}")]
    BadStoredImage {
        /// The image.
        path: String,
        /// What was wrong with it.
        reason: String,
    },
    /// Loading failed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The dataset changed under the run.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The encoder failed or has no such tap.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The features hold NaN or infinity.
    #[error("{tap} of {path} is not finite")]
    NotFinite {
        /// The image.
        path: String,
        /// What was read.
        tap: Tap,
    },
    /// The user stopped it.
    #[error("interrupted after {done} of {total} images")]
    Interrupted {
        /// Images encoded in this pass.
        done: usize,
        /// Images the pass had to encode.
        total: usize,
    },
    /// The store changed under the run.
    #[error("{} lost features while they were in use", folder.display())]
    Incomplete {
        /// Folder of the tap.
        folder: PathBuf,
    },
    /// No image is left to evaluate.
    #[error("none of the {0} images of {1} could be decoded")]
    NothingLeft(usize, String),
}

impl ExtractError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadImage { source, .. } => {
                let skip = "--on-bad-image skip counts such images and leaves them out";
                Some(match source.hint() {
                    Some(hint) => format!("{hint}; {skip}"),
                    None => skip.to_owned(),
                })
            }
            Self::BadStoredImage { .. } => {
                Some("--on-bad-image skip counts such images and leaves them out".to_owned())
            }
            Self::Load(error) => error.hint(),
            Self::Dataset(error) => error.hint(),
            Self::Encoder(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::NotFinite { .. } => Some(
                "the checkpoint overflows on this image: its weights may be damaged".to_owned(),
            ),
            Self::Interrupted { .. } => {
                Some("finished parts are kept: the same command goes on from there".to_owned())
            }
            Self::Incomplete { .. } => {
                Some("something else deletes files of the store: run the command again".to_owned())
            }
            Self::NothingLeft(..) => Some("mimbench data check DIR lists what is wrong".to_owned()),
        }
    }
}

/// What one batch gave: images, and one `[kept, ..]` a tap for those that could be decoded.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// Images in order, with the reason where one could not be decoded.
    pub images: &'a [(ImageStamp, usize, Option<String>)],
    /// One tensor a tap that was asked for, in the order asked.
    pub taps: Vec<&'a HostTensor>,
}

/// Takes what a pass reads.
pub trait Sink {
    /// Takes one batch; batches come in image order.
    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError>;

    /// Called once after the last batch, also when the pass ends early.
    fn finish(&mut self) -> Result<(), ExtractError>;
}

/// Some taps and who wants them.
pub struct Ask<'a> {
    /// What is wanted.
    pub taps: Vec<Tap>,
    /// Who wants it.
    pub sink: &'a mut dyn Sink,
}

/// How a pass runs.
#[derive(Clone, Copy, Debug)]
pub struct PassOptions {
    /// Images in a forward pass.
    pub batch: usize,
    /// Decoding threads.
    pub workers: usize,
    /// Whether an image that does not decode is left out instead of ending the pass.
    pub skip_bad_images: bool,
    /// Longest time of encoding between two stored parts.
    pub save_every: Duration,
}

/// Encodes the images of `ranges` once and feeds every ask.
pub fn pass(
    encoder: &dyn Encoder,
    split: &Split,
    spec: &InputSpec,
    ranges: &[Range<usize>],
    options: &PassOptions,
    asks: &mut [Ask<'_>],
    observer: &mut dyn Observer,
) -> Result<(), ExtractError> {
    let mut taps: Vec<Tap> = Vec::new();
    for tap in asks.iter().flat_map(|ask| &ask.taps) {
        if !taps.contains(tap) {
            encoder.shape(*tap)?;
            taps.push(*tap);
        }
    }
    let total = ranges.iter().map(ExactSizeIterator::len).sum();
    let mut done = 0;
    let encoded = load_batches(
        split,
        spec,
        ranges,
        options.batch,
        options.workers,
        &mut |images| {
            if observer.cancelled() {
                return Err(ExtractError::Interrupted { done, total });
            }
            done += images.len();
            encode(encoder, split, images, options, &taps, asks)?;
            observer.progress(done, total);
            Ok(())
        },
    );
    // What is finished is kept, whatever ended the pass.
    let finished = asks.iter_mut().try_for_each(|ask| ask.sink.finish());
    encoded.and(finished)
}

fn encode(
    encoder: &dyn Encoder,
    split: &Split,
    images: Vec<Loaded>,
    options: &PassOptions,
    taps: &[Tap],
    asks: &mut [Ask<'_>],
) -> Result<(), ExtractError> {
    let mut pixels = Vec::new();
    let mut stamped = Vec::with_capacity(images.len());
    let mut kept = Vec::with_capacity(images.len());
    for image in images {
        let reason = match image.pixels {
            Ok(image_pixels) => {
                pixels.extend_from_slice(&image_pixels);
                kept.push(image.index);
                None
            }
            Err(error) if options.skip_bad_images => Some(error.to_string()),
            Err(source) => {
                return Err(ExtractError::BadImage {
                    path: location(split, image.index),
                    source,
                });
            }
        };
        stamped.push((stamp(image.stamp, image.content), image.index, reason));
    }
    let outputs = if kept.is_empty() {
        let empty = HostTensor {
            shape: vec![0],
            data: Vec::new(),
        };
        vec![empty; taps.len()]
    } else {
        encoder.encode(&pixels, kept.len(), taps)?
    };
    for (&tap, output) in taps.iter().zip(&outputs) {
        if let Some(at) = output.data.iter().position(|x| !x.is_finite()) {
            let row = at * kept.len() / output.data.len();
            return Err(ExtractError::NotFinite {
                path: location(split, kept[row]),
                tap,
            });
        }
    }
    for ask in asks {
        let wanted = ask
            .taps
            .iter()
            .filter_map(|tap| taps.iter().position(|other| other == tap));
        let outputs = Outputs {
            images: &stamped,
            taps: wanted.map(|place| &outputs[place]).collect(),
        };
        ask.sink.accept(&outputs)?;
    }
    Ok(())
}

fn stamp(file: FileStamp, content: [u8; 16]) -> ImageStamp {
    ImageStamp {
        inode: file.inode,
        size: file.size,
        mtime_ns: file.mtime_ns,
        offset: file.offset,
        content,
    }
}

/// One stored object: a tap, its folder in the store, and how its rows are stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is read.
    pub tap: Tap,
    /// `<store>/<key>`.
    pub folder: PathBuf,
    /// Element type of the rows.
    pub rows: RowType,
}

/// Writes one tap's rows into parts, only where the store lacks them.
struct StoreSink {
    folder: PathBuf,
    rows: RowType,
    dim: usize,
    missing: Vec<Range<usize>>,
    save_every: Duration,
    part: Option<(PartWriter, Instant)>,
}

impl StoreSink {
    fn commit(&mut self) -> Result<(), ExtractError> {
        if let Some((part, _)) = self.part.take().filter(|(part, _)| part.images() > 0) {
            part.commit(&self.folder)?;
        }
        Ok(())
    }
}

impl Sink for StoreSink {
    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let dim = self.dim;
        let mut rows = outputs
            .taps
            .iter()
            .flat_map(|tap| tap.data.chunks_exact(dim));
        for (stamp, index, reason) in outputs.images {
            let row = match reason {
                Some(reason) => Err(reason.as_str()),
                None => Ok(rows.next().unwrap_or_default()),
            };
            if !self.missing.iter().any(|range| range.contains(index)) {
                continue;
            }
            if self
                .part
                .as_ref()
                .is_some_and(|(part, _)| part.start() + part.images() != *index)
            {
                self.commit()?;
            }
            let (part, _) = self
                .part
                .get_or_insert_with(|| (PartWriter::new(*index, dim, self.rows), Instant::now()));
            part.push(stamp, row);
        }
        let full = self.part.as_ref().is_some_and(|(part, since)| {
            since.elapsed() >= self.save_every
                || part.images() * self.dim * self.rows.bytes() >= PART_BYTES
        });
        if full { self.commit() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        self.commit()
    }
}

/// Features of a split, and how they came about.
#[derive(Debug)]
pub struct Extraction {
    /// One matrix a tap, in the order asked.
    pub matrices: Vec<FeatureMatrix>,
    /// Images that were encoded now.
    pub encoded: usize,
    /// Images in the split.
    pub images: usize,
}

/// Brings the features of some taps over a split: from the store where they are, by one pass over
/// the rest. Holds the store's locks for these taps while it lives.
pub struct Extractor<'a> {
    split: &'a Split,
    stored: &'a [Stored],
    options: PassOptions,
    contents: Contents<'a>,
    parts: Vec<Vec<Part>>,
    sinks: Vec<StoreSink>,
    missing: Vec<Range<usize>>,
    encoded: usize,
    _locks: Vec<Lock>,
}

impl<'a> Extractor<'a> {
    /// Locks the store and finds what of it can be used; `dims` are the numbers in a row, one a
    /// tap. Where bad images are skipped, they have no row.
    pub fn open(
        split: &'a Split,
        stored: &'a [Stored],
        dims: &[usize],
        options: PassOptions,
        observer: &mut dyn Observer,
    ) -> Result<Self, ExtractError> {
        let mut locks = Vec::new();
        let mut folders: Vec<_> = stored.iter().map(|object| &object.folder).collect();
        // One order for every process, so that two never wait for each other.
        folders.sort();
        for folder in folders {
            locks.push(Lock::take(&folder.join("lock"), &mut |holder| {
                observer.notice(&format!(
                    "process {holder} is computing these features; waiting for it"
                ));
            })?);
            remove_leftovers(folder)?;
        }
        let mut contents = Contents::new(split);
        let mut parts = Vec::new();
        let mut sinks = Vec::new();
        for (object, &dim) in stored.iter().zip(dims) {
            let usable = usable_parts(object, dim, &mut contents, observer)?;
            sinks.push(StoreSink {
                folder: object.folder.clone(),
                rows: object.rows,
                dim,
                missing: gaps(&usable, split.samples.len()),
                save_every: options.save_every,
                part: None,
            });
            parts.push(usable);
        }
        let missing = union(
            sinks
                .iter()
                .flat_map(|sink| sink.missing.iter().cloned())
                .collect(),
        );
        Ok(Self {
            split,
            stored,
            options,
            contents,
            parts,
            sinks,
            missing,
            encoded: 0,
            _locks: locks,
        })
    }

    /// Images that have to be encoded.
    pub fn missing(&self) -> usize {
        self.missing.iter().map(ExactSizeIterator::len).sum()
    }

    /// Encodes what is missing, and stores it.
    pub fn encode(
        &mut self,
        encoder: &dyn Encoder,
        spec: &InputSpec,
        observer: &mut dyn Observer,
    ) -> Result<(), ExtractError> {
        let options = self.options;
        self.encoded = self.missing();
        let mut asks: Vec<_> = self
            .stored
            .iter()
            .zip(&mut self.sinks)
            .filter(|(_, sink)| !sink.missing.is_empty())
            .map(|(object, sink)| Ask {
                taps: vec![object.tap],
                sink,
            })
            .collect();
        pass(
            encoder,
            self.split,
            spec,
            &self.missing,
            &options,
            &mut asks,
            observer,
        )?;
        for ((object, sink), parts) in self.stored.iter().zip(&self.sinks).zip(&mut self.parts) {
            if !sink.missing.is_empty() {
                *parts = usable_parts(object, sink.dim, &mut self.contents, observer)?;
            }
        }
        Ok(())
    }

    /// The features, once nothing is missing.
    pub fn finish(self) -> Result<Extraction, ExtractError> {
        let images = self.split.samples.len();
        let mut matrices = Vec::new();
        for (sink, parts) in self.sinks.iter().zip(self.parts) {
            if let Some((image, reason)) = parts.iter().flat_map(|part| &part.header.skipped).next()
                && !self.options.skip_bad_images
            {
                return Err(ExtractError::BadStoredImage {
                    path: location(self.split, *image),
                    reason: reason.clone(),
                });
            }
            if !gaps(&parts, images).is_empty() {
                return Err(ExtractError::Incomplete {
                    folder: sink.folder.clone(),
                });
            }
            let matrix = FeatureMatrix::new(sink.dim, parts);
            if matrix.kept().is_empty() {
                return Err(ExtractError::NothingLeft(images, self.split.name.clone()));
            }
            matrices.push(matrix);
        }
        Ok(Extraction {
            matrices,
            encoded: self.encoded,
            images,
        })
    }
}

/// The image's path, as a user can open it.
fn location(split: &Split, index: usize) -> String {
    split
        .root
        .join(&split.samples[index].path)
        .display()
        .to_string()
}

/// Deletes what a killed process left half-written; called under the folder's lock.
fn remove_leftovers(folder: &std::path::Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Io {
        action: "clean",
        path: folder.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// The images as they are now: stamps once, contents only where a stamp has changed.
struct Contents<'a> {
    split: &'a Split,
    stamps: Vec<Option<FileStamp>>,
    read: Vec<Option<[u8; 16]>>,
}

impl<'a> Contents<'a> {
    fn new(split: &'a Split) -> Self {
        let images = split.samples.len();
        Self {
            split,
            stamps: vec![None; images],
            read: vec![None; images],
        }
    }

    /// Whether image `index` still has the bytes that `then` was computed from.
    fn same(&mut self, index: usize, then: &ImageStamp) -> Result<bool, DatasetError> {
        let now = match self.stamps[index] {
            Some(now) => now,
            None => *self.stamps[index].insert(self.split.stamp(index)?),
        };
        if stamp(now, then.content) == *then {
            return Ok(true);
        }
        let content = match self.read[index] {
            Some(content) => content,
            None => *self.read[index].insert(content_hash(&self.split.read(index)?)),
        };
        Ok(content == then.content)
    }
}

/// Parts that can be used as they are, sorted, without overlap; damaged or outdated ones are
/// deleted, so that they are computed again.
fn usable_parts(
    object: &Stored,
    dim: usize,
    contents: &mut Contents<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<Part>, ExtractError> {
    let mut parts: Vec<Part> = Vec::new();
    for path in list_parts(&object.folder)? {
        let why = match Part::open(&path) {
            Ok(part) => match outdated(&part, object, dim, contents)? {
                None => {
                    if parts
                        .last()
                        .is_none_or(|last| last.header.end <= part.header.start)
                    {
                        parts.push(part);
                        continue;
                    }
                    "it overlaps another part".to_owned()
                }
                Some(why) => why,
            },
            Err(StoreError::Damaged { reason, .. }) => reason,
            Err(error) => return Err(error.into()),
        };
        observer.notice(&format!("{}: {why}; computing it again", path.display()));
        std::fs::remove_file(&path).map_err(|source| StoreError::Io {
            action: "delete",
            path,
            source,
        })?;
    }
    Ok(parts)
}

fn outdated(
    part: &Part,
    object: &Stored,
    dim: usize,
    contents: &mut Contents<'_>,
) -> Result<Option<String>, DatasetError> {
    let header = &part.header;
    if header.dim != dim || header.rows != object.rows || header.end > contents.stamps.len() {
        return Ok(Some("it belongs to other features".to_owned()));
    }
    for (index, stamp) in (header.start..header.end).zip(part.stamps()) {
        if !contents.same(index, &stamp)? {
            let path = location(contents.split, index);
            return Ok(Some(format!("{path} has changed since")));
        }
    }
    Ok(None)
}

/// Images of `0..images` that no part holds.
fn gaps(parts: &[Part], images: usize) -> Vec<Range<usize>> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for part in parts {
        if next < part.header.start {
            gaps.push(next..part.header.start);
        }
        next = part.header.end;
    }
    if next < images {
        gaps.push(next..images);
    }
    gaps
}

/// The same images as sorted ranges that neither touch nor overlap.
fn union(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::union;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "ranges are the data")]
    fn ranges_merge() {
        assert_eq!(union(vec![4..6, 0..2, 1..3, 6..7]), [0..3, 4..7]);
        assert_eq!(union(vec![2..3]), [2..3]);
        assert!(union(Vec::new()).is_empty());
    }
}
