//! Which records belong to which column and row of a paper's table.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use super::paper_epochs::{ChosenEpoch, Epoch, Epochs};
use super::paper_settings::{differences, rules};
use super::{Cell, Mark, Measured, Record, Source};
use crate::spec::{CardKey, ColumnDefinition, Kind, Measurement, PaperTable, Select};
use crate::stats::{Measure, Noise, Seeds};

/// Everything that was measured for one column.
pub(super) struct Measurements<'a> {
    /// The column's place in the definition.
    pub column: usize,
    pub definition: &'a ColumnDefinition,
    pub measurement: &'a Measurement,
    pub entries: Vec<Entry<'a>>,
    /// Records of other epochs of runs whose last one the column shows.
    pub earlier: Vec<&'a Record>,
    /// Hash of the protocol that most entries were measured under, of those whose rules are most
    /// common in the table; where the column has none, of the table's.
    pub usual: &'a str,
}

/// Records of one subject that differ by seed alone, at least one.
pub(super) struct Entry<'a> {
    pub identity: Identity<'a>,
    /// In which of its subject's rows it stands.
    pub place: Place<'a>,
    pub first: &'a Record,
    pub records: Vec<&'a Record>,
    /// Which weights of a pre-training run, where they are of one.
    pub epoch: Option<ChosenEpoch<'a>>,
}

/// What the measured values of one row have in common, beside their subject. Usual rules come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    /// The protocol's settings, where they are not those of most entries of the kind.
    pub rules: Option<String>,
    /// Identity of the network.
    network: &'a str,
    compute: Compute<'a>,
    /// The limit, and whether the images are not known to be the whole dataset.
    images: (Option<usize>, bool),
    /// Which of a column's entries with all this, from 0.
    nth: usize,
}

/// Engine, precision, type of stored features and version of the numerics.
type Compute<'a> = (&'a str, &'a str, &'a str, u32);

/// What a row of a table is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject<'a> {
    /// A checkpoint with a card: a row's where it is the very card that the row names.
    Card(&'a CardKey),
    /// What a run of pre-training keeps, by its name and key: a row's where it has the row's recipe.
    Run(&'a str, &'a str),
    /// Another, by name and hash of the weights.
    Other(&'a str, &'a str),
}

/// All that tells records of a column apart, but the seed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Identity<'a> {
    pub subject: Subject<'a>,
    /// Hash of the protocol.
    pub protocol: &'a str,
    /// Identity of the network.
    network: &'a str,
    /// Identity of the images.
    images: &'a str,
    compute: Compute<'a>,
    /// Which of the records of one seed this is, from 0: older versions of the program leave others.
    again: usize,
}

impl<'a> Subject<'a> {
    /// What tables call it.
    pub(super) fn name(&self, record: &'a Record) -> &'a str {
        match self {
            Self::Card(_) => &record.subject.name,
            Self::Run(name, _) | Self::Other(name, _) => name,
        }
    }

    fn of(record: &'a Record, epoch: Option<Epoch<'a>>) -> Self {
        match (&record.subject.card, epoch) {
            (_, Some(Epoch { run, .. })) => Self::Run(&run.name, &run.key),
            (Some(card), None) => Self::Card(card),
            (None, None) => {
                let weights = record.subject.blake3.as_deref();
                Self::Other(&record.subject.name, weights.unwrap_or_default())
            }
        }
    }
}

impl<'a> Measurements<'a> {
    /// One for each column of the table that something could measure, in order.
    pub(super) fn of(
        table: &'a PaperTable,
        records: &'a [Record],
        epochs: &Epochs<'a>,
    ) -> Vec<Self> {
        let columns = table.definition.columns.iter().enumerate();
        let mut columns: Vec<Self> = columns
            .filter_map(|(column, definition)| {
                let measurement = definition.measured.as_ref()?;
                let column = (column, definition);
                Some(Self::of_column(column, measurement, records, epochs))
            })
            .collect();
        for kind in Kind::ALL {
            let of_kind = columns
                .iter_mut()
                .filter(|column| column.measurement.protocol.kind() == kind);
            place(&mut of_kind.collect::<Vec<_>>());
        }
        columns
    }

    fn of_column(
        (column, definition): (usize, &'a ColumnDefinition),
        measurement: &'a Measurement,
        records: &'a [Record],
        epochs: &Epochs<'a>,
    ) -> Self {
        let mut seeds: BTreeMap<(Identity<'a>, u64), usize> = BTreeMap::new();
        let mut entries: BTreeMap<Identity<'a>, Entry<'a>> = BTreeMap::new();
        for record in records.iter().filter(|record| fits(measurement, record)) {
            let epoch = epochs.of(record);
            let mut identity = Identity::of(record, epoch);
            let again = seeds
                .entry((identity.clone(), record.cell.seed))
                .or_default();
            identity.again = *again;
            *again += 1;
            let entry = entries.entry(identity.clone()).or_insert_with(|| Entry {
                identity,
                place: Place::of(record),
                first: record,
                records: Vec::new(),
                epoch: epoch.map(|of| ChosenEpoch { of, best: None }),
            });
            entry.records.push(record);
        }
        let mut entries: Vec<_> = entries.into_values().collect();
        for entry in &mut entries {
            entry.records.sort_by_key(|record| record.cell.seed);
        }
        let mut measurements = Self {
            column,
            definition,
            measurement,
            entries: Vec::new(),
            earlier: Vec::new(),
            usual: "",
        };
        measurements.choose(entries);
        measurements
    }

    /// Takes the entries, and of those of one run that differ by epoch alone the best, where the
    /// paper did so, or the last, where that was measured.
    fn choose(&mut self, entries: Vec<Entry<'a>>) {
        let alike = |a: &Entry<'a>, b: &Entry<'a>| {
            let of = |entry: &Entry<'a>| Identity {
                network: "",
                ..entry.identity.clone()
            };
            a.epoch.is_some() && of(a) == of(b) && a.first.input == b.first.input
        };
        let mut groups: Vec<Vec<Entry<'a>>> = Vec::new();
        for entry in entries {
            match groups.iter_mut().find(|group| alike(&group[0], &entry)) {
                Some(group) => group.push(entry),
                None => groups.push(vec![entry]),
            }
        }
        let best = self.definition.select == Select::BestEpoch;
        let top1 = Measurement {
            measure: "top1".to_owned(),
            ..self.measurement.clone()
        };
        for mut group in groups {
            let of = group.len();
            group.sort_by_key(|entry| entry.epoch.map(|chosen| chosen.of.epoch));
            let value = |entry: &Entry<'a>| entry.mean(&top1).unwrap_or(f64::NEG_INFINITY);
            // Of equally good ones the first.
            let place = match best {
                true => (group.iter().enumerate().rev())
                    .max_by(|(_, a), (_, b)| value(a).total_cmp(&value(b)))
                    .map(|(place, _)| place),
                false => group.iter().position(Entry::is_last),
            };
            match place.filter(|_| group[0].epoch.is_some()) {
                None => self.entries.extend(group),
                Some(place) => {
                    let mut entry = group.swap_remove(place);
                    if let Some(chosen) = &mut entry.epoch {
                        chosen.best = best.then_some(of);
                        // Whatever the epoch, it stands in the run's row.
                        entry.place.network = &chosen.of.run.key;
                    }
                    self.entries.push(entry);
                    if !best {
                        let others = group.iter().flat_map(|entry| &entry.records);
                        self.earlier.extend(others);
                    }
                }
            }
        }
    }

    /// What was measured of a subject.
    pub(super) fn entries_of(&self, subject: &Subject<'_>) -> Vec<&Entry<'a>> {
        let entries = self.entries.iter();
        entries
            .filter(|entry| entry.identity.subject == *subject)
            .collect()
    }
}

/// Whether a record is one of the column's: of its kind and on its images.
pub(super) fn fits(measurement: &Measurement, record: &Record) -> bool {
    let dataset = measurement.dataset.name();
    // A folder that is no complete copy is still meant as what it is called.
    let folder = || record.data.root.file_name().and_then(OsStr::to_str);
    let same = match &record.data.dataset {
        Some(found) => found == dataset,
        None => folder().is_some_and(|folder| folder.eq_ignore_ascii_case(dataset)),
    };
    measurement.protocol.kind() == record.protocol.kind && same
}

/// Says of all entries of one kind in which rows they stand, and which protocol is usual.
fn place<'a>(columns: &mut [&mut Measurements<'a>]) {
    let rules = columns.iter().flat_map(|column| &column.entries);
    let Some(usual) = most(rules.map(|entry| entry.place.rules.clone())) else {
        return;
    };
    for column in columns.iter_mut() {
        for entry in &mut column.entries {
            entry
                .place
                .rules
                .take_if(|rules| Some(&*rules) == usual.as_ref());
        }
        // What most of the table has comes first.
        column.entries.sort_by(|a, b| {
            (&a.identity.subject, &a.place, &a.identity).cmp(&(
                &b.identity.subject,
                &b.place,
                &b.identity,
            ))
        });
        let mut last: Option<(Subject<'_>, Place<'_>)> = None;
        for entry in &mut column.entries {
            let like = (entry.identity.subject.clone(), entry.place.clone());
            entry.place.nth = match &mut last {
                Some((subject, place))
                    if (&*subject, place.first()) == (&like.0, like.1.clone()) =>
                {
                    place.nth + 1
                }
                _ => 0,
            };
            last = Some((like.0, entry.place.clone()));
        }
    }
    let hash = |entry: &Entry<'a>| {
        entry
            .place
            .rules
            .is_none()
            .then_some(entry.identity.protocol)
    };
    let all = most(
        columns
            .iter()
            .flat_map(|column| &column.entries)
            .filter_map(hash),
    );
    for column in columns {
        let own = most(column.entries.iter().filter_map(hash));
        column.usual = own.or(all).unwrap_or_default();
    }
}

/// What is there most often, of equally many the first in order.
fn most<T: Ord>(found: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for one in found {
        *counts.entry(one).or_default() += 1;
    }
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    most.map(|(one, _)| one)
}

impl<'a> Place<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            rules: Some(rules(record)),
            network: &record.cell.subject,
            compute: compute(record),
            images: (record.data.limit, record.data.dataset.is_none()),
            nth: 0,
        }
    }

    /// The first of its like in a column.
    pub(super) fn first(&self) -> Self {
        Self {
            nth: 0,
            ..self.clone()
        }
    }

    /// What tells it from `other`, but for rules and what is alike.
    pub(super) fn unlike(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.network != other.network {
            found.push(format!("network {}", short(self.network)));
        }
        if self.compute != other.compute {
            let (engine, precision, stored, numerics) = self.compute;
            found.push(format!(
                "{engine}, {precision}, features as {stored}, numerics {numerics}"
            ));
        }
        let ((limit, part), (other_limit, other_part)) = (self.images, other.images);
        if limit != other_limit {
            found.push(match limit {
                Some(limit) => format!("--limit {limit}"),
                None => "no --limit".to_owned(),
            });
        }
        if part != other_part {
            found.push(match part {
                true => "another folder".to_owned(),
                false => "the whole dataset".to_owned(),
            });
        }
        found
    }
}

fn compute(record: &Record) -> Compute<'_> {
    let compute = &record.compute;
    (
        &compute.engine,
        &compute.precision,
        &compute.stored,
        compute.numerics,
    )
}

impl<'a> Identity<'a> {
    fn of(record: &'a Record, epoch: Option<Epoch<'a>>) -> Self {
        Self {
            subject: Subject::of(record, epoch),
            protocol: &record.protocol.hash,
            network: &record.cell.subject,
            images: &record.cell.data,
            compute: compute(record),
            again: 0,
        }
    }

    /// What tells these records from `other` ones of the same column and place.
    pub(super) fn unlike(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.protocol != other.protocol {
            found.push(format!("protocol {}", short(self.protocol)));
        }
        if self.images != other.images {
            found.push(format!("images {}", short(self.images)));
        }
        if self.again != other.again {
            found.push(format!("record {} of a seed", self.again + 1));
        }
        found
    }
}

/// A record's subject in words, with the hash of its weights.
pub(super) fn subject_words(record: &Record) -> String {
    let subject = &record.subject;
    match &subject.blake3 {
        Some(weights) => format!("{}, weights {}", subject.name, short(weights)),
        None => format!("{}, no weights", subject.name),
    }
}

/// The part of a hash that people compare.
pub(super) fn short(hash: &str) -> &str {
    &hash[..hash.len().min(8)]
}

/// Where a value is known to lie, at 95 %.
#[derive(Clone, Copy)]
pub(super) enum Interval {
    /// Of one run: the measure's own, which need not be symmetric.
    Own([f64; 2]),
    /// Of one run among several that differ by seed: about their mean.
    Seeds(Noise, [f64; 2]),
}

impl Interval {
    /// Lower and upper end.
    pub(super) fn ends(self) -> [f64; 2] {
        let (Self::Own(ends) | Self::Seeds(_, ends)) = self;
        ends
    }

    /// Whether `published` is within noise of the value, with what says so.
    pub(super) fn verdict(self, published: f64, decimals: u8) -> String {
        let [low, high] = self.ends();
        let within = (low..=high).contains(&published);
        let word = if within { "yes" } else { "no" };
        match (self, within) {
            (Self::Seeds(Noise { half_width, .. }, _), _) => {
                let digits = usize::from(decimals);
                format!("{word} (±{half_width:.digits$})")
            }
            (Self::Own(_), true) => format!("{word} (in the interval)"),
            (Self::Own(_), false) => format!("{word} (outside the interval)"),
        }
    }
}

/// What an entry says in a column.
pub(super) struct Value {
    /// The cell.
    pub cell: Cell,
    /// The number and the interval that the cell shows.
    pub number: Option<(f64, Option<Interval>)>,
    /// In what the protocol differs from the paper's.
    pub differences: Vec<String>,
    /// Mean and spread over seeds in words, where there are several.
    pub seeds: Option<String>,
    /// Images behind it.
    pub n: Option<u64>,
}

impl Entry<'_> {
    /// Whether it is of the weights that a run came to.
    fn is_last(&self) -> bool {
        self.epoch.is_some_and(|chosen| chosen.of.is_last())
    }

    /// The mean of a measure over its records.
    fn mean(&self, wanted: &Measurement) -> Option<f64> {
        let values = self.records.iter();
        let values: Option<Vec<_>> = values
            .map(|record| Some(measured(record, wanted)?.1.measure.value))
            .collect();
        let values = values?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The epoch of a run as a cell: with its mark, where it was chosen among several.
    pub(super) fn epoch_cell(&self, wanted: &Measurement) -> Cell {
        let (Some(chosen), Some((measure, _))) = (self.epoch, measured(self.first, wanted)) else {
            return Cell::Missing("not of a run of pre-training".to_owned());
        };
        match chosen.is_selected() {
            false => Cell::Missing("one epoch alone was measured".to_owned()),
            true => Cell::Value {
                value: chosen.of.epoch as f64,
                interval: None,
                decimals: 0,
                marks: vec![Mark::Selected],
                source: Some(Source::Record {
                    key: self.first.cell.key.clone(),
                    measure,
                }),
            },
        }
    }

    /// The number for a column, with so many decimals.
    pub(super) fn value(&self, column: &Measurements<'_>, decimals: u8) -> Value {
        let runs: Option<Vec<_>> = self
            .records
            .iter()
            .map(|record| measured(record, column.measurement))
            .collect();
        let Some(runs) = runs else {
            return Value::missing(not_part(column.measurement));
        };
        let measures: Vec<&Measure> = runs.iter().map(|(_, run)| &run.measure).collect();
        let seeds = match Seeds::of(&measures) {
            Ok(seeds) => seeds,
            Err(error) => return Value::missing(error.to_string()),
        };
        let (measure, first) = runs[0];
        let differences = differences(self.first, first, column.definition, column.measurement);
        let any = |what: fn(&Record) -> bool| self.records.iter().any(|record| what(record));
        let marks = [
            (Mark::Modified, any(Record::modified)),
            (
                Mark::Selected,
                runs.iter().any(|(_, run)| run.selection.is_made())
                    || self.epoch.is_some_and(|chosen| chosen.is_selected()),
            ),
            (Mark::Skipped, any(|record| record.skipped() > 0)),
            (Mark::Differs, !differences.is_empty()),
            (Mark::Mixed, self.identity.protocol != column.usual),
        ];
        let marks = marks.into_iter().filter(|(_, there)| *there);
        let alone = self.records.len() == 1;
        let interval = match alone {
            true => first.measure.interval.map(Interval::Own),
            false => seeds.noise.map(|noise| {
                Interval::Seeds(noise, noise.interval(seeds.mean, first.measure.unit))
            }),
        };
        Value {
            cell: Cell::Value {
                value: seeds.mean,
                interval: interval.map(Interval::ends),
                decimals,
                marks: marks.map(|(mark, _)| mark).collect(),
                source: alone.then(|| Source::Record {
                    key: self.first.cell.key.clone(),
                    measure,
                }),
            },
            number: Some((seeds.mean, interval)),
            differences,
            seeds: seeds.deviation.map(|deviation| {
                let runs: Vec<_> = self
                    .records
                    .iter()
                    .map(|record| format!("{} (record {})", record.cell.seed, short(&record.cell.key)))
                    .collect();
                let digits = usize::from(decimals) + 1;
                format!(
                    "mean of seeds {}, standard deviation {deviation:.digits$}; the interval is that of one run",
                    runs.join(", ")
                )
            }),
            n: Some(first.measure.n),
        }
    }
}

impl Value {
    fn missing(reason: String) -> Self {
        Self {
            cell: Cell::Missing(reason),
            number: None,
            differences: Vec::new(),
            seeds: None,
            n: None,
        }
    }
}

/// The result that a column shows, with its place in the record: of the headlines, or of all where
/// none is one, that of the last block that was read.
fn measured<'a>(record: &'a Record, wanted: &Measurement) -> Option<(usize, &'a Measured)> {
    let measures = record.measures.iter().enumerate();
    measures
        .filter(|(_, found)| {
            found.measure.name == wanted.measure
                && found.k == wanted.k
                && found.head.is_none()
                && found.other_layer.is_none()
        })
        // The first of those of one block.
        .rev()
        .max_by_key(|(_, found)| (found.headline, found.layer))
}

fn not_part(wanted: &Measurement) -> String {
    match wanted.k {
        Some(k) => format!("the record has no {} at k = {k}", wanted.measure),
        None => format!("the record has no {}", wanted.measure),
    }
}
