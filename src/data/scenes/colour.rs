//! Random colours of a given brightness.

use super::stream::Stream;

/// Red, green, blue in `[0, 1]`.
pub(super) type Rgb = [f64; 3];

/// The weights of ITU-R BT.601 luma.
const LUMA: Rgb = [0.299, 0.587, 0.114];

/// A colour of random hue and saturation with the given luma: a random colour, mixed with black or
/// white until its luma is right, which never leaves the gamut.
pub(super) fn with_luma(stream: &mut Stream, luma: f64) -> Rgb {
    let colour: Rgb = std::array::from_fn(|_| stream.unit());
    let own: f64 = (0..3).map(|c| colour[c] * LUMA[c]).sum();
    if own > luma {
        colour.map(|v| v * (luma / own))
    } else {
        let share = (luma - own) / (1.0 - own);
        colour.map(|v| v + (1.0 - v) * share)
    }
}

/// `a` for `share` 0, `b` for 1.
pub(super) fn mix(a: Rgb, b: Rgb, share: f64) -> Rgb {
    std::array::from_fn(|c| a[c] + (b[c] - a[c]) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_has_the_luma_asked_for_and_stays_in_gamut() {
        let mut stream = Stream::new("a test", &[]);
        for _ in 0..1000 {
            let luma = stream.unit();
            let colour = with_luma(&mut stream, luma);
            let own: f64 = (0..3).map(|c| colour[c] * LUMA[c]).sum();
            assert!((own - luma).abs() < 1e-12);
            assert!(colour.iter().all(|v| (0.0..=1.0 + 1e-12).contains(v)));
        }
    }
}
