//! Classes of pixels: as a PNG file of indices, and in colours over their images.

use std::collections::BTreeMap;

use super::canvas::{Frame, Picture, Rgb, encode};
use super::error::PictureError;
use super::text::{ADVANCE, LINE, width, wrap, write};

/// The share of a class's colour in a pixel, of 255; the image has the rest (mmsegmentation 1.2,
/// `SegLocalVisualizer`, draws 0.8; less lets the image be seen).
const COLOURED: u8 = 153;

/// The most colours of a PNG file of indices.
const INDICES: usize = 256;

/// Pixels between cells, and around all.
const GAP: usize = 4;
const MARGIN: usize = 12;
/// Side of a colour's sample in the legend.
const SAMPLE: usize = 12;
/// Characters of a class's name in the legend.
const NAME: usize = 24;
/// Classes that the legend has; of more, those of the most pixels.
const LEGEND: usize = 48;

const PAPER: Rgb = [255; 3];
const INK: Rgb = [33, 37, 41];
const FAINT: Rgb = [108, 117, 125];
/// Lines over ignored pixels, and what lies between them, mixed in by these shares of 255.
const HATCH: (Rgb, u8) = ([33, 37, 41], 150);
const BETWEEN: (Rgb, u8) = ([222, 226, 230], 150);

/// The classes of a dataset.
#[derive(Clone, Copy, Debug)]
pub struct Classes<'a> {
    /// Their names.
    pub names: &'a [String],
    /// Their colours: red, green, blue.
    pub palette: &'a [[u8; 3]],
    /// What stands in a mask where no class counts.
    pub ignored: u16,
}

/// An image, its mask and what was predicted for it.
#[derive(Clone, Debug)]
pub struct SegmentedImage<'a> {
    /// What is said above it: `best: val/3.jpg, mIoU 71.3 %`.
    pub caption: String,
    /// The image.
    pub image: &'a Picture,
    /// `[height, width]` of the image, row by row.
    pub truth: &'a [u16],
    /// `[height, width]` of the image, row by row.
    pub prediction: &'a [u16],
}

/// A PNG file of one palette index a pixel, which is its class; classes: `[height, width]`.
///
/// # Errors
/// Another number of pixels, a class without a colour or beyond the 256 of such files.
pub fn index_png(
    [width, height]: [usize; 2],
    classes: &[u16],
    palette: &[[u8; 3]],
) -> Result<Vec<u8>, PictureError> {
    check(classes, [width, height])?;
    let colours = palette.len().min(INDICES);
    let palette = &palette[..colours];
    let index = |&class: &u16| match u8::try_from(class) {
        Ok(index) if usize::from(index) < colours => Ok(index),
        _ => Err(PictureError::Colour { class, colours }),
    };
    let pixels: Vec<u8> = classes.iter().map(index).collect::<Result<_, _>>()?;
    let palette = palette.as_flattened().to_vec();
    encode(
        [width, height],
        png::ColorType::Indexed,
        Some(palette),
        &pixels,
    )
}

fn check(classes: &[u16], [width, height]: [usize; 2]) -> Result<(), PictureError> {
    match classes.is_empty() || width.checked_mul(height) != Some(classes.len()) {
        true => Err(PictureError::Classes {
            values: classes.len(),
            width,
            height,
        }),
        false => Ok(()),
    }
}

/// Draws images below each other: the image, its mask and the prediction in colours over it, in cells
/// of at most `cell` pixels a side, at least 64, and below all what the colours mean. Ignored pixels
/// of a mask are hatched.
///
/// # Errors
/// No images, a map of another size than its image, a class without a colour.
pub fn segmented_sheet(
    title: &str,
    images: &[SegmentedImage<'_>],
    classes: Classes<'_>,
    cell: usize,
) -> Result<Picture, PictureError> {
    if images.is_empty() {
        return Err(PictureError::NoRows);
    }
    let cell = cell.max(64);
    let mut rows = Vec::new();
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for segmented in images {
        rows.push(draw(segmented, classes, cell)?);
        for &class in segmented.truth.iter().chain(segmented.prediction) {
            *seen.entry(class).or_default() += 1;
        }
    }
    let column = |at: usize| MARGIN + at * (cell + GAP);
    let across = column(3) - GAP + MARGIN;
    let fitting = (across - 2 * MARGIN) / ADVANCE;
    let entries = legend(seen, classes);
    let legend_column = entries
        .iter()
        .map(|(name, _)| SAMPLE + ADVANCE + width(name) + 2 * ADVANCE)
        .max();
    let a_line = (across - 2 * MARGIN) / legend_column.unwrap_or(1).max(1);
    let a_line = a_line.max(1);
    let top = MARGIN + 2 * LINE + GAP;
    let heights = rows.iter().map(|[image, ..]| LINE + image.height + 2 * GAP);
    let bottom = top + heights.sum::<usize>() + GAP;
    let lines = entries.len().div_ceil(a_line);
    let mut sheet = Picture::plain(across, bottom + lines * LINE + MARGIN, PAPER);

    let one_line = |text: &str| wrap(text, fitting, 1).concat();
    write(&mut sheet, &one_line(title), MARGIN, MARGIN - GAP, INK);
    for (at, caption) in ["image", "truth", "prediction"].into_iter().enumerate() {
        write(&mut sheet, caption, column(at), MARGIN + LINE, FAINT);
    }
    let mut y = top;
    for (segmented, row) in images.iter().zip(&rows) {
        write(&mut sheet, &one_line(&segmented.caption), MARGIN, y, INK);
        y += LINE + GAP;
        for (at, picture) in row.iter().enumerate() {
            sheet.paste(picture, column(at) + (cell - picture.width) / 2, y);
        }
        y += row[0].height + GAP;
    }
    for (at, (name, colour)) in entries.iter().enumerate() {
        let x = MARGIN + at % a_line * legend_column.unwrap_or_default();
        let y = bottom + at / a_line * LINE;
        let frame = Frame {
            x,
            y: y + (LINE - SAMPLE) / 2,
            width: SAMPLE,
            height: SAMPLE,
        };
        match colour {
            Swatch::Colour(colour) => {
                sheet.paste(&Picture::plain(SAMPLE, SAMPLE, *colour), x, frame.y);
                sheet.outline(frame, 0, FAINT);
            }
            Swatch::Hatched => {
                let mut hatched = Picture::plain(SAMPLE, SAMPLE, PAPER);
                for y in 0..SAMPLE {
                    for x in 0..SAMPLE {
                        hatch(&mut hatched, x, y);
                    }
                }
                sheet.paste(&hatched, x, frame.y);
                sheet.outline(frame, 0, FAINT);
            }
            Swatch::None => {}
        }
        write(&mut sheet, name, x + SAMPLE + ADVANCE, y, INK);
    }
    Ok(sheet)
}

/// What stands before a name in the legend.
enum Swatch {
    Colour(Rgb),
    Hatched,
    None,
}

/// The classes that are seen, those of the most pixels first, and whether pixels are ignored.
fn legend(mut seen: BTreeMap<u16, usize>, classes: Classes<'_>) -> Vec<(String, Swatch)> {
    let ignored = seen.remove(&classes.ignored).is_some();
    let mut order: Vec<(u16, usize)> = seen.into_iter().collect();
    order.sort_by_key(|&(class, pixels)| (std::cmp::Reverse(pixels), class));
    let name = |class: u16| match classes.names.get(usize::from(class)) {
        Some(name) => wrap(name, NAME, 1).concat(),
        None => format!("class {class}"),
    };
    let shown = order.iter().take(LEGEND).filter_map(|&(class, _)| {
        let colour = classes.palette.get(usize::from(class))?;
        Some((name(class), Swatch::Colour(*colour)))
    });
    let mut entries: Vec<(String, Swatch)> = shown.collect();
    if order.len() > LEGEND {
        let more = format!("and {} more", order.len() - LEGEND);
        entries.push((more, Swatch::None));
    }
    if ignored {
        entries.push(("ignored".to_owned(), Swatch::Hatched));
    }
    entries
}

/// The image in its cell, and the mask and the prediction over it.
fn draw(
    segmented: &SegmentedImage<'_>,
    classes: Classes<'_>,
    cell: usize,
) -> Result<[Picture; 3], PictureError> {
    let SegmentedImage {
        image,
        truth,
        prediction,
        ..
    } = segmented;
    let longer = image.width.max(image.height);
    let side = |pixels: usize| ((pixels * cell + longer / 2) / longer).max(1);
    let small = image.resized(side(image.width), side(image.height))?;
    let over = |map: &[u16]| {
        check(map, [image.width, image.height])?;
        let mut coloured = small.clone();
        for y in 0..small.height {
            for x in 0..small.width {
                // The pixel under the centre: classes have no mean.
                let from = |at: usize, from: usize, to: usize| (2 * at + 1) * from / (2 * to);
                let [row, column] = [
                    from(y, image.height, small.height),
                    from(x, image.width, small.width),
                ];
                let class = map[row * image.width + column];
                if class == classes.ignored {
                    hatch(&mut coloured, x, y);
                    continue;
                }
                let colours = classes.palette.len();
                let colour = classes.palette.get(usize::from(class));
                let colour = colour.ok_or(PictureError::Colour { class, colours })?;
                coloured.mix(x, y, *colour, COLOURED);
            }
        }
        Ok::<_, PictureError>(coloured)
    };
    let (truth, prediction) = (over(truth)?, over(prediction)?);
    Ok([small, truth, prediction])
}

/// Diagonal lines, two pixels of eight.
fn hatch(picture: &mut Picture, x: usize, y: usize) {
    let (colour, share) = match (x + y) % 8 < 2 {
        true => HATCH,
        false => BETWEEN,
    };
    picture.mix(x, y, colour, share);
}

#[cfg(test)]
mod tests {
    use super::*;

    const IGNORED: u16 = u16::MAX;
    const PALETTE: [Rgb; 3] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]];

    fn names() -> Vec<String> {
        ["sky", "road", "a class of a very long name, indeed"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn a_prediction_is_its_palettes_indices() {
        let classes = [0, 1, 2, 2, 1, 0];
        let file = index_png([3, 2], &classes, &PALETTE).unwrap();
        assert_eq!(file, index_png([3, 2], &classes, &PALETTE).unwrap());
        let decoder = png::Decoder::new(std::io::Cursor::new(&file));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels[..6], [0, 1, 2, 2, 1, 0]);
        let info = reader.info();
        assert_eq!(info.color_type, png::ColorType::Indexed);
        assert_eq!(info.bit_depth, png::BitDepth::Eight);
        assert_eq!(info.palette.as_deref(), Some(PALETTE.as_flattened()));

        // An image of the same pixels in colours.
        let limits = crate::data::Limits::default();
        let rgb = crate::data::decode(&file, crate::data::Colour::Rgb, &limits).unwrap();
        assert_eq!(rgb.data[..6], [255, 0, 0, 0, 255, 0]);

        let refused = |size, classes: &[u16], palette: &[Rgb]| {
            index_png(size, classes, palette).unwrap_err().to_string()
        };
        let said = refused([2, 1], &[0, 3], &PALETTE);
        assert_eq!(said, "class 3 has no colour: there are 3");
        assert!(refused([2, 1], &[0, IGNORED], &PALETTE).contains("65535"));
        assert!(refused([2, 1], &[0, 256], &[[7; 3]; 300]).contains("there are 256"));
        assert!(refused([2, 2], &[0, 1], &PALETTE).contains("2 x 2"));
        assert!(refused([0, 0], &[], &PALETTE).contains("0 x 0"));
    }

    #[test]
    fn classes_lie_over_their_image_and_ignored_pixels_are_hatched() {
        let grey = Picture::plain(64, 32, [100; 3]);
        let half = |left: u16, right: u16| -> Vec<u16> {
            let pixel = |at: usize| if at % 64 < 32 { left } else { right };
            (0..64 * 32).map(pixel).collect()
        };
        let (truth, prediction) = (half(0, IGNORED), half(1, 2));
        let names = names();
        let classes = Classes {
            names: &names,
            palette: &PALETTE,
            ignored: IGNORED,
        };
        let row = |truth| SegmentedImage {
            caption: "best: a.png, mIoU 50.0 %".to_owned(),
            image: &grey,
            truth,
            prediction: &prediction,
        };
        let sheet = segmented_sheet("upernet", &[row(&truth), row(&truth)], classes, 64).unwrap();
        let top = 12 + 2 * 16 + 4 + 16 + 4;
        let at = |column: usize, x: usize, y: usize| sheet.pixel(12 + column * 68 + x, top + y);
        assert_eq!(at(0, 0, 0), [100; 3]);
        // 60 % of the colour.
        assert_eq!([at(1, 0, 0), at(1, 31, 31)], [[193, 40, 40]; 2]);
        assert_eq!(at(2, 31, 0), [40, 193, 40]);
        assert_eq!(at(2, 32, 31), [40, 40, 193]);
        assert!(at(1, 32, 0) != at(1, 36, 0) && at(1, 32, 0) == at(1, 40, 0));
        assert_eq!(at(0, 0, 31 + 4 + 16 + 5), [100; 3]);

        let message = |images: &[SegmentedImage<'_>], palette| {
            let classes = Classes { palette, ..classes };
            let refused = segmented_sheet("a", images, classes, 64).unwrap_err();
            refused.to_string()
        };
        assert!(message(&[], &PALETTE).contains("at least one"));
        assert!(message(&[row(&truth[1..])], &PALETTE).contains("64 x 32"));
        assert!(message(&[row(&truth)], &PALETTE[..2]).contains("class 2"));
    }
}
