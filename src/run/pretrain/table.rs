//! Finished runs for people.

use super::record::PretrainingRecord;
use crate::plan::PretrainPlan;
use crate::report::{Cell, Column, Table};

/// A run a row: its folder, the terms of its last epoch, and what kNN said last.
pub fn table(plans: &[PretrainPlan], records: &[PretrainingRecord]) -> Table {
    let name = records.first().map_or("", |record| record.recipe.as_str());
    let mut columns = vec![Column::text("student"), Column::text("seed")];
    let terms = records.first().map(|record| &record.terms);
    for (term, _) in terms.into_iter().flatten() {
        columns.push(Column::text(term));
    }
    columns.push(Column::text("kNN of watched images"));
    let rows = plans.iter().zip(records).map(|(plan, record)| {
        let mut row = vec![
            Cell::Text(plan.out.display().to_string()),
            Cell::Text(record.seed.to_string()),
        ];
        row.extend((record.terms.iter()).map(|(_, value)| Cell::Text(format!("{value:.4}"))));
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
