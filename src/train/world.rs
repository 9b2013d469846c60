//! The processes that train together, seen from one of them.

use crate::engine::{Engine, Result};

/// Who takes part, and sums over all of them. Every mean over samples is divided by a count that
/// [`World::sum`] gave, so that several processes compute what one would.
pub trait World {
    /// This process, counted from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Sums of the counts over all processes, the same on each. Every process calls it as often as
    /// the others, with lists of one length: for the samples of an update, then for its terms.
    fn sum(&self, counts: &[f64]) -> Vec<f64>;
}

/// A world whose processes exchange tensors of an engine.
pub trait AllReduce<E: Engine>: World {
    /// Sums of the tensors over all processes, in place of each. The order of the list is that of
    /// the parameters, the same on every process, and is where buckets are cut.
    fn all_reduce(&self, engine: &E, tensors: Vec<E::Tensor>) -> Result<Vec<E::Tensor>>;
}

/// One process alone.
#[derive(Clone, Copy, Debug)]
pub struct Solo;

impl World for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, counts: &[f64]) -> Vec<f64> {
        counts.to_vec()
    }
}

impl<E: Engine> AllReduce<E> for Solo {
    fn all_reduce(&self, _: &E, tensors: Vec<E::Tensor>) -> Result<Vec<E::Tensor>> {
        Ok(tensors)
    }
}
