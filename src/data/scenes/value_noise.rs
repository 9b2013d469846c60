//! Smooth random fields.

use super::stream::Stream;

/// Lattice points a side; the field repeats after as many units.
const SIDE: usize = 32;

/// Value noise: random values in `[0, 1)` on a lattice of unit spacing, joined smoothly.
pub(super) struct ValueNoise {
    lattice: [f64; SIDE * SIDE],
}

impl ValueNoise {
    pub(super) fn new(stream: &mut Stream) -> Self {
        Self {
            lattice: std::array::from_fn(|_| stream.unit()),
        }
    }

    /// The field at a point, in lattice units; the lattice repeats.
    pub(super) fn at(&self, [x, y]: [f64; 2]) -> f64 {
        let (column, u) = split(x);
        let (row, v) = split(y);
        let value = |row: usize, column: usize| self.lattice[row % SIDE * SIDE + column % SIDE];
        let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
        mix(
            mix(value(row, column), value(row, column + 1), u),
            mix(value(row + 1, column), value(row + 1, column + 1), u),
            v,
        )
    }
}

/// The lattice index below `x` and the smoothed weight of the next one.
fn split(x: f64) -> (usize, f64) {
    let floor = x.floor();
    let t = x - floor;
    (
        (floor as i64).rem_euclid(SIDE as i64) as usize,
        t * t * (3.0 - 2.0 * t),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_meets_its_lattice_is_continuous_and_repeats() {
        let noise = ValueNoise::new(&mut Stream::new("a test", &[]));
        assert_eq!(noise.at([3.0, 2.0]), noise.lattice[2 * SIDE + 3]);
        assert_eq!(noise.at([-1.0, -1.0]), noise.lattice[SIDE * SIDE - 1]);
        assert_eq!(noise.at([0.25, 31.5]), noise.at([32.25, -0.5]));
        for i in 0..400 {
            let x = f64::from(i) * 0.1 - 20.0;
            assert!((noise.at([x, 0.3]) - noise.at([x + 1e-6, 0.3])).abs() < 1e-5);
        }
    }
}
