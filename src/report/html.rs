//! Tables as HTML.

use maud::{Markup, html};

use super::{
    cell_text::{Note, Reasons, Shown, printable},
    table::{Align, Cell, Mark, Rank, Source, Table},
    table_error::TableError,
};

/// A `<figure>` with the table and a list of its footnotes, which a page may style by the classes
/// `number`, `interval`, `missing` and `notes`. A value is a `<data>` of full precision that names the
/// record it was measured for or the paper it was published in; the best value of a column is in
/// `<strong>`, the second in `<u>`.
///
/// # Errors
/// Those of [`Table::check`].
pub fn render(table: &Table) -> Result<String, TableError> {
    Ok(figure(table)?.into_string() + "\n")
}

/// [`render`], to be a part of a page.
pub(super) fn figure(table: &Table) -> Result<Markup, TableError> {
    table.check()?;
    let reasons = Reasons::of(table);
    let notes = reasons.notes(table);
    Ok(html! {
        figure {
            figcaption { (printable(&table.title)) }
            table {
                thead {
                    tr {
                        @for column in &table.columns {
                            th scope="col" class=[class(column.align)] {
                                (printable(&column.name))
                                @if let Some(unit) = &column.unit { " (" (printable(unit)) ")" }
                            }
                        }
                    }
                }
                tbody {
                    @for (row, ranks) in table.rows.iter().zip(table.ranks()) {
                        tr {
                            @for ((cell, rank), column) in row.iter().zip(ranks).zip(&table.columns) {
                                td class=[class(column.align)] { (show(cell, rank, &reasons)) }
                            }
                        }
                    }
                }
            }
            @if !notes.is_empty() {
                ul class="notes" {
                    @for note in notes { li { (footnote(note)) } }
                }
            }
        }
    })
}

fn class(align: Align) -> Option<&'static str> {
    match align {
        Align::Left => None,
        Align::Right => Some("number"),
    }
}

fn show(cell: &Cell, rank: Option<Rank>, reasons: &Reasons<'_>) -> Markup {
    match cell {
        Cell::Text(text) => html! { (printable(text)) },
        Cell::Count(count) => html! { (count) },
        Cell::Value {
            value,
            interval,
            decimals,
            marks,
            source,
        } => {
            let shown = Shown::new(*value, *interval, *decimals, marks);
            let number = number(*value, &shown.number, source.as_ref());
            html! {
                @match rank {
                    Some(Rank::Best) => { strong { (number) } }
                    Some(Rank::Second) => { u { (number) } }
                    None => { (number) }
                }
                @for mark in shown.marks { (sign(mark)) }
                @if let Some([low, high]) = shown.interval {
                    " " span class="interval" { "[" (low) ", " (high) "]" }
                }
            }
        }
        Cell::Missing(reason) => html! {
            span class="missing" title=(printable(reason)) { "– (" (reasons.number(reason)) ")" }
        },
    }
}

/// A number and where it stands written.
pub(super) fn number(value: f64, shown: &str, source: Option<&Source>) -> Markup {
    match source {
        None => html! { data value=(value) { (shown) } },
        Some(Source::Record { key, measure }) => html! {
            data value=(value) data-record=(key) data-measure=(measure) { (shown) }
        },
        Some(Source::Paper { citation }) => html! {
            data value=(value) data-paper=(citation) title=(printable(citation)) { (shown) }
        },
    }
}

fn sign(mark: Mark) -> Markup {
    html! { sup title=(mark.explanation()) { (mark.sign()) } }
}

fn footnote(note: Note<'_>) -> Markup {
    match note {
        Note::Mark(mark) => html! { sup { (mark.sign()) } " " (mark.explanation()) },
        Note::Missing(number, reason) => html! { "(" (number) ") " (printable(reason)) },
        Note::Own(note) => html! { (printable(note)) },
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    /// One element a line.
    fn lines(table: &Table) -> String {
        render(table).unwrap().replace("><", ">\n<")
    }

    #[test]
    fn numbers_carry_their_full_precision() {
        let text = lines(&knn());
        println!("{text}");
        assert_eq!(text, "GOLD");
    }

    #[test]
    fn nothing_in_a_name_is_markup_and_values_say_where_they_stand() {
        let text = lines(&hostile());
        println!("{text}");
        assert_eq!(text, "GOLD");
    }
}
