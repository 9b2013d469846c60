//! Decoding threads ahead of the forward pass, in order and within a bound.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::augment::AugmentError;
use super::preparation::{Mixer, Preparer};
use super::queue::{Ahead, InOrder, in_order};
use super::{DatasetError, FileStamp, ImageError, MixError, Preparation, Split, content_hash};

/// Most images that wait decoded, besides those that threads are at: of 224 x 224 pixels they are 300 MB.
const MAX_WAITING: usize = 512;

/// Most images that wait decoded in front of batches of so many, besides one a thread.
pub fn most_waiting(batch: usize) -> usize {
    (2 * batch).min(MAX_WAITING)
}

/// One image in a pass over a split; both decide its augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Place in the split.
    pub index: usize,
    /// Passes over the split before this one; an evaluation has one.
    pub pass: usize,
    /// Which of the run's batches it is mixed in, whose images share a coefficient; 0 in an
    /// evaluation.
    pub group: u64,
}

/// One image on its way into a batch.
#[derive(Debug)]
pub struct Loaded {
    /// Place in the split.
    pub index: usize,
    /// The file it came from.
    pub stamp: FileStamp,
    /// First half of the blake3 of its bytes.
    pub content: [u8; 16],
    /// `[C, H, W]`, normalised and mixed, or why it has none.
    pub pixels: Result<Vec<f32>, ImageError>,
    /// What it is mixed with, where images are.
    pub mixed: Option<Mixed>,
}

/// What an image is mixed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// Place in the split of the other image.
    pub partner: usize,
    /// Share of the image itself, in its target as well; the rest is the other's.
    pub lambda: f64,
}

/// Loading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file cannot be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The input spec itself cannot be met.
    #[error(transparent)]
    Input(#[from] ImageError),
    /// The augmentation cannot be carried out.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// The mixing makes no sense.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// A batch is to be mixed and does not consist of pairs.
    #[error("a local batch of {images} images does not consist of pairs that can be mixed")]
    Unpaired {
        /// Images of the batch.
        images: usize,
    },
    /// A decoding thread cannot be started.
    #[error("cannot start a decoding thread: {0}")]
    Thread(std::io::Error),
    /// The decoder gave up in an unforeseen way.
    #[error("{path}: the decoder failed on this image")]
    Panicked {
        /// The image.
        path: String,
    },
}

impl LoadError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Dataset(error) => error.hint(),
            Self::Input(error) => error.hint(),
            Self::Augment(error) => error.hint(),
            Self::Mix(error) => error.hint(),
            Self::Unpaired { .. } => Some(
                "mixup and cutmix take local batches, and batches that share a coefficient, of even lengths"
                    .to_owned(),
            ),
            Self::Thread(_) => Some("ask for fewer with --workers N".to_owned()),
            Self::Panicked { .. } => {
                Some("convert the image to PNG and please report the file".to_owned())
            }
        }
    }
}

/// The places of `ranges` in batches of `batch`, none across the end of a range, in their first
/// pass.
pub fn ranged_batches(ranges: &[Range<usize>], batch: usize) -> Vec<Vec<Pick>> {
    let batch = batch.max(1);
    let cut = |range: &Range<usize>| {
        let end = range.end;
        let firsts = range.clone().step_by(batch);
        let pick = |index| Pick {
            index,
            pass: 0,
            group: 0,
        };
        firsts.map(move |first| (first..end.min(first + batch)).map(pick).collect())
    };
    ranges.iter().flat_map(cut).collect()
}

/// The images of one batch in order, each as soon as it is decoded.
pub type Images<'a> = InOrder<'a, Result<Loaded, LoadError>>;

/// Decodes images on `workers` threads and hands them to `consume` in order, batch by batch; an
/// error of `consume` ends the loading.
///
/// batches: images, which may come in any order and more than once; where they are mixed, pairs of
/// one group
pub fn load_batches<E: From<LoadError>>(
    split: &Split,
    preparation: &Preparation,
    batches: &[Vec<Pick>],
    workers: usize,
    consume: &mut dyn FnMut(&mut Images<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let order: Vec<Pick> = batches.iter().flatten().copied().collect();
    let largest = batches.iter().map(Vec::len).max().unwrap_or(0);
    let workers = workers.max(1);
    let preparers = (0..workers).map(|_| preparation.preparer());
    let preparers = preparers.collect::<Result<Vec<_>, _>>()?;
    let mixer = preparation.mixer();
    if mixer.is_some() {
        batches.iter().try_for_each(|batch| check_pairs(batch))?;
    }
    let at_once = if mixer.is_some() { 2 } else { 1 };
    let ahead = Ahead {
        window: most_waiting(largest) + workers * at_once,
        at_once,
    };
    let decode = |preparer: &mut Preparer, places: Range<usize>| {
        let picks = &order[places];
        let images = picks.iter();
        let images = images.map(|&pick| load(split, preparation, pick, preparer));
        let mut images: Vec<_> = images.collect();
        if let (Some(mixer), [one, other]) = (mixer, images.as_mut_slice()) {
            mix_pair(split, mixer, [picks[0], picks[1]], one, other);
        }
        images
    };
    let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
    in_order(
        &lengths,
        ahead,
        preparers,
        decode,
        LoadError::Thread,
        consume,
    )
}

/// Whether a batch can be mixed by twos.
fn check_pairs(batch: &[Pick]) -> Result<(), LoadError> {
    let (pairs, rest) = batch.as_chunks();
    let whole = |[one, other]: &[Pick; 2]| one.group == other.group;
    if rest.is_empty() && pairs.iter().all(whole) {
        return Ok(());
    }
    let images = batch.len();
    Err(LoadError::Unpaired { images })
}

/// One image, whatever its decoder does.
fn load(
    split: &Split,
    preparation: &Preparation,
    pick: Pick,
    preparer: &mut Preparer,
) -> Result<Loaded, LoadError> {
    let index = pick.index;
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let stamp = split.stamp(index)?;
        let bytes = split.read(index)?;
        let mut pixels = vec![0.0; preparation.input().values()];
        let outcome = preparer.apply(&bytes, pick, &mut pixels);
        Ok(Loaded {
            index,
            stamp,
            content: content_hash(&bytes),
            pixels: outcome.map(|()| pixels),
            mixed: None,
        })
    }));
    loaded.unwrap_or_else(|_| {
        Err(LoadError::Panicked {
            path: split.samples[index].path.clone(),
        })
    })
}

/// Mixes two images, or says of each that it has no partner.
fn mix_pair(
    split: &Split,
    mixer: Mixer,
    picks: [Pick; 2],
    first: &mut Result<Loaded, LoadError>,
    second: &mut Result<Loaded, LoadError>,
) {
    let [one, other] = picks;
    if let (Ok(first), Ok(second)) = (&mut *first, &mut *second)
        && let (Ok(first_pixels), Ok(second_pixels)) = (&mut first.pixels, &mut second.pixels)
    {
        let lambda = mixer.mix(one.group, first_pixels, second_pixels);
        let with = |partner| Some(Mixed { partner, lambda });
        first.mixed = with(other.index);
        second.mixed = with(one.index);
        return;
    }
    let faults = [fault(first), fault(second)];
    let partners = [(first, other, &faults[1]), (second, one, &faults[0])];
    for (image, partner, fault) in partners {
        if let (Ok(Loaded { pixels, .. }), Some(reason)) = (image, fault)
            && pixels.is_ok()
        {
            *pixels = Err(ImageError::Partner {
                path: split.located(partner.index),
                reason: reason.clone(),
            });
        }
    }
}

/// Why an image has no tensor.
fn fault(image: &Result<Loaded, LoadError>) -> Option<String> {
    match image {
        Ok(loaded) => loaded.pixels.as_ref().err().map(ToString::to_string),
        Err(error) => Some(error.to_string()),
    }
}
