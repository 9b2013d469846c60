//! Plots and pictures in a page, and what is said about a number that one points at.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::provenance::Provenance;
use crate::report::cell_text::{printable, rounded};
use crate::report::plot::{Plot, Point, Shape};
use crate::report::table::{Cell, Column, Source, Table};
use crate::report::table_error::TableError;
use crate::report::{Measured, Record};
use crate::stats::Unit;

/// Digits after the point: as in the tables, rather one more.
fn decimals(measured: &Measured) -> u8 {
    match measured.measure.unit {
        Unit::Percent | Unit::Pixels => 1,
        Unit::Nats | Unit::Unitless => 3,
    }
}

/// The sign of a unit, after a space.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Percent => " %",
        Unit::Pixels => " px",
        Unit::Nats => " nat",
        Unit::Unitless => "",
    }
}

/// `MAE, block 3 head 1, k = 20: top1 71.4 % [71.0, 71.8]`.
pub(super) fn said(record: &Record, measured: &Measured) -> String {
    let measure = &measured.measure;
    let decimals = decimals(measured);
    let mut text = format!("{}, {}", record.subject.name, measured.feature);
    if let Some(k) = measured.k {
        text += &format!(", k = {k}");
    }
    text += &format!(": {} {}", measure.name, rounded(measure.value, decimals));
    text += unit(measure.unit);
    if let Some(bounds) = measure.interval {
        let [low, high] = bounds.map(|bound| rounded(bound, decimals));
        text += &format!(" [{low}, {high}]");
    }
    text
}

/// A measure, the `at`th of its record, as a point of a chart.
pub(super) fn point(
    record: &Record,
    at: usize,
    measured: &Measured,
    x: f64,
    said: String,
) -> Point {
    Point {
        x,
        y: measured.measure.value,
        interval: measured.measure.interval,
        said,
        source: Some(Source::Record {
            key: record.cell.key.clone(),
            measure: at,
        }),
    }
}

/// The plots side by side, each with its numbers where it has lines.
pub(super) fn plots(plots: &[Plot], provenance: &Provenance<'_>) -> Result<Markup, TableError> {
    let mut figures = Vec::new();
    for plot in plots {
        let numbers = numbers(plot);
        let numbers = numbers.map(|table| provenance.table(&table)).transpose()?;
        figures.push(html! {
            figure class="chart" id=(plot.id()) {
                figcaption { (printable(plot.title())) }
                (plot.inline())
                @if let Some(numbers) = numbers {
                    details { summary { "Numbers" } (numbers) }
                }
            }
        });
    }
    Ok(html! {
        @if !figures.is_empty() { div class="charts" { @for figure in figures { (figure) } } }
    })
}

/// The numbers of a chart of lines: a row a line, a column a place on its axis.
fn numbers(plot: &Plot) -> Option<Table> {
    let Plot::Chart(chart) = plot else {
        return None;
    };
    let lines: Vec<_> = chart
        .series
        .iter()
        .filter(|series| series.shape == Shape::Line)
        .collect();
    let mut places: Vec<f64> = lines
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point.x))
        .collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut columns = vec![Column::text(chart.x.label.clone())];
    columns.extend(places.iter().map(|x| Column::numbers(x.to_string(), None)));
    let rows =
        lines.iter().map(|series| {
            let mut row = vec![Cell::Text(series.name.clone())];
            row.extend(places.iter().map(
                |x| match series.points.iter().find(|point| point.x == *x) {
                    Some(point) => Cell::Value {
                        value: point.y,
                        interval: None,
                        decimals: chart.y.decimals() + 1,
                        marks: Vec::new(),
                        source: point.source.clone(),
                    },
                    None => Cell::Missing("not measured".to_owned()),
                },
            ));
            row
        });
    (!lines.is_empty()).then(|| Table {
        title: chart.y.label.clone(),
        columns,
        rows: rows.collect(),
        footnotes: Vec::new(),
    })
}

/// A picture with its file in it.
pub(super) fn picture(title: &str, description: &str, png: &[u8]) -> Markup {
    html! {
        figure class="sheet" {
            figcaption { (printable(title)) }
            img alt=(printable(description)) src=(format!("data:image/png;base64,{}", STANDARD.encode(png)));
        }
    }
}
