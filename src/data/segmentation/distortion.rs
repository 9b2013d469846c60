//! mmsegmentation's photometric distortion of one image.

use super::hsv::{hsv_to_rgb, rgb_to_hsv};
use crate::data::stream::Stream;

/// Largest change of brightness (mmsegmentation `datasets/pipelines/transforms.py`,
/// `PhotoMetricDistortion`, as is what follows).
const BRIGHTNESS: f64 = 32.0;

/// Least and largest factor of contrast and of saturation.
const FACTORS: [f64; 2] = [0.5, 1.5];

/// Shifts of the hue are from minus this to one less than this.
const HUE: i32 = 18;

/// What happens to an image's colours; what is `None` does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distortion {
    /// Added to every byte.
    pub brightness: Option<f32>,
    /// Factor of every byte.
    pub contrast: Option<f32>,
    /// Whether that comes last, and not after the brightness.
    pub contrast_last: bool,
    /// Factor of the saturation.
    pub saturation: Option<f32>,
    /// Added to the hue, in half degrees.
    pub hue: Option<i32>,
}

/// Bytes times a factor plus a term, in f32, cut to whole numbers.
fn line(factor: f32, term: f32) -> [u8; 256] {
    std::array::from_fn(|byte| (byte as f32 * factor + term).clamp(0.0, 255.0) as u8)
}

impl Distortion {
    /// Every change with probability 1/2, contrast as likely before as behind the colours'.
    pub(super) fn new(stream: &mut Stream) -> Self {
        let mut maybe = |range: [f64; 2]| {
            let (does, value) = (stream.unit() < 0.5, stream.between(range));
            does.then_some(value as f32)
        };
        let brightness = maybe([-BRIGHTNESS, BRIGHTNESS]);
        let contrast = maybe(FACTORS);
        let saturation = maybe(FACTORS);
        let hue = (stream.unit() < 0.5).then(|| stream.below(2 * HUE as usize) as i32 - HUE);
        Self {
            brightness,
            contrast,
            contrast_last: stream.unit() < 0.5,
            saturation,
            hue,
        }
    }

    /// Changes bytes `[.., channels]`; of grey ones brightness and contrast, since they have no
    /// colours.
    pub(super) fn apply(&self, bytes: &mut [u8], channels: usize) {
        let first = self.contrast.filter(|_| !self.contrast_last);
        let last = self.contrast.filter(|_| self.contrast_last);
        let term = self.brightness.map(|term| line(1.0, term));
        look_up(bytes, term);
        look_up(bytes, first.map(|factor| line(factor, 0.0)));
        if channels == 3 {
            let pixels = bytes.as_chunks_mut().0;
            if let Some(factor) = self.saturation {
                let table = line(factor, 0.0);
                for pixel in pixels.iter_mut() {
                    let [hue, saturation, value] = rgb_to_hsv(*pixel);
                    *pixel = hsv_to_rgb([hue, table[usize::from(saturation)], value]);
                }
            }
            if let Some(shift) = self.hue {
                let turned: [u8; 180] =
                    std::array::from_fn(|hue| (hue as i32 + shift).rem_euclid(180) as u8);
                for pixel in pixels {
                    let [hue, saturation, value] = rgb_to_hsv(*pixel);
                    *pixel = hsv_to_rgb([turned[usize::from(hue)], saturation, value]);
                }
            }
        }
        look_up(bytes, last.map(|factor| line(factor, 0.0)));
    }
}

fn look_up(bytes: &mut [u8], table: Option<[u8; 256]>) {
    if let Some(table) = table {
        for byte in bytes {
            *byte = table[usize::from(*byte)];
        }
    }
}
