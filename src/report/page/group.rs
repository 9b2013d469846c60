//! Records that may stand in one table: of one protocol on the same images.

use crate::report::Record;
use crate::report::labels::{labelled, short};
use crate::spec::Kind;

/// Records of one protocol on the same images.
pub(super) struct Group {
    /// Anchor, and the beginning of the names of its plots' files.
    pub id: String,
    /// Protocol and data; with the protocol's hash where another group has the same.
    pub name: String,
    /// What was measured.
    pub kind: Kind,
    /// The records, their subjects called by names that tell them apart.
    pub records: Vec<Record>,
    /// The place of each record's subject among all subjects of the report: decides its colour.
    pub slots: Vec<usize>,
}

/// What makes records comparable.
fn comparable(record: &Record) -> (Kind, &str, Option<&str>, &str) {
    (
        record.protocol.kind,
        &record.protocol.hash,
        record
            .data
            .train
            .as_ref()
            .map(|train| train.fingerprint.as_str()),
        &record.data.val.fingerprint,
    )
}

/// What makes subjects the same.
fn subject(record: &Record) -> (&str, Option<&str>) {
    (&record.subject.name, record.subject.blake3.as_deref())
}

/// The groups, in the order of their first records.
pub(super) fn groups<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<Group> {
    let mut subjects = Vec::new();
    let mut grouped: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        if !subjects.contains(&subject(record)) {
            subjects.push(subject(record));
        }
        let mut groups = grouped.iter_mut();
        match groups.find(|group| comparable(group[0]) == comparable(record)) {
            Some(group) => group.push(record),
            None => grouped.push(vec![record]),
        }
    }
    for group in &mut grouped {
        let order: Vec<_> = group.iter().map(|record| subject(record)).collect();
        group.sort_by_key(|record| {
            let first = order.iter().position(|other| *other == subject(record));
            (first, record.cell.seed)
        });
    }
    let slot = |record: &Record| {
        let place = subjects.iter().position(|other| *other == subject(record));
        place.unwrap_or_default()
    };
    let names: Vec<String> = grouped.iter().map(|records| name(records[0])).collect();
    let places = grouped.iter().enumerate();
    places
        .map(|(place, records)| {
            let protocol = &records[0].protocol;
            let hash = short(&protocol.hash);
            let alike = names.iter().filter(|other| **other == names[place]);
            Group {
                id: format!("{}-{hash}-{}", protocol.kind, place + 1),
                name: match alike.count() {
                    1 => names[place].clone(),
                    _ => format!("{} ({hash})", names[place]),
                },
                kind: protocol.kind,
                slots: records.iter().map(|record| slot(record)).collect(),
                records: labelled(records),
            }
        })
        .collect()
}

/// `knn on cifar10`.
fn name(record: &Record) -> String {
    let folder = || {
        let folder = record.data.root.file_name()?;
        Some(folder.to_string_lossy().into_owned())
    };
    let data = record.data.dataset.clone().or_else(folder);
    format!("{} on {}", record.protocol.name, data.unwrap_or_default())
}
