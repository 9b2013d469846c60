//! Statistics of attention and diagnostics of layers, in the layout of figures 1, 2 and 5 of Hybrid
//! Distillation: one line a model over the blocks; one panel a model with a dot for every head.

use super::figure::{point, said};
use super::group::Group;
use crate::report::plot::{Axis, Chart, HeatMap, Plot, Series, Shape, Square};
use crate::report::table::Source;
use crate::report::{Measured, Record};

/// A measure that is drawn over the blocks.
struct Statistic {
    name: &'static str,
    title: &'static str,
    label: &'static str,
    bounds: [f64; 2],
}

const ANY: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];
const FROM_0: [f64; 2] = [0.0, f64::INFINITY];

/// In the order of the page.
const STATISTICS: [Statistic; 7] = [
    Statistic {
        name: "distance",
        title: "Average head distance",
        label: "distance (px)",
        bounds: FROM_0,
    },
    Statistic {
        name: "nmi",
        title: "Normalised mutual information of queries and keys",
        label: "NMI",
        bounds: FROM_0,
    },
    Statistic {
        name: "entropy",
        title: "Entropy of attention",
        label: "entropy (nats)",
        bounds: FROM_0,
    },
    Statistic {
        name: "distance_raw",
        title: "Average head distance, rows not renormalised",
        label: "distance (px)",
        bounds: FROM_0,
    },
    Statistic {
        name: "rank_me",
        title: "RankMe: effective rank of the features",
        label: "effective rank",
        bounds: FROM_0,
    },
    Statistic {
        name: "uniformity",
        title: "Uniformity of the features",
        label: "uniformity (lower is more uniform)",
        bounds: ANY,
    },
    Statistic {
        name: "alignment",
        title: "Alignment of the features of a class",
        label: "alignment (lower is closer)",
        bounds: FROM_0,
    },
];

/// The statistics by block, the distances of the heads, and how alike the layers are.
pub(super) fn plots(group: &Group) -> Vec<Plot> {
    let by_block = STATISTICS
        .iter()
        .filter_map(|statistic| by_block(group, statistic));
    let mut plots: Vec<Plot> = by_block.map(Plot::Chart).collect();
    plots.extend(by_head(group).into_iter().map(Plot::Chart));
    let maps = group.records.iter().zip(&group.slots).enumerate();
    plots.extend(maps.filter_map(|(i, (record, &slot))| alike(group, i, record, slot)));
    plots
}

/// Measures of a record that belong to a block and are called so.
fn named<'a>(record: &'a Record, name: &str) -> impl Iterator<Item = (usize, &'a Measured, usize)> {
    let measures = record.measures.iter().enumerate();
    measures
        .filter(move |(_, m)| m.measure.name == name && m.other_layer.is_none())
        .filter_map(|(at, measured)| Some((at, measured, measured.layer?)))
}

fn by_block(group: &Group, statistic: &Statistic) -> Option<Chart> {
    let mut series = Vec::new();
    for (record, &slot) in group.records.iter().zip(&group.slots) {
        let layers = named(record, statistic.name).filter(|(_, m, _)| m.head.is_none());
        let mut points: Vec<_> = layers
            .map(|(at, m, layer)| point(record, at, m, layer as f64, said(record, m)))
            .collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        if !points.is_empty() {
            series.push(Series {
                name: record.subject.name.clone(),
                slot,
                shape: Shape::Line,
                points,
            });
        }
    }
    let points = || series.iter().flat_map(|series| &series.points);
    let last = points().map(|point| point.x).max_by(f64::total_cmp)?;
    let values = points().flat_map(|point| point.interval.into_iter().flatten().chain([point.y]));
    Some(Chart {
        id: format!("{}-{}", group.id, statistic.name.replace('_', "-")),
        title: statistic.title.to_owned(),
        x: Axis::counted("block", last as usize + 1),
        y: Axis::numbers(statistic.label, values, statistic.bounds),
        series,
    })
}

/// A panel a model, all with the same axes.
fn by_head(group: &Group) -> Vec<Chart> {
    let heads = |record: &Record| -> Vec<_> {
        let heads = named(record, "distance").filter(|(_, m, _)| m.head.is_some());
        heads
            .map(|(at, m, layer)| point(record, at, m, layer as f64, said(record, m)))
            .collect()
    };
    let panels: Vec<_> = group.records.iter().map(heads).collect();
    let all = || panels.iter().flatten();
    let Some(last) = all().map(|point| point.x).max_by(f64::total_cmp) else {
        return Vec::new();
    };
    let x = Axis::counted("block", last as usize + 1);
    let y = Axis::numbers("distance (px)", all().map(|point| point.y), FROM_0);
    let records = group.records.iter().zip(&group.slots);
    records
        .zip(&panels)
        .enumerate()
        .filter(|(_, (_, points))| !points.is_empty())
        .map(|(i, ((record, &slot), points))| {
            let name = &record.subject.name;
            Chart {
                id: format!("{}-heads-{}", group.id, i + 1),
                title: format!("Distance of every head: {name}"),
                x: x.clone(),
                y: y.clone(),
                series: vec![Series {
                    name: String::new(),
                    slot,
                    shape: Shape::Dots,
                    points: points.clone(),
                }],
            }
        })
        .collect()
}

/// Linear CKA of every two layers; of a pair that was measured once, both squares.
fn alike(group: &Group, place: usize, record: &Record, slot: usize) -> Option<Plot> {
    let mut squares: Vec<Square> = Vec::new();
    for (measure, measured) in record.measures.iter().enumerate() {
        let (Some(layer), Some(other)) = (measured.layer, measured.other_layer) else {
            continue;
        };
        for at in [[layer, other], [other, layer]] {
            if measured.measure.name == "cka" && squares.iter().all(|square| square.at != at) {
                squares.push(Square {
                    at,
                    value: measured.measure.value,
                    said: said(record, measured),
                    source: Some(Source::Record {
                        key: record.cell.key.clone(),
                        measure,
                    }),
                });
            }
        }
    }
    let last = squares.iter().map(|square| square.at[0]).max()?;
    let known = |layer: &usize| squares.iter().any(|square| square.at[0] == *layer);
    let itself: Vec<usize> = (0..=last).filter(known).collect();
    squares.extend(itself.into_iter().map(|layer| Square {
        at: [layer; 2],
        value: 1.0,
        said: format!("block {layer} is like itself"),
        source: None,
    }));
    Some(Plot::HeatMap(HeatMap {
        id: format!("{}-cka-{}", group.id, place + 1),
        title: format!("Linear CKA of the blocks: {}", record.subject.name),
        label: "block".to_owned(),
        count: last + 1,
        slot,
        squares,
    }))
}
