//! Tables as JSON, for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    table::{Better, Cell, Mark, Rank, Source, Table, ordered},
    table_error::TableError,
};

/// Raised when the meaning of a field changes.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    title: &'a str,
    columns: Vec<Head<'a>>,
    rows: Vec<Vec<Entry<'a>>>,
    /// What the marks in use mean.
    marks: BTreeMap<&'static str, &'static str>,
    footnotes: &'a [String],
}

#[derive(Serialize)]
struct Head<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    better: Option<Better>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a> {
    Text {
        text: &'a str,
    },
    Count {
        count: u64,
    },
    Value {
        value: f64,
        interval: Option<[f64; 2]>,
        decimals: u8,
        marks: Vec<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rank: Option<Rank>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<&'a Source>,
    },
    Missing {
        missing: &'a str,
    },
}

/// An object with [`SCHEMA`], title, columns, rows, the marks in use and footnotes. A cell is an object
/// with `text`, `count`, `value` (in full precision) or `missing` (the reason).
///
/// # Errors
/// Those of [`Table::check`].
#[expect(
    clippy::expect_used,
    reason = "texts, finite numbers and maps with texts for keys are JSON"
)]
pub fn render(table: &Table) -> Result<String, TableError> {
    table.check()?;
    let columns = table.columns.iter().map(|column| Head {
        name: &column.name,
        unit: column.unit.as_deref(),
        better: column.better,
    });
    let rows = table.rows.iter().zip(table.ranks());
    let rows = rows.map(|(row, ranks)| {
        let cells = row.iter().zip(ranks);
        cells.map(|(cell, rank)| entry(cell, rank)).collect()
    });
    let marks = table.marks().into_iter();
    let document = Document {
        schema: SCHEMA,
        title: &table.title,
        columns: columns.collect(),
        rows: rows.collect(),
        marks: marks.map(|m| (m.name(), m.explanation())).collect(),
        footnotes: &table.footnotes,
    };
    let text = serde_json::to_string_pretty(&document).expect("a checked table is JSON");
    Ok(text + "\n")
}

fn entry(cell: &Cell, rank: Option<Rank>) -> Entry<'_> {
    match cell {
        Cell::Text(text) => Entry::Text { text },
        &Cell::Count(count) => Entry::Count { count },
        Cell::Value {
            value,
            interval,
            decimals,
            marks,
            source,
        } => Entry::Value {
            value: *value,
            interval: *interval,
            decimals: *decimals,
            marks: ordered(marks).into_iter().map(Mark::name).collect(),
            rank,
            source: source.as_ref(),
        },
        Cell::Missing(missing) => Entry::Missing { missing },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::table::samples::*, *};

    fn read(table: &Table) -> Value {
        serde_json::from_str(&render(table).unwrap()).unwrap()
    }

    #[test]
    fn everything_is_there_in_full_precision() {
        let missing = |reason: &str| json!({ "missing": reason });
        assert_eq!(
            read(&knn()),
            json!({
                "schema": 1,
                "title": "k-NN on ImageNet-1K",
                "columns": [
                    { "name": "checkpoint", "unit": null },
                    { "name": "n", "unit": null },
                    { "name": "top-1", "unit": "%", "better": "higher" },
                    { "name": "published", "unit": "%" },
                ],
                "rows": [
                    [
                        { "text": "MEDiC ViT-B/16, 300 epochs" },
                        { "count": 50000 },
                        {
                            "value": 71.4375, "interval": [71.04, 71.832], "decimals": 1,
                            "marks": [], "rank": "best",
                        },
                        {
                            "value": 71.4, "interval": null, "decimals": 1,
                            "marks": ["selected"],
                        },
                    ],
                    [
                        { "text": "MAE, \"official\"" },
                        { "count": 1000 },
                        {
                            "value": 46.25, "interval": [43.1, 49.4], "decimals": 1,
                            "marks": ["modified", "selected"], "rank": "second",
                        },
                        missing("not in the paper"),
                    ],
                    [
                        { "text": "FD" },
                        missing("not run"),
                        missing("not run"),
                        missing("not in the paper"),
                    ],
                ],
                "marks": {
                    "modified": "not the protocol as it stands, see below",
                    "selected": "selected on the validation set",
                },
                "footnotes": ["k = 20, cosine"],
            })
        );
    }

    #[test]
    fn values_say_where_they_stand() {
        let table = read(&hostile());
        assert_eq!(table["rows"][0][0]["text"], "[a]\\{b}~#\n`c`");
        assert_eq!(
            [
                &table["rows"][0][1]["source"],
                &table["rows"][1][1]["source"]
            ],
            [
                &json!({ "record": { "key": "ab12", "measure": 3 } }),
                &json!({ "paper": { "citation": "\"A&B\", table 1" } }),
            ]
        );
    }
}
