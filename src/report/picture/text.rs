//! Words in pictures: Noto Sans Mono (SIL Open Font Licence), as the crate noto-sans-mono-bitmap has
//! it.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use super::canvas::{Picture, Rgb};

/// Height of a line in pixels.
pub(super) const LINE: usize = RasterHeight::Size16.val();

/// Width of a character in pixels.
pub(super) const ADVANCE: usize = get_raster_width(FontWeight::Regular, RasterHeight::Size16);

/// Width of `text` in pixels.
pub(super) fn width(text: &str) -> usize {
    text.chars().count() * ADVANCE
}

/// Writes a line with its upper left corner at `x`, `y`; what is not ASCII becomes a question mark.
pub(super) fn write(picture: &mut Picture, text: &str, x: usize, y: usize, colour: Rgb) {
    for (place, letter) in text.chars().enumerate() {
        let glyph = |letter| get_raster(letter, FontWeight::Regular, RasterHeight::Size16);
        let Some(glyph) = glyph(letter).or_else(|| glyph('?')) else {
            continue;
        };
        for (down, row) in glyph.rows().enumerate() {
            for (across, &coverage) in row.iter().enumerate() {
                picture.mix(x + place * ADVANCE + across, y + down, colour, coverage);
            }
        }
    }
}

/// `text` in at most `lines` lines of at most `columns` characters, both at least 4: broken behind
/// the last of ` -_/.` that fits, else anywhere; what is left over ends in dots.
pub(super) fn wrap(text: &str, columns: usize, lines: usize) -> Vec<String> {
    let mut rest: Vec<char> = text.chars().collect();
    let mut wrapped = Vec::new();
    while rest.len() > columns && wrapped.len() + 1 < lines {
        let breaks = |c: &char| matches!(c, ' ' | '-' | '_' | '/' | '.');
        let end = rest[..columns].iter().rposition(breaks);
        let line: String = rest.drain(..end.map_or(columns, |at| at + 1)).collect();
        wrapped.push(line.trim_end().to_owned());
    }
    if rest.len() > columns {
        rest.truncate(columns - 3);
        rest.extend("...".chars());
    }
    wrapped.push(rest.into_iter().collect());
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_break_where_they_may() {
        let wrapped = |text, columns, lines| wrap(text, columns, lines).join("|");
        assert_eq!(wrapped("mae", 8, 3), "mae");
        assert_eq!(wrapped("mae_vit-base_1600", 8, 3), "mae_vit-|base_|1600");
        assert_eq!(wrapped("medic vit base", 10, 3), "medic vit|base");
        assert_eq!(wrapped("abcdefghijkl", 8, 3), "abcdefgh|ijkl");
        assert_eq!(wrapped("abcdefghijklmnopq", 8, 2), "abcdefgh|ijklm...");
    }

    #[test]
    fn letters_are_drawn_inside_their_boxes() {
        let mut picture = Picture::plain(3 * ADVANCE, 2 * LINE, [255; 3]);
        write(&mut picture, "gé", ADVANCE, LINE, [0; 3]);
        let dark = |x: usize, y: usize| picture.pixel(x, y) != [255; 3];
        let mut darks = 0;
        for y in 0..2 * LINE {
            for x in 0..3 * ADVANCE {
                darks += usize::from(dark(x, y));
                assert!(!dark(x, y) || (x >= ADVANCE && y >= LINE));
            }
        }
        assert!(darks > 20);
        // Beyond the picture nothing happens.
        write(&mut picture, "far away", 2 * ADVANCE, 2 * LINE - 3, [0; 3]);
    }
}
