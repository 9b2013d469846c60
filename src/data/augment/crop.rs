//! Which part of an image is seen.

use crate::data::stream::Stream;
use crate::data::{ImageError, Pixels};

/// Tries of torchvision's crop (`transforms/transforms.py`, `RandomResizedCrop.get_params`).
const TRIES: usize = 10;

/// A part of an image, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Columns, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
}

/// What a random crop may be.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) scale: [f64; 2],
    pub(super) ratio: [f64; 2],
}

/// Python's `int(round(x))`: halves go to the even number.
fn round(x: f64) -> usize {
    x.round_ties_even() as usize
}

impl Bounds {
    /// Width and height of a random crop, which may not fit.
    fn sides(self, stream: &mut Stream, width: usize, height: usize) -> (usize, usize) {
        let area = width as f64 * height as f64 * stream.between(self.scale);
        let ratio = stream.between(self.ratio.map(f64::ln)).exp();
        (round((area * ratio).sqrt()), round((area / ratio).sqrt()))
    }

    /// torchvision's random crop of a `width` x `height` image.
    pub(super) fn torchvision(self, stream: &mut Stream, width: usize, height: usize) -> Crop {
        for _ in 0..TRIES {
            let sides = self.sides(stream, width, height);
            if (1..=width).contains(&sides.0) && (1..=height).contains(&sides.1) {
                return place(stream, sides, width, height);
            }
        }
        self.central(width, height)
    }

    /// MAE's random crop of a `width` x `height` image. Images of so few pixels that a side would be
    /// 0, of which the original makes an error, get one of 1.
    pub(super) fn mae(self, stream: &mut Stream, width: usize, height: usize) -> Crop {
        let sides = self.sides(stream, width, height);
        let sides = (sides.0.clamp(1, width), sides.1.clamp(1, height));
        place(stream, sides, width, height)
    }

    /// The largest central crop whose ratio is allowed.
    fn central(self, width: usize, height: usize) -> Crop {
        let [low, high] = self.ratio;
        let ratio = width as f64 / height as f64;
        let (across, down) = if ratio < low {
            (width, round(width as f64 / low).clamp(1, height))
        } else if ratio > high {
            (round(height as f64 * high).clamp(1, width), height)
        } else {
            (width, height)
        };
        Crop {
            left: (width - across) / 2,
            top: (height - down) / 2,
            width: across,
            height: down,
        }
    }
}

/// A crop of these sides anywhere in the image, every place as likely as another.
fn place(stream: &mut Stream, sides: (usize, usize), width: usize, height: usize) -> Crop {
    let top = stream.below(height - sides.1 + 1);
    let left = stream.below(width - sides.0 + 1);
    Crop {
        left,
        top,
        width: sides.0,
        height: sides.1,
    }
}

impl Crop {
    /// Leaves of an image this part.
    pub(super) fn cut(self, pixels: &mut Pixels) -> Result<(), ImageError> {
        let fits = |start: usize, length: usize, side: usize| {
            let end = start.checked_add(length);
            length > 0 && end.is_some_and(|end| end <= side)
        };
        let (width, height) = (pixels.width, pixels.height);
        if !fits(self.left, self.width, width) || !fits(self.top, self.height, height) {
            return Err(ImageError::Crop {
                left: self.left,
                top: self.top,
                width: self.width,
                height: self.height,
                image_width: width,
                image_height: height,
            });
        }
        let (from, to) = (width * pixels.channels, self.width * pixels.channels);
        for row in 0..self.height {
            // Rows only move towards the beginning, so that none is overwritten before its turn.
            let start = (self.top + row) * from + self.left * pixels.channels;
            pixels.data.copy_within(start..start + to, row * to);
        }
        pixels.data.truncate(self.height * to);
        (pixels.width, pixels.height) = (self.width, self.height);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::SampleKey;
    use super::*;

    const USUAL: Bounds = Bounds {
        scale: [0.08, 1.0],
        ratio: [3.0 / 4.0, 4.0 / 3.0],
    };

    fn stream(index: u64) -> Stream {
        SampleKey {
            seed: 5,
            pass: 0,
            index,
        }
        .stream()
    }

    fn inside(crop: Crop, width: usize, height: usize) -> bool {
        crop.width > 0
            && crop.height > 0
            && crop.left + crop.width <= width
            && crop.top + crop.height <= height
    }

    proptest::proptest! {
        #[test]
        fn a_crop_lies_in_its_image(
            index: u64,
            width in 1_usize..700,
            height in 1_usize..700,
            scale in 1e-6..1.0_f64,
            more in 0.0..1.0_f64,
            ratio in 1e-3..1e3_f64,
            wider in 1.0..50.0_f64,
        ) {
            let bounds = Bounds {
                scale: [scale, (scale + more).min(1.0)],
                ratio: [ratio, ratio * wider],
            };
            for choose in [Bounds::torchvision, Bounds::mae] {
                let crop = choose(bounds, &mut stream(index), width, height);
                proptest::prop_assert!(inside(crop, width, height), "{crop:?}");
            }
        }
    }

    #[test]
    fn areas_are_uniform_and_ratios_log_uniform() {
        const DRAWS: u64 = 20_000;
        let (mut areas, mut logs, mut squares, mut places) = (0.0, 0.0, 0.0, 0.0);
        for index in 0..DRAWS {
            // So large an image that rounding is of no weight, and few tries fail for a small area.
            let bounds = Bounds {
                scale: [0.1, 0.5],
                ..USUAL
            };
            let crop = bounds.torchvision(&mut stream(index), 4000, 4000);
            let (width, height) = (crop.width as f64, crop.height as f64);
            areas += width * height / 16e6;
            let log = (width / height).ln();
            logs += log;
            squares += log * log;
            places += crop.left as f64 / (4000.0 - width);
        }
        let mean = |sum: f64| sum / DRAWS as f64;
        // Five standard errors: 0.4 / sqrt(12 n), and so on.
        assert!((mean(areas) - 0.3).abs() < 0.0041, "{}", mean(areas));
        assert!(mean(logs).abs() < 0.006, "{}", mean(logs));
        let variance = (2.0 * (4.0_f64 / 3.0).ln()).powi(2) / 12.0;
        assert!(
            (mean(squares) / variance - 1.0).abs() < 0.032,
            "{}",
            mean(squares)
        );
        assert!((mean(places) - 0.5).abs() < 0.0103, "{}", mean(places));
    }

    #[test]
    fn both_ends_of_the_places_are_reached() {
        let bounds = Bounds {
            scale: [0.5, 0.5],
            ratio: [1.0, 1.0],
        };
        // The square of half the area of 10 x 8 has sides of 6.
        let crops = (0..500).map(|index| bounds.torchvision(&mut stream(index), 10, 8));
        let places: std::collections::BTreeSet<_> =
            crops.map(|crop| (crop.left, crop.top)).collect();
        assert_eq!(places.len(), 5 * 3);
        assert!(places.contains(&(0, 0)) && places.contains(&(4, 2)));
    }

    #[test]
    fn where_no_try_fits_the_centre_is_taken() {
        let whole = Bounds {
            scale: [1.0, 1.0],
            ..USUAL
        };
        let central = |width, height| {
            let crop = whole.torchvision(&mut stream(3), width, height);
            assert_eq!(crop, whole.central(width, height));
            (crop.left, crop.top, crop.width, crop.height)
        };
        assert_eq!(central(1000, 20), (486, 0, 27, 20));
        assert_eq!(central(20, 1000), (0, 486, 20, 27));
        assert_eq!(central(1, 37), (0, 18, 1, 1));
        // An allowed ratio keeps the whole image; halves are rounded to the even number.
        let crop = USUAL.central(50, 40);
        assert_eq!((crop.width, crop.height), (50, 40));
        let wide = Bounds {
            ratio: [0.5, 1.25],
            ..USUAL
        };
        assert_eq!(wide.central(100, 10).width, 12);
        assert_eq!(wide.central(100, 14).width, 18);
    }

    #[test]
    fn mae_cuts_sides_to_the_image_instead() {
        let whole = Bounds {
            scale: [1.0, 1.0],
            ..USUAL
        };
        for index in 0..200 {
            let crop = whole.mae(&mut stream(index), 1000, 20);
            // The square root of 20,000 is 141: every height is cut, no width is.
            assert_eq!((crop.height, crop.top), (20, 0));
            assert!((122..=164).contains(&crop.width), "{crop:?}");
        }
        let tiny = Bounds {
            scale: [0.08, 0.08],
            ..USUAL
        };
        let crop = tiny.mae(&mut stream(0), 1, 1);
        assert_eq!((crop.width, crop.height), (1, 1));
    }

    #[test]
    fn cutting_keeps_the_part_and_refuses_what_is_none() {
        let pixels = Pixels {
            width: 4,
            height: 3,
            channels: 1,
            data: (0..12).collect(),
        };
        let crop = |left, top, width, height| {
            let mut pixels = pixels.clone();
            let crop = Crop {
                left,
                top,
                width,
                height,
            };
            crop.cut(&mut pixels).map(|()| pixels.data)
        };
        assert_eq!(crop(0, 0, 4, 3).unwrap(), pixels.data);
        assert_eq!(crop(1, 1, 3, 2).unwrap(), [5, 6, 7, 9, 10, 11]);
        assert_eq!(crop(2, 0, 1, 3).unwrap(), [2, 6, 10]);
        for (left, top, width, height) in [
            (2, 0, 3, 1),
            (0, 2, 1, 2),
            (0, 0, 0, 1),
            (0, 0, 1, 0),
            (usize::MAX, 0, 2, 1),
        ] {
            let refused = crop(left, top, width, height).unwrap_err();
            assert!(matches!(refused, ImageError::Crop { .. }), "{refused}");
        }
    }
}
