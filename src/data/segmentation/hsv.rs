//! OpenCV's hue, saturation and value in bytes, hue in half degrees.

/// Fractional bits of the divisions.
const SHIFT: u32 = 12;

/// `numerator / divisor` for every byte as a divisor, with [`SHIFT`] bits, to the nearest number; 0 for 0.
const fn divisions(numerator: u32) -> [i32; 256] {
    let mut table = [0; 256];
    let mut divisor = 1;
    while divisor < 256 {
        table[divisor] = (((numerator << SHIFT) + divisor as u32 / 2) / divisor as u32) as i32;
        divisor += 1;
    }
    table
}

static BY_VALUE: [i32; 256] = divisions(255);
static BY_RANGE: [i32; 256] = divisions(180 / 6);

/// Hue from 0 to 179, saturation and value of red, green and blue
/// (OpenCV `modules/imgproc/src/color_hsv.simd.hpp`, `RGB2HSV_b`).
#[inline]
pub fn rgb_to_hsv(rgb: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = rgb.map(i32::from);
    let value = r.max(g).max(b);
    let range = value - r.min(g).min(b);
    let scaled = |number: i32, table: &[i32; 256], by: i32| {
        (number * table[by as usize] + (1 << (SHIFT - 1))) >> SHIFT
    };
    let sixths = if value == r {
        g - b
    } else if value == g {
        b - r + 2 * range
    } else {
        r - g + 4 * range
    };
    let hue = scaled(sixths, &BY_RANGE, range);
    let hue = if hue < 0 { hue + 180 } else { hue };
    [hue, scaled(range, &BY_VALUE, value), value].map(|number| number as u8)
}

/// Red, green and blue of a hue from 0 to 179, saturation and value, as OpenCV's vector code gives
/// them (`HSV2RGB_b` with fused products, which AVX2 and AVX-512 have).
///
/// It cuts to whole numbers where OpenCV's code for single pixels rounds, which does what a row's
/// length leaves over a multiple of the vector's; those columns would differ between processors, and
/// a crop of 512 pixels out of a larger image has none.
#[inline]
pub fn hsv_to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    const SIXTHS: f32 = 6.0 / 180.0;
    const BYTE: f32 = 1.0 / 255.0;
    /// Which of the four shades red, green and blue have in each sixth of the circle.
    const SHADES: [[usize; 3]; 6] = [
        [0, 3, 1],
        [2, 0, 1],
        [1, 0, 3],
        [1, 2, 0],
        [3, 1, 0],
        [0, 1, 2],
    ];
    let (saturation, value) = (f32::from(saturation) * BYTE, f32::from(value) * BYTE);
    let turned = f32::from(hue) * SIXTHS;
    let sixth = turned as usize;
    let within = turned - sixth as f32;
    // `1 - a b` rounded once: an f64 holds the product of two f32.
    let rest = |a: f32, b: f32| (1.0 - f64::from(a) * f64::from(b)) as f32;
    let shades = [
        value,
        value * (1.0 - saturation),
        value * rest(saturation, within),
        value * rest(saturation, 1.0 - within),
    ];
    SHADES[sixth % 6].map(|shade| (shades[shade] * 255.0) as u8)
}
