//! Tables as LaTeX with booktabs.

use super::{
    cell_text::{Note, Reasons, Shown, printable},
    table::{Align, Cell, Mark, Rank, Table},
    table_error::TableError,
};

/// A `table` environment: caption, `tabular` with the rules of booktabs, footnotes in a `minipage`
/// below. The best value of a column is bold, the second is underlined.
///
/// # Errors
/// Those of [`Table::check`].
pub fn render(table: &Table) -> Result<String, TableError> {
    table.check()?;
    let reasons = Reasons::of(table);
    let alignment: String = table
        .columns
        .iter()
        .map(|column| match column.align {
            Align::Left => 'l',
            Align::Right => 'r',
        })
        .collect();
    let mut text = format!(
        "% \\usepackage{{booktabs}}\n\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \
         \\begin{{tabular}}{{{alignment}}}\n    \\toprule\n",
        escaped(&table.title)
    );
    let headings = table.columns.iter().map(|c| escaped(&c.heading()));
    text += &line(headings);
    text += "    \\midrule\n";
    for (row, ranks) in table.rows.iter().zip(table.ranks()) {
        let cells = row.iter().zip(ranks);
        text += &line(cells.map(|(cell, rank)| show(cell, rank, &reasons)));
    }
    text += "    \\bottomrule\n  \\end{tabular}\n";
    let notes: Vec<String> = reasons.notes(table).into_iter().map(footnote).collect();
    if !notes.is_empty() {
        text +=
            "\n  \\medskip\n  \\begin{minipage}{\\linewidth}\n    \\footnotesize\\raggedright\n";
        text += &format!("    {}\n", notes.join(" \\\\\n    "));
        text += "  \\end{minipage}\n";
    }
    text += "\\end{table}\n";
    Ok(text)
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("    {} \\\\\n", cells.join(" & "))
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
            let number = minus(&shown.number);
            let mut text = match rank {
                Some(Rank::Best) => format!("\\textbf{{{number}}}"),
                Some(Rank::Second) => format!("\\underline{{{number}}}"),
                None => number,
            };
            text.extend(shown.marks.into_iter().map(sign));
            if let Some([low, high]) = shown.interval {
                text += &format!(" [{}, {}]", minus(&low), minus(&high));
            }
            text
        }
        Cell::Missing(reason) => format!("-- ({})", reasons.number(reason)),
    }
}

fn footnote(note: Note<'_>) -> String {
    match note {
        Note::Mark(mark) => format!("{} {}", sign(mark), escaped(mark.explanation())),
        Note::Missing(number, reason) => format!("({number}) {}", escaped(reason)),
        Note::Own(note) => escaped(note),
    }
}

/// A hyphen is not a minus sign.
fn minus(number: &str) -> String {
    number.replace('-', "$-$")
}

fn sign(mark: Mark) -> &'static str {
    match mark {
        Mark::Modified => "\\textsuperscript{*}",
        Mark::Selected => "\\textsuperscript{\\dag}",
        Mark::Skipped => "\\textsuperscript{\\ddag}",
        Mark::Differs => "\\textsuperscript{\\S}",
        Mark::Mixed => "\\textsuperscript{\\P}",
    }
}

/// The text with every character of a meaning in LaTeX named. A square bracket is put in braces,
/// because after `\\` it would open an argument. Letters beyond ASCII are left to the document's
/// encoding; signs that pdfTeX's fonts lack are written out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "\\textless{}",
            '>' => escaped += "\\textgreater{}",
            '|' => escaped += "\\textbar{}",
            '`' => escaped += "\\textasciigrave{}",
            // The double quote proper is missing from the fonts of old.
            '"' => escaped += "''",
            // Two hyphens in a row, as of an option, would become a dash.
            '-' if escaped.ends_with('-') => escaped += "{}-",
            '[' | ']' => escaped += &format!("{{{c}}}"),
            '%' | '&' | '#' | '_' | '{' | '}' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '–' => escaped += "--",
            '—' => escaped += "---",
            '−' => escaped += "$-$",
            '×' => escaped += "$\\times$",
            '±' => escaped += "$\\pm$",
            '·' => escaped += "$\\cdot$",
            '≤' => escaped += "$\\leq$",
            '≥' => escaped += "$\\geq$",
            '→' => escaped += "$\\rightarrow$",
            'α' => escaped += "$\\alpha$",
            'β' => escaped += "$\\beta$",
            'γ' => escaped += "$\\gamma$",
            'ζ' => escaped += "$\\zeta$",
            '²' => escaped += "$^2$",
            '₀'..='₉' => {
                let digit = u32::from(c) - u32::from('₀');
                escaped += &format!("$_{digit}$");
            }
            '✓' => escaped += "$\\surd$",
            '∘' => escaped += "$\\circ$",
            '★' => escaped += "$\\star$",
            'λ' => escaped += "$\\lambda$",
            'Δ' => escaped += "$\\Delta$",
            '†' => escaped += "\\dag{}",
            '‡' => escaped += "\\ddag{}",
            '§' => escaped += "\\S{}",
            '¶' => escaped += "\\P{}",
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    #[test]
    fn booktabs_with_the_notes_below() {
        let text = render(&knn()).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"% \usepackage{booktabs}
\begin{table}
  \centering
  \caption{k-NN on ImageNet-1K}
  \begin{tabular}{lrrr}
    \toprule
    checkpoint & n & top-1 (\%) & published (\%) \\
    \midrule
    MEDiC ViT-B/16, 300 epochs & 50000 & \textbf{71.4} [71.0, 71.8] & 71.4\textsuperscript{\dag} \\
    MAE, ''official'' & 1000 & \underline{46.2}\textsuperscript{*}\textsuperscript{\dag} [43.1, 49.4] & -- (1) \\
    FD & -- (2) & -- (2) & -- (1) \\
    \bottomrule
  \end{tabular}

  \medskip
  \begin{minipage}{\linewidth}
    \footnotesize\raggedright
    \textsuperscript{*} not the protocol as it stands, see below \\
    \textsuperscript{\dag} selected on the validation set \\
    (1) not in the paper \\
    (2) not run \\
    k = 20, cosine
  \end{minipage}
\end{table}
"#
        );
    }

    #[test]
    fn nothing_in_a_name_is_a_command() {
        let text = render(&hostile()).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"% \usepackage{booktabs}
\begin{table}
  \centering
  \caption{50 \% of \textless{}b\textgreater{}R\&D\textless{}/b\textgreater{} \textbar{} \$x\_1\textasciicircum{}2\$}
  \begin{tabular}{lr}
    \toprule
    a\textbar{}b & loss \\
    \midrule
    {[}a{]}\textbackslash{}\{b\}\textasciitilde{}\#\textbackslash{}n\textasciigrave{}c\textasciigrave{} & \textbf{$-$0.2} \\
    1. *x* -- $\alpha$ \textbackslash{}u\{1b\} & \underline{0.5} \\
    - MAE & \textbf{$-$0.2}\textsuperscript{\S}\textsuperscript{\P} \\
    \bottomrule
  \end{tabular}

  \medskip
  \begin{minipage}{\linewidth}
    \footnotesize\raggedright
    \textsuperscript{\S} the protocol differs from the paper's, see below \\
    \textsuperscript{\P} another protocol hash than the rest of the column, see below \\
    1. a\_b \textgreater{} c
  \end{minipage}
\end{table}
"#
        );
    }
}
