//! Tables for people at a terminal.

use tabled::{
    builder::Builder,
    grid::util::string::{get_char_width, get_string_width},
    settings::{
        Alignment, Color, Modify, Style,
        object::{self, Columns, Rows},
        style::HorizontalLine,
    },
};

use super::{
    cell_text::{Note, Reasons, Shown, printable},
    table::{Align, Cell, Mark, Rank, Table},
    table_error::TableError,
};

/// The narrowest that a column of text is wrapped to.
const MIN_TEXT_WIDTH: usize = 12;
/// Blanks beside each cell, left and right together.
const PADDING: usize = 2;

/// Whether the text may hold ANSI escape codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text, for files and pipes.
    Never,
    /// Title, header and the best of a column are bold, the second is underlined.
    Always,
}

/// Title, table, footnotes. A value is shown as `71.4* [68.5, 74.1]`, rounded to its decimals; the
/// footnotes explain the marks in use and, by number, why cells are missing.
///
/// With a `width`, in terminal columns, text cells are wrapped so that the table fits; numbers are
/// never broken, so a table of many number columns may still be wider. Control characters in texts
/// are shown escaped.
///
/// # Errors
/// Those of [`Table::check`].
pub fn render(table: &Table, width: Option<usize>, colour: Colour) -> Result<String, TableError> {
    table.check()?;
    let reasons = Reasons::of(table);
    let mut grid = vec![
        table
            .columns
            .iter()
            .map(|column| printable(&column.heading()))
            .collect::<Vec<_>>(),
    ];
    for row in &table.rows {
        grid.push(row.iter().map(|cell| show(cell, &reasons)).collect());
    }
    if let Some(width) = width {
        for (column, width) in column_widths(table, &grid, width).into_iter().enumerate() {
            for cell in grid.iter_mut().filter_map(|row| row.get_mut(column)) {
                *cell = wrap(cell, width);
            }
        }
    }

    let mut text = String::new();
    for line in wrap_to(&printable(&table.title), width).lines() {
        text += &match colour {
            Colour::Never => format!("{line}\n"),
            Colour::Always => format!("\u{1b}[1m{line}\u{1b}[22m\n"),
        };
    }
    for line in draw(table, grid, colour).lines() {
        text += line.trim_end();
        text.push('\n');
    }
    for note in reasons.notes(table) {
        text += &wrap_to(&footnote(note), width);
        text.push('\n');
    }
    Ok(text)
}

/// The grid with rules above, below and under its header.
fn draw(table: &Table, grid: Vec<Vec<String>>, colour: Colour) -> String {
    let rule = HorizontalLine::new('─');
    let mut drawn = Builder::from_iter(grid).build();
    drawn.with(Style::empty().top('─').bottom('─').horizontals([(1, rule)]));
    for (index, column) in table.columns.iter().enumerate() {
        let alignment = match column.align {
            Align::Left => Alignment::left(),
            Align::Right => Alignment::right(),
        };
        drawn.with(Modify::new(Columns::one(index)).with(alignment));
    }
    if colour == Colour::Always {
        drawn.with(Modify::new(Rows::first()).with(Color::BOLD));
        for (row, ranks) in (1..).zip(table.ranks()) {
            for (column, rank) in ranks.into_iter().enumerate() {
                let colour = match rank {
                    Some(Rank::Best) => Color::BOLD,
                    Some(Rank::Second) => Color::UNDERLINE,
                    None => continue,
                };
                drawn.with(Modify::new(object::Cell::new(row, column)).with(colour));
            }
        }
    }
    drawn.to_string()
}

/// A cell as people read it.
fn show(cell: &Cell, reasons: &Reasons<'_>) -> String {
    match cell {
        Cell::Text(text) => printable(text),
        Cell::Count(count) => count.to_string(),
        Cell::Value {
            value,
            interval,
            decimals,
            marks,
            ..
        } => {
            let shown = Shown::new(*value, *interval, *decimals, marks);
            let mut text = shown.number;
            text.extend(shown.marks.into_iter().map(Mark::sign));
            if let Some([low, high]) = shown.interval {
                text += &format!(" [{low}, {high}]");
            }
            text
        }
        Cell::Missing(reason) => format!("– ({})", reasons.number(reason)),
    }
}

/// A line below the table.
fn footnote(note: Note<'_>) -> String {
    match note {
        Note::Mark(mark) => format!("{} {}", mark.sign(), mark.explanation()),
        Note::Missing(number, reason) => format!("({number}) {}", printable(reason)),
        Note::Own(note) => printable(note),
    }
}

/// Widths of the columns' contents that make the table fit in `width`, if text columns and headings can
/// give way so far: the widest that can be narrowed is, one terminal column at a time.
fn column_widths(table: &Table, grid: &[Vec<String>], width: usize) -> Vec<usize> {
    let count = table.columns.len();
    let mut widths = vec![0; count];
    let mut least = vec![0; count];
    for (row, cells) in grid.iter().enumerate() {
        for (column, text) in cells.iter().enumerate() {
            let natural = get_string_width(text);
            widths[column] = natural.max(widths[column]);
            let cell = row
                .checked_sub(1)
                .and_then(|row| table.rows.get(row)?.get(column));
            let needed = match cell {
                Some(Cell::Count(_) | Cell::Value { .. } | Cell::Missing(_)) => natural,
                // A heading or text; short words stay whole.
                Some(Cell::Text(_)) | None => {
                    let words = text.split(' ').map(get_string_width);
                    words.max().unwrap_or(0).min(MIN_TEXT_WIDTH)
                }
            };
            least[column] = needed.max(least[column]);
        }
    }
    let room = width.saturating_sub(PADDING * count);
    while widths.iter().sum::<usize>() > room {
        let widest = (0..count)
            .rev()
            .filter(|&column| widths[column] > least[column])
            .max_by_key(|&column| widths[column]);
        match widest {
            Some(column) => widths[column] -= 1,
            None => break,
        }
    }
    widths
}

fn wrap_to(text: &str, width: Option<usize>) -> String {
    width.map_or_else(|| text.to_owned(), |width| wrap(text, width))
}

/// Breaks a text of one line at its spaces into lines of at most `width`, and words longer than that
/// anywhere.
fn wrap(text: &str, width: usize) -> String {
    if get_string_width(text) <= width {
        return text.to_owned();
    }
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = get_string_width(word);
        if used > 0 && used + 1 + length <= width {
            put(&mut lines, ' ');
            used += 1;
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let wide = get_char_width(c);
            if used > 0 && used + wide > width {
                lines.push(String::new());
                used = 0;
            }
            put(&mut lines, c);
            used += wide;
        }
    }
    lines.join("\n")
}

fn put(lines: &mut [String], c: char) {
    if let Some(line) = lines.last_mut() {
        line.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    #[test]
    fn numbers_stand_right_and_everything_is_explained() {
        let text = render(&knn(), None, Colour::Never).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"k-NN on ImageNet-1K
───────────────────────────────────────────────────────────────────────
 checkpoint                      n            top-1 (%)  published (%)
───────────────────────────────────────────────────────────────────────
 MEDiC ViT-B/16, 300 epochs  50000    71.4 [71.0, 71.8]          71.4†
 MAE, "official"              1000  46.2*† [43.1, 49.4]          – (1)
 FD                          – (2)                – (2)          – (1)
───────────────────────────────────────────────────────────────────────
* not the protocol as it stands, see below
† selected on the validation set
(1) not in the paper
(2) not run
k = 20, cosine
"#
        );
    }

    #[test]
    fn text_is_wrapped_to_the_width_and_numbers_are_not() {
        let text = render(&knn(), Some(60), Colour::Never).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"k-NN on ImageNet-1K
────────────────────────────────────────────────────────────
 checkpoint           n            top-1 (%)  published (%)
────────────────────────────────────────────────────────────
 MEDiC ViT-B/16,  50000    71.4 [71.0, 71.8]          71.4†
 300 epochs
 MAE, "official"   1000  46.2*† [43.1, 49.4]          – (1)
 FD               – (2)                – (2)          – (1)
────────────────────────────────────────────────────────────
* not the protocol as it stands, see below
† selected on the validation set
(1) not in the paper
(2) not run
k = 20, cosine
"#
        );
        for width in [0, 1, 20, 59, 60, 61, 70, 200] {
            let text = render(&knn(), Some(width), Colour::Never).unwrap();
            assert!(text.contains("46.2*† [43.1, 49.4]"));
            let widest = text.lines().map(get_string_width).max().unwrap();
            assert!(widest <= width.max(56), "{width}: {widest}\n{text}");
        }
    }

    #[test]
    fn escape_codes_come_only_when_asked_for_and_never_from_names() {
        let mut table = knn();
        table.rows[0][0] = Cell::Text("a\u{1b}[31m\nb".into());
        let plain = render(&table, None, Colour::Never).unwrap();
        assert!(plain.contains("a\\u{1b}[31m\\nb") && !plain.contains('\u{1b}'));
        let bold = render(&knn(), None, Colour::Always).unwrap();
        assert!(bold.starts_with("\u{1b}[1mk-NN on ImageNet-1K\u{1b}[22m\n"));
        assert!(bold.contains(" \u{1b}[1m71.4 [71.0, 71.8]\u{1b}[22m "));
        assert!(bold.contains(" \u{1b}[4m46.2*† [43.1, 49.4]\u{1b}[24m "));
        let codes = ["\u{1b}[1m", "\u{1b}[22m", "\u{1b}[4m", "\u{1b}[24m"];
        let stripped = codes.iter().fold(bold, |text, code| text.replace(code, ""));
        let plain = render(&knn(), None, Colour::Never).unwrap();
        assert_eq!(stripped, plain);
    }

    #[test]
    fn wrapping_keeps_words_whole_where_it_can() {
        assert_eq!(wrap("one two three", 7), "one two\nthree");
        assert_eq!(wrap("abcdefghij kl", 4), "abcd\nefgh\nij\nkl");
        assert_eq!(wrap("日本語", 4), "日本\n語");
        assert_eq!(wrap("fits as  it is", 14), "fits as  it is");
    }

    #[test]
    fn not_a_number_is_an_error() {
        let mut table = knn();
        table.rows[0][2] = value(f64::NAN, None, &[]);
        let error = render(&table, None, Colour::Never).unwrap_err();
        assert!(error.hint().unwrap().contains("diverged"));
    }
}
