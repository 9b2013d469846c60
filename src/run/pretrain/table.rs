//! Finished runs for people.

use crate::plan::PretrainPlan;
use crate::report::{Cell, Column, PretrainingRecord, Table};

/// A run a row: its folder, the terms of its last epoch, and what kNN said last.
pub fn table(runs: &[(&PretrainPlan, &PretrainingRecord)]) -> Table {
    let name = runs.first().map_or("", |(_, record)| &record.recipe);
    let mut terms: Vec<&str> = Vec::new();
    for (name, _) in runs.iter().flat_map(|(_, record)| &record.terms) {
        if !terms.contains(&name.as_str()) {
            terms.push(name);
        }
    }
    let mut columns = vec![Column::text("student"), Column::text("seed")];
    columns.extend(terms.iter().map(|term| Column::text(*term)));
    columns.push(Column::text("kNN of watched images"));
    let rows = runs.iter().map(|(plan, record)| {
        let mut row = vec![
            Cell::Text(plan.out.display().to_string()),
            Cell::Text(record.seed.to_string()),
        ];
        row.extend(terms.iter().map(
            |term| match record.terms.iter().find(|(name, _)| name == term) {
                Some((_, value)) => Cell::Text(format!("{value:.4}")),
                None => Cell::Missing("not a term of this run".to_owned()),
            },
        ));
        let look = record.looks.last();
        row.push(Cell::Text(
            look.map_or("not asked for".to_owned(), |look| {
                format!("{:.2} % of {}", look.percent(), look.images)
            }),
        ));
        row
    });
    Table {
        title: format!("pre-training: {name}"),
        rows: rows.collect(),
        columns,
        footnotes: Vec::new(),
    }
}
