//! Tables about the papers' tables, and the page of all of them.

use std::fmt::Write;

use super::{Cell, Column, Table, TableError, markdown, published_table};
use crate::spec::{Content, Papers};

/// What the page says above the tables.
const INTRODUCTION: &str = "\
# Published values

Every table of the papers that mimbench is compared with, value by value, and where the papers \
disagree. `mimbench table --write` makes this page of the files beside it, `mimbench table --check` \
says whether it is up to date; `mimbench table ID` puts the values of your own records beside them.

- `ID.csv` has one line a cell: `paper,table,row,label,column,value,missing,marks,note,citation`. \
Values stand as they are printed. A cell without a value says why in `missing`; check marks and \
bodies of tables that the papers' text has lost are `not in source`, never guessed.
- `marks` are `dagger`, `double-dagger` and `asterisk` (as printed), `selected` (chosen by looking at \
the validation set) and `approximate`, joined by `;`.
- `../../protocols/tables/ID.toml` says what the columns are, what measures them, the paper's own \
settings of that, and which rows are checkpoints with a card.
- `conflicts/PAPER.toml` lists what is said in several ways, within a paper or in two.
";

/// One line a table.
pub fn table_list(papers: &Papers) -> Table {
    let rows = papers.tables.iter().map(|table| {
        let cells = || table.rows.iter().flat_map(|row| &row.cells);
        let missing = |content: &Content| matches!(content, Content::Missing(_));
        let published = cells().filter(|cell| !missing(&cell.content)).count();
        vec![
            Cell::Text(table.definition.id.clone()),
            Cell::Text(table.definition.title.clone()),
            Cell::Count(table.rows.len() as u64),
            Cell::Count(published as u64),
        ]
    });
    Table {
        title: "The papers' tables: mimbench table ID".to_owned(),
        columns: vec![
            Column::text("id"),
            Column::text("title"),
            Column::numbers("rows", None),
            Column::numbers("values", None),
        ],
        rows: rows.collect(),
        footnotes: Vec::new(),
    }
}

/// One line a claim.
pub fn conflict_table(papers: &Papers) -> Table {
    let claims = papers.conflicts.iter().flat_map(|conflict| {
        conflict.claims.iter().map(|claim| {
            vec![
                Cell::Text(conflict.what.clone()),
                Cell::Text(claim.value.clone()),
                Cell::Text(claim.place.to_string()),
            ]
        })
    });
    let notes = papers.conflicts.iter().filter_map(|conflict| {
        let note = conflict.note.as_ref()?;
        Some(format!("{}: {note}", conflict.what))
    });
    Table {
        title: "Where the papers contradict themselves or each other".to_owned(),
        columns: vec![
            Column::text("what"),
            Column::text("value"),
            Column::text("place"),
        ],
        rows: claims.collect(),
        footnotes: notes.collect(),
    }
}

/// All published tables and conflicts in Markdown; no record changes it.
///
/// # Errors
/// Those of [`Table::check`].
pub fn published_page(papers: &Papers) -> Result<String, TableError> {
    let mut page = format!("{INTRODUCTION}\n");
    for table in &papers.tables {
        let rendered = markdown::render(&published_table(table, &papers.conflicts))?;
        write_section(&mut page, &table.definition.id, &rendered);
    }
    let conflicts = markdown::render(&conflict_table(papers))?;
    write_section(&mut page, "Conflicts", &conflicts);
    page.truncate(page.trim_end().len());
    page.push('\n');
    Ok(page)
}

fn write_section(page: &mut String, heading: &str, text: &str) {
    // Writing to memory cannot fail.
    let _ = write!(page, "## {heading}\n\n{text}\n");
}
