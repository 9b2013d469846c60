//! Outputs that are written once.

use std::mem::MaybeUninit;

use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// Elements of a chunk of element-wise work: with as many inputs it stays in the first-level
/// cache.
pub const CHUNK: usize = 4096;

/// Elements from which on work is worth several threads: 32 KB.
const PARALLEL: usize = 8192;

/// Chunks that a thread takes at least, of work on `len` elements: all of them when there are
/// few elements.
pub fn least_chunks(len: usize) -> usize {
    if len < PARALLEL { usize::MAX } else { 1 }
}

/// `len` elements, made in chunks of `chunk` (the last may be shorter) by
/// `write(index of the chunk, chunk)` on all threads. Chunks come filled with zeros.
///
/// New memory is touched once: the zeros go into the cache, just before the values do.
pub fn chunks(len: usize, chunk: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let beside = rayon::iter::repeat_n((), len.div_ceil(chunk));
    chunks_beside(len, chunk, beside, |index, out, ()| write(index, out))
}

/// As [`chunks`], with an item of `beside` for each chunk: what is to be written elsewhere for
/// it. There are as many items as chunks.
#[expect(unsafe_code, reason = "memory that is not written twice")]
pub fn chunks_beside<T: Send>(
    len: usize,
    chunk: usize,
    beside: impl IndexedParallelIterator<Item = T>,
    write: impl Fn(usize, &mut [f32], T) + Sync,
) -> Vec<f32> {
    let mut out = Vec::with_capacity(len);
    out.spare_capacity_mut()[..len]
        .par_chunks_mut(chunk)
        .zip_eq(beside)
        .enumerate()
        .with_min_len(least_chunks(len))
        .for_each(|(index, (part, item))| {
            part.fill(MaybeUninit::new(0.0));
            // SAFETY: all of `part` was filled in the line above.
            write(index, unsafe { part.assume_init_mut() }, item);
        });
    // SAFETY: the capacity is at least `len`, and the chunks, each filled, cover the first
    // `len` elements: `zip_eq` leaves none out.
    unsafe { out.set_len(len) };
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::on_threads;
    use rayon::slice::ParallelSliceMut;

    #[test]
    fn every_element_comes_from_its_chunk() {
        for len in [0, 1, 7, 8, 9, 20_001] {
            let out = on_threads(|| {
                chunks(len, 8, |index, out| {
                    assert!(out.iter().all(|&x| x == 0.0));
                    for (i, x) in out.iter_mut().enumerate() {
                        *x = (index * 8 + i) as f32;
                    }
                })
            });
            let want: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(out, want);
        }
    }

    #[test]
    fn what_lies_beside_belongs_to_the_chunk() {
        let mut firsts = [0; 4];
        chunks_beside(13, 4, firsts.par_chunks_mut(1), |index, _, first| {
            first[0] = index * 4;
        });
        assert_eq!(firsts, [0, 4, 8, 12]);
    }

    #[test]
    #[should_panic]
    fn a_chunk_without_its_item_is_refused() {
        let mut firsts = [0; 3];
        chunks_beside(13, 4, firsts.par_chunks_mut(1), |_, _, _| ());
    }
}
