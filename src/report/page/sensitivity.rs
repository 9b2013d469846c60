//! How far accuracy hangs on the weight of one term: runs of one recipe that differ in it alone, as
//! MEDiC's figure 4 draws them.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::figure::said;
use super::{PretrainingEntry, Report};
use crate::report::plot::{Axis, Chart, Point, Series, Shape};
use crate::report::table::Source;
use crate::report::{Measured, PretrainingRecord, Record};
use crate::spec::Kind;
use crate::stats::{Measure, Seeds, Unit};

/// Weights that lie this far apart have a logarithmic axis.
const DECADE: f64 = 10.0;

/// The recipes whose published points are beside measured ones.
const MEDIC: &str = "pretrain/medic-";

/// A run, and what tells it from others of its recipe.
struct Weighted<'a> {
    run: &'a PretrainingRecord,
    /// Everything but weights of terms, and what else the run was made from but its teachers.
    rest: String,
    /// Terms' kinds and weights, by their names.
    terms: BTreeMap<String, (String, f64)>,
}

/// Runs that differ in the weight of one term alone.
struct Line<'a> {
    term: String,
    kind: String,
    /// What the other terms count for.
    others: BTreeMap<String, (String, f64)>,
    runs: Vec<(f64, &'a PretrainingRecord)>,
}

/// What a run's accuracy was taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken<'a> {
    /// A record of the final weights, under this protocol on these images.
    Final(&'a str, &'a str),
    /// The monitor's last look, at so many images.
    LastLook(u64),
}

/// The accuracy of a run.
struct Accuracy<'a> {
    measure: Measure,
    /// The record and the measure's place in it.
    found: Option<(&'a Record, usize, &'a Measured)>,
}

/// A chart for every term that only its weight was changed of.
pub(super) fn charts(report: &Report) -> Vec<Chart> {
    let lines = lines(&report.pretraining);
    let charts = lines.iter().filter_map(|line| chart(report, line));
    let charts = charts.enumerate().map(|(place, chart)| Chart {
        id: format!("weight-{}", place + 1),
        ..chart
    });
    charts.collect()
}

fn lines(entries: &[PretrainingEntry]) -> Vec<Line<'_>> {
    let runs = entries.iter().map(|entry| &entry.record);
    let runs: Vec<Weighted<'_>> = runs.filter_map(weighted).collect();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for own in &runs {
        for (term, (kind, _)) in &own.terms {
            let without = |run: &Weighted<'_>| {
                let mut others = run.terms.clone();
                others.remove(term).map(|_| others)
            };
            let Some(others) = without(own) else {
                continue;
            };
            let drawn = lines.iter().any(|line| {
                line.term == *term && line.runs.iter().any(|(_, run)| run.key == own.run.key)
            });
            if drawn {
                continue;
            }
            let same = runs.iter().filter(|run| {
                run.is_like(own) && without(run).is_some_and(|found| found == others)
            });
            let same = same.filter_map(|run| Some((run.terms.get(term)?.1, run.run)));
            let mut line = Line {
                term: term.clone(),
                kind: kind.clone(),
                runs: same.collect(),
                others,
            };
            line.runs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
            lines.push(line);
        }
    }
    lines.retain(|line| distinct(line.runs.iter().map(|(weight, _)| *weight)) > 1);
    lines
}

/// How many weights above 0 there are.
fn distinct(weights: impl Iterator<Item = f64>) -> usize {
    let mut weights: Vec<f64> = weights.filter(|weight| *weight > 0.0).collect();
    weights.sort_by(f64::total_cmp);
    weights.dedup();
    weights.len()
}

fn weighted(run: &PretrainingRecord) -> Option<Weighted<'_>> {
    let mut rest: Table = run.text.parse().ok()?;
    rest.remove("monitor");
    let mut terms = BTreeMap::new();
    for (name, term) in rest.get_mut("terms")?.as_table_mut()? {
        let term = term.as_table_mut()?;
        let weight = match term.remove("weight")? {
            Value::Float(weight) => weight,
            Value::Integer(weight) => weight as f64,
            _ => return None,
        };
        let kind = term.get("kind")?.as_str()?.to_owned();
        terms.insert(name.clone(), (kind, weight));
    }
    let made_from = (&run.manifest, &run.numerics, &run.precision);
    Some(Weighted {
        run,
        rest: format!("{rest} {made_from:?}"),
        terms,
    })
}

impl Weighted<'_> {
    /// Whether two runs differ in weights at most. A term that counts for nothing leaves its teacher
    /// idle, and the record without it.
    fn is_like(&self, other: &Self) -> bool {
        let mut teachers = self.run.teachers.iter();
        self.rest == other.rest
            && teachers.all(|own| {
                let mut others = other.run.teachers.iter();
                others.all(|other| other.name != own.name || other.blake3 == own.blake3)
            })
    }
}

/// Where accuracies of most runs of a line can be taken from; records before looks.
fn taken<'a>(report: &'a Report, line: &Line<'a>) -> Option<Taken<'a>> {
    let mut all: Vec<Taken<'a>> = Vec::new();
    for (_, run) in &line.runs {
        let records = report.records().filter(|record| is_of(record, run));
        let finals = records.map(|record| Taken::Final(&record.protocol.hash, &record.cell.data));
        let look = run.looks.last();
        for taken in finals.chain(look.map(|look| Taken::LastLook(look.images))) {
            if !all.contains(&taken) {
                all.push(taken);
            }
        }
    }
    let weights = |taken: Taken<'a>| {
        let runs = line.runs.iter();
        let found = runs.filter(move |(_, run)| accuracy(report, run, taken).is_some());
        distinct(found.map(|(weight, _)| *weight))
    };
    let is_final = |taken: &Taken<'_>| matches!(taken, Taken::Final(..));
    all.into_iter()
        .rev()
        .max_by_key(|taken| (weights(*taken), is_final(taken)))
        .filter(|taken| weights(*taken) > 1)
}

/// Whether a record is kNN's of what a run came to.
fn is_of(record: &Record, run: &PretrainingRecord) -> bool {
    let weights = run.weights().map(|kept| kept.blake3.as_str());
    record.protocol.kind == Kind::Knn && record.subject.blake3.as_deref() == weights
}

fn accuracy<'a>(
    report: &'a Report,
    run: &'a PretrainingRecord,
    taken: Taken<'_>,
) -> Option<Accuracy<'a>> {
    match taken {
        Taken::Final(protocol, data) => {
            let mut records = report.records().filter(|record| {
                is_of(record, run) && record.protocol.hash == protocol && record.cell.data == data
            });
            let record = records.next()?;
            let mut measures = record.measures.iter().enumerate();
            let (place, measured) =
                measures.find(|(_, found)| found.headline && found.measure.name == "top1")?;
            Some(Accuracy {
                measure: measured.measure.clone(),
                found: Some((record, place, measured)),
            })
        }
        Taken::LastLook(images) => {
            let look = run.looks.last().filter(|look| look.images == images)?;
            let measure = Measure::from_hits("top1", look.hits, look.images).ok()?;
            Some(Accuracy {
                measure,
                found: None,
            })
        }
    }
}

fn chart(report: &Report, line: &Line<'_>) -> Option<Chart> {
    let taken = taken(report, line)?;
    let mut points: Vec<Point> = Vec::new();
    let mut without = None;
    for same in line.runs.chunk_by(|(a, _), (b, _)| a == b) {
        let found = same.iter();
        let found: Vec<_> = found
            .filter_map(|(_, run)| accuracy(report, run, taken))
            .collect();
        let (Some((weight, run)), false) = (same.first(), found.is_empty()) else {
            continue;
        };
        let point = point(*weight, &found, run)?;
        match *weight > 0.0 {
            true => points.push(point),
            false => without = Some(point.y),
        }
    }
    let recipe = line.runs.first().map(|(_, run)| run.recipe.as_str())?;
    let published = published(report, line, recipe);
    let name = match taken {
        Taken::Final(..) => "final weights".to_owned(),
        Taken::LastLook(images) => format!("monitor's last look, {images} images"),
    };
    let others: Vec<_> = (line.others.iter())
        .map(|(name, (_, weight))| format!("{name} {weight}"))
        .collect();
    let others = match others.is_empty() {
        true => String::new(),
        false => format!(", beside {}", others.join(", ")),
    };
    let without = without.map_or(String::new(), |value| format!("; without it {value:.1} %"));
    let mut series = vec![Series {
        name,
        slot: 0,
        shape: Shape::Line,
        points,
    }];
    series.extend(published);
    let weights: Vec<f64> = all(&series).map(|point| point.x).collect();
    let ends = weights.iter().fold([f64::INFINITY, 0.0], |[low, high], x| {
        [low.min(*x), high.max(*x)]
    });
    let label = format!("weight of {}", line.term);
    let x = match ends[1] / ends[0] >= DECADE {
        true => Axis::logarithmic(label, weights.iter().copied()),
        false => Axis::numbers(label, weights.iter().copied(), [0.0, f64::INFINITY]),
    };
    let values = all(&series).flat_map(|point| {
        let [low, high] = point.interval.unwrap_or([point.y; 2]);
        [point.y, low, high]
    });
    Some(Chart {
        id: String::new(),
        title: format!(
            "{recipe}: top-1 of kNN over the weight of {}{others}{without}",
            line.term
        ),
        x,
        y: Axis::numbers("kNN top-1 (%)", values, Unit::Percent.range()),
        series,
    })
}

fn all(series: &[Series]) -> impl Iterator<Item = &Point> {
    series.iter().flat_map(|series| &series.points)
}

/// The mean of the runs of one weight: its interval is that of one run.
fn point(weight: f64, found: &[Accuracy<'_>], run: &PretrainingRecord) -> Option<Point> {
    let measures: Vec<&Measure> = found.iter().map(|own| &own.measure).collect();
    let seeds = Seeds::of(&measures).ok()?;
    let (interval, said, source) = match found {
        [own] => {
            let source = own.found.map(|(record, measure, _)| Source::Record {
                key: record.cell.key.clone(),
                measure,
            });
            let said = match own.found {
                Some((record, _, measured)) => said(record, measured),
                None => format!("{}: {:.2} %", run.name, seeds.mean),
            };
            (own.measure.interval, format!("{weight}: {said}"), source)
        }
        _ => {
            let interval = seeds
                .noise
                .map(|noise| noise.interval(seeds.mean, Unit::Percent));
            let said = format!("{weight}: {:.2} %, mean of {} runs", seeds.mean, seeds.runs);
            (interval, said, None)
        }
    };
    Some(Point {
        x: weight,
        y: seeds.mean,
        interval,
        said,
        source,
    })
}

/// MEDiC's own points, where these runs are MEDiC's beside the same other terms.
fn published(report: &Report, line: &Line<'_>, recipe: &str) -> Option<Series> {
    let usual = line
        .others
        .values()
        .all(|(kind, weight)| match kind.as_str() {
            "patch_distillation" => *weight == 1.0,
            _ => *weight == 0.0,
        });
    let mut known = report.weights.iter();
    let known = known.find(|known| known.kind == line.kind && !known.points.is_empty());
    let known = known.filter(|_| usual && recipe.starts_with(MEDIC))?;
    let mut points: Vec<Point> = (known.points.iter())
        .map(|(weight, value, citation)| Point {
            x: *weight,
            y: *value,
            interval: None,
            said: format!(
                "{weight}: {value} %, best epoch on {} ({citation})",
                known.dataset
            ),
            source: Some(Source::Paper {
                citation: citation.clone(),
            }),
        })
        .collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    let (_, _, citation) = known.points.first()?;
    Some(Series {
        name: format!("{citation}, best epochs, {}", known.dataset),
        slot: 1,
        shape: Shape::Line,
        points,
    })
}
