//! Tables as comma-separated values, for programs.

use super::{
    table::{Cell, Column, Mark, Table, ordered},
    table_error::TableError,
};

/// One record a row, after a header of [`Column::heading`]s. Numbers have full precision.
///
/// A column with any value in it becomes four fields: `name`, `name_low`, `name_high` and `name_note`,
/// where the note holds the names of the marks joined by `;`, or `missing: ` and the reason. A column
/// without values but with missing cells has the first and the last. Title and footnotes have no place
/// in this format.
///
/// # Errors
/// Those of [`Table::check`], and a header that has one field twice.
pub fn render(table: &Table) -> Result<String, TableError> {
    table.check()?;
    let layout: Vec<Fields> = (0..table.columns.len())
        .map(|column| Fields::of(table.rows.iter().filter_map(|row| row.get(column))))
        .collect();
    let header: Vec<String> = table
        .columns
        .iter()
        .zip(&layout)
        .flat_map(|(column, fields)| fields.header(column))
        .collect();
    if let Some(twice) = (1..header.len()).find(|&i| header[..i].contains(&header[i])) {
        return Err(TableError::DuplicateColumn {
            title: table.title.clone(),
            column: header[twice].clone(),
        });
    }
    let mut text = record(header);
    for row in &table.rows {
        text += &record(row.iter().zip(&layout).flat_map(|(cell, f)| f.record(cell)));
    }
    Ok(text)
}

/// The fields that a column takes.
#[derive(Clone, Copy)]
enum Fields {
    Plain,
    PlainWithNote,
    Value,
}

impl Fields {
    fn of<'a>(cells: impl Iterator<Item = &'a Cell>) -> Self {
        cells.fold(Self::Plain, |fields, cell| match (fields, cell) {
            (Self::Value, _) | (_, Cell::Value { .. }) => Self::Value,
            (_, Cell::Missing(_)) => Self::PlainWithNote,
            (_, Cell::Text(_) | Cell::Count(_)) => fields,
        })
    }

    fn header(self, column: &Column) -> Vec<String> {
        let note = format!("{}_note", column.name);
        match self {
            Self::Plain => vec![column.heading()],
            Self::PlainWithNote => vec![column.heading(), note],
            Self::Value => vec![
                column.heading(),
                column.with_unit("_low"),
                column.with_unit("_high"),
                note,
            ],
        }
    }

    fn record(self, cell: &Cell) -> Vec<String> {
        let [mut first, mut low, mut high, mut note] = [const { String::new() }; 4];
        match cell {
            Cell::Text(text) => first.clone_from(text),
            Cell::Count(count) => first = count.to_string(),
            Cell::Value {
                value,
                interval,
                marks,
                ..
            } => {
                first = value.to_string();
                if let Some(bounds) = interval {
                    [low, high] = bounds.map(|bound| bound.to_string());
                }
                let names: Vec<_> = ordered(marks).into_iter().map(Mark::name).collect();
                note = names.join(";");
            }
            Cell::Missing(reason) => note = format!("missing: {reason}"),
        }
        match self {
            Self::Plain => vec![first],
            Self::PlainWithNote => vec![first, note],
            Self::Value => vec![first, low, high, note],
        }
    }
}

/// One line, quoted where it must be.
#[expect(
    clippy::expect_used,
    reason = "writing to memory cannot fail, and the writer passes the UTF-8 it is given through"
)]
fn record(fields: impl IntoIterator<Item = String>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(fields)
        .expect("memory takes any record");
    let bytes = writer.into_inner().expect("memory takes any record");
    String::from_utf8(bytes).expect("the fields are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    #[test]
    fn a_record_a_row_in_full_precision() {
        let text = render(&knn()).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            "\
checkpoint,n,n_note,top-1 (%),top-1_low (%),top-1_high (%),top-1_note,published (%),published_low (%),published_high (%),published_note
\"MEDiC ViT-B/16, 300 epochs\",50000,,71.4375,71.04,71.832,,71.4,,,selected
\"MAE, \"\"official\"\"\",1000,,46.25,43.1,49.4,modified;selected,,,,missing: not in the paper
FD,,missing: not run,,,,missing: not run,,,,missing: not in the paper
"
        );
    }

    #[test]
    fn a_table_without_rows_is_its_header() {
        let mut table = knn();
        table.rows.clear();
        assert_eq!(
            render(&table).unwrap(),
            "checkpoint,n,top-1 (%),published (%)\n"
        );
    }

    #[test]
    fn fields_of_one_name_and_infinities_are_errors() {
        let mut table = knn();
        table.columns[0].name = "n_note".into();
        assert!(matches!(
            render(&table),
            Err(TableError::DuplicateColumn { column, .. }) if column == "n_note"
        ));
        let mut table = knn();
        table.rows[0][2] = value(f64::NEG_INFINITY, None, &[]);
        assert!(matches!(render(&table), Err(TableError::NotFinite { .. })));
    }
}
