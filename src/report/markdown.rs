//! Tables as GitHub-flavoured Markdown.

use super::{
    cell_text::{Note, Reasons, Shown, printable},
    table::{Align, Cell, Mark, Rank, Table},
    table_error::TableError,
};

/// Title, table, a list of the footnotes. The best value of a column is bold, the second is in `<u>`,
/// because Markdown has no underline of its own.
///
/// # Errors
/// Those of [`Table::check`].
pub fn render(table: &Table) -> Result<String, TableError> {
    table.check()?;
    let reasons = Reasons::of(table);
    let mut text = format!("**{}**\n\n", escaped(&table.title));
    let headings = table.columns.iter().map(|c| escaped(&c.heading()));
    text += &line(headings);
    text += &line(table.columns.iter().map(|column| match column.align {
        Align::Left => ":---".to_owned(),
        Align::Right => "---:".to_owned(),
    }));
    for (row, ranks) in table.rows.iter().zip(table.ranks()) {
        let cells = row.iter().zip(ranks);
        text += &line(cells.map(|(cell, rank)| show(cell, rank, &reasons)));
    }
    let notes = reasons.notes(table);
    if !notes.is_empty() {
        text.push('\n');
    }
    for note in notes {
        text += &match note {
            Note::Mark(mark) => format!("- {} {}\n", sign(mark), escaped(mark.explanation())),
            Note::Missing(number, reason) => format!("- ({number}) {}\n", escaped(reason)),
            Note::Own(note) => format!("- {}\n", escaped(note)),
        };
    }
    Ok(text)
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {} |\n", cells.join(" | "))
}

fn show(cell: &Cell, rank: Option<Rank>, reasons: &Reasons<'_>) -> String {
    match cell {
        Cell::Text(text) => escaped(text),
        Cell::Count(count) => count.to_string(),
        Cell::Value {
            value,
            interval,
            decimals,
            marks,
            ..
        } => {
            let shown = Shown::new(*value, *interval, *decimals, marks);
            let mut text = match rank {
                Some(Rank::Best) => format!("**{}**", shown.number),
                Some(Rank::Second) => format!("<u>{}</u>", shown.number),
                None => shown.number,
            };
            text.extend(shown.marks.into_iter().map(sign));
            if let Some([low, high]) = shown.interval {
                text += &format!(" [{low}, {high}]");
            }
            text
        }
        Cell::Missing(reason) => format!("– ({})", reasons.number(reason)),
    }
}

/// A bare asterisk might open an emphasis.
fn sign(mark: Mark) -> String {
    escaped(&mark.sign().to_string())
}

/// The text with a backslash before whatever has a meaning in Markdown or HTML, anywhere or at the
/// start of a line.
fn escaped(text: &str) -> String {
    let text = printable(text);
    let mut escaped = String::with_capacity(text.len());
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    for (at, c) in text.char_indices() {
        let anywhere = matches!(
            c,
            '\\' | '`'
                | '*'
                | '_'
                | '{'
                | '}'
                | '['
                | ']'
                | '<'
                | '>'
                | '&'
                | '#'
                | '|'
                | '~'
                | '$'
        );
        let first = at == 0 && matches!(c, '-' | '+' | '=');
        let ordered = digits > 0 && at == digits && matches!(c, '.' | ')');
        if anywhere || first || ordered {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    #[test]
    fn a_table_and_a_list_of_its_notes() {
        let text = render(&knn()).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"**k-NN on ImageNet-1K**

| checkpoint | n | top-1 (%) | published (%) |
| :--- | ---: | ---: | ---: |
| MEDiC ViT-B/16, 300 epochs | 50000 | **71.4** [71.0, 71.8] | 71.4† |
| MAE, "official" | 1000 | <u>46.2</u>\*† [43.1, 49.4] | – (1) |
| FD | – (2) | – (2) | – (1) |

- \* not the protocol as it stands, see below
- † selected on the validation set
- (1) not in the paper
- (2) not run
- k = 20, cosine
"#
        );
    }

    #[test]
    fn nothing_in_a_name_is_markup() {
        let text = render(&hostile()).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"**50 % of \<b\>R\&D\</b\> \| \$x\_1^2\$**

| a\|b | loss |
| :--- | ---: |
| \[a\]\\\{b\}\~\#\\n\`c\` | **-0.2** |
| 1\. \*x\* – α \\u\{1b\} | <u>0.5</u> |
| \- MAE | **-0.2**§¶ |

- § the protocol differs from the paper's, see below
- ¶ another protocol hash than the rest of the column, see below
- 1\. a\_b \> c
"#
        );
    }
}
