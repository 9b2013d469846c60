//! Cosine similarities of many pairs of rows at once.
//!
//! Each similarity is one chain of fused multiply-adds over the features in their order,
//! started at 0. No blocking, thread or vector width can change a bit of it: it is what
//! `f32::mul_add` gives in a plain loop. A register tile of 48 train rows x 8 test rows keeps
//! 24 such vectors of chains in flight, which is enough to fill AVX-512's two multiply-add
//! units without splitting a chain.

use pulp::{Arch, Simd, WithSimd};

use super::metric_error::{MetricError, Side};
use super::rows::{Rows, normalise_row};

/// Train rows packed together: [dim, PANEL], so that one feature of many rows is contiguous.
/// A multiple of three of the widest vectors (16 lanes).
pub(super) const PANEL: usize = 48;

/// Test rows packed together: [dim, GROUP].
pub(super) const GROUP: usize = 8;

/// Similarities of one group with one panel: `[test row][train row]`.
pub(super) type Tile = [[f32; PANEL]; GROUP];

/// Train features kept in the second-level cache while the test groups pass, in bytes.
const CACHED: usize = 1 << 20;

/// Packs rows `start..start + count` of `rows`, normalised, into `out`: [dim, WIDTH], zero
/// behind the last row.
///
/// # Errors
/// `NotFinite` names the first row without a finite norm.
pub(super) fn pack<const WIDTH: usize>(
    rows: &dyn Rows,
    side: Side,
    start: usize,
    count: usize,
    out: &mut [f32],
) -> Result<(), MetricError> {
    let dim = rows.dim();
    let mut copied = vec![0.0; count * dim];
    rows.copy(start, &mut copied);
    for (row, features) in copied.chunks_exact_mut(dim).enumerate() {
        if !normalise_row(features).is_finite() {
            let row = start + row;
            return Err(MetricError::NotFinite { side, row });
        }
    }
    transpose::<WIDTH>(&copied, dim, out.as_chunks_mut::<WIDTH>().0);
    Ok(())
}

/// rows: `[n, dim]` with `n <= WIDTH` -> out: [dim, WIDTH], zero behind the last row.
fn transpose<const WIDTH: usize>(rows: &[f32], dim: usize, out: &mut [[f32; WIDTH]]) {
    /// Features moved at a time, so that the written lines stay in the first-level cache.
    const STRIP: usize = 16;
    out.fill([0.0; WIDTH]);
    for (strip, out) in out.chunks_mut(STRIP).enumerate() {
        let first = strip * STRIP;
        for (lane, row) in rows.chunks_exact(dim).enumerate() {
            for (features, &value) in out.iter_mut().zip(&row[first..]) {
                features[lane] = value;
            }
        }
    }
}

/// Calls `visit(group, panel, similarities)` for each pair of a test group and a train panel;
/// for a given group the panels come in ascending order.
///
/// groups: [groups, dim, GROUP]; panels: [panels, dim, PANEL].
pub(super) fn for_each_tile(
    groups: &[f32],
    panels: &[f32],
    dim: usize,
    visit: impl FnMut(usize, usize, &Tile),
) {
    Arch::new().dispatch(Sweep {
        groups,
        panels,
        dim,
        visit,
    });
}

struct Sweep<'a, V> {
    groups: &'a [f32],
    panels: &'a [f32],
    dim: usize,
    visit: V,
}

impl<V: FnMut(usize, usize, &Tile)> WithSimd for Sweep<'_, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let panel_len = self.dim * PANEL;
        let cached = (CACHED / (panel_len * size_of::<f32>())).max(1);
        let mut tile = [[0.0; PANEL]; GROUP];
        for (pass, panels) in self.panels.chunks(cached * panel_len).enumerate() {
            for (group, tests) in self.groups.chunks_exact(self.dim * GROUP).enumerate() {
                for (panel, trains) in panels.chunks_exact(panel_len).enumerate() {
                    multiply(simd, trains, tests.as_chunks::<GROUP>().0, &mut tile);
                    (self.visit)(group, pass * cached + panel, &tile);
                }
            }
        }
    }
}

/// trains: [dim, PANEL], tests: [dim, GROUP] -> tile: [GROUP, PANEL].
#[inline(always)]
fn multiply<S: Simd>(simd: S, trains: &[f32], tests: &[[f32; GROUP]], tile: &mut Tile) {
    // 32 vector registers hold 3 x 8 chains and their operands, 16 registers 3 x 4.
    if S::F32_LANES == 16 {
        multiply_part::<S, 8>(simd, trains, tests, 0, 0, tile);
    } else {
        for first_row in [0, 4] {
            for first_lane in (0..PANEL).step_by(3 * S::F32_LANES) {
                multiply_part::<S, 4>(simd, trains, tests, first_lane, first_row, tile);
            }
        }
    }
}

/// The part of a tile of `3 * F32_LANES` train rows from `first_lane` on and of `ROWS` test
/// rows from `first_row` on.
#[inline(always)]
fn multiply_part<S: Simd, const ROWS: usize>(
    simd: S,
    trains: &[f32],
    tests: &[[f32; GROUP]],
    first_lane: usize,
    first_row: usize,
    tile: &mut Tile,
) {
    let first = first_lane / S::F32_LANES;
    let panel = S::as_simd_f32s(trains).0.chunks_exact(PANEL / S::F32_LANES);
    let mut sums = [[simd.splat_f32s(0.0); 3]; ROWS];
    // Plain indices into fixed sizes: the compiler then keeps the sums in registers.
    for (train, test) in panel.zip(tests) {
        let lanes = [train[first], train[first + 1], train[first + 2]];
        for row in 0..ROWS {
            let test = simd.splat_f32s(test[first_row + row]);
            for lane in 0..3 {
                sums[row][lane] = simd.mul_add_f32s(lanes[lane], test, sums[row][lane]);
            }
        }
    }
    for row in 0..ROWS {
        let lanes = S::as_mut_simd_f32s(&mut tile[first_row + row]).0;
        let [low, middle, high] = sums[row];
        lanes[first] = low;
        lanes[first + 1] = middle;
        lanes[first + 2] = high;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::rows::Dense;
    use pulp::Scalar;

    /// Deterministic values in -1..1.
    fn noise(n: usize) -> Vec<f32> {
        (0..n as u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0)
            .collect()
    }

    #[test]
    fn a_similarity_is_one_chain_of_multiply_adds_on_every_instruction_set() {
        let dim = 37;
        let (train, test) = (noise(dim * PANEL), noise(dim * GROUP));
        let tests = test.as_chunks::<GROUP>().0;
        let mut best = [[0.0; PANEL]; GROUP];
        for_each_tile(&test, &train, dim, |_, _, tile| best = *tile);
        let mut scalar = [[0.0; PANEL]; GROUP];
        multiply(Scalar, &train, tests, &mut scalar);
        for (row, (best, scalar)) in best.iter().zip(&scalar).enumerate() {
            for lane in 0..PANEL {
                let want = (0..dim).fold(0f32, |sum, d| {
                    train[d * PANEL + lane].mul_add(test[d * GROUP + row], sum)
                });
                assert_eq!(best[lane].to_bits(), want.to_bits());
                assert_eq!(scalar[lane].to_bits(), want.to_bits());
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn avx2_gives_the_bits_of_the_widest_set() {
        let Some(avx2) = pulp::x86::V3::try_new() else {
            println!("skipped: no AVX2 here");
            return;
        };
        let dim = 65;
        let (train, test) = (noise(dim * PANEL), noise(dim * GROUP));
        let mut best = [[0.0; PANEL]; GROUP];
        for_each_tile(&test, &train, dim, |_, _, tile| best = *tile);
        let mut narrow = [[0.0; PANEL]; GROUP];
        multiply(avx2, &train, test.as_chunks::<GROUP>().0, &mut narrow);
        assert_eq!(best, narrow);
    }

    #[test]
    fn packing_transposes_and_pads_with_zeros() {
        let rows = noise(3 * 21);
        let mut normalised = rows.clone();
        for row in normalised.chunks_exact_mut(21) {
            crate::metric::rows::normalise_row(row);
        }
        let mut out = vec![f32::NAN; 21 * GROUP];
        let dense = Dense::new(&rows, 21).unwrap();
        pack::<GROUP>(&dense, Side::Test, 1, 2, &mut out).unwrap();
        for (d, lanes) in out.chunks_exact(GROUP).enumerate() {
            assert_eq!(lanes[..2], [normalised[21 + d], normalised[42 + d]]);
            assert_eq!(lanes[2..], [0.0; GROUP - 2]);
        }
    }
}
