//! A PNG file's samples as they are stored, before anything is made of them.

use std::io::{self, Cursor};

use png::{BitDepth, ColorType, Transformations};

use super::{ImageError, ImageFormat, Limits};

/// Memory that the decoder may use besides the image, in bytes.
const MEMORY: usize = 64 << 20;

/// What a PNG file holds.
pub(super) struct PngSamples {
    /// Width in pixels.
    pub(super) width: usize,
    /// Height in pixels.
    pub(super) height: usize,
    /// What a sample means.
    pub(super) color_type: ColorType,
    /// Bits a sample.
    pub(super) bit_depth: BitDepth,
    /// Red, green and blue of each entry.
    pub(super) palette: Vec<u8>,
    /// Rows from top to bottom, each of whole bytes, samples of 16 bits high byte first.
    pub(super) raw: Vec<u8>,
    /// Bytes of a row.
    stride: usize,
}

impl PngSamples {
    /// Reads a PNG file; the dimensions are checked before anything is allocated.
    pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Self, ImageError> {
        let mut options = png::DecodeOptions::default();
        options.set_ignore_adler32(false);
        options.set_ignore_text_chunk(true);
        options.set_ignore_iccp_chunk(true);
        let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
        decoder.set_limits(png::Limits { bytes: MEMORY });
        decoder.set_transformations(Transformations::IDENTITY);
        let header = decoder.read_header_info().map_err(png_error)?;
        let (width, height) = (header.width as usize, header.height as usize);
        limits.check(width, height)?;
        let mut reader = decoder.read_info().map_err(png_error)?;
        let size = reader.output_buffer_size().ok_or(ImageError::TooLarge {
            width,
            height,
            max_pixels: limits.max_pixels,
        })?;
        let mut raw = vec![0; size];
        let frame = reader.next_frame(&mut raw).map_err(png_error)?;
        if (frame.width as usize, frame.height as usize) != (width, height) {
            return Err(ImageError::Corrupt {
                format: ImageFormat::Png,
                reason: "the first frame does not cover the image".into(),
            });
        }
        Ok(Self {
            width,
            height,
            color_type: frame.color_type,
            bit_depth: frame.bit_depth,
            palette: reader.info().palette.as_deref().unwrap_or_default().into(),
            raw,
            stride: frame.line_size,
        })
    }

    /// Samples packed at 1, 2, 4 or 8 bits, high bits first, of files with one a pixel.
    pub(super) fn packed(&self) -> impl Iterator<Item = u8> {
        let bits = self.bit_depth as usize;
        let mask = ((1u16 << bits) - 1) as u8;
        let width = self.width;
        self.raw.chunks_exact(self.stride).flat_map(move |row| {
            (0..width).map(move |x| (row[x * bits / 8] >> (8 - bits - x * bits % 8)) & mask)
        })
    }
}

fn png_error(error: png::DecodingError) -> ImageError {
    let format = ImageFormat::Png;
    match error {
        png::DecodingError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated(format)
        }
        other => ImageError::Corrupt {
            format,
            reason: other.to_string(),
        },
    }
}
