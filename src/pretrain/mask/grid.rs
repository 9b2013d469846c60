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

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(grid: [usize; 2], kept: usize, seed: u64) -> Sample {
        draw(grid, kept, &mut Stream::new(b"a test..", [seed, 0, 0]))
    }

    /// Which of the four places of a cell the patch has.
    fn place(patch: u32, columns: u32) -> usize {
        (patch / columns % 2 * 2 + patch % columns % 2) as usize
    }

    #[test]
    fn three_quarters_hidden_show_one_patch_of_every_cell() {
        let mut places = [0_u32; 4];
        for seed in 0..4000 {
            let sample = drawn([6, 8], 12, seed);
            let seen = &sample.order[..12];
            let shown = place(seen[0], 8);
            assert!(seen.iter().all(|&patch| place(patch, 8) == shown));
            assert!(seen.is_sorted() && sample.order[12..].is_sorted());
            places[shown] += 1;
        }
        // Five standard deviations of a thousand.
        assert!(places.iter().all(|n| n.abs_diff(1000) < 137), "{places:?}");
    }

    #[test]
    fn places_are_shown_whole_before_a_part_of_the_next() {
        let mut split = 0;
        for seed in 0..200 {
            for kept in [1, 12, 16, 24, 40, 48] {
                // 16, 12, 12 and 9 patches have the four places.
                let sample = drawn([7, 7], kept, seed);
                let mut shown = [0; 4];
                for &patch in &sample.order[..kept] {
                    shown[place(patch, 7)] += 1;
                }
                let parts = shown.iter().zip([16, 12, 12, 9]);
                let parts = parts.filter(|(shown, all)| **shown > 0 && *shown != all);
                let parts = parts.count();
                assert!(parts <= 1, "{kept}: {shown:?}");
                split += parts;
            }
        }
        assert!(split > 200);
    }

    #[test]
    fn equal_noise_is_put_in_a_random_order() {
        let mut first = [0_u32; 4];
        for seed in 0..4000 {
            let mut stream = Stream::new(b"a test..", [seed, 0, 0]);
            let sample = by_noise(vec![0.5; 4], 1, &mut stream);
            first[sample.order[0] as usize] += 1;
        }
        assert!(first.iter().all(|n| n.abs_diff(1000) < 137), "{first:?}");
    }
}
