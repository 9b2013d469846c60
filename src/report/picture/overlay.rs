//! An attention map over its image.

use super::canvas::{Picture, Rgb};
use super::error::PictureError;

/// The colours of low to high attention: matplotlib's magma (Smith and van der Walt, CC0), which is
/// perceptually uniform and begins with black; the table is d3-scale-chromatic's, in the crate
/// colorous (Apache-2.0).
pub(super) const COLOURS: colorous::Gradient = colorous::MAGMA;

/// The share of the map's colour in a pixel; the image, without colour of its own, has the rest.
const OPACITY: f64 = 0.7;

/// The weights of ITU-R BT.601 luma.
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];

/// One attention map on the grid of patches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map<'a> {
    rows: usize,
    columns: usize,
    values: &'a [f32],
}

impl<'a> Map<'a> {
    /// values: `[rows, columns]`.
    ///
    /// # Errors
    /// `Maps` when there are none, or another number of values; `NotFinite`.
    pub fn new(rows: usize, columns: usize, values: &'a [f32]) -> Result<Self, PictureError> {
        if values.is_empty() || rows.checked_mul(columns) != Some(values.len()) {
            return Err(PictureError::Maps {
                values: values.len(),
                heads: 1,
                rows,
                columns,
            });
        }
        match values.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(PictureError::NotFinite { value }),
            None => Ok(Self {
                rows,
                columns,
                values,
            }),
        }
    }

    /// Smallest and largest value.
    fn range(&self) -> [f32; 2] {
        let first = [self.values[0]; 2];
        let fold = |[low, high]: [f32; 2], value: &f32| [low.min(*value), high.max(*value)];
        self.values.iter().fold(first, fold)
    }
}

/// Lays `map` over `image`: resized bilinearly between the patches' centres
/// (`torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`), scaled so that
/// `range` (its own minimum and maximum where none is given) spans the colours, and mixed with the
/// image's grey. A map of one value throughout has the lowest colour.
///
/// # Errors
/// `NotFinite` when a bound of `range` is.
pub fn overlay(
    image: &Picture,
    map: Map<'_>,
    range: Option<[f32; 2]>,
) -> Result<Picture, PictureError> {
    let [low, high] = range.unwrap_or_else(|| map.range()).map(f64::from);
    if let Some(value) = [low, high].into_iter().find(|bound| !bound.is_finite()) {
        let value = value as f32;
        return Err(PictureError::NotFinite { value });
    }
    let span = if high > low {
        high - low
    } else {
        f64::INFINITY
    };
    let down = taps(image.height(), map.rows);
    let across = taps(image.width(), map.columns);
    let mut laid = image.clone();
    let mut pixels = laid.pixels_mut().iter_mut();
    for rows in &down {
        for (columns, pixel) in across.iter().zip(&mut pixels) {
            let mut value = 0.0;
            for (row, down) in rows {
                for (column, across) in columns {
                    let at = row * map.columns + column;
                    value += down * across * f64::from(map.values[at]);
                }
            }
            *pixel = tint(*pixel, ((value - low) / span).clamp(0.0, 1.0));
        }
    }
    Ok(laid)
}

/// For each of `pixels` positions along an axis, the two of `patches` it lies between and their
/// shares.
fn taps(pixels: usize, patches: usize) -> Vec<[(usize, f64); 2]> {
    let scale = patches as f64 / pixels as f64;
    let last = patches - 1;
    (0..pixels)
        .map(|pixel| {
            let at = ((pixel as f64 + 0.5) * scale - 0.5).clamp(0.0, last as f64);
            let first = (at as usize).min(last);
            let share = at - first as f64;
            [(first, 1.0 - share), ((first + 1).min(last), share)]
        })
        .collect()
}

/// `level` of the colours over the grey of `pixel`.
fn tint(pixel: Rgb, level: f64) -> Rgb {
    let grey: f64 = pixel.iter().zip(LUMA).map(|(&c, w)| f64::from(c) * w).sum();
    COLOURS
        .eval_continuous(level)
        .into_array()
        .map(|colour| (OPACITY * f64::from(colour) + (1.0 - OPACITY) * grey).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `tint` gives over black.
    fn over_black(level: f64) -> Rgb {
        let colour = COLOURS.eval_continuous(level).into_array();
        colour.map(|c| (0.7 * f64::from(c)).round() as u8)
    }

    #[test]
    fn a_map_is_resized_as_pytorch_does() {
        // `interpolate` of [[0, 1, 3], [4, 2, 0]] to 4 x 6.
        let want: [[f64; 6]; 4] = [
            [0.0, 0.25, 0.75, 1.5, 2.5, 3.0],
            [1.0, 1.0625, 1.1875, 1.5, 2.0, 2.25],
            [3.0, 2.6875, 2.0625, 1.5, 1.0, 0.75],
            [4.0, 3.5, 2.5, 1.5, 0.5, 0.0],
        ];
        let values = [0.0, 1.0, 3.0, 4.0, 2.0, 0.0];
        let map = Map::new(2, 3, &values).unwrap();
        let black = Picture::plain(6, 4, [0; 3]);
        let laid = overlay(&black, map, None).unwrap();
        for (y, row) in want.iter().enumerate() {
            for (x, value) in row.iter().enumerate() {
                assert_eq!(laid.pixel(x, y), over_black(value / 4.0), "{x}, {y}");
            }
        }
    }

    #[test]
    fn a_range_clamps_and_a_flat_map_is_low() {
        let black = Picture::plain(2, 1, [0; 3]);
        let map = Map::new(1, 2, &[-1.0, 0.5]).unwrap();
        let laid = overlay(&black, map, Some([0.0, 0.5])).unwrap();
        assert_eq!(
            [laid.pixel(0, 0), laid.pixel(1, 0)],
            [0.0, 1.0].map(over_black)
        );
        let flat = overlay(&black, Map::new(1, 1, &[0.3]).unwrap(), None).unwrap();
        assert_eq!(flat.pixel(1, 0), over_black(0.0));
        assert!(overlay(&black, map, Some([f32::NAN, 1.0])).is_err());
        assert!(Map::new(1, 2, &[0.0, f32::NAN]).is_err());
        assert!(Map::new(2, 2, &[0.0]).is_err() && Map::new(0, 2, &[]).is_err());
    }

    #[test]
    fn the_image_shows_through_as_grey() {
        // Magma begins with (0, 0, 4).
        let white = Picture::plain(1, 1, [255; 3]);
        let laid = overlay(&white, Map::new(1, 1, &[1.0]).unwrap(), None).unwrap();
        assert_eq!(laid.pixel(0, 0), [77, 77, 79]);
        let red = Picture::plain(1, 1, [255, 0, 0]);
        let laid = overlay(&red, Map::new(1, 1, &[1.0]).unwrap(), None).unwrap();
        assert_eq!(laid.pixel(0, 0), [23, 23, 26]);
    }
}
