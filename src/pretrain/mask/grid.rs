//! Masks that repeat a cell of 2 x 2 patches.

use super::Sample;
use crate::data::stream::Stream;

/// Noise that is the same in every cell of 2 x 2 patches: four uniform numbers, repeated over the
/// grid (Evolved Part Masking `model/models_mae_evolved_base.py`, `strategy_masking_eff`).
///
/// `[N]`
pub(super) fn grid_noise([rows, columns]: [usize; 2], stream: &mut Stream) -> Vec<f64> {
    let cell = [(); 4].map(|()| stream.unit());
    let patches = (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column]));
    patches
        .map(|[row, column]| cell[row % 2 * 2 + column % 2])
        .collect()
}

/// The `kept` patches of smallest noise are seen, in the order of their noise, and those of equal noise
/// in a random order.
///
/// noise: `[N]`
pub(super) fn by_noise(noise: Vec<f64>, kept: usize, stream: &mut Stream) -> Sample {
    let noise = noise.into_iter().map(|noise| (noise, stream.unit()));
    Sample::of_noise(&noise.collect::<Vec<_>>(), kept)
}

/// The seen patches in their order in the grid.
///
/// The places of a cell are shown one after another, in a random order that all cells share, until
/// `kept` patches are seen; of the last place, a random part. Three quarters hidden are one seen patch in
/// every cell.
pub(super) fn draw(grid: [usize; 2], kept: usize, stream: &mut Stream) -> Sample {
    let mut sample = by_noise(grid_noise(grid, stream), kept, stream);
    let (seen, hidden) = sample.order.split_at_mut(kept);
    seen.sort_unstable();
    hidden.sort_unstable();
    sample
}
