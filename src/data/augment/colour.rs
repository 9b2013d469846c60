//! Changes of an image's colours, as torchvision makes them with Pillow 13, bit for bit
//! (torchvision `transforms/_functional_pil.py`).

use crate::data::Colour;

/// One change of the colours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjustment {
    /// A blend of black (0) and the image (1).
    Brightness(f64),
    /// A blend of the image's mean grey (0) and the image (1).
    Contrast(f64),
    /// A blend of the grey image (0) and the image (1). Grey images stay as they are.
    Saturation(f64),
    /// A shift of the hue, in turns from -0.5 to 0.5. Grey images stay as they are.
    Hue(f64),
}

impl Adjustment {
    /// Changes an image.
    ///
    /// bytes: `[H, W, 3]`, of a grey one `[H, W, 1]`
    pub fn apply(self, bytes: &mut [u8], colour: Colour) {
        let colour = colour == Colour::Rgb;
        match self {
            Self::Brightness(factor) => blend_with(0, factor, bytes),
            Self::Contrast(factor) => {
                let mean = if colour {
                    mean(bytes.as_chunks().0.iter().map(luma))
                } else {
                    mean(bytes.iter().copied())
                };
                blend_with(mean, factor, bytes);
            }
            Self::Saturation(factor) if colour => {
                for pixel in bytes.as_chunks_mut().0 {
                    let grey = luma(pixel);
                    *pixel = pixel.map(|byte| blend(grey, byte, factor as f32));
                }
            }
            Self::Hue(shift) if colour => {
                // numpy's `int32` truncates, and its `uint8` keeps the lowest bits.
                let shift = (shift * 255.0) as i32 as u8;
                for pixel in bytes.as_chunks_mut().0 {
                    let [hue, saturation, value] = hsv(*pixel);
                    *pixel = rgb([hue.wrapping_add(shift), saturation, value]);
                }
            }
            Self::Saturation(_) | Self::Hue(_) => {}
        }
    }
}

/// ITU-R BT.601 luma in 16-bit fixed point (`L24`, Pillow `src/libImaging/Convert.c`).
fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    let [r, g, b] = [r, g, b].map(u32::from);
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
}

/// The mean, rounded to the nearest byte (Pillow `ImageEnhance.py`, `Contrast`).
fn mean(greys: impl ExactSizeIterator<Item = u8>) -> u8 {
    let count = greys.len();
    let sum: u64 = greys.map(u64::from).sum();
    (sum as f64 / count as f64 + 0.5) as u8
}

/// From `from` (0) to `to` (1) and beyond, cut off below a whole number (`ImagingBlend`, Pillow
/// `src/libImaging/Blend.c`). The cast stops at 0 and 255 as Pillow does outside of 0 to 1.
#[inline(always)]
pub(super) fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

/// Blends an even image with this one.
fn blend_with(from: u8, factor: f64, bytes: &mut [u8]) {
    let blended: [u8; 256] = std::array::from_fn(|to| blend(from, to as u8, factor as f32));
    for byte in bytes {
        *byte = blended[usize::from(*byte)];
    }
}

/// Hue, saturation and value (`rgb2hsv_row`, Pillow `src/libImaging/Convert.c`), each step in the
/// precision that C gives it.
fn hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let most = r.max(g).max(b);
    let least = r.min(g).min(b);
    if least == most {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [red, green, blue] = [r, g, b].map(|byte| f32::from(most - byte) / range);
    let sector = if r == most {
        blue - green
    } else if g == most {
        (2.0 + f64::from(red) - f64::from(blue)) as f32
    } else {
        (4.0 + f64::from(green) - f64::from(red)) as f32
    };
    let turns = f64::from(sector) / 6.0 + 1.0;
    let hue = (turns - f64::from(turns as u8)) as f32;
    let byte = |share: f32| (f64::from(share) * 255.0) as u8;
    [byte(hue), byte(saturation), most]
}

/// Red, green and blue (`hsv2rgb`, Pillow `src/libImaging/Convert.c`), each step in the precision
/// that C gives it.
fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let turned = f64::from(hue) * 6.0 / 255.0;
    let sector = turned as u8;
    let rest = (turned - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    // Of all 2^24 colours, C's `round` takes none elsewhere.
    let scaled = |share: f64| (f64::from(value) * share + 0.5) as u8;
    let low = scaled(1.0 - f64::from(saturation));
    let falling = scaled(1.0 - f64::from(saturation * rest));
    let rising = scaled(1.0 - f64::from(saturation) * (1.0 - f64::from(rest)));
    match sector {
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        5 => [value, low, falling],
        // 0, and 6, which is where the circle closes.
        _ => [value, rising, low],
    }
}
