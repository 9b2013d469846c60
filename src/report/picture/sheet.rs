//! A sheet: checkpoints down, the input and the heads across.

use super::canvas::{Frame, Picture, Rgb};
use super::error::PictureError;
use super::overlay::{COLOURS, overlay};
use super::text::{ADVANCE, LINE, width, wrap, write};
use crate::report::{AttentionMaps, HeadMaps, QueryMaps};

/// Heads shown: the first ones (MIM-HD, figure 5).
const HEADS: usize = 8;

/// Characters of a checkpoint's name in one line.
const NAME_COLUMNS: usize = 18;

/// Pixels between cells, and around all.
const GAP: usize = 4;
const MARGIN: usize = 12;

const PAPER: Rgb = [255; 3];
const INK: Rgb = [33, 37, 41];
const FAINT: Rgb = [108, 117, 125];
/// Where a head or a class token is missing.
const EMPTY: Rgb = [241, 243, 245];
/// Rings around the query patch, from the patch outwards: a colour that magma does not have,
/// between dark ones.
const RINGS: [Rgb; 3] = [[0; 3], [0, 229, 255], [0; 3]];

/// Width and height of the scale below the rows.
const SCALE: [usize; 2] = [96, 10];

/// Whose attention a sheet shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The class token's.
    Class,
    /// That of the query patch of this index.
    Query(usize),
}

/// One checkpoint on a sheet.
#[derive(Clone, Copy, Debug)]
pub struct SheetRow<'a> {
    /// Its name in tables.
    pub name: &'a str,
    /// Its maps of the image that the sheet is of.
    pub maps: &'a AttentionMaps,
}

/// Draws one image under several checkpoints: the name, the input and the attention of the first
/// eight heads over it, each map on its own scale; the query patch is outlined. Cells are `cell`
/// pixels a side, at least 64; images keep their proportions.
///
/// # Errors
/// No rows, rows of different images, a row without the query, or a query outside its grid.
pub fn sheet(rows: &[SheetRow<'_>], view: View, cell: usize) -> Result<Picture, PictureError> {
    let first = rows.first().ok_or(PictureError::NoRows)?;
    if let Some(row) = rows.iter().find(|row| row.maps.path != first.maps.path) {
        return Err(PictureError::OtherImage {
            first: first.maps.path.clone(),
            other: row.maps.path.clone(),
        });
    }
    let cell = cell.max(64);
    let drawn = rows
        .iter()
        .map(|row| draw(row, view, cell))
        .collect::<Result<Vec<_>, _>>()?;

    let heads = drawn.iter().map(|row| row.heads.len()).max().unwrap_or(0);
    let names = drawn.iter().flat_map(|row| &row.label);
    let label = names.map(|(line, _)| width(line)).max().unwrap_or(0);
    let column = |at: usize| MARGIN + label + MARGIN + at * (cell + GAP);
    let top = MARGIN + 2 * LINE + GAP;
    let bottom = top + drawn.len() * (cell + GAP);
    let mut sheet = Picture::plain(
        column(heads + 1) - GAP + MARGIN,
        bottom + GAP + LINE + MARGIN,
        PAPER,
    );

    let whose = match view {
        View::Class => "the class token",
        View::Query(_) => "the outlined patch",
    };
    let title = format!("{}: attention of {whose}", first.maps.path);
    let fitting = (sheet.width - 2 * MARGIN) / ADVANCE;
    let title = wrap(&title, fitting, 1).concat();
    write(&mut sheet, &title, MARGIN, MARGIN - GAP, INK);
    for at in 0..=heads {
        let caption = match at.checked_sub(1) {
            None => "input".to_owned(),
            Some(head) => format!("head {head}"),
        };
        let x = column(at) + (cell - width(&caption)) / 2;
        write(&mut sheet, &caption, x, MARGIN + LINE, FAINT);
    }
    for (at, row) in drawn.iter().enumerate() {
        let y = top + at * (cell + GAP);
        let beside = y + (cell.saturating_sub(row.label.len() * LINE)) / 2;
        for (line, (text, colour)) in row.label.iter().enumerate() {
            write(&mut sheet, text, MARGIN, beside + line * LINE, *colour);
        }
        for (at, picture) in [&row.input].into_iter().chain(&row.heads).enumerate() {
            let x = column(at) + (cell - picture.width) / 2;
            sheet.paste(picture, x, y + (cell - picture.height) / 2);
        }
        for at in row.heads.len()..heads {
            sheet.paste(&Picture::plain(cell, cell, EMPTY), column(at + 1), y);
        }
    }
    draw_scale(&mut sheet, column(0), bottom + GAP);
    Ok(sheet)
}

/// What one checkpoint contributes.
struct Drawn {
    /// Lines and their colours.
    label: Vec<(String, Rgb)>,
    input: Picture,
    heads: Vec<Picture>,
}

fn draw(row: &SheetRow<'_>, view: View, cell: usize) -> Result<Drawn, PictureError> {
    let AttentionMaps { image, layer, .. } = row.maps;
    let lines = (cell / LINE).saturating_sub(2);
    let mut label: Vec<_> = wrap(row.name, NAME_COLUMNS, lines)
        .into_iter()
        .map(|line| (line, INK))
        .collect();
    label.push((format!("block {layer}"), FAINT));

    let longer = image.width().max(image.height());
    let side = |pixels: usize| ((pixels * cell + longer / 2) / longer).max(1);
    let mut input = image.resized(side(image.width()), side(image.height()))?;
    let (maps, patch) = match view {
        View::Class => (row.maps.class.as_ref(), None),
        View::Query(index) => {
            let query = query(row, index)?;
            let place = format!("row {}, column {}", query.row, query.column);
            label.push((place, FAINT));
            (Some(&query.maps), Some((query.row, query.column)))
        }
    };
    let mut heads = Vec::new();
    match maps {
        None => label.push(("no class token".to_owned(), FAINT)),
        Some(maps) => {
            for head in 0..maps.heads().min(HEADS) {
                heads.push(overlay(&input, maps.head(head)?, None)?);
            }
            if let Some(patch) = patch {
                for picture in heads.iter_mut().chain([&mut input]) {
                    mark(picture, maps, patch)?;
                }
            }
        }
    }
    Ok(Drawn {
        label,
        input,
        heads,
    })
}

/// Outlines the patch at (row, column).
fn mark(
    picture: &mut Picture,
    maps: &HeadMaps,
    (row, column): (usize, usize),
) -> Result<(), PictureError> {
    let [_, rows, columns] = maps.shape();
    if row >= rows || column >= columns {
        return Err(PictureError::QueryOutside {
            row,
            column,
            rows,
            columns,
        });
    }
    let edge = |at: usize, pixels: usize, patches: usize| at * pixels / patches;
    let [x, right] = [column, column + 1].map(|at| edge(at, picture.width, columns));
    let [y, below] = [row, row + 1].map(|at| edge(at, picture.height, rows));
    let frame = Frame {
        x,
        y,
        width: (right - x).max(1),
        height: (below - y).max(1),
    };
    for (away, colour) in RINGS.into_iter().enumerate() {
        picture.outline(frame, away, colour);
    }
    Ok(())
}

/// The query that the sheet is of.
fn query<'a>(row: &SheetRow<'a>, index: usize) -> Result<&'a QueryMaps, PictureError> {
    let queries = &row.maps.queries;
    queries.get(index).ok_or_else(|| PictureError::NoQuery {
        name: row.name.to_owned(),
        queries: queries.len(),
        index,
    })
}

/// The colours from low to high, and what they stand for.
fn draw_scale(sheet: &mut Picture, x: usize, y: usize) {
    let [across, down] = SCALE;
    let mut scale = Picture::plain(across, down, PAPER);
    for (at, pixel) in scale.pixels_mut().iter_mut().enumerate() {
        let level = (at % across) as f64 / (across - 1) as f64;
        *pixel = COLOURS.eval_continuous(level).into_array();
    }
    write(sheet, "low", x, y, FAINT);
    let bar = x + width("low") + ADVANCE;
    sheet.paste(&scale, bar, y + (LINE - down) / 2);
    let text = "high attention, each map on its own scale";
    write(sheet, text, bar + across + ADVANCE, y, FAINT);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps of a grey `side` x `side` image on a grid of `grid` x `grid`: the highest value of head
    /// h is at patch (h, 0).
    fn sample(side: usize, grid: usize, heads: usize) -> AttentionMaps {
        let maps = |heads: usize| {
            let mut values = vec![0.0; heads * grid * grid];
            for head in 0..heads {
                values[head * grid * grid + head % grid * grid] = 1.0;
            }
            HeadMaps::new([heads, grid, grid], values).unwrap()
        };
        AttentionMaps {
            path: "val/grey.png".to_owned(),
            image: Picture::plain(side, side, [128; 3]),
            layer: 11,
            class: (heads > 0).then(|| maps(heads)),
            queries: vec![QueryMaps {
                row: 1,
                column: 2,
                maps: maps(heads.max(2)),
            }],
        }
    }

    #[test]
    fn a_sheet_has_its_size_and_its_pixels() {
        let (large, small) = (sample(128, 4, 3), sample(64, 2, 1));
        let row = |name, maps| SheetRow { name, maps };
        let rows = [row("medic", &large), row("mae", &small)];
        let sheet = sheet(&rows, View::Class, 64).unwrap();
        // Margins, the widest label ("block 11", 8 letters of 7 pixels), 4 columns, 2 rows.
        let left = 12 + 56 + 12;
        let width = left + 4 * 64 + 3 * 4 + 12;
        let height = 12 + 2 * 16 + 4 + 2 * (64 + 4) + 4 + 16 + 12;
        assert_eq!((sheet.width(), sheet.height()), (width, height));

        let top = 12 + 2 * 16 + 4;
        let cell = |column: usize, row: usize| (left + column * 68, top + row * 68);
        let at = |(x, y): (usize, usize), dx, dy| sheet.pixel(x + dx, y + dy);
        assert_eq!(at(cell(0, 0), 0, 0), [128; 3]);
        assert_eq!(at(cell(0, 1), 63, 63), [128; 3]);
        // 30 % of the grey and 70 % of magma's ends, (0, 0, 4) and (252, 253, 191).
        let (low, high) = ([38, 38, 41], [215, 216, 172]);
        for head in 0..3 {
            let cell = cell(1 + head, 0);
            // Half a pixel beside the patch's centre: 1 / 32 of the way to the next.
            let near = COLOURS.eval_continuous(31.0 / 32.0).into_array();
            let near = near.map(|c| (0.7 * f64::from(c) + 0.3 * 128.0).round() as u8);
            assert_eq!(at(cell, 0, head * 16 + 8), near);
            assert_eq!(at(cell, 63, 63), low);
        }
        assert_eq!(at(cell(1, 1), 0, 0), high);
        assert_eq!(at(cell(2, 1), 30, 30), EMPTY);
        assert_eq!(sheet.pixel(0, 0), PAPER);
        assert_eq!(at(cell(0, 0), 65, 0), PAPER);
    }

    #[test]
    fn the_query_is_outlined_in_every_cell() {
        let maps = sample(64, 4, 2);
        let row = SheetRow {
            name: "a",
            maps: &maps,
        };
        let sheet = sheet(&[row], View::Query(0), 64).unwrap();
        let left = 12 + 7 * "row 1, column 2".len() + 12;
        for column in 0..3 {
            // The patch covers 32..48 across and 16..32 down.
            let at = |x, y| sheet.pixel(left + column * 68 + x, 48 + y);
            for (away, ring) in RINGS.into_iter().enumerate() {
                assert_eq!(at(32 - away, 20), ring);
                assert_eq!(at(47 + away, 20), ring);
                assert_eq!(at(40, 16 - away), ring);
                assert_eq!(at(40, 31 + away), ring);
            }
            assert!(!RINGS.contains(&at(40, 24)) && !RINGS.contains(&at(51, 20)));
        }
    }

    #[test]
    fn a_model_without_a_class_token_shows_its_input() {
        let (with, without) = (sample(64, 2, 2), sample(64, 2, 0));
        let row = |maps| SheetRow { name: "a", maps };
        let both = sheet(&[row(&with), row(&without)], View::Class, 64).unwrap();
        let left = 12 + 7 * "no class token".len() + 12;
        assert_eq!(both.width(), left + 3 * 64 + 2 * 4 + 12);
        assert_eq!(both.pixel(left, 48 + 68), [128; 3]);
        assert_eq!(both.pixel(left + 68, 48 + 68), EMPTY);
        assert!(sheet(&[row(&without)], View::Class, 64).is_ok());
    }

    #[test]
    fn images_keep_their_proportions_and_sheets_are_bounded() {
        let mut maps = sample(64, 2, 12);
        maps.image = Picture::plain(100, 50, [9; 3]);
        let row = SheetRow {
            name: "a",
            maps: &maps,
        };
        let sheet = sheet(&[row], View::Class, 80).unwrap();
        assert_eq!(sheet.width(), 80 + 9 * 80 + 8 * 4 + 12);
        let at = |y: usize| sheet.pixel(80, 48 + y);
        assert_eq!(
            [at(19), at(20), at(59), at(60)],
            [PAPER, [9; 3], [9; 3], PAPER]
        );
    }

    #[test]
    fn what_cannot_be_drawn_is_an_error() {
        let maps = sample(64, 2, 2);
        let (mut other, mut outside) = (maps.clone(), maps.clone());
        other.path = "val/other.png".to_owned();
        outside.queries[0].column = 5;
        let row = |maps| SheetRow { name: "a", maps };
        let message = |rows: &[SheetRow<'_>], view| sheet(rows, view, 64).unwrap_err().to_string();
        assert!(message(&[], View::Class).contains("at least one"));
        let images = message(&[row(&maps), row(&other)], View::Class);
        assert!(images.contains("val/grey.png") && images.contains("val/other.png"));
        assert!(message(&[row(&maps)], View::Query(1)).contains("1 query patches"));
        assert!(message(&[row(&outside)], View::Query(0)).contains("row 1, column 5"));
    }
}
