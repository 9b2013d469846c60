//! Runs of pre-training: what they were, their curves, and what their weights did.

use maud::{Markup, html};

use super::provenance::Provenance;
use super::{Report, Row, figure, sensitivity, training};
use crate::report::cell_text::printable;
use crate::report::labels::short;
use crate::report::plot::Plot;
use crate::report::table::{Cell, Column, Table};
use crate::report::table_error::TableError;
use crate::report::{PretrainingRecord, TeacherRecord};
use crate::store::CurvePoint;

/// A run and its curves.
#[derive(Clone, Debug)]
pub struct PretrainingEntry {
    /// The run.
    pub record: PretrainingRecord,
    /// In the order they were written in.
    pub curves: Vec<CurvePoint>,
}

/// The plots of the section, each row under its title: of terms' weights first.
pub(super) fn rows(report: &Report) -> Vec<(String, Row)> {
    let weights = sensitivity::charts(report);
    let weights: Vec<Plot> = weights.into_iter().map(Plot::Chart).collect();
    let weights = (!weights.is_empty()).then(|| ("Weights of terms".to_owned(), row(weights)));
    let runs = report.pretraining.iter().enumerate();
    let runs = runs.filter(|(_, entry)| !entry.curves.is_empty());
    let runs = runs.map(|(place, PretrainingEntry { record, curves })| {
        let key = short(&record.key);
        let title = format!(
            "{}, {}, seed {} ({key})",
            record.name, record.recipe, record.seed
        );
        let charts = training::charts(&format!("pretraining-{}", place + 1), curves);
        (title, row(charts.into_iter().map(Plot::Chart).collect()))
    });
    weights.into_iter().chain(runs).collect()
}

fn row(plots: Vec<Plot>) -> Row {
    Row { title: None, plots }
}

/// The section.
pub(super) fn show(report: &Report, provenance: &Provenance<'_>) -> Result<Markup, TableError> {
    let runs: Vec<&PretrainingRecord> = report.pretraining.iter().map(|own| &own.record).collect();
    let table = provenance.table(&table(&runs))?;
    let mut parts = Vec::new();
    for (title, row) in rows(report) {
        let plots = figure::rows(&[row], provenance)?;
        parts.push(html! { h3 { (printable(&title)) } (plots) });
    }
    Ok(html! { (table) @for part in parts { (part) } })
}

/// A run a row.
fn table(runs: &[&PretrainingRecord]) -> Table {
    let names = [
        "student",
        "recipe",
        "settings",
        "seed",
        "epochs",
        "teachers",
        "weights kept",
        "kNN on the way",
    ];
    let rows = runs.iter().map(|run| {
        let teachers = run.teachers.iter();
        let teachers = teachers.map(
            |TeacherRecord {
                 name, checkpoint, ..
             }| { format!("{name}: {checkpoint}") },
        );
        let teachers: Vec<_> = teachers.collect();
        let or = |text: String, none: &str| match text.is_empty() {
            true => Cell::Missing(none.to_owned()),
            false => Cell::Text(text),
        };
        let look = run.looks.last().map_or(String::new(), |look| {
            format!(
                "{:.2} % of {} images after epoch {}",
                look.percent(),
                look.images,
                look.epoch
            )
        });
        vec![
            Cell::Text(run.name.clone()),
            Cell::Text(format!(
                "{} version {} ({})",
                run.recipe,
                run.version,
                short(&run.hash)
            )),
            or(run.modified.join(", "), "the recipe's own"),
            Cell::Text(run.seed.to_string()),
            Cell::Text(run.epochs.to_string()),
            or(teachers.join(", "), "learns from none"),
            Cell::Text(run.kept.len().to_string()),
            or(look, "not asked for"),
        ]
    });
    Table {
        title: "runs of pre-training".to_owned(),
        columns: names.into_iter().map(Column::text).collect(),
        rows: rows.collect(),
        footnotes: Vec::new(),
    }
}
