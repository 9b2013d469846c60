//! Where every number of a page comes from.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::figure::said;
use super::layout::Section;
use crate::report::cell_text::printable;
use crate::report::labels::short;
use crate::report::table::{Source, Table};
use crate::report::table_error::TableError;
use crate::report::{Record, html as tables};

/// The records by their keys.
pub(super) struct Provenance<'a>(BTreeMap<&'a str, &'a Record>);

impl<'a> Provenance<'a> {
    pub(super) fn new(records: impl Iterator<Item = &'a Record>) -> Self {
        Self(
            records
                .map(|record| (record.cell.key.as_str(), record))
                .collect(),
        )
    }

    /// A table whose numbers say where they come from and lead there.
    pub(super) fn table(&self, table: &Table) -> Result<Markup, TableError> {
        tables::figure(table, &|source| self.told(source))
    }

    /// A number outside of a table, likewise.
    pub(super) fn number(&self, value: f64, shown: &str, source: &Source) -> Markup {
        tables::linked(value, shown, Some(source), &|source| self.told(source))
    }

    /// What is known about a number.
    fn told(&self, source: &Source) -> Option<tables::Told> {
        match source {
            Source::Paper { .. } => None,
            Source::Outcomes { key } => {
                let record = self.0.get(key.as_str())?;
                Some(tables::Told {
                    text: format!(
                        "counted from the predictions beside the record\n{}",
                        origin(record)
                    ),
                    link: format!("#record-{key}"),
                })
            }
            Source::Record { key, measure } => {
                let record = self.0.get(key.as_str())?;
                let measured = record.measures.get(*measure)?;
                let n = measured.measure.n;
                Some(tables::Told {
                    text: format!("{}, n = {n}\n{}", said(record, measured), origin(record)),
                    link: format!("#record-{key}"),
                })
            }
        }
    }

    /// Every record, folded.
    pub(super) fn section(&self) -> Section {
        let mut records: Vec<&Record> = self.0.values().copied().collect();
        records
            .sort_by_key(|record| (record.protocol.kind, &record.subject.name, &record.cell.key));
        Section {
            id: "provenance".to_owned(),
            name: "Provenance".to_owned(),
            title: "Where the numbers come from".to_owned(),
            content: html! { @for record in records { (details(record)) } },
        }
    }
}

/// What made a number, in a few words.
fn origin(record: &Record) -> String {
    let protocol = &record.protocol;
    let weights = match &record.subject.blake3 {
        Some(blake3) => format!("weights blake3 {}", short(blake3)),
        None => "no weights".to_owned(),
    };
    format!(
        "{} version {} ({}), {weights}, images {}, seed {}, {}",
        protocol.name,
        protocol.version,
        short(&protocol.hash),
        short(&record.data.val.fingerprint),
        record.cell.seed,
        record.compute.created,
    )
}

fn details(record: &Record) -> Markup {
    let Record {
        cell,
        subject,
        protocol,
        data,
        compute,
        ..
    } = record;
    let split = |split: &crate::report::SplitRecord| {
        format!(
            "{} images, fingerprint {}, {} left out",
            split.images, split.fingerprint, split.skipped
        )
    };
    let path = subject.path.as_ref();
    let mut fields: Vec<(&str, String)> = vec![("checkpoint", subject.name.clone())];
    let known = [
        ("file", path.map(|path| path.display().to_string())),
        ("blake3", subject.blake3.clone()),
        ("card", subject.card.as_ref().map(|card| card.stem.clone())),
        ("dialect", subject.dialect.clone()),
        ("architecture", plain(&subject.architecture)),
        ("what the weights did not tell", plain(&subject.choices)),
        ("input", plain(&record.input)),
    ];
    fields.extend(
        known
            .into_iter()
            .filter_map(|(name, text)| Some((name, text?))),
    );
    fields.extend([
        (
            "protocol",
            format!(
                "{} version {}, hash {}",
                protocol.name, protocol.version, protocol.hash
            ),
        ),
        ("data", data.root.display().to_string()),
    ]);
    fields.extend(data.dataset.clone().map(|dataset| ("dataset", dataset)));
    fields.push(("validation", split(&data.val)));
    fields.extend(data.train.as_ref().map(|train| ("train", split(train))));
    fields.extend(
        data.limit
            .map(|limit| ("limit", format!("{limit} images a split"))),
    );
    if !protocol.modified.is_empty() {
        fields.push(("changed on the command line", protocol.modified.join(", ")));
    }
    if !subject.ignored_keys.is_empty() {
        fields.push(("keys left out on request", subject.ignored_keys.join(", ")));
    }
    fields.extend([
        (
            "computed by",
            format!(
                "{} {} on {}, {} threads, batches of {}, features stored as {}",
                compute.engine,
                compute.precision,
                compute.device,
                compute.threads,
                compute.batch,
                compute.stored
            ),
        ),
        ("decoder", compute.decoder.clone()),
        (
            "mimbench",
            format!("{}, numerics {}", compute.mimbench, compute.numerics),
        ),
        ("seed", cell.seed.to_string()),
        ("created", compute.created.clone()),
        ("took", took(record)),
        ("record", cell.key.clone()),
    ]);
    fields.extend(record.notes.iter().map(|note| ("note", note.clone())));
    html! {
        details class="record" id=(format!("record-{}", cell.key)) {
            summary {
                strong { (printable(&subject.name)) } " "
                span class="faint" { (protocol.name) " version " (protocol.version) ", " (short(&cell.key)) }
            }
            dl {
                @for (name, text) in fields { dt { (name) } dd { (printable(&text)) } }
                dt { "settings" }
                dd { pre { (protocol.text.trim_end()) } }
            }
        }
    }
}

/// JSON without its punctuation: `width: 192, depth: 6`; nothing of nothing.
fn plain(value: &Value) -> Option<String> {
    let joined = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(", "));
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(items) => joined(items.iter().filter_map(plain).collect()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.filter_map(|(name, value)| match value {
                Value::Object(_) | Value::Array(_) => Some(format!("{name}: ({})", plain(value)?)),
                _ => Some(format!("{name}: {}", plain(value)?)),
            });
            joined(fields.collect())
        }
    }
}

fn took(record: &Record) -> String {
    let compute = &record.compute;
    let mut text = format!(
        "{:.1} s, {} images encoded",
        compute.wall_seconds, compute.encoded
    );
    if let Some(speed) = compute.images_per_second {
        text += &format!(", {speed:.1} images/s");
    }
    if let Some(bytes) = compute.peak_memory {
        text += &format!(", {:.0} MB of memory", bytes as f64 / 1e6);
    }
    text
}
