//! Netpbm's binary images of 8 bits: grey (PGM, `P5`) and colour (PPM, `P6`).
//!
//! The header is read as Pillow reads it (`src/PIL/PpmImagePlugin.py`): a number ends at a blank, a
//! comment may stand anywhere in it, and what follows the pixels is ignored.

use super::decode::{Colour, Limits, Pixels, from_grey, from_rgb};
use super::{ImageError, ImageFormat};

/// What separates the numbers of a header (`b_whitespace` of Pillow's `PpmImagePlugin.py`).
pub(super) const BLANKS: &[u8] = b" \t\n\x0b\x0c\r";

/// Most digits of a number (`_read_token` of Pillow's `PpmImagePlugin.py`).
const MAX_DIGITS: usize = 10;

/// The only largest value whose samples are pixels as they are.
const MAX_VALUE: u64 = 255;

/// Decodes a PGM or PPM file.
pub(super) fn decode_pnm(
    bytes: &[u8],
    colour: Colour,
    limits: &Limits,
) -> Result<Pixels, ImageError> {
    let (magic, mut rest) = bytes
        .split_at_checked(3)
        .ok_or(ImageError::Truncated(ImageFormat::Pnm))?;
    let channels = match magic {
        [b'P', b'5', _] => 1,
        [b'P', b'6', _] => 3,
        [_, kind, ..] => return Err(unsupported(format!("P{}", char::from(*kind)))),
        _ => return Err(corrupt("it has no header")),
    };
    let size = [number(&mut rest)?, number(&mut rest)?];
    let (Ok(width), Ok(height)) = (usize::try_from(size[0]), usize::try_from(size[1])) else {
        return Err(corrupt("its size is no number of pixels"));
    };
    let most = number(&mut rest)?;
    if !(1..=u64::from(u16::MAX)).contains(&most) {
        return Err(corrupt(&format!("its largest value is {most}")));
    }
    if most != MAX_VALUE {
        return Err(unsupported(format!("values up to {most}")));
    }
    if width == 0 || height == 0 {
        return Err(corrupt("it has no pixels"));
    }
    limits.check(width, height)?;
    let samples = rest
        .get(..width * height * channels)
        .ok_or(ImageError::Truncated(ImageFormat::Pnm))?;
    Ok(match channels {
        1 => from_grey(colour, width, height, samples.iter().copied()),
        _ => from_rgb(colour, width, height, samples.as_chunks().0.iter().copied()),
    })
}

/// Takes a number and the blank behind it off a header.
fn number(header: &mut &[u8]) -> Result<u64, ImageError> {
    let mut digits = 0;
    let mut value = 0;
    while let [byte, rest @ ..] = *header {
        *header = rest;
        match byte {
            b'#' => {
                let end = rest.iter().position(|byte| b"\r\n".contains(byte));
                *header = end.map_or(&[], |end| rest.split_at(end + 1).1);
            }
            blank if BLANKS.contains(blank) => {
                if digits > 0 {
                    return Ok(value);
                }
            }
            b'0'..=b'9' if digits < MAX_DIGITS => {
                digits += 1;
                value = 10 * value + u64::from(byte - b'0');
            }
            _ => return Err(corrupt("its header holds something else than numbers")),
        }
    }
    Err(ImageError::Truncated(ImageFormat::Pnm))
}

fn corrupt(reason: &str) -> ImageError {
    ImageError::Corrupt {
        format: ImageFormat::Pnm,
        reason: reason.into(),
    }
}

fn unsupported(what: String) -> ImageError {
    ImageError::UnsupportedVariant {
        format: ImageFormat::Pnm,
        detail: format!("{what}; P5 and P6 with values up to {MAX_VALUE} are read"),
    }
}
