//! Attention records as tables, and the measures of any record one by one.

use super::knn_tables::{footnotes, protocol, value};
use super::{Cell, Column, Record, Table};
use crate::stats::Unit;

/// Columns of the layer table: measure, heading, unit, digits.
const COLUMNS: [(&str, &str, Option<&str>, u8); 7] = [
    ("nmi", "NMI", None, 4),
    ("distance", "distance", Some("px"), 1),
    ("distance_raw", "distance, not renormalised", Some("px"), 1),
    ("entropy", "entropy", Some("nat"), 2),
    ("rank_me", "RankMe", None, 1),
    ("uniformity", "uniformity", None, 2),
    ("alignment", "alignment", None, 2),
];

/// One row a checkpoint and block. All records share one protocol.
pub fn layer_table(records: &[Record]) -> Table {
    let mut rows = Vec::new();
    for record in records {
        let mut layers: Vec<usize> = Vec::new();
        let whole =
            |measured: &&super::Measured| measured.head.is_none() && measured.other_layer.is_none();
        for measured in record.measures.iter().filter(whole) {
            layers.extend(measured.layer.filter(|layer| !layers.contains(layer)));
        }
        for layer in layers {
            let mut row = vec![
                Cell::Text(record.subject.name.clone()),
                Cell::Count(layer as u64),
            ];
            row.extend(COLUMNS.map(|(name, _, _, decimals)| {
                let measured = record.measures.iter().filter(whole).find(|measured| {
                    measured.layer == Some(layer) && measured.measure.name == name
                });
                value(measured, record, false, decimals)
            }));
            row.push(Cell::Count(
                record.data.val.images as u64 - record.data.val.skipped as u64,
            ));
            rows.push(row);
        }
    }
    let mut columns = vec![Column::text("checkpoint"), Column::numbers("block", None)];
    columns.extend(COLUMNS.map(|(_, heading, unit, _)| Column::numbers(heading, unit)));
    columns.push(Column::numbers("n", None));
    let root = records
        .first()
        .map(|record| record.data.root.display().to_string());
    Table {
        title: format!("{}, on {}", protocol(records), root.unwrap_or_default()),
        columns,
        rows,
        footnotes: footnotes(records),
    }
}

/// One row a measure, with what identifies it: for programs.
pub fn measure_table(records: &[Record]) -> Table {
    let number = |n: Option<usize>| match n {
        Some(n) => Cell::Count(n as u64),
        None => Cell::Text(String::new()),
    };
    let text = |text: &str| Cell::Text(text.to_owned());
    let mut rows = Vec::new();
    for record in records {
        let train = record.data.train.as_ref();
        for measured in &record.measures {
            rows.push(vec![
                text(&record.subject.name),
                text(record.subject.blake3.as_deref().unwrap_or_default()),
                text(&measured.feature),
                number(measured.layer),
                number(measured.other_layer),
                number(measured.head),
                number(measured.k),
                match measured.learning_rate {
                    Some(rate) => Cell::Text(rate.to_string()),
                    None => Cell::Text(String::new()),
                },
                text(if measured.headline { "yes" } else { "no" }),
                text(&measured.measure.name),
                value(Some(measured), record, true, 4),
                text(match measured.measure.unit {
                    Unit::Percent => "%",
                    Unit::Pixels => "px",
                    Unit::Nats => "nat",
                    Unit::Unitless => "",
                }),
                Cell::Count(measured.measure.n),
                text(&record.protocol.name),
                Cell::Count(record.protocol.version.into()),
                text(&record.protocol.hash),
                text(&record.data.root.to_string_lossy()),
                text(train.map_or("", |train| &train.fingerprint)),
                text(&record.data.val.fingerprint),
                Cell::Count(record.cell.seed),
                text(&record.cell.key),
            ]);
        }
    }
    let names = ["checkpoint", "blake3", "feature"].map(Column::text);
    let places = ["block", "other block", "head", "k"].map(|name| Column::numbers(name, None));
    let mut columns: Vec<Column> = names.into_iter().chain(places).collect();
    columns.extend([
        Column::numbers("learning rate", None),
        Column::text("headline"),
        Column::text("measure"),
        Column::numbers("value", None),
        Column::text("unit"),
        Column::numbers("n", None),
        Column::text("protocol"),
        Column::numbers("version", None),
        Column::text("protocol hash"),
        Column::text("data"),
        Column::text("train fingerprint"),
        Column::text("val fingerprint"),
        Column::numbers("seed", None),
        Column::text("record"),
    ]);
    Table {
        title: protocol(records),
        columns,
        rows,
        footnotes: Vec::new(),
    }
}
