//! From the bytes of a JPEG, PNG, WebP, PGM or PPM file to 8-bit pixels.
//!
//! The result is what Pillow 13 gives for `Image.open(file).convert("RGB")` or `.convert("L")`: the
//! EXIF orientation is ignored, alpha is dropped rather than composited, colour profiles are not
//! applied, and of an animation the first frame is taken.
//!
//! Where Pillow is laxer, damage is an error here: a JPEG must run to its end-of-image marker (Pillow
//! accepts a baseline file whose end is missing but replaced by other bytes), a progressive JPEG may
//! hold no invalid Huffman code, the checksums of a PNG's pixel data must hold, a palette image must have
//! a palette, and a WebP frame may not leave its canvas.

use std::io::{self, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::png_samples::PngSamples;
use super::pnm::{BLANKS, decode_pnm};
use crate::data::{ImageError, ImageFormat};

/// The colour model to decode to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Red, green and blue.
    Rgb,
    /// ITU-R BT.601 luma, as Pillow's mode `L`.
    Grey,
}

impl Colour {
    fn channels(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }
}

/// What a decoder may spend on one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels (width x height) that are decoded.
    pub max_pixels: u64,
}

impl Default for Limits {
    /// The size at which Pillow raises `DecompressionBombError`: twice `Image.MAX_IMAGE_PIXELS`.
    fn default() -> Self {
        Self {
            max_pixels: 2 * 89_478_485,
        }
    }
}

impl Limits {
    pub(super) fn check(&self, width: usize, height: usize) -> Result<(), ImageError> {
        if (width as u128) * (height as u128) > u128::from(self.max_pixels) {
            return Err(ImageError::TooLarge {
                width,
                height,
                max_pixels: self.max_pixels,
            });
        }
        Ok(())
    }
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[height, width, channels]`, rows from top to bottom.
    pub data: Vec<u8>,
}

/// Most scans of a progressive JPEG: far above any encoder's script, low enough that a small file
/// cannot ask for hours of work (libjpeg-turbo's fuzzers stop at the same number).
const MAX_JPEG_SCANS: usize = 500;

/// Decodes a JPEG, PNG, WebP, PGM or PPM file, recognised by its first bytes whatever its name.
///
/// The dimensions are checked against `limits` before any pixel is allocated. Baseline and progressive
/// JPEG (grey, YCbCr, RGB, CMYK, YCCK), PNG (every colour type and depth, interlaced or not), WebP
/// (lossy, lossless, alpha, animated) and binary PGM and PPM of 8 bits equal Pillow's bytes exactly in every file compared
/// (`tests/goldens/images`). Arithmetic and lossless JPEG are decoded, but were not compared.
///
/// # Errors
/// [`ImageError`] when the format is unknown or unsupported, the image is larger than `limits` allow,
/// or its data is truncated or corrupt.
pub fn decode(bytes: &[u8], colour: Colour, limits: &Limits) -> Result<Pixels, ImageError> {
    let format = identify(bytes)?;
    let decode = match format {
        ImageFormat::Jpeg => decode_jpeg,
        ImageFormat::Png => decode_png,
        ImageFormat::WebP => decode_webp,
        ImageFormat::Pnm => decode_pnm,
        other => return Err(ImageError::UnsupportedFormat(other)),
    };
    // The decoders are meant not to panic, but fuzzing has made one index out of bounds. One bad file
    // must not end a run: they share no state with anything, so a panic is an error of its file.
    catch_unwind(AssertUnwindSafe(|| decode(bytes, colour, limits))).unwrap_or_else(|_| {
        Err(ImageError::Corrupt {
            format,
            reason: "the decoder could not make sense of it".into(),
        })
    })
}

/// Names the format of a file by its first bytes.
fn identify(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    use ImageFormat::{Bmp, Gif, Heif, Ico, Jpeg, Jpeg2000, JpegXl, Png, Pnm, Psd, Tiff, WebP};
    const PREFIXES: &[(&[u8], ImageFormat)] = &[
        (b"\xff\xd8\xff", Jpeg),
        (b"\x89PNG\r\n\x1a\n", Png),
        (b"GIF87a", Gif),
        (b"GIF89a", Gif),
        (b"BM", Bmp),
        (b"II*\0", Tiff),
        (b"MM\0*", Tiff),
        (b"II+\0", Tiff),
        (b"MM\0+", Tiff),
        (b"\0\0\x01\0", Ico),
        (b"\0\0\x02\0", Ico),
        (b"8BPS", Psd),
        (b"\0\0\0\x0cjP  \r\n\x87\n", Jpeg2000),
        (b"\xff\x4f\xff\x51", Jpeg2000),
        (b"\0\0\0\x0cJXL \r\n\x87\n", JpegXl),
        (b"\xff\x0a", JpegXl),
    ];
    if bytes.is_empty() {
        return Err(ImageError::Empty);
    }
    if let Some((_, format)) = PREFIXES
        .iter()
        .find(|(prefix, _)| bytes.starts_with(prefix))
    {
        return Ok(*format);
    }
    match bytes {
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Ok(WebP),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => Ok(Heif),
        [b'P', b'1'..=b'7', white, ..] if BLANKS.contains(white) => Ok(Pnm),
        _ => Err(ImageError::NotAnImage {
            start: bytes
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect::<Vec<_>>()
                .join(" "),
        }),
    }
}

/// `L24` of Pillow's `src/libImaging/Convert.c`: ITU-R BT.601 luma in 16-bit fixed point, rounded.
#[inline]
fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// Collects RGB pixels in the wanted colour model.
pub(super) fn from_rgb(
    colour: Colour,
    width: usize,
    height: usize,
    pixels: impl Iterator<Item = [u8; 3]>,
) -> Pixels {
    let channels = colour.channels();
    let mut data = Vec::with_capacity(width * height * channels);
    match colour {
        Colour::Rgb => pixels.for_each(|pixel| data.extend_from_slice(&pixel)),
        Colour::Grey => data.extend(pixels.map(luma)),
    }
    Pixels {
        width,
        height,
        channels,
        data,
    }
}

/// Collects grey pixels in the wanted colour model. (Luma maps equal components to themselves, so
/// grey needs no detour through RGB.)
pub(super) fn from_grey(
    colour: Colour,
    width: usize,
    height: usize,
    pixels: impl Iterator<Item = u8>,
) -> Pixels {
    let channels = colour.channels();
    let mut data = Vec::with_capacity(width * height * channels);
    match colour {
        Colour::Rgb => pixels.for_each(|grey| data.extend_from_slice(&[grey; 3])),
        Colour::Grey => data.extend(pixels),
    }
    Pixels {
        width,
        height,
        channels,
        data,
    }
}

/// Decodes JPEG as libjpeg-turbo does by default: accurate integer DCT, triangle-filter ("fancy")
/// chroma upsampling, block smoothing of unfinished progressive images, and damaged entropy data
/// patched over rather than refused, as long as the file reaches its end-of-image marker.
fn decode_jpeg(bytes: &[u8], colour: Colour, limits: &Limits) -> Result<Pixels, ImageError> {
    use libjpeg_turbo_rs::common::types::ComponentInfo;
    use libjpeg_turbo_rs::{DecodeLimits, DecodeWarning, Decoder, PixelFormat};

    let decode_limits = DecodeLimits {
        max_pixels: limits.max_pixels,
        max_scans: MAX_JPEG_SCANS,
        ..DecodeLimits::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, decode_limits).map_err(jpeg_error)?;
    let header = decoder.header();
    let (width, height) = (header.width(), header.height());
    let components = header.components.len();
    limits.check(width, height)?;
    let unsupported = |detail| ImageError::UnsupportedVariant {
        format: ImageFormat::Jpeg,
        detail,
    };
    if header.precision != 8 {
        return Err(unsupported(format!("{} bits a sample", header.precision)));
    }
    let format = match components {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        4 => PixelFormat::Cmyk,
        other => return Err(unsupported(format!("{other} colour components"))),
    };
    let sampling = |c: &ComponentInfo| (c.horizontal_sampling, c.vertical_sampling);
    if let [first, rest @ ..] = header.components.as_slice()
        && rest.len() == 3
        && rest.iter().any(|c| {
            let ((h, v), (first_h, first_v)) = (sampling(c), sampling(first));
            h > first_h || v > first_v
        })
    {
        // libjpeg-turbo-rs 0.9.0 leaves these planes empty and then indexes them.
        return Err(unsupported("cyan sampled below another ink".into()));
    }
    if !reaches_end_of_image(bytes) {
        return Err(ImageError::Truncated(ImageFormat::Jpeg));
    }
    decoder.set_output_format(format);
    decoder.set_block_smoothing(true);
    decoder.set_lenient(true);
    let image = decoder.decode_image().map_err(jpeg_error)?;
    // The lenient decoder fills what it cannot upsample with grey; libjpeg can, so that is no match.
    if let Some(DecodeWarning::UnsupportedRecovered { detail }) = image
        .warnings
        .iter()
        .find(|warning| matches!(warning, DecodeWarning::UnsupportedRecovered { .. }))
    {
        return Err(unsupported(detail.clone()));
    }
    let data = image.data;
    if data.len() != width * height * components {
        return Err(ImageError::Truncated(ImageFormat::Jpeg));
    }
    Ok(match (components, colour) {
        (1, Colour::Grey) | (3, Colour::Rgb) => Pixels {
            width,
            height,
            channels: components,
            data,
        },
        (1, Colour::Rgb) => from_grey(colour, width, height, data.into_iter()),
        (3, Colour::Grey) => {
            let pixels = data.as_chunks().0.iter().copied();
            from_rgb(colour, width, height, pixels)
        }
        _ => {
            let pixels = data.as_chunks().0.iter().copied().map(cmyk_to_rgb);
            from_rgb(colour, width, height, pixels)
        }
    })
}

/// Stored CMYK to RGB. Pillow takes every four-component JPEG for inverted (rawmode `CMYK;I`,
/// `src/PIL/JpegImagePlugin.py`) and converts without a profile (`cmyk2rgb`,
/// `src/libImaging/Convert.c`); with the inversion undone, `key` is the paper left white.
fn cmyk_to_rgb([c, m, y, key]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|light| {
        let product = u32::from(255 - light) * u32::from(key) + 128;
        let ink = ((product >> 8) + product) >> 8;
        key.saturating_sub(ink as u8)
    })
}

/// Whether the markers of a JPEG run to an end-of-image marker (ITU-T T.81, B.1.1).
///
/// Without one libjpeg asks its source for more data, and Pillow reports a truncated file.
fn reaches_end_of_image(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some(at) = rest.iter().position(|&byte| byte == 0xff) {
        rest = &rest[at + 1..];
        match *rest {
            [END_OF_IMAGE, ..] => return true,
            // A stuffed zero, a fill byte, or a marker without a segment.
            [0x00 | 0x01 | 0xd0..=0xd8 | 0xff, ..] => {}
            [_, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(1 + length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    false
}

fn jpeg_error(error: libjpeg_turbo_rs::JpegError) -> ImageError {
    use libjpeg_turbo_rs::JpegError;
    let format = ImageFormat::Jpeg;
    match error {
        JpegError::UnexpectedEof => ImageError::Truncated(format),
        JpegError::Unsupported(detail) => ImageError::UnsupportedVariant { format, detail },
        other => ImageError::Corrupt {
            format,
            reason: other.to_string(),
        },
    }
}

/// Decodes PNG as Pillow reads it: 16-bit colour keeps its high byte, but 16-bit grey (mode `I;16`) is
/// clipped at 255; a palette index without an entry is black; transparency is ignored.
fn decode_png(bytes: &[u8], colour: Colour, limits: &Limits) -> Result<Pixels, ImageError> {
    use png::{BitDepth, ColorType};

    let png = PngSamples::read(bytes, limits)?;
    let (width, height, raw) = (png.width, png.height, &png.raw);
    let rgb = |pixels: &mut dyn Iterator<Item = [u8; 3]>| from_rgb(colour, width, height, pixels);
    let grey = |pixels: &mut dyn Iterator<Item = u8>| from_grey(colour, width, height, pixels);
    Ok(match (png.color_type, png.bit_depth) {
        (ColorType::Rgb, BitDepth::Eight) if colour == Colour::Rgb => Pixels {
            width,
            height,
            channels: 3,
            data: png.raw,
        },
        (ColorType::Rgb, BitDepth::Eight) => rgb(&mut raw.as_chunks().0.iter().copied()),
        (ColorType::Rgb, _) => {
            let pixels = raw.as_chunks().0.iter();
            rgb(&mut pixels.map(|&[r, _, g, _, b, _]| [r, g, b]))
        }
        (ColorType::Rgba, BitDepth::Eight) => {
            rgb(&mut raw.as_chunks().0.iter().map(|&[r, g, b, _]| [r, g, b]))
        }
        (ColorType::Rgba, _) => {
            let pixels = raw.as_chunks().0.iter();
            rgb(&mut pixels.map(|&[r, _, g, _, b, _, _, _]| [r, g, b]))
        }
        (ColorType::GrayscaleAlpha, BitDepth::Eight) => {
            grey(&mut raw.as_chunks().0.iter().map(|&[grey, _]| grey))
        }
        (ColorType::GrayscaleAlpha, _) => {
            grey(&mut raw.as_chunks().0.iter().map(|&[grey, _, _, _]| grey))
        }
        (ColorType::Grayscale, BitDepth::Sixteen) => {
            let values = raw
                .as_chunks()
                .0
                .iter()
                .map(|&pair| u16::from_be_bytes(pair));
            grey(&mut values.map(|value| value.min(255) as u8))
        }
        (ColorType::Grayscale, depth) => {
            let white = 255 / ((1u16 << depth as u8) - 1) as u8;
            grey(&mut png.packed().map(|sample| sample * white))
        }
        (ColorType::Indexed, _) => {
            let mut palette = [[0; 3]; 256];
            for (slot, entry) in palette.iter_mut().zip(png.palette.as_chunks().0) {
                *slot = *entry;
            }
            rgb(&mut png.packed().map(|index| palette[usize::from(index)]))
        }
    })
}

/// Decodes WebP, the first frame of an animation on a black canvas.
fn decode_webp(bytes: &[u8], colour: Colour, limits: &Limits) -> Result<Pixels, ImageError> {
    match first_frame(bytes)? {
        None => decode_still_webp(bytes, colour, limits),
        Some(frame) => {
            limits.check(frame.canvas.0, frame.canvas.1)?;
            let pixels = decode_still_webp(&frame.file, colour, limits)?;
            frame.place(&pixels)
        }
    }
}

fn decode_still_webp(bytes: &[u8], colour: Colour, limits: &Limits) -> Result<Pixels, ImageError> {
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(bytes)).map_err(webp_error)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    limits.check(width, height)?;
    decoder.set_memory_limit(bytes.len());
    let size = decoder.output_buffer_size().ok_or(ImageError::TooLarge {
        width,
        height,
        max_pixels: limits.max_pixels,
    })?;
    let mut data = vec![0; size];
    decoder.read_image(&mut data).map_err(webp_error)?;
    Ok(match (decoder.has_alpha(), colour) {
        (false, Colour::Rgb) => Pixels {
            width,
            height,
            channels: 3,
            data,
        },
        (false, Colour::Grey) => {
            from_rgb(colour, width, height, data.as_chunks().0.iter().copied())
        }
        (true, _) => {
            let pixels = data.as_chunks().0.iter().map(|&[r, g, b, _]| [r, g, b]);
            from_rgb(colour, width, height, pixels)
        }
    })
}

/// The first frame of an animated WebP, as a still image to be placed on its canvas.
struct FirstFrame {
    /// Width and height of the animation.
    canvas: (usize, usize),
    /// Left and top of the frame.
    offset: (usize, usize),
    /// Width and height of the frame.
    size: (usize, usize),
    /// The frame as a WebP file.
    file: Vec<u8>,
}

impl FirstFrame {
    /// Puts the decoded frame on a black canvas, which is what libwebp's transparent one becomes when
    /// alpha is dropped (`WebPAnimDecoderGetNext`, libwebp `src/demux/anim_decode.c`).
    fn place(&self, pixels: &Pixels) -> Result<Pixels, ImageError> {
        let (left, top) = self.offset;
        let (width, height) = self.size;
        if (pixels.width, pixels.height) != self.size
            || left + width > self.canvas.0
            || top + height > self.canvas.1
        {
            return Err(corrupt_webp("the first frame does not fit its canvas"));
        }
        let channels = pixels.channels;
        let mut data = vec![0; self.canvas.0 * self.canvas.1 * channels];
        let rows = data.chunks_exact_mut(self.canvas.0 * channels).skip(top);
        for (to, from) in rows.zip(pixels.data.chunks_exact(width * channels)) {
            to[left * channels..(left + width) * channels].copy_from_slice(from);
        }
        Ok(Pixels {
            width: self.canvas.0,
            height: self.canvas.1,
            channels,
            data,
        })
    }
}

/// Finds the first frame of an animated WebP; a still image has none. (RFC 9649, section 2.7.)
fn first_frame(bytes: &[u8]) -> Result<Option<FirstFrame>, ImageError> {
    const ANIMATED: u8 = 0x02;
    const ALPHA: u8 = 0x10;
    let mut chunks = riff_chunks(bytes.get(12..).unwrap_or_default());
    let canvas = match chunks.next() {
        Some((b"VP8X", [flags, _, _, _, size @ ..])) if flags & ANIMATED != 0 => {
            let (width, height) = size
                .split_first_chunk()
                .zip(size.get(3..).and_then(<[u8]>::first_chunk))
                .map(|((width, _), height)| (u24(*width) + 1, u24(*height) + 1))
                .ok_or(ImageError::Truncated(ImageFormat::WebP))?;
            (width, height)
        }
        _ => return Ok(None),
    };
    let (_, frame) = chunks
        .find(|(name, _)| *name == b"ANMF")
        .ok_or_else(|| corrupt_webp("an animation without frames"))?;
    let (&[x0, x1, x2, y0, y1, y2, w0, w1, w2, h0, h1, h2, _, _, _, _], inner) = frame
        .split_first_chunk()
        .ok_or(ImageError::Truncated(ImageFormat::WebP))?;
    let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
    let mut push = |name: &[u8; 4], data: &[u8]| {
        file.extend_from_slice(name);
        file.extend_from_slice(&(data.len() as u32).to_le_bytes());
        file.extend_from_slice(data);
        file.resize(file.len().next_multiple_of(2), 0);
    };
    for (name, data) in riff_chunks(inner) {
        match name {
            b"ALPH" => {
                push(b"VP8X", &[ALPHA, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
                push(name, data);
            }
            b"VP8 " | b"VP8L" => {
                push(name, data);
                break;
            }
            _ => {}
        }
    }
    let length = (file.len() - 8) as u32;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(Some(FirstFrame {
        canvas,
        offset: (2 * u24([x0, x1, x2]), 2 * u24([y0, y1, y2])),
        size: (u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1),
        file,
    }))
}

fn u24([low, middle, high]: [u8; 3]) -> usize {
    usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16
}

/// The chunks of a RIFF body: name and payload, up to the first that is cut short.
pub(super) fn riff_chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, tail) = rest.split_first_chunk::<4>()?;
        let (length, tail) = tail.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let payload = tail.get(..length)?;
        rest = tail.get(length.next_multiple_of(2)..).unwrap_or_default();
        Some((name, payload))
    })
}

fn corrupt_webp(reason: &str) -> ImageError {
    ImageError::Corrupt {
        format: ImageFormat::WebP,
        reason: reason.into(),
    }
}

fn webp_error(error: image_webp::DecodingError) -> ImageError {
    match error {
        image_webp::DecodingError::IoError(error)
            if error.kind() == io::ErrorKind::UnexpectedEof =>
        {
            ImageError::Truncated(ImageFormat::WebP)
        }
        other => corrupt_webp(&other.to_string()),
    }
}
