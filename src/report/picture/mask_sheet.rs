//! A sheet of masks: images down, epochs across.

use super::canvas::{Picture, Rgb};
use super::error::PictureError;
use super::text::{ADVANCE, LINE, width, wrap, write};

/// Pixels between cells, and around all.
const GAP: usize = 4;
const MARGIN: usize = 12;

const PAPER: Rgb = [255; 3];
const INK: Rgb = [33, 37, 41];
const FAINT: Rgb = [108, 117, 125];
/// What hidden patches are covered with, so that a trace of the image shows through.
const COVER: Rgb = [134, 142, 150];
/// The cover's share, of 255.
const COVERED: u8 = 235;

/// An image and what is hidden of it.
#[derive(Clone, Debug)]
pub struct MaskedImage {
    /// What the network sees where nothing is hidden.
    pub image: Picture,
    /// Whether each patch is hidden, row by row, epoch by epoch.
    pub hidden: Vec<Vec<bool>>,
}

/// Draws every image and its masks in several epochs, whose captions are `epochs`; `grid` has the
/// rows and columns of patches, cells are `cell` pixels a side.
///
/// # Errors
/// No images, or a mask of another number of patches.
pub fn mask_sheet(
    title: &str,
    epochs: &[String],
    images: &[MaskedImage],
    (grid, cell): ([usize; 2], usize),
) -> Result<Picture, PictureError> {
    if images.is_empty() {
        return Err(PictureError::NoRows);
    }
    // Patches begin and end at whole pixels.
    let [rows, columns] = grid;
    let side = |patches: usize| patches * cell.div_ceil(rows.max(columns).max(1));
    let [cell_height, cell_width] = [side(rows), side(columns)];
    let widest = epochs.iter().map(|caption| width(caption)).max();
    let across = cell_width.max(widest.unwrap_or(0)) + GAP;
    let top = MARGIN + 2 * LINE + GAP;
    let mut sheet = Picture::plain(
        2 * MARGIN + (epochs.len() + 1) * across - GAP,
        top + images.len() * (cell_height + GAP) - GAP + MARGIN,
        PAPER,
    );
    let fitting = (sheet.width - 2 * MARGIN) / ADVANCE;
    let title = wrap(title, fitting, 1).concat();
    write(&mut sheet, &title, MARGIN, MARGIN - GAP, INK);
    let captions = std::iter::once("image").chain(epochs.iter().map(String::as_str));
    for (at, caption) in captions.enumerate() {
        let x = MARGIN + at * across;
        write(&mut sheet, caption, x, MARGIN + LINE, FAINT);
    }
    for (row, masked) in images.iter().enumerate() {
        let y = top + row * (cell_height + GAP);
        let image = masked.image.resized(cell_width, cell_height)?;
        sheet.paste(&image, MARGIN, y);
        for (at, hidden) in masked.hidden.iter().enumerate() {
            let covered = cover(&image, hidden, grid)?;
            sheet.paste(&covered, MARGIN + (at + 1) * across, y);
        }
    }
    Ok(sheet)
}

/// The image with hidden patches covered.
fn cover(
    image: &Picture,
    hidden: &[bool],
    [rows, columns]: [usize; 2],
) -> Result<Picture, PictureError> {
    if hidden.len() != rows * columns {
        return Err(PictureError::Maps {
            values: hidden.len(),
            heads: 1,
            rows,
            columns,
        });
    }
    let mut covered = image.clone();
    let [height, width] = [image.height / rows, image.width / columns];
    for (patch, _) in hidden.iter().enumerate().filter(|(_, hidden)| **hidden) {
        let [top, left] = [patch / columns * height, patch % columns * width];
        for y in top..top + height {
            for x in left..left + width {
                covered.mix(x, y, COVER, COVERED);
            }
        }
    }
    Ok(covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_patches_are_covered_and_seen_ones_are_not() {
        let red = Picture::plain(8, 8, [255, 0, 0]);
        let masked = MaskedImage {
            image: red.clone(),
            hidden: vec![vec![false, true, false, false]],
        };
        let captions = ["epoch 1".to_owned()];
        let sheet = mask_sheet("masks", &captions, &[masked], ([2, 2], 40)).unwrap();
        let across = width("epoch 1").max(40) + GAP;
        let top = MARGIN + 2 * LINE + GAP;
        let at = |x: usize, y: usize| sheet.pixel(MARGIN + across + x, top + y);
        assert_eq!(at(5, 5), [255, 0, 0]);
        assert_eq!(at(5, 25), [255, 0, 0]);
        assert_ne!(at(25, 5), [255, 0, 0]);
        assert_eq!(sheet.pixel(MARGIN + 25, top + 5), [255, 0, 0]);
        let wrong = MaskedImage {
            image: red,
            hidden: vec![vec![false; 3]],
        };
        assert!(mask_sheet("masks", &captions, &[wrong], ([2, 2], 40)).is_err());
        assert!(mask_sheet("masks", &captions, &[], ([2, 2], 40)).is_err());
    }
}
