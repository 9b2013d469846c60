//! Accuracies of frozen features over k and over blocks.

use super::Row;
use super::figure::{point, said};
use super::group::Group;
use crate::report::plot::{Axis, Chart, Plot, Series, Shape};
use crate::report::{Measured, Record};

/// top-1 over k, and over layers where several were read.
pub(super) fn plots(group: &Group) -> Vec<Row> {
    let charts = [k_curve(group), layer_curve(group)].into_iter().flatten();
    let plots: Vec<Plot> = charts.map(Plot::Chart).collect();
    let row = (!plots.is_empty()).then_some(Row { title: None, plots });
    row.into_iter().collect()
}

/// Blocks that a record's features were read from.
pub(super) fn blocks(record: &Record) -> usize {
    let mut layers: Vec<usize> = top1(record).iter().filter_map(|(_, m)| m.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    layers.len()
}

/// One value of a record on a curve.
type Found<'a> = (usize, &'a Measured);

/// top-1 over every k: of the last block that was read, for each way of reading it.
fn k_curve(group: &Group) -> Option<Chart> {
    let mut lines = Vec::new();
    for (record, &slot) in group.records.iter().zip(&group.slots) {
        let top1 = top1(record);
        let mut readings: Vec<(String, Option<usize>)> = Vec::new();
        for (_, measured) in &top1 {
            let reading = reading(measured);
            match readings.iter_mut().find(|(other, _)| *other == reading) {
                Some((_, layer)) => *layer = (*layer).max(measured.layer),
                None => readings.push((reading, measured.layer)),
            }
        }
        for (reading, layer) in &readings {
            let of_line = |(_, measured): &&Found<'_>| {
                self::reading(measured) == *reading && measured.layer == *layer
            };
            let name = name(record, reading, readings.len());
            let found: Vec<Found<'_>> = top1.iter().filter(of_line).copied().collect();
            lines.push((record, slot, name, found));
        }
    }
    let ks = || {
        lines
            .iter()
            .flat_map(|(.., found)| found)
            .filter_map(|(_, m)| m.k)
    };
    (ks().max() != ks().min()).then(|| {
        let x = Axis::logarithmic("k, neighbours that vote", ks().map(|k| k as f64));
        let title = match group.records.iter().any(|record| blocks(record) > 1) {
            true => "top-1 accuracy over k, last block that was read",
            false => "top-1 accuracy over k",
        };
        chart(group, "k", title, x, &lines, |m| m.k)
    })
}

/// top-1 over the blocks; of nearest neighbours with the headline's k.
fn layer_curve(group: &Group) -> Option<Chart> {
    let mut lines = Vec::new();
    for (record, &slot) in group.records.iter().zip(&group.slots) {
        let mut layers = top1(record);
        let shown = |m: &Measured| m.layer.is_some() && (m.headline || m.k.is_none());
        layers.retain(|(_, measured)| shown(measured));
        let mut readings: Vec<String> = layers.iter().map(|(_, m)| reading(m)).collect();
        readings.sort();
        readings.dedup();
        for reading in &readings {
            let mut found = layers.clone();
            found.retain(|(_, measured)| self::reading(measured) == *reading);
            found.sort_by_key(|(_, measured)| measured.layer);
            if found.len() > 1 {
                let name = name(record, reading, readings.len());
                lines.push((record, slot, name, found));
            }
        }
    }
    let found = lines.iter().flat_map(|(.., found)| found);
    let last = found.filter_map(|(_, m)| m.layer).max()?;
    let x = Axis::counted("block", last + 1);
    Some(chart(
        group,
        "layers",
        "top-1 accuracy over blocks",
        x,
        &lines,
        |m| m.layer,
    ))
}

fn top1(record: &Record) -> Vec<Found<'_>> {
    let measures = record.measures.iter().enumerate();
    measures
        .filter(|(_, measured)| measured.measure.name == "top1")
        .collect()
}

/// The feature without its block.
fn reading(measured: &Measured) -> String {
    match measured.layer {
        Some(layer) => {
            let block = format!("block {layer}");
            measured.feature.replacen(&block, "", 1).trim().to_owned()
        }
        None => measured.feature.clone(),
    }
}

fn name(record: &Record, reading: &str, readings: usize) -> String {
    let name = &record.subject.name;
    if readings > 1 {
        format!("{name}, {reading}")
    } else {
        name.clone()
    }
}

type Line<'a> = (&'a Record, usize, String, Vec<Found<'a>>);

fn chart(
    group: &Group,
    id: &str,
    title: &str,
    x: Axis,
    lines: &[Line<'_>],
    place: impl Fn(&Measured) -> Option<usize>,
) -> Chart {
    // Several lines of one checkpoint need a colour each.
    let several = lines.len() > group.records.len();
    let series: Vec<Series> = lines
        .iter()
        .enumerate()
        .map(|(i, (record, slot, name, found))| Series {
            name: name.clone(),
            slot: if several { i } else { *slot },
            shape: Shape::Line,
            points: found
                .iter()
                .filter_map(|&(at, measured)| {
                    let x = place(measured)? as f64;
                    Some(point(record, at, measured, x, said(record, measured)))
                })
                .collect(),
        })
        .collect();
    let points = series.iter().flat_map(|series| &series.points);
    let values = points.flat_map(|point| point.interval.into_iter().flatten().chain([point.y]));
    Chart {
        id: format!("{}-{id}", group.id),
        title: title.to_owned(),
        y: Axis::numbers("top-1 (%)", values, [0.0, 100.0]),
        x,
        series,
    }
}
