//! Linear probes as tables.

use super::knn_tables::{footnotes, marks, percent, protocol, value};
use super::{Cell, Column, Mark, Measured, Record, Table};
use crate::stats::Seeds;

/// All tables of records under one protocol on one dataset: the headlines; their mean over seeds,
/// where there are several; every block, where heads stand over several.
pub(super) fn linear_tables(records: &[Record]) -> Vec<Table> {
    let tables = [seed_table(records), block_table(records)];
    let headlines = linear_table(records);
    [headlines]
        .into_iter()
        .chain(tables.into_iter().flatten())
        .collect()
}

/// One row a record: its headline, and the largest accuracy of all heads and epochs where there is
/// a choice. All records share one protocol.
pub fn linear_table(records: &[Record]) -> Table {
    let seeds = records
        .windows(2)
        .any(|pair| pair[0].cell.seed != pair[1].cell.seed);
    let mut rows = Vec::new();
    for record in records {
        let named = |name: &str| {
            let mut measures = record.measures.iter();
            measures.find(|measured| measured.headline && measured.measure.name == name)
        };
        let largest = record
            .measures
            .iter()
            .find(|m| m.measure.name == "top1_max");
        for top1 in record
            .measures
            .iter()
            .filter(|m| m.headline && m.measure.name == "top1")
        {
            let of_head = |name: &str| {
                let mut measures = record.measures.iter();
                measures.find(|m| m.feature == top1.feature && m.measure.name == name)
            };
            let mut row = vec![Cell::Text(record.subject.name.clone())];
            row.extend(seeds.then_some(Cell::Count(record.cell.seed)));
            row.push(Cell::Text(top1.feature.clone()));
            row.push(value(Some(top1), record, true, 1));
            row.push(value(of_head("top5"), record, true, 1));
            if records.iter().any(has_largest) {
                row.push(value(largest, record, false, 1));
            }
            let train = record.data.train.as_ref();
            row.push(Cell::Count(train.map_or(0, |train| train.images as u64)));
            row.push(named("top1").map_or_else(
                || Cell::Missing("not part of this record".to_owned()),
                |measured| Cell::Count(measured.measure.n),
            ));
            rows.push(row);
        }
    }
    let mut columns = vec![Column::text("checkpoint")];
    columns.extend(seeds.then(|| Column::numbers("seed", None)));
    columns.extend([Column::text("head"), percent("top-1"), percent("top-5")]);
    if records.iter().any(has_largest) {
        columns.push(percent("best head and epoch"));
    }
    columns.extend([
        Column::numbers("train images", None),
        Column::numbers("n", None),
    ]);
    Table {
        title: title(records),
        columns,
        rows,
        footnotes: footnotes(records),
    }
}

fn has_largest(record: &Record) -> bool {
    record.measures.iter().any(|m| m.measure.name == "top1_max")
}

fn title(records: &[Record]) -> String {
    let root = records
        .first()
        .map(|record| record.data.root.display().to_string());
    format!("{}, on {}", protocol(records), root.unwrap_or_default())
}

/// Mean and standard deviation of the headlines over seeds.
fn seed_table(records: &[Record]) -> Option<Table> {
    let mut subjects: Vec<(&str, Vec<&Record>)> = Vec::new();
    for record in records {
        match subjects
            .iter_mut()
            .find(|(key, _)| *key == record.cell.subject)
        {
            Some((_, runs)) => runs.push(record),
            None => subjects.push((&record.cell.subject, vec![record])),
        }
    }
    subjects.retain(|(_, runs)| runs.len() > 1);
    if subjects.is_empty() {
        return None;
    }
    let row = |(_, runs): &(&str, Vec<&Record>)| {
        let number = |value: f64, decimals, selected: bool| {
            let mut marks = marks(runs[0]);
            marks.extend(selected.then_some(Mark::Selected));
            Cell::Value {
                value,
                interval: None,
                decimals,
                marks,
                source: None,
            }
        };
        let mut row = vec![
            Cell::Text(runs[0].subject.name.clone()),
            Cell::Count(runs.len() as u64),
        ];
        for name in ["top1", "top5"] {
            let found: Vec<&Measured> = (runs.iter())
                .filter_map(|run| {
                    let mut measures = run.measures.iter();
                    measures.find(|m| m.headline && m.measure.name == name)
                })
                .collect();
            let measures: Vec<_> = found.iter().map(|m| &m.measure).collect();
            let selected = found.iter().any(|m| m.selection.is_made());
            let seeds = Seeds::of(&measures).ok();
            let missing = || Cell::Missing("not part of this record".to_owned());
            let deviation = seeds.and_then(|seeds| seeds.deviation);
            row.push(seeds.map_or_else(missing, |seeds| number(seeds.mean, 2, selected)));
            row.push(deviation.map_or_else(missing, |deviation| number(deviation, 2, false)));
        }
        row
    };
    Some(Table {
        title: format!("{}, mean and standard deviation over seeds", title(records)),
        columns: vec![
            Column::text("checkpoint"),
            Column::numbers("seeds", None),
            percent("top-1"),
            Column::numbers("deviation", Some("%")),
            percent("top-5"),
            Column::numbers("deviation", Some("%")),
        ],
        rows: subjects.iter().map(row).collect(),
        footnotes: vec!["the deviation is that of single runs (n - 1)".to_owned()],
    })
}

/// top-1 of the heads over every block, where there is one head a block.
fn block_table(records: &[Record]) -> Option<Table> {
    let blocks = |record: &Record| -> Vec<(usize, usize)> {
        let measures = record.measures.iter().enumerate();
        let top1 = measures.filter(|(_, m)| m.measure.name == "top1");
        top1.filter_map(|(at, m)| Some((m.layer?, at))).collect()
    };
    let mut all: Vec<usize> = Vec::new();
    for record in records {
        let of_record = blocks(record);
        let mut layers: Vec<_> = of_record.iter().map(|&(layer, _)| layer).collect();
        layers.dedup();
        if layers.len() != of_record.len() {
            return None;
        }
        all.extend(layers);
    }
    all.sort_unstable();
    all.dedup();
    if all.len() < 2 {
        return None;
    }
    let row = |record: &Record| {
        let mut row = vec![
            Cell::Text(record.subject.name.clone()),
            Cell::Count(record.cell.seed),
        ];
        let of_record = blocks(record);
        row.extend(all.iter().map(|&block| {
            let at = of_record.iter().find(|&&(layer, _)| layer == block);
            let measured = at.map(|&(_, at)| &record.measures[at]);
            match value(measured, record, false, 1) {
                // One of many beside each other: nothing is selected in showing it.
                Cell::Value {
                    value,
                    interval,
                    decimals,
                    source,
                    ..
                } => Cell::Value {
                    value,
                    interval,
                    decimals,
                    marks: marks(record),
                    source,
                },
                other => other,
            }
        }));
        row
    };
    let mut columns = vec![Column::text("checkpoint"), Column::numbers("seed", None)];
    columns.extend(
        all.iter()
            .map(|block| Column::numbers(&format!("block {block}"), Some("%"))),
    );
    Some(Table {
        title: format!("{}, top-1 over blocks", title(records)),
        columns,
        rows: records.iter().map(row).collect(),
        footnotes: Vec::new(),
    })
}
