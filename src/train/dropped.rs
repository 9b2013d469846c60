//! Branches that are left out in training.

use crate::data::Pick;
use crate::data::stream::Stream;
use crate::engine::{Engine, Result};
use crate::vit::DropPath;

/// What is left out of each image, a function of the seed, the image and its pass; `None` where
/// nothing ever is.
///
/// rates: how likely each block's branches are left out
pub fn dropped_paths<E: Engine>(
    engine: &E,
    rates: &[f64],
    seed: u64,
    picks: &[Pick],
) -> Result<Option<DropPath<E>>> {
    if rates.iter().all(|&rate| rate == 0.0) {
        return Ok(None);
    }
    let stream = |pick: &Pick| {
        let words = [seed, pick.pass as u64, pick.index as u64];
        Stream::new(b"dropping", words)
    };
    let mut streams: Vec<_> = picks.iter().map(stream).collect();
    let mut draw = |image: usize| [0; 2].map(|_| streams[image].unit());
    DropPath::new(engine, rates, picks.len(), &mut draw).map(Some)
}
