//! BEiT's blocks of hidden patches.

use serde::{Deserialize, Serialize};

use super::sample::share;
use super::{MaskError, Sample};
use crate::data::stream::Stream;

/// Tries of a block before no more are added (microsoft/unilm `beit/masking_generator.py`, `_mask`).
const TRIES: usize = 10;

/// Rectangles that are hidden until enough patches are (microsoft/unilm
/// `beit/masking_generator.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockMask {
    /// Share of the patches to hide: `int(N ratio)`.
    pub ratio: f64,
    /// Fewest patches that a block's area is drawn from.
    pub minimum: usize,
    /// Most patches that a block's area is drawn from; all that are to hide, where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<usize>,
    /// Least height by width of a block; the largest is one over it.
    pub aspect: f64,
    /// Whether single patches are hidden where blocks leave too few (microsoft/unilm
    /// `beit2/masking_generator.py`), or fewer patches stay hidden (`beit/masking_generator.py`).
    pub exact: bool,
}

impl Default for BlockMask {
    /// MEDiC's (section 4.1: 40 %; aicip/MEDiC `src/utils/masking_generator.py`).
    fn default() -> Self {
        Self {
            ratio: 0.4,
            minimum: 16,
            maximum: None,
            aspect: 0.3,
            exact: true,
        }
    }
}

impl BlockMask {
    /// Patches to hide.
    pub(in crate::pretrain) fn target(&self, [rows, columns]: [usize; 2]) -> usize {
        ((rows * columns) as f64 * self.ratio) as usize
    }

    pub(super) fn check(&self, grid: [usize; 2]) -> Result<(), MaskError> {
        let (ratio, patches) = (share(self.ratio)?, grid[0] * grid[1]);
        let hidden = self.target(grid);
        if hidden >= patches {
            return Err(MaskError::Ratio { ratio, patches });
        }
        let wrong = |field, reason| Err(MaskError::Value { field, reason });
        if self.minimum > hidden {
            let minimum = self.minimum;
            return wrong(
                "minimum",
                format!("is {minimum}, more than the {hidden} of {patches} patches to hide"),
            );
        }
        if let Some(maximum) = self.maximum
            && maximum < self.minimum.max(1)
        {
            let minimum = self.minimum.max(1);
            return wrong("maximum", format!("is {maximum}, less than {minimum}"));
        }
        if !(self.aspect > 0.0 && self.aspect <= 1.0) {
            return wrong("aspect", format!("is {}, not in (0, 1]", self.aspect));
        }
        Ok(())
    }

    /// The seen patches in their order in the grid. The specification fits the grid.
    pub(super) fn draw(&self, grid: [usize; 2], stream: &mut Stream) -> Sample {
        let target = self.target(grid);
        let mut hidden = vec![false; grid[0] * grid[1]];
        let mut count = 0;
        while count < target {
            let added = self.add(grid, target - count, &mut hidden, stream);
            if added == 0 {
                break;
            }
            count += added;
        }
        if self.exact {
            let mut seen: Vec<_> = (0..hidden.len()).filter(|&patch| !hidden[patch]).collect();
            for _ in count..target {
                hidden[seen.swap_remove(stream.below(seen.len()))] = true;
            }
        }
        Sample::of_hidden(&hidden)
    }

    /// Hides one more block; the patches that it added, at most `missing`, and 0 where none was found.
    fn add(
        &self,
        [rows, columns]: [usize; 2],
        missing: usize,
        hidden: &mut [bool],
        stream: &mut Stream,
    ) -> usize {
        let most = self.maximum.map_or(missing, |maximum| maximum.min(missing));
        let logs = [self.aspect.ln(), (1.0 / self.aspect).ln()];
        for _ in 0..TRIES {
            // Near the end `most` is below the minimum: the bounds change places, as in Python's
            // `random.uniform`.
            let area = stream.between([self.minimum as f64, most as f64]);
            let aspect = stream.between(logs).exp();
            let height = (area * aspect).sqrt().round_ties_even() as usize;
            let width = (area / aspect).sqrt().round_ties_even() as usize;
            if width >= columns || height >= rows {
                continue;
            }
            let top = stream.below(rows - height + 1);
            let left = stream.below(columns - width + 1);
            let block = || {
                let lines = top..top + height;
                lines.flat_map(|row| (left..left + width).map(move |column| row * columns + column))
            };
            let new = block().filter(|&patch| !hidden[patch]).count();
            if (1..=most).contains(&new) {
                block().for_each(|patch| hidden[patch] = true);
                return new;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(block: &BlockMask, grid: [usize; 2], seed: u64) -> Sample {
        block.check(grid).unwrap();
        block.draw(grid, &mut Stream::new(b"a test..", [seed, 0, 0]))
    }

    #[test]
    fn one_block_is_a_rectangle_of_its_aspect() {
        // The first block's area is 40; where its sides make 40 too, none follows.
        let single = BlockMask {
            ratio: 0.1,
            minimum: 40,
            exact: false,
            ..BlockMask::default()
        };
        let mut rectangles = 0;
        for seed in 0..1000 {
            let sample = draw(&single, [20, 20], seed);
            let hidden = &sample.order[sample.kept..];
            let side = |of: fn(&u32) -> u32| {
                let places = hidden.iter().map(of);
                places.clone().max().unwrap() - places.min().unwrap() + 1
            };
            let [height, width] = [side(|patch| patch / 20), side(|patch| patch % 20)];
            if height * width == 40 && hidden.len() == 40 {
                rectangles += 1;
                // From 4 x 10 to 10 x 4, by the aspects that are allowed.
                assert!((4..=10).contains(&height), "{height} x {width}");
            }
        }
        assert!(rectangles > 100, "{rectangles}");
    }

    #[test]
    fn single_patches_fill_up_what_blocks_leave() {
        let grid = [14, 14];
        let block = BlockMask::default();
        let blocks_alone = BlockMask {
            exact: false,
            ..block
        };
        let mut less = 0;
        for seed in 0..500 {
            let exact = draw(&block, grid, seed);
            let inexact = draw(&blocks_alone, grid, seed);
            assert_eq!(exact.kept, 196 - 78);
            assert!(inexact.kept >= exact.kept);
            less += usize::from(inexact.kept > exact.kept);
            // The same blocks, and then some.
            let hidden = &exact.order[exact.kept..];
            let mut blocks = inexact.order[inexact.kept..].iter();
            assert!(blocks.all(|patch| hidden.contains(patch)));
            for part in [&exact.order[..exact.kept], hidden] {
                assert!(part.is_sorted());
            }
        }
        assert!((50..450).contains(&less), "{less}");
    }

    #[test]
    fn a_grid_without_room_is_filled_patch_by_patch() {
        let block = BlockMask {
            minimum: 1,
            ..BlockMask::default()
        };
        for grid in [[1, 9], [9, 1]] {
            assert_eq!(draw(&block, grid, 1).kept, 6);
            let blocks_alone = BlockMask {
                exact: false,
                ..block
            };
            assert_eq!(draw(&blocks_alone, grid, 1).kept, 9);
        }
    }
}
