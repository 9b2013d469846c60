//! How an image lies in its file.

use libjpeg_turbo_rs::common::exif::parse_orientation;

use crate::data::Pixels;
use crate::data::decode::riff_chunks;

/// How the pixels of a file become the image that a viewer shows, by its EXIF tag 0x0112.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Orientation {
    /// Whether rows are columns.
    pub(super) transposed: bool,
    /// Whether left and right are exchanged, after that.
    mirrored: bool,
    /// Whether top and bottom are.
    upside_down: bool,
}

impl Orientation {
    /// What a JPEG, PNG or WebP file says, which is what OpenCV 5 heeds; nothing is turned where it
    /// says nothing.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let exif = if bytes.starts_with(b"\xff\xd8") {
            in_jpeg(bytes)
        } else if bytes.starts_with(b"\x89PNG") {
            in_png(bytes)
        } else if bytes.starts_with(b"RIFF") {
            let mut chunks = riff_chunks(bytes.get(12..).unwrap_or_default());
            let exif = chunks.find(|(name, _)| *name == b"EXIF");
            exif.map(|(_, exif)| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))
        } else {
            None
        };
        let number = exif.and_then(parse_orientation).unwrap_or(1);
        Self {
            transposed: number >= 5,
            mirrored: matches!(number, 2 | 3 | 6 | 7),
            upside_down: matches!(number, 3 | 4 | 7 | 8),
        }
    }

    /// Turns an image.
    pub(super) fn apply(self, pixels: Pixels) -> Pixels {
        match pixels.channels {
            _ if self == Self::default() => pixels,
            1 => self.turn::<1>(&pixels),
            _ => self.turn::<3>(&pixels),
        }
    }

    fn turn<const C: usize>(self, pixels: &Pixels) -> Pixels {
        let source = pixels.data.as_chunks::<C>().0;
        let (width, height) = if self.transposed {
            (pixels.height, pixels.width)
        } else {
            (pixels.width, pixels.height)
        };
        let mut data = Vec::with_capacity(pixels.data.len());
        for y in 0..height {
            let y = if self.upside_down { height - 1 - y } else { y };
            for x in 0..width {
                let x = if self.mirrored { width - 1 - x } else { x };
                let (row, column) = if self.transposed { (x, y) } else { (y, x) };
                data.extend_from_slice(&source[row * pixels.width + column]);
            }
        }
        Pixels {
            width,
            height,
            channels: C,
            data,
        }
    }
}

/// The first EXIF segment before the image data (ITU-T T.81, B.1.1; EXIF 2.3, 4.5.4).
fn in_jpeg(bytes: &[u8]) -> Option<&[u8]> {
    const APP1: u8 = 0xe1;
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = bytes.get(2..)?;
    loop {
        match *rest {
            [0xff, 0xff, ..] => rest = &rest[1..],
            [0xff, START_OF_SCAN, ..] => return None,
            [0xff, marker, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let segment = rest.get(4..2 + length)?;
                if let (APP1, Some(exif)) = (marker, segment.strip_prefix(b"Exif\0\0")) {
                    return Some(exif);
                }
                rest = rest.get(2 + length..)?;
            }
            _ => return None,
        }
    }
}

/// The chunk `eXIf` (PNG, third edition, 11.3.4.5).
fn in_png(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.get(8..)?;
    loop {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (name, tail) = tail.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let data = tail.get(..length)?;
        if name == b"eXIf" {
            return Some(data);
        }
        rest = tail.get(length + 4..)?;
    }
}
