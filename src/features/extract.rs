//! One pass over the images for any number of askers, on top of the feature store.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::{Encoder, EncoderError, FeatureMatrix, Observer, Tap};
use crate::data::{
    DatasetError, FileStamp, ImageError, Images, InputSpec, LoadError, Preparation, Split,
    content_hash, load_batches, ranged_batches,
};
use crate::engine::HostTensor;
use crate::store::{
    ImageStamp, Lock, Part, PartWriter, RowType, StoreError, delete, list_parts, merge_parts,
    remove_leftovers,
};

/// Largest part kept in memory.
const PART_BYTES: usize = 256 << 20;
/// Largest number of IEEE half precision.
const F16_MAX: f32 = 65504.0;

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
    /// A number too large for half precision.
    #[error("{tap} of {path} holds {value}, which half precision cannot store")]
    TooLargeForF16 {
        /// The image.
        path: String,
        /// What was read.
        tap: Tap,
        /// The number.
        value: f32,
    },
    /// The user stopped it.
    #[error("interrupted after {done} of {total} images")]
    Interrupted {
        /// Images encoded in this pass.
        done: usize,
        /// Images the pass had to encode.
        total: usize,
        /// Whether what was encoded is in the store.
        stored: bool,
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
            Self::TooLargeForF16 { .. } => Some("use --store-type f32".to_owned()),
            Self::Interrupted { stored: true, .. } => {
                Some("what is encoded is kept: the same command goes on from there".to_owned())
            }
            Self::Interrupted { stored: false, .. } => Some("nothing was written".to_owned()),
            Self::Incomplete { .. } => {
                Some("something else deletes files of the store: run the command again".to_owned())
            }
            Self::NothingLeft(..) => Some("mimbench data check DIR lists what is wrong".to_owned()),
        }
    }
}

/// One image of a batch.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Place in the split.
    pub index: usize,
    /// Its path, as a user can open it.
    pub path: String,
    /// The file it came from.
    pub stamp: ImageStamp,
    /// Why it could not be decoded, where it could not.
    pub skipped: Option<String>,
}

/// What one batch gave: images, and one `[kept, ..]` a tap for those that could be decoded.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// Images in order, with the reason where one could not be decoded.
    pub images: &'a [Encoded],
    /// One tensor a tap that was asked for, in the order asked.
    pub taps: Vec<&'a HostTensor>,
}

/// Takes what a pass reads.
pub trait Sink {
    /// Whether it has a use for this image; what nobody has a use for is not read out.
    fn wants(&self, image: usize) -> bool;

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
        &Preparation::Evaluation(spec.clone()),
        &ranged_batches(ranges, options.batch),
        options.workers,
        &mut |images| {
            if observer.cancelled() {
                return Err(ExtractError::Interrupted {
                    done,
                    total,
                    stored: false,
                });
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
    images: &mut Images<'_>,
    options: &PassOptions,
    taps: &[Tap],
    asks: &mut [Ask<'_>],
) -> Result<(), ExtractError> {
    let mut pixels = Vec::new();
    let mut encoded = Vec::with_capacity(images.len());
    let mut kept = Vec::with_capacity(images.len());
    for image in images {
        let image = image?;
        let reason = match image.pixels {
            Ok(image_pixels) => {
                pixels.extend_from_slice(&image_pixels);
                kept.push(image.index);
                None
            }
            Err(error) if options.skip_bad_images => Some(error.to_string()),
            Err(source) => {
                return Err(ExtractError::BadImage {
                    path: split.located(image.index),
                    source,
                });
            }
        };
        encoded.push(Encoded {
            index: image.index,
            path: split.located(image.index),
            stamp: stamp(image.stamp, image.content),
            skipped: reason,
        });
    }
    // Only what somebody wants of this batch is read out of the forward pass.
    let wanted = |ask: &Ask<'_>| encoded.iter().any(|image| ask.sink.wants(image.index));
    let asks: Vec<_> = asks.iter_mut().filter(|ask| wanted(ask)).collect();
    let taps: Vec<Tap> = (taps.iter().copied())
        .filter(|tap| asks.iter().any(|ask| ask.taps.contains(tap)))
        .collect();
    let outputs = if kept.is_empty() {
        let empty = HostTensor {
            shape: vec![0],
            data: Vec::new(),
        };
        vec![empty; taps.len()]
    } else {
        encoder.encode(&pixels, kept.len(), &taps)?
    };
    for (&tap, output) in taps.iter().zip(&outputs) {
        if let Some(at) = output.data.iter().position(|x| !x.is_finite()) {
            let row = at * kept.len() / output.data.len();
            return Err(ExtractError::NotFinite {
                path: split.located(kept[row]),
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
            images: &encoded,
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
    tap: Tap,
    folder: PathBuf,
    rows: RowType,
    dim: usize,
    missing: Vec<Range<usize>>,
    save_every: Duration,
    part: Option<PartWriter>,
    /// Since when work is not on disk.
    since: Instant,
}

impl StoreSink {
    fn commit(&mut self) -> Result<(), ExtractError> {
        self.since = Instant::now();
        match self.part.take() {
            Some(part) => Ok(part.commit(&self.folder)?),
            None => Ok(()),
        }
    }
}

impl Sink for StoreSink {
    fn wants(&self, image: usize) -> bool {
        self.missing.iter().any(|range| range.contains(&image))
    }

    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let dim = self.dim;
        let mut rows = outputs
            .taps
            .iter()
            .flat_map(|tap| tap.data.chunks_exact(dim));
        for image in outputs.images {
            let row = match &image.skipped {
                Some(reason) => Err(reason.as_str()),
                None => Ok(rows.next().unwrap_or_default()),
            };
            if !self.wants(image.index) {
                continue;
            }
            if self.rows == RowType::F16
                && let Some(&value) = row.unwrap_or_default().iter().find(|x| x.abs() > F16_MAX)
            {
                return Err(ExtractError::TooLargeForF16 {
                    path: image.path.clone(),
                    tap: self.tap,
                    value,
                });
            }
            if self
                .part
                .as_ref()
                .is_some_and(|part| part.start() + part.images() != image.index)
            {
                self.commit()?;
            }
            let part = self
                .part
                .get_or_insert_with(|| PartWriter::new(image.index, dim, self.rows));
            part.push(&image.stamp, row);
        }
        let bytes = |part: &PartWriter| part.images() * dim * self.rows.bytes();
        let full = self.since.elapsed() >= self.save_every
            || self
                .part
                .as_ref()
                .is_some_and(|part| bytes(part) >= PART_BYTES);
        if full { self.commit() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        self.commit()
    }
}

/// An extraction over images of which some are in another's split, which takes their rows from that
/// pass.
pub struct Rider<'a, 'b> {
    /// The extraction.
    pub extractor: &'b mut Extractor<'a>,
    /// For each image of the other split its place in this one's, where it has one.
    pub own: &'b [Option<u32>],
}

/// Takes a rider's images out of the batches of the split it rides on.
struct RiderSink<'b> {
    sink: &'b mut StoreSink,
    own: &'b [Option<u32>],
}

impl RiderSink<'_> {
    fn place(&self, image: usize) -> Option<usize> {
        let place = self.own.get(image).copied().flatten();
        place.map(|place| place as usize)
    }
}

impl Sink for RiderSink<'_> {
    fn wants(&self, image: usize) -> bool {
        let place = self.place(image);
        place.is_some_and(|place| self.sink.wants(place))
    }

    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let mut images = Vec::new();
        let mut rows: Vec<_> = (outputs.taps.iter())
            .map(|tap| HostTensor {
                shape: [&[0], &tap.shape[1..]].concat(),
                data: Vec::new(),
            })
            .collect();
        let mut row = 0;
        for image in outputs.images {
            if let Some(index) = self.place(image.index) {
                images.push(Encoded {
                    index,
                    ..image.clone()
                });
                if image.skipped.is_none() {
                    for (rows, tap) in rows.iter_mut().zip(&outputs.taps) {
                        let width = tap.data.len() / tap.shape[0];
                        rows.shape[0] += 1;
                        rows.data
                            .extend_from_slice(&tap.data[row * width..][..width]);
                    }
                }
            }
            row += usize::from(image.skipped.is_none());
        }
        self.sink.accept(&Outputs {
            images: &images,
            taps: rows.iter().collect(),
        })
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        self.sink.finish()
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
    /// Seconds that decoding and encoding took.
    pub seconds: f64,
}

impl Extraction {
    /// Images that have features, ascending; the same for every tap, because one decoder judged
    /// them.
    pub fn kept(&self) -> &[u32] {
        self.matrices.first().map_or(&[], FeatureMatrix::kept)
    }

    /// First half of the blake3 of every image's bytes, in image order.
    pub fn contents(&self) -> Vec<[u8; 16]> {
        self.matrices
            .first()
            .map_or_else(Vec::new, |matrix| matrix.contents().collect())
    }
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
    seconds: f64,
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
            remove_leftovers(folder, "")?;
        }
        let mut contents = Contents::new(split);
        let mut parts = Vec::new();
        let mut sinks = Vec::new();
        for (object, &dim) in stored.iter().zip(dims) {
            let usable = usable_parts(object, dim, &mut contents, observer)?;
            sinks.push(StoreSink {
                tap: object.tap,
                folder: object.folder.clone(),
                rows: object.rows,
                dim,
                missing: gaps(&usable, split.samples.len()),
                save_every: options.save_every,
                part: None,
                since: Instant::now(),
            });
            parts.push(usable);
        }
        let missing = missing_in(&sinks);
        Ok(Self {
            split,
            stored,
            options,
            contents,
            parts,
            sinks,
            missing,
            encoded: 0,
            seconds: 0.0,
            _locks: locks,
        })
    }

    /// Images that have to be encoded.
    pub fn missing(&self) -> usize {
        self.missing.iter().map(ExactSizeIterator::len).sum()
    }

    /// Of another extraction's missing images, those that this one has to encode too; `own` is
    /// [`Rider::own`].
    pub fn shared(&self, own: &[Option<u32>], other: &Self) -> usize {
        let missing = self.missing.iter().flat_map(Clone::clone);
        let places = missing.filter_map(|image| own.get(image).copied().flatten());
        let needed = |place: u32| {
            let mut ranges = other.missing.iter();
            ranges.any(|range| range.contains(&(place as usize)))
        };
        places.filter(|&place| needed(place)).count()
    }

    /// Images that have to be encoded for some of what is stored.
    pub fn missing_of(&self, stored: &[Stored]) -> usize {
        let asked = |sink: &&StoreSink| stored.iter().any(|object| object.folder == sink.folder);
        let missing = missing_in(self.sinks.iter().filter(asked));
        missing.iter().map(ExactSizeIterator::len).sum()
    }

    /// Encodes what is missing, and stores it; riders take what of it is theirs.
    pub fn encode(
        &mut self,
        encoder: &dyn Encoder,
        spec: &InputSpec,
        riders: &mut [Rider<'a, '_>],
        observer: &mut dyn Observer,
    ) -> Result<(), ExtractError> {
        let options = self.options;
        self.encoded += self.missing();
        let start = Instant::now();
        let total = self.missing();
        let mut shares = Vec::new();
        for rider in &mut *riders {
            let shared = self.shared(rider.own, rider.extractor);
            rider.extractor.encoded += shared;
            shares.push(shared as f64 / total.max(1) as f64);
        }
        let mut rider_sinks: Vec<(Tap, RiderSink<'_>)> = Vec::new();
        for rider in &mut *riders {
            let own = rider.own;
            let objects = rider
                .extractor
                .stored
                .iter()
                .zip(&mut rider.extractor.sinks);
            for (object, sink) in objects.filter(|(_, sink)| !sink.missing.is_empty()) {
                sink.since = start;
                rider_sinks.push((object.tap, RiderSink { sink, own }));
            }
        }
        let mut asks: Vec<_> = self
            .stored
            .iter()
            .zip(&mut self.sinks)
            .filter(|(_, sink)| !sink.missing.is_empty())
            .map(|(object, sink)| {
                sink.since = start;
                Ask {
                    taps: vec![object.tap],
                    sink,
                }
            })
            .collect();
        asks.extend(rider_sinks.iter_mut().map(|(tap, sink)| Ask {
            taps: vec![*tap],
            sink,
        }));
        pass(
            encoder,
            self.split,
            spec,
            &self.missing,
            &options,
            &mut asks,
            observer,
        )
        .map_err(|error| match error {
            ExtractError::Interrupted { done, total, .. } => ExtractError::Interrupted {
                done,
                total,
                stored: true,
            },
            other => other,
        })?;
        let seconds = start.elapsed().as_secs_f64();
        self.seconds += seconds;
        self.look_again(observer)?;
        // A rider's share of the time is that of its images.
        for (rider, share) in riders.iter_mut().zip(shares) {
            rider.extractor.seconds += share * seconds;
            rider.extractor.look_again(observer)?;
        }
        Ok(())
    }

    /// Finds what the store holds after a pass.
    fn look_again(&mut self, observer: &mut dyn Observer) -> Result<(), ExtractError> {
        let images = self.split.samples.len();
        for ((object, sink), parts) in self.stored.iter().zip(&mut self.sinks).zip(&mut self.parts)
        {
            if !sink.missing.is_empty() {
                *parts = usable_parts(object, sink.dim, &mut self.contents, observer)?;
                sink.missing = gaps(parts, images);
            }
        }
        self.missing = missing_in(&self.sinks);
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
                    path: self.split.located(*image),
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
            seconds: self.seconds,
        })
    }
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

    /// The stamps that the images of a part have now, where their bytes are the same as then;
    /// an image that is not names the change.
    fn now(&mut self, part: &Part) -> Result<Result<Vec<ImageStamp>, usize>, DatasetError> {
        let first = part.header.start;
        let then: Vec<_> = part.stamps().collect();
        let mut now = Vec::with_capacity(then.len());
        for (index, then) in (first..).zip(&then) {
            let file = match self.stamps[index] {
                Some(file) => file,
                None => *self.stamps[index].insert(self.split.stamp(index)?),
            };
            now.push(stamp(file, then.content));
        }
        let split = self.split;
        let doubtful: Vec<usize> = (first..)
            .zip(then.iter().zip(&now))
            .filter(|&(index, (then, now))| then != now && self.read[index].is_none())
            .map(|(index, _)| index)
            .collect();
        let read: Vec<_> = doubtful
            .par_iter()
            .map(|&index| Ok((index, content_hash(&split.read(index)?))))
            .collect::<Result<_, DatasetError>>()?;
        for (index, content) in read {
            self.read[index] = Some(content);
        }
        let changed = |&(index, then): &(usize, &ImageStamp)| {
            self.read[index].is_some_and(|content| content != then.content)
        };
        Ok(match (first..).zip(&then).find(changed) {
            Some((index, _)) => Err(index),
            None => Ok(now),
        })
    }
}

/// Parts that can be used, sorted, without overlap; damaged or outdated ones are deleted, so that
/// they are computed again.
fn usable_parts(
    object: &Stored,
    dim: usize,
    contents: &mut Contents<'_>,
    observer: &mut dyn Observer,
) -> Result<Vec<Part>, ExtractError> {
    merge_parts(&object.folder)?;
    let mut parts: Vec<Part> = Vec::new();
    for path in list_parts(&object.folder)? {
        let end = parts.last().map_or(0, |last| last.header.end);
        let why = match Part::open(&path) {
            Ok(part) if part.header.start < end => {
                // A merged part whose sources a kill left behind.
                delete(&path)?;
                continue;
            }
            Ok(part) => match current(part, &path, object, dim, contents)? {
                Ok(part) => {
                    parts.push(part);
                    continue;
                }
                Err(why) => why,
            },
            Err(StoreError::Damaged { reason, .. }) => reason,
            Err(error) => return Err(error.into()),
        };
        observer.notice(&format!("{}: {why}; computing it again", path.display()));
        delete(&path)?;
    }
    Ok(parts)
}

/// The part, with the stamps its files have now, or why it is out of date.
fn current(
    part: Part,
    path: &Path,
    object: &Stored,
    dim: usize,
    contents: &mut Contents<'_>,
) -> Result<Result<Part, String>, ExtractError> {
    let header = &part.header;
    if header.dim != dim || header.rows != object.rows || header.end > contents.stamps.len() {
        return Ok(Err("it belongs to other features".to_owned()));
    }
    Ok(match contents.now(&part)? {
        Err(index) => Err(format!(
            "{} has changed since",
            contents.split.located(index)
        )),
        Ok(now) if part.stamps().eq(now.iter().copied()) => Ok(part),
        Ok(now) => {
            part.restamp(&now)?;
            Ok(Part::open(path)?)
        }
    })
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

/// Images that any of the sinks lacks, as sorted ranges.
fn missing_in<'s>(sinks: impl IntoIterator<Item = &'s StoreSink>) -> Vec<Range<usize>> {
    let sinks = sinks.into_iter();
    union(
        sinks
            .flat_map(|sink| sink.missing.iter().cloned())
            .collect(),
    )
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
