//! Segmentations as tables.

use super::knn_tables::{footnotes, percent, value};
use super::linear_tables::{is_headline, names, seed_table, subjects, title};
use super::{Cell, Column, Record, Table};

/// The measures of a segmentation, as tables call them.
pub(super) const SEGMENTATION: [(&str, &str); 3] =
    [("miou", "mIoU"), ("macc", "mAcc"), ("aacc", "aAcc")];

/// All tables of records under one protocol on one dataset: the headlines, and their mean over seeds,
/// where there are several.
pub(super) fn segmentation_tables(records: &[Record]) -> Vec<Table> {
    let mut tables = vec![segmentation_table(records)];
    tables.extend(seed_table(records, &SEGMENTATION));
    tables
}

/// One row a record: mean intersection over union, mean accuracy of the classes, and the share of
/// pixels that are right. All records share one protocol.
pub fn segmentation_table(records: &[Record]) -> Table {
    let seeds = records
        .windows(2)
        .any(|pair| pair[0].cell.seed != pair[1].cell.seed);
    let subjects = subjects(records);
    let names = names(&subjects);
    let each = subjects.iter().zip(&names);
    let each = each.flat_map(|(runs, first)| runs.iter().map(move |run| (*run, first)));
    let row = |(record, first): (&Record, &Record)| {
        let find = |name| record.measures.iter().find(|m| is_headline(m, name));
        let head = find("miou").map_or("", |measured| &measured.feature);
        let train = record.data.train.as_ref();
        let mut row = vec![Cell::Text(first.subject.name.clone())];
        row.extend(seeds.then_some(Cell::Count(record.cell.seed)));
        row.push(Cell::Text(head.to_owned()));
        for (name, _) in SEGMENTATION {
            row.push(value(find(name), record, name == "miou", 2));
        }
        row.push(Cell::Count(train.map_or(0, |train| train.images as u64)));
        row.push(Cell::Count(record.data.val.images as u64));
        row
    };
    let mut columns = vec![Column::text("checkpoint")];
    columns.extend(seeds.then(|| Column::numbers("seed", None)));
    columns.push(Column::text("head"));
    columns.extend(SEGMENTATION.map(|(_, name)| percent(name)));
    columns.push(Column::numbers("train images", None));
    columns.push(Column::numbers("n", None));
    Table {
        title: title(records),
        columns,
        rows: each.map(row).collect(),
        footnotes: footnotes(records),
    }
}
