//! Threads that make things ahead of their consumer, in order and within a bound.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
struct State<T> {
    claimed: usize,
    taken: usize,
    ready: BTreeMap<usize, T>,
    stopped: bool,
}

/// A queue of things being made: at most `window` beyond the last one taken.
#[derive(Debug)]
struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    window: usize,
    /// What one thread claims together.
    at_once: usize,
}

impl<T> Queue<T> {
    fn new(window: usize, at_once: usize) -> Self {
        Self {
            state: Mutex::new(State {
                claimed: 0,
                taken: 0,
                ready: BTreeMap::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
            window,
            at_once,
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The next places in the order to make; `None` when there are none or nobody wants them.
    ///
    /// Only the first of them has to be in the window. What the consumer waits for is therefore
    /// claimed, or free to be: the window never holds it back.
    fn claim(&self, total: usize) -> Option<Range<usize>> {
        let mut state = self.state();
        while !state.stopped && state.claimed < total && state.claimed >= state.taken + self.window
        {
            state = self.wait(state);
        }
        if state.stopped || state.claimed >= total {
            return None;
        }
        let first = state.claimed;
        state.claimed = total.min(first + self.at_once);
        Some(first..state.claimed)
    }

    fn put(&self, first: usize, made: Vec<T>) {
        self.state().ready.extend((first..).zip(made));
        self.changed.notify_all();
    }

    fn take(&self, position: usize) -> T {
        let mut state = self.state();
        loop {
            if let Some(made) = state.ready.remove(&position) {
                state.taken = position + 1;
                self.changed.notify_all();
                return made;
            }
            state = self.wait(state);
        }
    }

    fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }
}

/// Lets the threads end however the consumer ends, by a panic too.
struct StopOnDrop<'a, T>(&'a Queue<T>);

impl<T> Drop for StopOnDrop<'_, T> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// What belongs to one batch in order, each as soon as it is made.
#[derive(Debug)]
pub struct InOrder<'a, T> {
    queue: &'a Queue<T>,
    next: usize,
    end: usize,
}

impl<T> Iterator for InOrder<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
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

impl<T> ExactSizeIterator for InOrder<'_, T> {}

/// What takes a batch.
pub(super) type Consume<'a, T, F, E> =
    dyn FnMut(&mut InOrder<'_, Result<T, F>>) -> Result<(), E> + 'a;

/// How far threads work ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    /// Most things beyond the last one taken.
    pub(super) window: usize,
    /// What one thread makes together.
    pub(super) at_once: usize,
}

/// Makes things on one thread a worker and hands them to `consume` in order, batch by batch; an
/// error of `consume`, or of a thing that it left, ends this.
///
/// batches: things of each; make: what is at these places, counted over all batches, as many;
/// thread: what it is that no thread could be started
pub(super) fn in_order<W: Send, T: Send, F: Send, E: From<F>>(
    batches: &[usize],
    ahead: Ahead,
    workers: Vec<W>,
    make: impl Fn(&mut W, Range<usize>) -> Vec<Result<T, F>> + Sync,
    thread: fn(io::Error) -> F,
    consume: &mut Consume<'_, T, F, E>,
) -> Result<(), E> {
    let total = batches.iter().sum();
    let queue = Queue::new(ahead.window, ahead.at_once);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&queue);
        let (queue, make) = (&queue, &make);
        for mut worker in workers {
            let work = move || {
                while let Some(places) = queue.claim(total) {
                    queue.put(places.start, make(&mut worker, places));
                }
            };
            std::thread::Builder::new()
                .spawn_scoped(scope, work)
                .map_err(|error| E::from(thread(error)))?;
        }
        let mut first = 0;
        for length in batches {
            let end = first + length;
            let mut things = InOrder {
                queue,
                next: first,
                end,
            };
            consume(&mut things)?;
            // What was not looked at may still be in the way of what is next.
            for unseen in things {
                unseen?;
            }
            first = end;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what so many threads put, until `end` of `total` places.
    fn drain(queue: &Queue<usize>, workers: usize, total: usize, end: usize) {
        std::thread::scope(|scope| {
            let _stop = StopOnDrop(queue);
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(places) = queue.claim(total) {
                        let first = places.start;
                        // The first place may be the last of the window, and no place lies after it.
                        assert!(first < queue.state().taken + queue.window);
                        queue.put(first, places.collect());
                    }
                });
            }
            for place in 0..end {
                assert_eq!(queue.take(place), place);
            }
        });
    }

    #[test]
    fn no_window_is_too_small_for_what_is_claimed_together() {
        for at_once in 1..=3 {
            for window in 1..=4 {
                for workers in [1, 2, 9] {
                    for (total, end) in [(0, 0), (1, 1), (6, 6), (61, 61), (61, 20), (61, 0)] {
                        drain(&Queue::new(window, at_once), workers, total, end);
                    }
                }
            }
        }
    }
}
