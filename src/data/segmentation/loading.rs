//! Scenes made on threads, in order.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::set::scene_content;
use super::{ScenePreparation, Scenes, SegmentationDataError};
use crate::data::queue::{Ahead, Consume, InOrder, in_order};
use crate::data::{LoadError, Pick};

/// One scene on its way into a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedScene<S> {
    /// Place in the split.
    pub index: usize,
    /// First half of the blake3 of its image and mask.
    pub content: [u8; 16],
    /// What was made of it.
    pub scene: S,
}

/// The scenes of one batch in order, each as soon as it is made.
pub type ScenesInOrder<'a, S> = InOrder<'a, Result<LoadedScene<S>, SegmentationDataError>>;

/// Most scenes that wait, besides those that threads are at: crops of 512 x 512 pixels are 130 MB.
const MAX_WAITING: usize = 32;

/// Makes scenes on `workers` threads and hands them to `consume` in order, batch by batch; an error
/// of `consume`, or of a scene that it left, ends the loading.
///
/// batches: scenes, which may come in any order and more than once
pub fn load_scenes<P: ScenePreparation, E: From<SegmentationDataError>>(
    scenes: &Scenes,
    preparation: &P,
    batches: &[Vec<Pick>],
    workers: usize,
    consume: &mut Consume<'_, LoadedScene<P::Scene>, SegmentationDataError, E>,
) -> Result<(), E> {
    let order: Vec<Pick> = batches.iter().flatten().copied().collect();
    let lengths: Vec<usize> = batches.iter().map(Vec::len).collect();
    let workers = workers.max(1);
    let makers = (0..workers).map(|_| preparation.maker());
    let makers = makers.collect::<Result<Vec<_>, _>>()?;
    let largest = lengths.iter().max().copied().unwrap_or(0);
    let ahead = Ahead {
        window: (2 * largest).min(MAX_WAITING) + workers,
        at_once: 1,
    };
    let make = |maker: &mut P::Maker, places: Range<usize>| {
        let picks = order[places].iter();
        picks
            .map(|&pick| load(scenes, preparation, maker, pick))
            .collect()
    };
    let thread = |error| SegmentationDataError::Load(LoadError::Thread(error));
    in_order(&lengths, ahead, makers, make, thread, consume)
}

/// One scene, whatever its decoders do.
fn load<P: ScenePreparation>(
    scenes: &Scenes,
    preparation: &P,
    maker: &mut P::Maker,
    pick: Pick,
) -> Result<LoadedScene<P::Scene>, SegmentationDataError> {
    let index = pick.index;
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let scene = scenes.read(index)?;
        Ok(LoadedScene {
            index,
            content: scene_content(&scene.image, &scene.mask),
            scene: preparation.make(maker, &scene, pick)?,
        })
    }));
    loaded.unwrap_or_else(|_| {
        let path = scenes.images.located(index);
        Err(LoadError::Panicked { path }.into())
    })
}
