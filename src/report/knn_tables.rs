//! kNN records as tables.

use super::labels::labelled;
use super::{Better, Cell, Column, Mark, Measured, Record, Source, Table};

/// Accuracies, of which tables show the best.
pub(super) fn percent(name: &str) -> Column {
    Column::numbers(name, Some("%")).ranked(Better::Higher)
}

/// Signs that a reader of the row must see.
pub(super) fn marks(record: &Record) -> Vec<Mark> {
    let modified = record.modified().then_some(Mark::Modified);
    let skipped = (record.skipped() > 0).then_some(Mark::Skipped);
    modified.into_iter().chain(skipped).collect()
}

pub(super) fn value(
    measured: Option<&Measured>,
    record: &Record,
    interval: bool,
    decimals: u8,
) -> Cell {
    let at = measured.and_then(|measured| {
        let mut measures = record.measures.iter();
        measures.position(|other| std::ptr::eq(other, measured))
    });
    match measured {
        Some(Measured {
            measure, selection, ..
        }) => Cell::Value {
            value: measure.value,
            interval: measure.interval.filter(|_| interval),
            decimals,
            marks: (marks(record).into_iter())
                .chain(selection.is_made().then_some(Mark::Selected))
                .collect(),
            source: at.map(|measure| Source::Record {
                key: record.cell.key.clone(),
                measure,
            }),
        },
        None => Cell::Missing("not part of this record".to_owned()),
    }
}

/// Features of a record in order, each once.
fn features(record: &Record) -> Vec<&str> {
    let mut features: Vec<&str> = Vec::new();
    for measured in &record.measures {
        if !features.contains(&measured.feature.as_str()) {
            features.push(&measured.feature);
        }
    }
    features
}

pub(super) fn footnotes(records: &[Record]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut say = |name: &str, words: &str| {
        let note = format!("{name}: {words}");
        // Every block that was read, and every seed, may have said it.
        if !notes.contains(&note) {
            notes.push(note);
        }
    };
    let labelled = labelled(&records.iter().collect::<Vec<_>>());
    for (record, own) in records.iter().zip(&labelled) {
        for note in &record.notes {
            say(&own.subject.name, note);
        }
        let name = &record.subject.name;
        for setting in &record.protocol.modified {
            say(name, &format!("--set {setting}"));
        }
        if let Some(limit) = record.data.limit {
            say(name, &format!("--limit {limit} images a split"));
        }
        if record.compute.stored != "f32" {
            say(
                name,
                &format!("features stored as {}", record.compute.stored),
            );
        }
        for key in &record.subject.ignored_keys {
            say(name, &format!("key {key} left out on request"));
        }
    }
    notes
}

pub(super) fn protocol(records: &[Record]) -> String {
    match records.first() {
        Some(record) => format!(
            "{} version {} ({})",
            record.protocol.name,
            record.protocol.version,
            &record.protocol.hash[..record.protocol.hash.len().min(8)]
        ),
        None => "knn".to_owned(),
    }
}

/// One row a feature: the headline k with 95 % intervals. All records share one protocol.
pub fn headline_table(records: &[Record]) -> Table {
    let mut rows = Vec::new();
    let mut headline = None;
    for record in records {
        for feature in features(record) {
            let find = |name: &str| {
                record.measures.iter().find(|measured| {
                    measured.headline
                        && measured.feature == feature
                        && measured.measure.name == name
                })
            };
            headline = headline.or(find("top1").and_then(|measured| measured.k));
            rows.push(vec![
                Cell::Text(record.subject.name.clone()),
                Cell::Text(feature.to_owned()),
                value(find("top1"), record, true, 1),
                value(find("top5"), record, true, 1),
                value(find("top5_strict"), record, true, 1),
                find("top1").map_or_else(
                    || Cell::Missing("not part of this record".to_owned()),
                    |measured| Cell::Count(measured.measure.n),
                ),
            ]);
        }
    }
    Table {
        title: format!(
            "{}, k = {}, on {}",
            protocol(records),
            headline.unwrap_or_default(),
            records.first().map_or_else(String::new, |record| record
                .data
                .root
                .display()
                .to_string()),
        ),
        columns: vec![
            Column::text("checkpoint"),
            Column::text("feature"),
            percent("top-1"),
            percent("top-5"),
            percent("strict top-5"),
            Column::numbers("n", None),
        ],
        rows,
        footnotes: footnotes(records),
    }
}

/// One row a feature and k, with what identifies it: for programs.
pub fn full_table(records: &[Record]) -> Table {
    let mut rows = Vec::new();
    for record in records {
        for feature in features(record) {
            let of_feature = |measured: &&Measured| measured.feature == feature;
            let mut ks: Vec<usize> = Vec::new();
            for measured in record.measures.iter().filter(of_feature) {
                if let Some(k) = measured.k
                    && !ks.contains(&k)
                {
                    ks.push(k);
                }
            }
            for k in ks {
                let find = |name: &str| {
                    let mut measures = record.measures.iter().filter(of_feature);
                    measures.find(|measured| measured.k == Some(k) && measured.measure.name == name)
                };
                let text = |text: &str| Cell::Text(text.to_owned());
                rows.push(vec![
                    text(&record.subject.name),
                    text(record.subject.blake3.as_deref().unwrap_or_default()),
                    text(feature),
                    Cell::Count(k as u64),
                    value(find("top1"), record, true, 1),
                    value(find("top5"), record, true, 1),
                    value(find("top5_strict"), record, true, 1),
                    Cell::Count(find("top1").map_or(0, |measured| measured.measure.n)),
                    text(&record.protocol.name),
                    Cell::Count(record.protocol.version.into()),
                    text(&record.protocol.hash),
                    text(&record.data.root.to_string_lossy()),
                    text(
                        record
                            .data
                            .train
                            .as_ref()
                            .map_or("", |split| &split.fingerprint),
                    ),
                    text(&record.data.val.fingerprint),
                    Cell::Count(record.cell.seed),
                    text(&record.cell.key),
                ]);
            }
        }
    }
    let text = Column::text;
    let count = |name| Column::numbers(name, None);
    Table {
        title: protocol(records),
        columns: vec![
            text("checkpoint"),
            text("blake3"),
            text("feature"),
            count("k"),
            percent("top-1"),
            percent("top-5"),
            percent("strict top-5"),
            count("n"),
            text("protocol"),
            count("version"),
            text("protocol hash"),
            text("data"),
            text("train fingerprint"),
            text("val fingerprint"),
            count("seed"),
            text("record"),
        ],
        rows,
        footnotes: Vec::new(),
    }
}

/// One row a feature: top-1 over every k. All records share one protocol.
pub fn curve_table(records: &[Record]) -> Table {
    let mut ks: Vec<usize> = Vec::new();
    for measured in records.iter().flat_map(|record| &record.measures) {
        if let Some(k) = measured.k
            && !ks.contains(&k)
        {
            ks.push(k);
        }
    }
    let mut rows = Vec::new();
    for record in records {
        for feature in features(record) {
            let mut row = vec![
                Cell::Text(record.subject.name.clone()),
                Cell::Text(feature.to_owned()),
            ];
            row.extend(ks.iter().map(|&k| {
                let top1 = record.measures.iter().find(|measured| {
                    measured.k == Some(k)
                        && measured.feature == feature
                        && measured.measure.name == "top1"
                });
                value(top1, record, false, 1)
            }));
            rows.push(row);
        }
    }
    let mut columns = vec![Column::text("checkpoint"), Column::text("feature")];
    columns.extend(ks.iter().map(|k| percent(&format!("k={k}"))));
    Table {
        title: format!("{}, top-1 over k", protocol(records)),
        columns,
        rows,
        footnotes: Vec::new(),
    }
}
