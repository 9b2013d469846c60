//! The shapes of the objects, by which the masks are labelled.

/// A shape about the origin whose area is that of the unit disc, so that no shape shows by its size.
/// The order is alphabetical, as class folders are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The unit disc.
    Disc,
    /// A disc with a concentric hole of 0.55 times its radius.
    Ring,
    /// A square that stands on its corner.
    Square,
    /// A star with five tips.
    Star,
    /// An equilateral triangle.
    Triangle,
}

/// Hole radius over outer radius of the ring.
const HOLE: f64 = 0.55;

/// cos and sin of 72 and 144 degrees: where the tips of a star point.
const TIPS_OF_FIVE: [[f64; 2]; 5] = [
    [1.0, 0.0],
    [0.309_016_994_374_947_45, 0.951_056_516_295_153_5],
    [-0.809_016_994_374_947_5, 0.587_785_252_292_473_1],
    [-0.809_016_994_374_947_5, -0.587_785_252_292_473_1],
    [0.309_016_994_374_947_45, -0.951_056_516_295_153_5],
];
const TIPS_OF_FOUR: [[f64; 2]; 4] = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]];
const TIPS_OF_THREE: [[f64; 2]; 3] = [
    [1.0, 0.0],
    [-0.5, 0.866_025_403_784_438_6],
    [-0.5, -0.866_025_403_784_438_6],
];

impl Shape {
    /// Every shape, in the order of the class names and of the mask's indices (which start at 1).
    pub const ALL: [Shape; 5] = [
        Shape::Disc,
        Shape::Ring,
        Shape::Square,
        Shape::Star,
        Shape::Triangle,
    ];

    /// The first half of the class name.
    pub const fn name(self) -> &'static str {
        match self {
            Shape::Disc => "disc",
            Shape::Ring => "ring",
            Shape::Square => "square",
            Shape::Star => "star",
            Shape::Triangle => "triangle",
        }
    }

    /// The value of the shape's pixels in a mask: 1 + its place in [`Shape::ALL`] (0 is the background).
    pub const fn mask_index(self) -> u8 {
        1 + self as u8
    }

    /// The radius of the circle about the shape, chosen so that the shape's area is pi.
    pub(super) const fn reach(self) -> f64 {
        match self {
            Shape::Disc => 1.0,
            // 1 / sqrt(1 - 0.55^2)
            Shape::Ring => 1.197_368_680_178_499_3,
            // sqrt(pi / 2)
            Shape::Square => 1.253_314_137_315_500_1,
            // sqrt(pi / (5 * 0.45 * sin 36 degrees))
            Shape::Star => 1.541_254_418_478_370_5,
            // sqrt(4 pi / (3 sqrt 3))
            Shape::Triangle => 1.555_120_301_556_214,
        }
    }

    /// Whether the point lies in the shape; one tip points along +x.
    pub(super) fn contains(self, point: [f64; 2]) -> bool {
        let [x, y] = point;
        let square = x * x + y * y;
        let reach = self.reach();
        if square > reach * reach {
            return false;
        }
        match self {
            Shape::Disc => true,
            Shape::Ring => square >= (HOLE * reach) * (HOLE * reach),
            // The valley between two tips lies half a turn over n from each: [r cos, r sin].
            Shape::Square => in_star(point, reach, &TIPS_OF_FOUR, [0.5, 0.5]),
            Shape::Star => in_star(
                point,
                reach,
                &TIPS_OF_FIVE,
                [
                    0.45 * 0.809_016_994_374_947_5,
                    0.45 * 0.587_785_252_292_473_1,
                ],
            ),
            Shape::Triangle => in_star(
                point,
                reach,
                &TIPS_OF_THREE,
                [0.25, 0.433_012_701_892_219_3],
            ),
        }
    }
}

/// Whether `point` lies in the star whose tips are `reach` away in the directions `tips`. `valley` is
/// the corner between the first tip and the next one, in units of `reach`. A regular polygon is
/// the star whose valleys lie on the lines between its tips.
fn in_star(point: [f64; 2], reach: f64, tips: &[[f64; 2]], valley: [f64; 2]) -> bool {
    // In the frame of the nearest tip, mirrored to its left side, one edge is left to compare with.
    let mut frame = [f64::NEG_INFINITY, 0.0];
    for tip in tips {
        let along = point[0] * tip[0] + point[1] * tip[1];
        if along > frame[0] {
            frame = [along, (point[1] * tip[0] - point[0] * tip[1]).abs()];
        }
    }
    let [along, across] = frame;
    let edge = [reach * (valley[0] - 1.0), reach * valley[1]];
    edge[0] * across - edge[1] * (along - reach) >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_has_the_area_of_the_unit_disc() {
        let steps = 1000;
        for shape in Shape::ALL {
            let at = |i: usize| (i as f64 + 0.5) / f64::from(steps) * 3.2 - 1.6;
            let inside = (0..1_000_000)
                .filter(|i| shape.contains([at(i % 1000), at(i / 1000)]))
                .count();
            let area = inside as f64 * (3.2 / f64::from(steps)).powi(2);
            assert!(
                (area - std::f64::consts::PI).abs() < 0.01,
                "{shape:?}: {area}"
            );
        }
    }

    #[test]
    fn tips_valleys_and_holes_lie_where_they_should() {
        for shape in Shape::ALL {
            let tip = shape.reach();
            assert!(shape.contains([tip - 1e-9, 0.0]), "{shape:?}");
            assert!(!shape.contains([tip + 1e-9, 0.0]), "{shape:?}");
            assert_eq!(shape.contains([0.0, 0.0]), shape != Shape::Ring);
        }
        // Opposite to a tip of the star is a valley, opposite to a triangle's tip is a side.
        let star = 0.45 * Shape::Star.reach();
        assert!(Shape::Star.contains([-star + 1e-6, 0.0]));
        assert!(!Shape::Star.contains([-star - 1e-6, 0.0]));
        let side = 0.5 * Shape::Triangle.reach();
        assert!(Shape::Triangle.contains([-side + 1e-6, 0.0]));
        assert!(!Shape::Triangle.contains([-side - 1e-6, 0.0]));
    }
}
