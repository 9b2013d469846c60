//! Tables as JSON, for programs.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    table::{Align, Cell, Column, Mark, Table, ordered},
    table_error::TableError,
};

/// One object with `title`, `columns`, `rows`, `footnotes` and `marks` (the meaning of those in use).
/// A row maps the columns' names to its cells, in their order: text and counts as they are, a value as
/// `{"value", "interval", "decimals", "marks"}` in full precision, a missing cell as `{"missing": why}`.
///
/// # Errors
/// Those of [`Table::check`].
#[expect(
    clippy::expect_used,
    reason = "keys are strings, numbers were checked to be finite, and memory can be written to"
)]
pub fn render(table: &Table) -> Result<String, TableError> {
    table.check()?;
    let document = Document {
        title: &table.title,
        columns: table.columns.iter().map(JsonColumn::of).collect(),
        rows: table
            .rows
            .iter()
            .map(|cells| Row {
                columns: &table.columns,
                cells,
            })
            .collect(),
        footnotes: &table.footnotes,
        marks: table
            .marks()
            .into_iter()
            .map(|mark| (mark.name(), mark.explanation()))
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&document).expect("a checked table is valid JSON");
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    columns: Vec<JsonColumn<'a>>,
    rows: Vec<Row<'a>>,
    footnotes: &'a [String],
    marks: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize)]
struct JsonColumn<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    align: &'static str,
}

impl<'a> JsonColumn<'a> {
    fn of(column: &'a Column) -> Self {
        Self {
            name: &column.name,
            unit: column.unit.as_deref(),
            align: match column.align {
                Align::Left => "left",
                Align::Right => "right",
            },
        }
    }
}

/// A map in the order of the columns.
struct Row<'a> {
    columns: &'a [Column],
    cells: &'a [Cell],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.cells.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            map.serialize_entry(&column.name, &JsonCell::of(cell))?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum JsonCell<'a> {
    Text(&'a str),
    Count(u64),
    Value {
        value: f64,
        interval: Option<[f64; 2]>,
        decimals: u8,
        marks: Vec<&'static str>,
    },
    Missing {
        missing: &'a str,
    },
}

impl<'a> JsonCell<'a> {
    fn of(cell: &'a Cell) -> Self {
        match cell {
            Cell::Text(text) => Self::Text(text),
            Cell::Count(count) => Self::Count(*count),
            Cell::Value {
                value,
                interval,
                decimals,
                marks,
            } => Self::Value {
                value: *value,
                interval: *interval,
                decimals: *decimals,
                marks: ordered(marks).into_iter().map(Mark::name).collect(),
            },
            Cell::Missing(reason) => Self::Missing { missing: reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::table::samples::*, *};

    #[test]
    fn the_whole_table_in_full_precision() {
        let mut table = knn();
        table.columns.truncate(3);
        table.rows.iter_mut().for_each(|row| row.truncate(3));
        table.rows.remove(0);
        let text = render(&table).unwrap();
        println!("{text}");
        assert_eq!(
            text,
            r#"{
  "title": "k-NN on ImageNet-1K",
  "columns": [
    {
      "name": "checkpoint",
      "unit": null,
      "align": "left"
    },
    {
      "name": "n",
      "unit": null,
      "align": "right"
    },
    {
      "name": "top-1",
      "unit": "%",
      "align": "right"
    }
  ],
  "rows": [
    {
      "checkpoint": "MAE, \"official\"",
      "n": 1000,
      "top-1": {
        "value": 46.25,
        "interval": [
          43.1,
          49.4
        ],
        "decimals": 1,
        "marks": [
          "modified",
          "selected"
        ]
      }
    },
    {
      "checkpoint": "FD",
      "n": {
        "missing": "not run"
      },
      "top-1": {
        "missing": "not run"
      }
    }
  ],
  "footnotes": [
    "k = 20, cosine"
  ],
  "marks": {
    "modified": "settings differ from the protocol's (--set or --limit)",
    "selected": "selected on the validation set"
  }
}
"#
        );
    }

    #[test]
    fn values_come_back_bit_for_bit_and_infinities_are_errors() {
        let mut table = knn();
        let third = 100.0 / 3.0;
        table.rows[0][2] = value(third, None, &[]);
        let text = render(&table).unwrap();
        let back: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["rows"][0]["top-1"]["value"].as_f64(), Some(third));
        table.rows[0][2] = value(f64::INFINITY, None, &[]);
        assert!(matches!(render(&table), Err(TableError::NotFinite { .. })));
    }
}
