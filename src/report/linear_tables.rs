//! Classifiers as tables: linear probes, whole networks that were fine-tuned, and heads as they are.

use super::knn_tables::{footnotes, marks, percent, protocol, value};
use super::labels::labelled;
use super::{Cell, Column, Mark, Measured, Record, Selection, Table};
use crate::spec::Kind;
use crate::stats::Seeds;

/// The measures of a classifier, as tables call them.
pub(super) const ACCURACIES: [(&str, &str); 2] = [("top1", "top-1"), ("top5", "top-5")];

/// All tables of records under one protocol on one dataset: the headlines; their mean over seeds,
/// where there are several; every block, where heads stand over several; every learning rate, where
/// there are several.
pub(super) fn linear_tables(records: &[Record]) -> Vec<Table> {
    let mut tables = vec![linear_table(records)];
    tables.extend(seed_table(records, &ACCURACIES));
    tables.extend(block_table(records));
    let subjects = subjects(records);
    let names = names(&subjects);
    let each = subjects.iter().zip(&names);
    tables.extend(each.filter_map(|(runs, first)| rate_table(runs, first)));
    tables
}

/// Records that differ by seed alone, by seed, in the order of the first of each.
pub(super) fn subjects(records: &[Record]) -> Vec<Vec<&Record>> {
    let mut subjects: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        let mut known = subjects.iter_mut();
        match known.find(|runs| runs[0].differs_by_seed_alone(record)) {
            Some(runs) => runs.push(record),
            None => subjects.push(vec![record]),
        }
    }
    for runs in &mut subjects {
        runs.sort_by_key(|run| run.cell.seed);
    }
    subjects
}

/// The first record of each subject, under a name that tells it from the others.
pub(super) fn names(subjects: &[Vec<&Record>]) -> Vec<Record> {
    labelled(&subjects.iter().map(|runs| runs[0]).collect::<Vec<_>>())
}

/// One row a headline, and the largest accuracy of all heads and epochs where there is a choice. All
/// records share one protocol.
pub fn linear_table(records: &[Record]) -> Table {
    let seeds = records
        .windows(2)
        .any(|pair| pair[0].cell.seed != pair[1].cell.seed);
    let largest: Option<&Measured> = records.iter().find_map(largest);
    let subjects = subjects(records);
    let names = names(&subjects);
    let each = subjects.iter().zip(&names);
    let each = each.flat_map(|(runs, first)| runs.iter().map(move |run| (*run, first)));
    let heads = tells_heads(records);
    let trained = records.iter().any(|record| record.data.train.is_some());
    let mut rows = Vec::new();
    for (record, first) in each {
        for top1 in record.measures.iter().filter(|m| is_headline(m, "top1")) {
            let mut measures = record.measures.iter();
            let top5 = measures.find(|m| m.feature == top1.feature && is_headline(m, "top5"));
            let mut row = vec![Cell::Text(first.subject.name.clone())];
            row.extend(seeds.then_some(Cell::Count(record.cell.seed)));
            row.extend(heads.then(|| Cell::Text(top1.feature.clone())));
            row.push(value(Some(top1), record, true, 1));
            row.push(value(top5, record, false, 1));
            row.extend(largest.map(|_| value(self::largest(record), record, false, 1)));
            let train = record.data.train.as_ref();
            let train = train.map_or(0, |train| train.images as u64);
            row.extend(trained.then_some(Cell::Count(train)));
            row.push(Cell::Count(top1.measure.n));
            rows.push(row);
        }
    }
    let cached = records
        .iter()
        .any(|record| record.protocol.kind == Kind::LinearCached);
    let mut columns = vec![Column::text("checkpoint")];
    columns.extend(seeds.then(|| Column::numbers("seed", None)));
    let head = || Column::text(if cached { "feature" } else { "head" });
    columns.extend(heads.then(head));
    columns.extend([percent("top-1"), percent("top-5")]);
    columns.extend(largest.map(|largest| match largest.selection {
        Selection::BestEpoch => percent("best epoch"),
        _ => percent("best head and epoch"),
    }));
    columns.extend(trained.then(|| Column::numbers("train images", None)));
    columns.push(Column::numbers("n", None));
    Table {
        title: title(records),
        columns,
        rows,
        footnotes: footnotes(records),
    }
}

/// Whether heads are to be told apart: of probes always; of whole classifiers, which have one, where
/// they read different things.
fn tells_heads(records: &[Record]) -> bool {
    let whole = |record: &Record| matches!(record.protocol.kind, Kind::Finetune | Kind::Classify);
    let mut features = records
        .iter()
        .flat_map(|record| record.measures.iter().filter(|m| is_headline(m, "top1")))
        .map(|measured| &measured.feature);
    let first = features.next();
    !records.iter().all(whole) || features.any(|feature| Some(feature) != first)
}

pub(super) fn is_headline(measured: &Measured, name: &str) -> bool {
    measured.headline && measured.measure.name == name
}

/// The largest accuracy of all heads and epochs.
fn largest(record: &Record) -> Option<&Measured> {
    record
        .measures
        .iter()
        .find(|m| m.measure.name == "top1_max")
}

pub(super) fn title(records: &[Record]) -> String {
    let root = records
        .first()
        .map(|record| record.data.root.display().to_string());
    format!("{}, on {}", protocol(records), root.unwrap_or_default())
}

/// Mean and standard deviation of the headlines of these measures, each with its name in tables, over
/// seeds, where any checkpoint has several.
pub(super) fn seed_table(records: &[Record], measures: &[(&str, &str)]) -> Option<Table> {
    let mut subjects = subjects(records);
    subjects.retain(|runs| runs.len() > 1);
    if subjects.is_empty() {
        return None;
    }
    let names = names(&subjects);
    let row = |(runs, first): (&Vec<&Record>, &Record)| {
        let number = |value: f64, marks: Vec<Mark>| Cell::Value {
            value,
            interval: None,
            decimals: 2,
            marks,
            source: None,
        };
        let missing = || Cell::Missing("not every seed has one such number".to_owned());
        let mut row = vec![
            Cell::Text(first.subject.name.clone()),
            Cell::Count(runs.len() as u64),
        ];
        for (name, _) in measures {
            let headlines: Option<Vec<&Measured>> = runs
                .iter()
                .map(|run| {
                    let mut found = run.measures.iter().filter(|m| is_headline(m, name));
                    found.next().filter(|_| found.next().is_none())
                })
                .collect();
            let seeds = headlines.as_ref().and_then(|headlines| {
                let measures: Vec<_> = headlines.iter().map(|m| &m.measure).collect();
                Seeds::of(&measures).ok()
            });
            let mut marks: Vec<Mark> = runs.iter().flat_map(|run| marks(run)).collect();
            let mut headlines = headlines.iter().flatten();
            marks.extend(
                headlines
                    .any(|m| m.selection.is_made())
                    .then_some(Mark::Selected),
            );
            row.push(seeds.map_or_else(missing, |seeds| number(seeds.mean, marks)));
            let deviation = seeds.and_then(|seeds| seeds.deviation);
            row.push(deviation.map_or_else(missing, |deviation| number(deviation, Vec::new())));
        }
        row
    };
    let mut columns = vec![Column::text("checkpoint"), Column::numbers("seeds", None)];
    for (_, name) in measures {
        columns.push(percent(name));
        columns.push(Column::numbers(format!("{name} deviation"), Some("points")));
    }
    Some(Table {
        title: format!("{}, mean and standard deviation over seeds", title(records)),
        columns,
        rows: subjects.iter().zip(&names).map(row).collect(),
        footnotes: vec!["the deviation is that of single runs (n - 1)".to_owned()],
    })
}

fn top1(record: &Record) -> impl Iterator<Item = &Measured> {
    record.measures.iter().filter(|m| m.measure.name == "top1")
}

/// One head's top-1 beside those of others, so that nothing is selected in showing it: of one run as
/// it is, of several seeds their mean.
fn of_head(runs: &[&Record], is_wanted: impl Fn(&Measured) -> bool, interval: bool) -> Cell {
    let find = |record| top1(record).find(|measured| is_wanted(measured));
    let mut own: Vec<Mark> = runs.iter().flat_map(|run| marks(run)).collect();
    own.dedup();
    match runs {
        [record] => match value(find(record), record, interval, 1) {
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
                marks: own,
                source,
            },
            other => other,
        },
        runs => {
            let values: Option<Vec<f64>> = runs
                .iter()
                .map(|&run| Some(find(run)?.measure.value))
                .collect();
            values.map_or_else(
                || Cell::Missing("not part of every seed's record".to_owned()),
                |values| Cell::Value {
                    value: values.iter().sum::<f64>() / values.len() as f64,
                    interval: None,
                    decimals: 2,
                    marks: own,
                    source: None,
                },
            )
        }
    }
}

/// What tables call runs that differ by seed alone.
fn called(runs: &[&Record], first: &Record) -> String {
    let name = &first.subject.name;
    match runs.len() {
        1 => name.clone(),
        seeds => format!("{name}, mean of {seeds} seeds"),
    }
}

/// top-1 of the heads over every block, blocks down and checkpoints across, where there is one head a
/// block.
fn block_table(records: &[Record]) -> Option<Table> {
    let mut all: Vec<usize> = Vec::new();
    for record in records {
        let layers: Option<Vec<usize>> = top1(record).map(|m| m.layer).collect();
        let mut own = layers?;
        let heads = own.len();
        own.sort_unstable();
        own.dedup();
        if own.len() != heads {
            return None;
        }
        all.extend(own);
    }
    all.sort_unstable();
    all.dedup();
    if all.len() < 2 {
        return None;
    }
    let subjects = subjects(records);
    let names = names(&subjects);
    let mut columns = vec![Column::numbers("block", None)];
    let headings = subjects.iter().zip(&names);
    columns.extend(headings.map(|(runs, first)| percent(&called(runs, first))));
    let row = |&block: &usize| {
        let mut row = vec![Cell::Count(block as u64)];
        let is_block = |measured: &Measured| measured.layer == Some(block);
        row.extend(subjects.iter().map(|runs| of_head(runs, is_block, true)));
        row
    };
    Some(Table {
        title: format!("{}, top-1 over blocks", title(records)),
        columns,
        rows: all.iter().map(row).collect(),
        footnotes: Vec::new(),
    })
}

/// What a head reads, of a name that has its learning rate behind it.
fn input(measured: &Measured) -> Option<&str> {
    Some(measured.feature.rsplit_once(" lr ")?.0)
}

/// top-1 of the heads of one checkpoint over what they read and their learning rates, the more of both
/// down; nothing where there is one rate.
fn rate_table(runs: &[&Record], first: &Record) -> Option<Table> {
    let mut inputs: Vec<&str> = Vec::new();
    let mut rates: Vec<f64> = Vec::new();
    for measured in top1(first) {
        let (input, rate) = (input(measured)?, measured.learning_rate?);
        if !inputs.contains(&input) {
            inputs.push(input);
        }
        if !rates.contains(&rate) {
            rates.push(rate);
        }
    }
    if rates.len() < 2 {
        return None;
    }
    let cell = |read: &str, rate: f64| {
        let is_head = |measured: &Measured| {
            input(measured) == Some(read) && measured.learning_rate == Some(rate)
        };
        of_head(runs, is_head, false)
    };
    let in_words = |rate: f64| (rate as f32).to_string();
    let (columns, rows) = if inputs.len() <= rates.len() {
        let mut columns = vec![Column::text("learning rate")];
        columns.extend(inputs.iter().map(|input| percent(input)));
        let row = |&rate: &f64| {
            let mut row = vec![Cell::Text(in_words(rate))];
            row.extend(inputs.iter().map(|input| cell(input, rate)));
            row
        };
        (columns, rates.iter().map(row).collect())
    } else {
        let mut columns = vec![Column::text("head")];
        let heading = |rate: &f64| percent(&format!("lr {}", in_words(*rate)));
        columns.extend(rates.iter().map(heading));
        let row = |input: &&str| {
            let mut row = vec![Cell::Text((*input).to_owned())];
            row.extend(rates.iter().map(|&rate| cell(input, rate)));
            row
        };
        (columns, inputs.iter().map(row).collect())
    };
    let protocol = protocol(std::slice::from_ref(first));
    Some(Table {
        title: format!(
            "{protocol}, top-1 over learning rates: {}",
            called(runs, first)
        ),
        columns,
        rows,
        footnotes: Vec::new(),
    })
}
