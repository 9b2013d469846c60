//! An RGB picture in memory.

use super::error::PictureError;
use crate::data::{Interpolation, Limits, Pixels, Resizer, Window};

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// An 8-bit RGB picture of at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[height, width, 3]`.
    rgb: Vec<u8>,
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl Picture {
    /// rgb: `[height, width, 3]`.
    ///
    /// # Errors
    /// `Pixels` when there are none, or another number of bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self, PictureError> {
        let bytes = rgb.len();
        let wanted = width
            .checked_mul(height)
            .and_then(|pixels| pixels.checked_mul(3));
        if bytes == 0 || wanted != Some(bytes) {
            return Err(PictureError::Pixels {
                bytes,
                width,
                height,
            });
        }
        Ok(Self { width, height, rgb })
    }

    /// A picture of one colour.
    pub(super) fn plain(width: usize, height: usize, colour: Rgb) -> Self {
        Self {
            width,
            height,
            rgb: colour.repeat(width * height),
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Red, green and blue at column `x` and row `y`, both inside.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.rgb.as_chunks().0[y * self.width + x]
    }

    pub(super) fn pixels_mut(&mut self) -> &mut [Rgb] {
        self.rgb.as_chunks_mut().0
    }

    /// The picture in another size, antialiased.
    ///
    /// # Errors
    /// A size that a picture cannot have.
    pub fn resized(&self, width: usize, height: usize) -> Result<Self, PictureError> {
        let window = |size| Window {
            size,
            start: 0,
            len: size,
        };
        let pixels = Pixels {
            width: self.width,
            height: self.height,
            channels: 3,
            data: self.rgb.clone(),
        };
        let mut resizer = Resizer::new();
        let rgb = resizer.resize(
            &pixels,
            Interpolation::Bicubic,
            window(width),
            window(height),
            &Limits::default(),
        )?;
        Self::new(width, height, rgb.to_vec())
    }

    /// Lays `picture` with its corner at `x`, `y`; what does not fit is cut off.
    pub(super) fn paste(&mut self, picture: &Self, x: usize, y: usize) {
        let across = picture.width.min(self.width.saturating_sub(x));
        let down = picture.height.min(self.height.saturating_sub(y));
        for row in 0..down {
            let from = row * picture.width * 3;
            let to = ((y + row) * self.width + x) * 3;
            self.rgb[to..to + across * 3].copy_from_slice(&picture.rgb[from..from + across * 3]);
        }
    }

    /// Draws the border of `frame`, one pixel wide and `away` pixels outside of it; what does not
    /// fit is left out.
    pub(super) fn outline(&mut self, frame: Frame, away: usize, colour: Rgb) {
        let Frame {
            x,
            y,
            width,
            height,
        } = frame;
        let ends = |start: usize, len: usize| (start.checked_sub(away), start + len - 1 + away);
        let (left, right) = ends(x, width);
        let (top, bottom) = ends(y, height);
        for x in left.unwrap_or(0)..=right {
            for y in top.into_iter().chain([bottom]) {
                self.set(x, y, colour);
            }
        }
        for y in top.unwrap_or(0)..=bottom {
            for x in left.into_iter().chain([right]) {
                self.set(x, y, colour);
            }
        }
    }

    /// Colours a pixel, if there is one.
    fn set(&mut self, x: usize, y: usize, colour: Rgb) {
        if x < self.width && y < self.height {
            let at = y * self.width + x;
            self.pixels_mut()[at] = colour;
        }
    }

    /// Mixes `colour` into a pixel, if there is one; all of it where `share` is 255.
    pub(super) fn mix(&mut self, x: usize, y: usize, colour: Rgb, share: u8) {
        if x < self.width && y < self.height {
            let under = self.pixel(x, y);
            let mixed = |c: usize| {
                let (above, below) = (u32::from(colour[c]), u32::from(under[c]));
                let share = u32::from(share);
                ((above * share + below * (255 - share) + 127) / 255) as u8
            };
            self.set(x, y, [mixed(0), mixed(1), mixed(2)]);
        }
    }

    /// The picture as a PNG file, the same bytes every time.
    ///
    /// # Errors
    /// `Png` when the picture is larger than the format allows.
    pub fn png(&self) -> Result<Vec<u8>, PictureError> {
        let size = [self.width, self.height];
        encode(size, png::ColorType::Rgb, None, &self.rgb)
    }
}

/// A PNG file of 8 bits a channel, the same bytes every time; palette: red, green and blue of each
/// index, where the pixels are such.
pub(super) fn encode(
    [width, height]: [usize; 2],
    colour: png::ColorType,
    palette: Option<Vec<u8>>,
    pixels: &[u8],
) -> Result<Vec<u8>, PictureError> {
    let failed = |source| PictureError::Png {
        width,
        height,
        source,
    };
    let side = |pixels: usize| {
        u32::try_from(pixels).map_err(|_| failed(png::EncodingError::LimitsExceeded))
    };
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side(width)?, side(height)?);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    if let Some(palette) = palette {
        encoder.set_palette(palette);
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_bytes_of_its_size() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_ok());
        for (width, height, bytes) in [(2, 1, 5), (0, 0, 0), (usize::MAX, 2, 6)] {
            assert!(Picture::new(width, height, vec![0; bytes]).is_err());
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut picture = Picture::plain(4, 3, [0; 3]);
        picture.paste(&Picture::plain(3, 3, [9; 3]), 2, 1);
        let lit = |picture: &Picture| -> Vec<_> {
            let rows = picture.rgb().chunks_exact(12);
            rows.map(|row| (0..4).map(|x| row[3 * x] / 9).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!(lit(&picture), [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]);
        picture.paste(&Picture::plain(1, 1, [9; 3]), 7, 7);

        let mut picture = Picture::plain(4, 3, [0; 3]);
        let frame = |x, y| Frame {
            x,
            y,
            width: 2,
            height: 1,
        };
        picture.outline(frame(0, 1), 1, [9; 3]);
        assert_eq!(lit(&picture), [[1, 1, 1, 0], [0, 0, 1, 0], [1, 1, 1, 0]]);
        picture.outline(frame(2, 1), 0, [18; 3]);
        assert_eq!(lit(&picture), [[1, 1, 1, 0], [0, 0, 2, 2], [1, 1, 1, 0]]);
    }

    #[test]
    fn a_png_decodes_to_its_pixels() {
        let rgb: Vec<u8> = (0..5 * 7 * 3).map(|i| (i * i % 251) as u8).collect();
        let picture = Picture::new(5, 7, rgb).unwrap();
        let file = picture.png().unwrap();
        assert_eq!(file, picture.png().unwrap());
        let decoded = crate::data::decode(&file, crate::data::Colour::Rgb, &Limits::default());
        let decoded = decoded.unwrap();
        assert_eq!((decoded.width, decoded.height), (5, 7));
        assert_eq!(decoded.data, picture.rgb());
    }
}
