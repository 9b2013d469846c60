//! Loss, accuracies and learning rate over the epochs of each run.

use maud::{Markup, html};

use super::figure;
use super::provenance::Provenance;
use super::{Entry, Row};
use crate::report::Record;
use crate::report::cell_text::printable;
use crate::report::labels::{labelled, short};
use crate::report::plot::{Axis, Chart, Plot, Point, Series, Shape};
use crate::report::table_error::TableError;
use crate::store::{CurveKind, CurvePoint, LEARNING_RATE};

/// Points that a line has at most; where more were written, each is the mean of some.
const POINTS: usize = 40;

/// Lines that a chart has at most.
const LINES: usize = 8;

/// The runs of the entries that have curves, each with its plots.
pub(super) fn runs(entries: &[Entry]) -> Vec<(String, Row)> {
    let mut entries: Vec<&Entry> = entries.iter().collect();
    entries.retain(|entry| !entry.curves.is_empty());
    entries.sort_by_key(|Entry { record, .. }| {
        let (name, protocol) = (&record.subject.name, &record.protocol.name);
        (name.clone(), protocol.clone(), record.cell.seed)
    });
    let records: Vec<&Record> = entries.iter().map(|entry| &entry.record).collect();
    let runs = labelled(&records).into_iter().zip(entries).enumerate();
    runs.map(|(place, (record, entry))| {
        let (name, protocol) = (&record.subject.name, &record.protocol.name);
        let key = short(&record.cell.key);
        let seed = record.cell.seed;
        let title = format!("{name}, {protocol}, seed {seed} ({key})");
        let charts = charts(&format!("training-{}", place + 1), &entry.curves);
        let plots = charts.into_iter().map(Plot::Chart).collect();
        (title, Row { title: None, plots })
    })
    .collect()
}

/// Every run under its name.
pub(super) fn show(
    runs: &[(String, Row)],
    provenance: &Provenance<'_>,
) -> Result<Markup, TableError> {
    let mut parts = Vec::new();
    for (title, row) in runs {
        let plots = figure::rows(std::slice::from_ref(row), provenance)?;
        parts.push(html! { h3 { (printable(title)) } (plots) });
    }
    Ok(html! { @for part in parts { (part) } })
}

/// Which end of an axis the good numbers are at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Good {
    Low,
    High,
    Neither,
}

/// Loss, accuracies and learning rate, each where anything of it was written.
pub(super) fn charts(id: &str, curves: &[CurvePoint]) -> Vec<Chart> {
    let named = |names: &'static [&'static str]| {
        move |name: &str| {
            let family = name.split_once('/').map_or(name, |(family, _)| family);
            names.contains(&family)
        }
    };
    let any = [f64::NEG_INFINITY, f64::INFINITY];
    let charts = [
        chart(
            curves,
            ["loss", "loss", "loss"],
            any,
            Good::Low,
            named(&["loss"]),
        ),
        chart(
            curves,
            ["accuracy", "accuracy", "accuracy (%)"],
            [0.0, 100.0],
            Good::High,
            named(&["top1", "top5"]),
        ),
        chart(
            curves,
            ["segmentation", "mIoU and accuracies", "percent"],
            [0.0, 100.0],
            Good::High,
            named(&["miou", "macc", "aacc"]),
        ),
        chart(
            curves,
            ["rate", "learning rate", "learning rate"],
            [0.0, f64::INFINITY],
            Good::Neither,
            named(&[LEARNING_RATE]),
        ),
    ];
    let charts = charts.into_iter().flatten();
    charts
        .map(|chart| Chart {
            id: format!("{id}-{}", chart.id),
            ..chart
        })
        .collect()
}

/// A line of a chart: what it is called, and its places and numbers.
type Line = (String, Vec<[f64; 2]>);

/// The numbers whose names are `of` a chart; none where nothing of it was written.
fn chart(
    curves: &[CurvePoint],
    [id, title, label]: [&str; 3],
    bounds: [f64; 2],
    good: Good,
    of: impl Fn(&str) -> bool,
) -> Option<Chart> {
    let mut lines = lines(curves, of);
    let all = lines.len();
    if all > LINES && good != Good::Neither {
        let last = |line: &Line| line.1.last().map_or(0.0, |[_, y]| *y);
        lines.sort_by(|a, b| match good {
            Good::High => last(b).total_cmp(&last(a)),
            Good::Low | Good::Neither => last(a).total_cmp(&last(b)),
        });
    }
    lines.truncate(LINES);
    let kept = match lines.len() < all {
        true => format!(", the best {LINES} of {all} at the end"),
        false => String::new(),
    };
    let numbers = |axis: usize| {
        lines
            .iter()
            .flat_map(move |(_, at)| at.iter().map(move |p| p[axis]))
    };
    lines.first()?;
    // An axis has a width even where every point is at the start.
    let end = numbers(0).fold(1.0, f64::max);
    let x = Axis::numbers("epoch", numbers(0), [0.0, end]);
    let y = Axis::numbers(label, numbers(1), bounds);
    let series = lines
        .into_iter()
        .enumerate()
        .map(|(slot, (name, at))| Series {
            points: at.into_iter().map(|[x, y]| point(&name, x, y)).collect(),
            name,
            slot,
            shape: Shape::Line,
        });
    Some(Chart {
        id: id.to_owned(),
        title: format!("{title} over epochs{kept}"),
        x,
        y,
        series: series.collect(),
    })
}

fn point(name: &str, x: f64, y: f64) -> Point {
    let size = y.abs();
    let text = match size == 0.0 || (1e-2..1e4).contains(&size) {
        true => format!("{y:.3}"),
        false => format!("{y:.3e}"),
    };
    Point {
        x,
        y,
        interval: None,
        said: format!("epoch {x:.2}, {name}: {text}"),
        source: None,
    }
}

/// The lines of the names that are `of` a chart, those of training first.
fn lines(curves: &[CurvePoint], of: impl Fn(&str) -> bool) -> Vec<Line> {
    let mut names: Vec<(CurveKind, &str)> = curves
        .iter()
        .flat_map(|point| point.values.keys().map(|name| (point.kind, name.as_str())))
        .filter(|(_, name)| of(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    let lines = names.into_iter().map(|(kind, name)| {
        let points = curves.iter().filter(|point| point.kind == kind);
        let points = points.filter_map(|point| Some([point.epoch, *point.values.get(name)?]));
        // A number that is not finite has no place.
        let points: Vec<[f64; 2]> = points.filter(|[_, y]| y.is_finite()).collect();
        (format!("{} {name}", kind.name()), thinned(&points))
    });
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

/// Means of equally many neighbours, at most [`POINTS`], each at the last one's place.
fn thinned(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let several = points.len().div_ceil(POINTS).max(1);
    let means = points.chunks(several).filter_map(|chunk| {
        let sum: f64 = chunk.iter().map(|[_, y]| y).sum();
        let [x, _] = chunk.last()?;
        Some([*x, sum / chunk.len() as f64])
    });
    means.collect()
}
