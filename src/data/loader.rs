//! Decoding threads ahead of the forward pass, in order and within a bound.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::augment::AugmentError;
use super::preparation::Preparer;
use super::{DatasetError, FileStamp, ImageError, Preparation, Split, content_hash};

/// Most images that wait decoded, besides one a thread: of 224 x 224 pixels they are 300 MB.
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
    /// `[C, H, W]`, normalised, or why it has none.
    pub pixels: Result<Vec<f32>, ImageError>,
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
            Self::Thread(_) => Some("ask for fewer with --workers N".to_owned()),
            Self::Panicked { .. } => {
                Some("convert the image to PNG and please report the file".to_owned())
            }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    claimed: usize,
    taken: usize,
    ready: BTreeMap<usize, Result<Loaded, LoadError>>,
    stopped: bool,
}

/// A queue of images being decoded: at most `window` beyond the last one taken.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    window: usize,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The next place in the order to decode; `None` when there is none or nobody wants it.
    fn claim(&self, total: usize) -> Option<usize> {
        let mut state = self.state();
        while !state.stopped && state.claimed < total && state.claimed >= state.taken + self.window
        {
            state = self.wait(state);
        }
        if state.stopped || state.claimed >= total {
            return None;
        }
        state.claimed += 1;
        Some(state.claimed - 1)
    }

    fn put(&self, position: usize, image: Result<Loaded, LoadError>) {
        self.state().ready.insert(position, image);
        self.changed.notify_all();
    }

    fn take(&self, position: usize) -> Result<Loaded, LoadError> {
        let mut state = self.state();
        loop {
            if let Some(image) = state.ready.remove(&position) {
                state.taken = position + 1;
                self.changed.notify_all();
                return image;
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }
}

/// Lets the decoding threads end however the consumer ends, by a panic too.
struct StopOnDrop<'a>(&'a Queue);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The places of `ranges` in batches of `batch`, none across the end of a range, in their first
/// pass.
pub fn ranged_batches(ranges: &[Range<usize>], batch: usize) -> Vec<Vec<Pick>> {
    let batch = batch.max(1);
    let cut = |range: &Range<usize>| {
        let end = range.end;
        let firsts = range.clone().step_by(batch);
        let pick = |index| Pick { index, pass: 0 };
        firsts.map(move |first| (first..end.min(first + batch)).map(pick).collect())
    };
    ranges.iter().flat_map(cut).collect()
}

/// The images of one batch in order, each as soon as it is decoded.
#[derive(Debug)]
pub struct Images<'a> {
    queue: &'a Queue,
    next: usize,
    end: usize,
}

impl Iterator for Images<'_> {
    type Item = Result<Loaded, LoadError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.next < self.end).then(|| {
            self.next += 1;
            self.queue.take(self.next - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Images<'_> {}

/// Decodes images on `workers` threads and hands them to `consume` in order, batch by batch; an
/// error of `consume` ends the loading.
///
/// batches: images, which may come in any order and more than once
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
    let queue = Queue {
        state: Mutex::default(),
        changed: Condvar::new(),
        window: most_waiting(largest) + workers,
    };
    let preparers = (0..workers).map(|_| preparation.preparer());
    let preparers = preparers.collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&queue);
        let (queue, order) = (&queue, &order);
        for mut preparer in preparers {
            let worker = move || {
                while let Some(position) = queue.claim(order.len()) {
                    let pick = order[position];
                    let image = catch_unwind(AssertUnwindSafe(|| {
                        load(split, preparation, pick, &mut preparer)
                    }));
                    queue.put(
                        position,
                        image.unwrap_or_else(|_| {
                            Err(LoadError::Panicked {
                                path: split.samples[pick.index].path.clone(),
                            })
                        }),
                    );
                }
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, worker)
                .map_err(|error| E::from(LoadError::Thread(error)))?;
        }
        let mut first = 0;
        for batch in batches {
            let end = first + batch.len();
            let mut images = Images {
                queue,
                next: first,
                end,
            };
            consume(&mut images)?;
            // What was not looked at may still be in the way of what is next.
            for unseen in images {
                unseen?;
            }
            first = end;
        }
        Ok(())
    })
}

fn load(
    split: &Split,
    preparation: &Preparation,
    pick: Pick,
    preparer: &mut Preparer,
) -> Result<Loaded, LoadError> {
    let index = pick.index;
    let stamp = split.stamp(index)?;
    let bytes = split.read(index)?;
    let mut pixels = vec![0.0; preparation.input().values()];
    let outcome = preparer.apply(&bytes, pick, &mut pixels);
    Ok(Loaded {
        index,
        stamp,
        content: content_hash(&bytes),
        pixels: outcome.map(|()| pixels),
    })
}
