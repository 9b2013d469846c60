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
    Ok(figure(table, &|_| None)?.into_string() + "\n")
}

/// What a page knows about a number.
pub(super) struct Told {
    /// Shown when one points at it.
    pub text: String,
    /// Where it leads.
    pub link: String,
}

/// [`render`], to be a part of a page that knows where its numbers come from.
pub(super) fn figure(
    table: &Table,
    told: &dyn Fn(&Source) -> Option<Told>,
) -> Result<Markup, TableError> {
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
                                td class=[class(column.align)] { (show(cell, rank, &reasons, told)) }
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

fn show(
    cell: &Cell,
    rank: Option<Rank>,
    reasons: &Reasons<'_>,
    told: &dyn Fn(&Source) -> Option<Told>,
) -> Markup {
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
            let number = linked(*value, &shown.number, source.as_ref(), told);
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

/// A number that leads to where it stands written, where that is known.
pub(super) fn linked(
    value: f64,
    shown: &str,
    source: Option<&Source>,
    told: &dyn Fn(&Source) -> Option<Told>,
) -> Markup {
    let number = number(value, shown, source);
    match source.and_then(told) {
        Some(Told { text, link }) => html! {
            a href=(link) title=(printable_lines(&text)) { (number) }
        },
        None => number,
    }
}

/// A number and where it stands written.
fn number(value: f64, shown: &str, source: Option<&Source>) -> Markup {
    match source {
        None => html! { data value=(value) { (shown) } },
        Some(Source::Record { key, measure }) => html! {
            data value=(value) data-record=(key) data-measure=(measure) { (shown) }
        },
        Some(Source::Outcomes { key }) => html! {
            data value=(value) data-outcomes=(key) { (shown) }
        },
        Some(Source::Paper { citation }) => html! {
            data value=(value) data-paper=(citation) title=(printable(citation)) { (shown) }
        },
    }
}

/// The text of several lines.
fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
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
        assert_eq!(
            text,
            r#"<figure>
<figcaption>k-NN on ImageNet-1K</figcaption>
<table>
<thead>
<tr>
<th scope="col">checkpoint</th>
<th scope="col" class="number">n</th>
<th scope="col" class="number">top-1 (%)</th>
<th scope="col" class="number">published (%)</th>
</tr>
</thead>
<tbody>
<tr>
<td>MEDiC ViT-B/16, 300 epochs</td>
<td class="number">50000</td>
<td class="number">
<strong>
<data value="71.4375">71.4</data>
</strong> <span class="interval">[71.0, 71.8]</span>
</td>
<td class="number">
<data value="71.4">71.4</data>
<sup title="selected on the validation set">†</sup>
</td>
</tr>
<tr>
<td>MAE, &quot;official&quot;</td>
<td class="number">1000</td>
<td class="number">
<u>
<data value="46.25">46.2</data>
</u>
<sup title="not the protocol as it stands, see below">*</sup>
<sup title="selected on the validation set">†</sup> <span class="interval">[43.1, 49.4]</span>
</td>
<td class="number">
<span class="missing" title="not in the paper">– (1)</span>
</td>
</tr>
<tr>
<td>FD</td>
<td class="number">
<span class="missing" title="not run">– (2)</span>
</td>
<td class="number">
<span class="missing" title="not run">– (2)</span>
</td>
<td class="number">
<span class="missing" title="not in the paper">– (1)</span>
</td>
</tr>
</tbody>
</table>
<ul class="notes">
<li>
<sup>*</sup> not the protocol as it stands, see below</li>
<li>
<sup>†</sup> selected on the validation set</li>
<li>(1) not in the paper</li>
<li>(2) not run</li>
<li>k = 20, cosine</li>
</ul>
</figure>
"#
        );
    }

    #[test]
    fn nothing_in_a_name_is_markup_and_values_say_where_they_stand() {
        let text = lines(&hostile());
        println!("{text}");
        assert_eq!(
            text,
            r#"<figure>
<figcaption>50 % of &lt;b&gt;R&amp;D&lt;/b&gt; | $x_1^2$</figcaption>
<table>
<thead>
<tr>
<th scope="col">a|b</th>
<th scope="col" class="number">loss</th>
</tr>
</thead>
<tbody>
<tr>
<td>[a]\{b}~#\n`c`</td>
<td class="number">
<strong>
<data value="-0.25" data-record="ab12" data-measure="3">-0.2</data>
</strong>
</td>
</tr>
<tr>
<td>1. *x* – α \u{1b}</td>
<td class="number">
<u>
<data value="0.5" data-paper="&quot;A&amp;B&quot;, table 1" title="&quot;A&amp;B&quot;, table 1">0.5</data>
</u>
</td>
</tr>
<tr>
<td>- MAE</td>
<td class="number">
<strong>
<data value="-0.24">-0.2</data>
</strong>
<sup title="the protocol differs from the paper's, see below">§</sup>
<sup title="another protocol hash than the rest of the column, see below">¶</sup>
</td>
</tr>
</tbody>
</table>
<ul class="notes">
<li>
<sup>§</sup> the protocol differs from the paper's, see below</li>
<li>
<sup>¶</sup> another protocol hash than the rest of the column, see below</li>
<li>1. a_b &gt; c</li>
</ul>
</figure>
"#
        );
    }
}
