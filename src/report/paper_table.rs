//! A paper's table: what is published, and what was measured beside it.

use std::collections::BTreeSet;

use super::paper_epochs::Epochs;
use super::paper_notes::{Spots, published_notes};
use super::paper_runs::{Entry, Measurements, Place, Subject, fits, short, subject_words};
use super::{Align, Better, Cell, Column, Mark, PretrainingRecord, Record, Source, Table};
use crate::spec::{
    ColumnDefinition, ColumnKind, ColumnUnit, Conflict, Content, PaperTable, Preference,
    PublishedCell, PublishedMark, PublishedRow, Select,
};

/// Why a row that no paper has says nothing of the paper.
const NOT_PUBLISHED: &str = "not in the paper";
/// Why a row has no measured value in a column that others have one in.
const NOT_MEASURED: &str = "not measured";
/// Why a row has none where another row of the same checkpoint has.
const MEASURED_OTHERWISE: &str = "measured in another row";

/// The published values alone.
pub fn published_table(table: &PaperTable, conflicts: &[Conflict]) -> Table {
    let mut columns = vec![Column::text("row")];
    columns.extend(table.definition.columns.iter().map(published_column));
    let rows = table.rows.iter().map(|row| {
        let mut cells = vec![Cell::Text(row.label.clone())];
        let published = row.cells.iter().zip(&table.definition.columns);
        cells.extend(published.map(|(cell, column)| published_cell(cell, column)));
        cells
    });
    Table {
        title: title(table),
        columns,
        rows: rows.collect(),
        footnotes: published_notes(table, conflicts),
    }
}

/// The published values with those of the records that measure the same: beside each column that
/// anything was measured for, the measured value, its difference and whether the published value is
/// within the measured value's 95 % interval. Records of one checkpoint that differ in more
/// than the seed are rows of their own, and so are checkpoints that the paper has not. Of the weights
/// that one of the `runs` has kept, a column shows the best where the paper did, else the last.
pub fn paper_table(
    table: &PaperTable,
    records: &[Record],
    runs: &[PretrainingRecord],
    conflicts: &[Conflict],
) -> Table {
    let measurable = Measurements::of(table, records, &Epochs::new(runs));
    let (measured, unmeasured): (Vec<_>, Vec<_>) = measurable
        .into_iter()
        .partition(|measurements| !measurements.entries.is_empty());
    let join = Join {
        table,
        measured: &measured,
        runs,
    };
    let mut notes = Notes::default();
    let mut rows = Vec::new();
    for row in &table.rows {
        let subjects = join.subjects(row);
        let several = subjects.len() > 1;
        if subjects.is_empty() {
            rows.extend(join.rows(Some(row), None, &row.label, &mut notes));
        }
        for (subject, name) in subjects {
            let label = match several {
                true => format!("{} ({name})", row.label),
                false => row.label.clone(),
            };
            rows.extend(join.rows(Some(row), Some(subject), &label, &mut notes));
        }
    }
    for (subject, name) in join.others() {
        rows.extend(join.rows(None, Some(subject), &name, &mut notes));
    }
    let mut footnotes = published_notes(table, conflicts);
    footnotes.extend(measured.iter().flat_map(protocol_notes));
    footnotes.extend(notes.lines());
    footnotes.extend(unmeasured_note(&unmeasured));
    footnotes.extend(earlier_note(&measured));
    footnotes.extend(elsewhere_note(table, records));
    Table {
        title: title(table),
        columns: join.columns(),
        rows,
        footnotes,
    }
}

/// Whether any record measures a column of the table.
pub fn has_measured(table: &PaperTable, records: &[Record]) -> bool {
    let measurable = Measurements::of(table, records, &Epochs::new(&[]));
    measurable.iter().any(|column| !column.entries.is_empty())
}

fn title(table: &PaperTable) -> String {
    let definition = &table.definition;
    let place = match definition.table.parse::<u32>() {
        Ok(number) => format!("table {number}"),
        Err(_) => definition.table.clone(),
    };
    format!("{}, {place}. {}", definition.paper.name(), definition.title)
}

fn published_column(column: &ColumnDefinition) -> Column {
    match column.kind {
        ColumnKind::Text => Column::text(&column.name),
        ColumnKind::Number => Column {
            better: better(column),
            ..Column::numbers(&column.name, column.unit.and_then(ColumnUnit::sign))
        },
    }
}

fn better(column: &ColumnDefinition) -> Option<Better> {
    match column.better {
        Some(Preference::Higher) => Some(Better::Higher),
        Some(Preference::Lower) => Some(Better::Lower),
        Some(Preference::None) | None => None,
    }
}

fn published_cell(cell: &PublishedCell, column: &ColumnDefinition) -> Cell {
    match &cell.content {
        Content::Number { value, printed } => {
            let selected =
                column.select != Select::None || cell.marks.contains(&PublishedMark::Selected);
            Cell::Value {
                value: *value,
                interval: None,
                decimals: decimals(printed),
                marks: selected.then_some(Mark::Selected).into_iter().collect(),
                source: Some(Source::Paper {
                    citation: cell.citation.clone(),
                }),
            }
        }
        Content::Text(text) => Cell::Text(text.clone()),
        Content::Missing(reason) => Cell::Missing(reason.clone()),
    }
}

/// Digits after the point of a printed number.
fn decimals(printed: &str) -> u8 {
    let digits = printed
        .split_once('.')
        .map_or(0, |(_, digits)| digits.len());
    u8::try_from(digits).unwrap_or(u8::MAX)
}

/// The published table and what is put beside it.
struct Join<'a> {
    table: &'a PaperTable,
    measured: &'a [Measurements<'a>],
    runs: &'a [PretrainingRecord],
}

impl<'a> Join<'a> {
    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![Column::text("row")];
        for (place, definition) in self.table.definition.columns.iter().enumerate() {
            let published = published_column(definition);
            let name = |what: &str| format!("{} {what}", definition.name);
            let Some(_) = self.measurements(place) else {
                columns.push(published.clone());
                columns.extend(self.epochs(definition).map(|_| Column {
                    name: name("measured"),
                    ..published
                }));
                continue;
            };
            let points = match definition.unit {
                Some(ColumnUnit::Percent) => Some("points"),
                unit => unit.and_then(ColumnUnit::sign),
            };
            let measured = Column {
                name: name("measured"),
                ..published.clone()
            };
            columns.extend([
                published,
                measured,
                Column::numbers(name("difference"), points),
                Column {
                    align: Align::Left,
                    ..Column::text(name("within noise"))
                },
            ]);
        }
        columns
    }

    /// Of the column whose epochs a column shows, its place among the measured ones: where any of
    /// its values is of a run of pre-training.
    fn epochs(&self, column: &ColumnDefinition) -> Option<usize> {
        let of = column.epoch_of.as_ref()?;
        let place = (self.measured.iter()).position(|found| found.definition.name == *of)?;
        let mut entries = self.measured[place].entries.iter();
        entries.any(|entry| entry.epoch.is_some()).then_some(place)
    }

    /// Whose values belong into a row of the paper's, with their names: its card's, and those of runs
    /// of its recipe; of several only those that there are any of.
    fn subjects(&self, row: &PublishedRow) -> Vec<(Subject<'a>, &'a str)> {
        let definition = &self.table.definition;
        let card = definition.card(row.number).map(Subject::Card);
        let named = |subject: &Subject<'a>| {
            let entries = self.measured.iter().flat_map(|column| &column.entries);
            let mut own = entries.filter(|entry| entry.identity.subject == *subject);
            own.next().map(|entry| subject.name(entry.first))
        };
        let recipe = definition.recipe(row.number);
        let runs = self.runs.iter();
        let runs = runs.filter(|run| recipe == Some(run.hash.as_str()));
        let runs = runs.map(|run| Subject::Run(&run.name, &run.key));
        let all = card.into_iter().chain(runs);
        all.filter_map(|subject| Some((subject.clone(), named(&subject)?)))
            .collect()
    }

    fn measurements(&self, column: usize) -> Option<&'a Measurements<'a>> {
        self.measured.iter().find(|found| found.column == column)
    }

    /// Subjects that are no row of the paper's, with their names, in the order of their names; with
    /// their weights' hash where another row is called so.
    fn others(&self) -> Vec<(Subject<'a>, String)> {
        let published = self.table.rows.iter();
        let listed: Vec<_> = published.flat_map(|row| self.subjects(row)).collect();
        let mut others = BTreeSet::new();
        for entry in self.measured.iter().flat_map(|column| &column.entries) {
            let subject = &entry.identity.subject;
            if !listed.iter().any(|(known, _)| known == subject) {
                let weights = entry.first.subject.blake3.as_deref().map(short);
                others.insert((subject.name(entry.first), subject.clone(), weights));
            }
        }
        let mut named: Vec<(Subject<'a>, &'a str, Option<&'a str>)> = Vec::new();
        for (name, subject, weights) in others {
            if !named.iter().any(|(known, ..)| *known == subject) {
                named.push((subject, name, weights));
            }
        }
        let labels = self.table.rows.iter().map(|row| row.label.as_str());
        let labels: Vec<_> = labels
            .chain(named.iter().map(|(_, name, _)| *name))
            .collect();
        let labelled = named.into_iter().map(|(subject, name, weights)| {
            let same = labels.iter().filter(|label| **label == name).count();
            match weights {
                Some(weights) if same > 1 => (subject, format!("{name} (weights {weights})")),
                _ => (subject, name.to_owned()),
            }
        });
        labelled.collect()
    }

    /// The rows of one subject: one for each protocol, network and way of computing that any column
    /// has of it, or an empty one.
    fn rows(
        &self,
        published: Option<&PublishedRow>,
        subject: Option<Subject<'_>>,
        label: &str,
        notes: &mut Notes,
    ) -> Vec<Vec<Cell>> {
        let entries: Vec<Vec<&Entry<'_>>> = self
            .measured
            .iter()
            .map(|column| {
                let subject = subject.as_ref();
                subject.map_or_else(Vec::new, |subject| column.entries_of(subject))
            })
            .collect();
        let places: BTreeSet<&Place<'_>> =
            entries.iter().flatten().map(|entry| &entry.place).collect();
        let first = places.first().copied();
        let mut places: Vec<Option<&Place<'_>>> = places.into_iter().map(Some).collect();
        if places.is_empty() {
            places.push(None);
        }
        let mut rows = Vec::new();
        for place in places {
            let label = match (place, first) {
                (Some(place), Some(first)) if place != first => {
                    format!("{label} ({})", unlike(&entries, place, first))
                }
                _ => label.to_owned(),
            };
            let mut cells = vec![Cell::Text(label.clone())];
            for (number, definition) in self.table.definition.columns.iter().enumerate() {
                let cell = published.map(|row| &row.cells[number]);
                cells.push(match cell {
                    Some(cell) => published_cell(cell, definition),
                    None => Cell::Missing(NOT_PUBLISHED.to_owned()),
                });
                let at_place = |column: usize| {
                    let mut found = entries[column].iter();
                    found.find(|entry| Some(&entry.place) == place).copied()
                };
                if let Some(column) = self.epochs(definition) {
                    let measurement = self.measured[column].measurement;
                    cells.push(match at_place(column) {
                        Some(entry) => entry.epoch_cell(measurement),
                        None => Cell::Missing(NOT_MEASURED.to_owned()),
                    });
                }
                let column = self
                    .measured
                    .iter()
                    .position(|found| found.column == number);
                if let Some(column) = column {
                    let entry = at_place(column).ok_or(match entries[column].is_empty() {
                        true => NOT_MEASURED,
                        false => MEASURED_OTHERWISE,
                    });
                    let column = &self.measured[column];
                    cells.extend(self.beside(cell, column, entry, &label, notes));
                }
            }
            rows.push(cells);
        }
        rows
    }

    /// The measured value, its difference from the published one, and whether that is noise.
    fn beside(
        &self,
        published: Option<&PublishedCell>,
        column: &Measurements<'_>,
        entry: Result<&Entry<'_>, &str>,
        label: &str,
        notes: &mut Notes,
    ) -> [Cell; 3] {
        let entry = match entry {
            Ok(entry) => entry,
            Err(reason) => return [(); 3].map(|()| Cell::Missing(reason.to_owned())),
        };
        let missing = || Cell::Missing(NOT_MEASURED.to_owned());
        let decimals = self.decimals(column);
        let found = entry.value(column, decimals);
        notes.add(column, entry, &found, label);
        let published = match published.map(|cell| &cell.content) {
            Some(Content::Number { value, .. }) => Ok(*value),
            Some(Content::Missing(reason)) => Err(reason.as_str()),
            Some(Content::Text(_)) | None => Err(NOT_PUBLISHED),
        };
        let (difference, noise) = match (found.number, published) {
            (None, _) => (missing(), missing()),
            (Some(_), Err(reason)) => {
                let reason = || Cell::Missing(reason.to_owned());
                (reason(), reason())
            }
            (Some((number, interval)), Ok(published)) => {
                let within = interval.map(|interval| interval.verdict(published, decimals));
                let value = Cell::Value {
                    value: number - published,
                    interval: None,
                    decimals,
                    marks: Vec::new(),
                    source: None,
                };
                let within = within.map(Cell::Text);
                let unknown = || Cell::Missing("the value has no interval".to_owned());
                (value, within.unwrap_or_else(unknown))
            }
        };
        [found.cell, difference, noise]
    }

    /// Of measured values: as defined, or as most digits that are published.
    fn decimals(&self, column: &Measurements<'_>) -> u8 {
        let printed = || {
            let cells = self.table.rows.iter().map(|row| &row.cells[column.column]);
            let printed = cells.filter_map(|cell| cell.content.printed());
            printed.map(decimals).max().unwrap_or(1)
        };
        column.definition.decimals.unwrap_or_else(printed)
    }
}

/// What tells one row of a subject from its first, and from those of the same protocol, network and
/// way of computing; `entries` are the subject's, a list a column.
fn unlike(entries: &[Vec<&Entry<'_>>], place: &Place<'_>, first: &Place<'_>) -> String {
    let mut found: Vec<String> = Vec::new();
    let mut add = |words: String| {
        if !found.contains(&words) {
            found.push(words);
        }
    };
    for column in entries {
        let of = |place: &Place<'_>| column.iter().find(|entry| entry.place == *place);
        let Some(entry) = of(place) else {
            continue;
        };
        if place.rules != first.rules {
            add(format!("protocol {}", short(entry.identity.protocol)));
        }
        if let Some(like) = of(&place.first()) {
            entry
                .identity
                .unlike(&like.identity)
                .into_iter()
                .for_each(&mut add);
        }
    }
    place.unlike(first).into_iter().for_each(&mut add);
    found.join("; ")
}

/// What is to be said of measured values, and of which.
#[derive(Default)]
struct Notes {
    subjects: Spots,
    epochs: Spots,
    differs: Spots,
    mixed: Spots,
    seeds: Spots,
    counts: Spots,
}

impl Notes {
    fn add(
        &mut self,
        column: &Measurements<'_>,
        entry: &Entry<'_>,
        found: &super::paper_runs::Value,
        label: &str,
    ) {
        let name = &column.definition.name;
        let add = |spots: &mut Spots, words: String| spots.add(words, label, name);
        let record = entry.first;
        let subject = format!("measured of {}", subject_words(record));
        add(&mut self.subjects, subject);
        if let Some(words) = entry.epoch.and_then(|chosen| chosen.words()) {
            add(&mut self.epochs, words);
        }
        if !found.differences.is_empty() {
            add(&mut self.differs, found.differences.join("; "));
        }
        if entry.identity.protocol != column.usual {
            let words = protocol_words(record);
            add(
                &mut self.mixed,
                format!("{words}, not {}", short(column.usual)),
            );
        }
        if let Some(seeds) = &found.seeds {
            add(&mut self.seeds, seeds.clone());
        }
        if let Some(n) = found.n {
            add(&mut self.counts, format!("n = {n}"));
        }
    }

    fn lines(self) -> Vec<String> {
        let Self {
            subjects,
            epochs,
            differs,
            mixed,
            seeds,
            counts,
        } = self;
        let signed = |mark: Mark, spots: Spots| {
            let lines = spots.lines().into_iter();
            lines.map(move |line| format!("{} {line}", mark.sign()))
        };
        let subjects = subjects.lines().into_iter();
        subjects
            .chain(epochs.lines())
            .chain(signed(Mark::Differs, differs))
            .chain(signed(Mark::Mixed, mixed))
            .chain(seeds.lines())
            .chain(counts.lines())
            .collect()
    }
}

fn protocol_words(record: &Record) -> String {
    let protocol = &record.protocol;
    format!(
        "protocol {} version {} ({})",
        protocol.name,
        protocol.version,
        short(&protocol.hash)
    )
}

/// Under which protocol a column was measured, and what is not known of the paper's.
fn protocol_notes(column: &Measurements<'_>) -> Vec<String> {
    let name = &column.definition.name;
    let usual = column
        .entries
        .iter()
        .find(|entry| entry.identity.protocol == column.usual);
    let measured = usual.map(|entry| {
        let dataset = column.measurement.dataset.name();
        let protocol = protocol_words(entry.first);
        format!("{name} measured: {protocol} on {dataset}")
    });
    let unknown = column.definition.paper_settings.is_empty();
    let unknown = unknown.then(|| format!("{name}: the paper's own settings are not known here"));
    measured.into_iter().chain(unknown).collect()
}

fn unmeasured_note(columns: &[Measurements<'_>]) -> Option<String> {
    let words: Vec<_> = columns
        .iter()
        .map(|column| {
            let measurement = column.measurement;
            format!(
                "{} ({} on {})",
                column.definition.name,
                measurement.protocol.name(),
                measurement.dataset.name()
            )
        })
        .collect();
    (!words.is_empty()).then(|| format!("nothing measured: {}", words.join(", ")))
}

/// Records of weights that a run has kept before its last, where the last is shown.
fn earlier_note(columns: &[Measurements<'_>]) -> Option<String> {
    let mut keys = BTreeSet::new();
    for record in columns.iter().flat_map(|column| &column.earlier) {
        keys.insert(&record.cell.key);
    }
    let shown = columns.iter().flat_map(|column| &column.entries);
    for record in shown.flat_map(|entry| &entry.records) {
        keys.remove(&record.cell.key);
    }
    let count = keys.len();
    (count > 0).then(|| {
        format!("not in this table: {count} records of earlier epochs of runs whose last is in it")
    })
}

/// Records of the table's protocols on images that no column is about.
fn elsewhere_note(table: &PaperTable, records: &[Record]) -> Option<String> {
    let measurements = || {
        let columns = table.definition.columns.iter();
        columns.filter_map(|column| column.measured.as_ref())
    };
    let elsewhere = records.iter().filter(|record| {
        let kind = record.protocol.kind;
        measurements().any(|wanted| wanted.protocol.kind() == kind)
            && !measurements().any(|wanted| fits(wanted, record))
    });
    let mut roots = BTreeSet::new();
    let mut count = 0;
    for record in elsewhere {
        count += 1;
        roots.insert(record.data.root.display().to_string());
    }
    let roots: Vec<_> = roots.into_iter().collect();
    (count > 0).then(|| {
        format!(
            "not in this table: {count} records on other images ({})",
            roots.join(", ")
        )
    })
}
