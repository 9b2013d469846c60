//! `mimbench compare`: the records that are meant, and what became of their images.

use std::path::Path;

use crate::error::Error;
use crate::report::{Comparison, Question, Record, Run};

/// Characters of a key that stand for it.
const SHORTEST_KEY: usize = 8;

/// Compares the subjects' records under a protocol, its kind or its name.
pub fn run(
    results: &Path,
    subjects: &[String],
    protocol: &str,
    question: &Question,
) -> Result<Comparison, Error> {
    let mut records = Record::all(results)?;
    let of_protocol = |record: &Record| {
        record.protocol.name == protocol || record.protocol.kind.name() == protocol
    };
    if !records.iter().any(of_protocol) {
        let mut known: Vec<&str> = records.iter().map(|r| r.protocol.name.as_str()).collect();
        known.dedup();
        return Err(Error::Usage {
            message: match known.is_empty() {
                true => format!("there are no records in {}", results.display()),
                false => format!(
                    "no record in {} is of protocol {protocol}, only of {}",
                    results.display(),
                    known.join(", ")
                ),
            },
            hint: "evaluate the checkpoints first, or point --results at their records".to_owned(),
        });
    }
    records.retain(of_protocol);
    let mut sides = Vec::new();
    for subject in subjects {
        let mut runs = Vec::new();
        for record in meant(&records, subject, protocol)? {
            let outcomes = record.outcomes(results)?;
            let record = record.clone();
            runs.push(Run { record, outcomes });
        }
        sides.push(runs);
    }
    Ok(Comparison::new(&sides, question)?)
}

/// The records of one subject: one, or several that differ by seed alone.
fn meant<'a>(
    records: &'a [Record],
    subject: &str,
    protocol: &str,
) -> Result<Vec<&'a Record>, Error> {
    // The first way of naming a record that any answers to.
    let ways: [&dyn Fn(&Record) -> bool; 4] = [
        &|record| subject.len() >= SHORTEST_KEY && record.cell.key.starts_with(subject),
        &|record| {
            record
                .subject
                .path
                .as_deref()
                .is_some_and(|path| same_file(path, subject))
        },
        &|record| record.subject.name == subject,
        &|record| {
            let stem = Path::new(subject)
                .file_stem()
                .and_then(|stem| stem.to_str());
            stem == Some(&record.subject.name)
                || stem == record.subject.card.as_ref().map(|card| card.stem.as_str())
        },
    ];
    let found: Vec<&Record> = ways
        .iter()
        .map(|way| {
            records
                .iter()
                .filter(|record| way(record))
                .collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    if found.is_empty() {
        let mut names: Vec<&str> = records.iter().map(|r| r.subject.name.as_str()).collect();
        names.dedup();
        let near = names.iter().copied().max_by(|a, b| {
            strsim::jaro_winkler(a, subject).total_cmp(&strsim::jaro_winkler(b, subject))
        });
        return Err(Error::Usage {
            message: format!(
                "no record of {protocol} is of {subject}; there are records of {}",
                names.join(", ")
            ),
            hint: match near {
                Some(near) => format!("is {near} meant? otherwise evaluate {subject} first"),
                None => format!("evaluate {subject} first"),
            },
        });
    }
    let each_with_each = |alike: &dyn Fn(&Record, &Record) -> bool| {
        let mut records = found.iter().enumerate();
        records.all(|(place, record)| found[..place].iter().all(|other| alike(record, other)))
    };
    if !each_with_each(&Record::differs_by_seed_alone) {
        let own_images =
            each_with_each(&|a, b| a.data.root == b.data.root && a.is_another_seed_of(b));
        let candidates: Vec<String> = found.iter().map(|record| candidate(record)).collect();
        return Err(Error::Usage {
            message: format!(
                "{} records of {protocol} are of {subject}: {}",
                found.len(),
                candidates.join("; ")
            ),
            hint: match own_images {
                true => "seeds that draw images of their own (--limit, the attention protocols) are not taken together: name the one that is meant by the first word of its entry",
                false => "name the one that is meant by the first word of its entry",
            }
            .to_owned(),
        });
    }
    Ok(found)
}

/// Whether a subject is the file of a record's weights, or the folder that they are in.
fn same_file(path: &Path, subject: &str) -> bool {
    let whole = |path: &Path| path.canonicalize().ok();
    let subject = Path::new(subject);
    let Some((path, subject)) = whole(path).zip(whole(subject)) else {
        return path == subject;
    };
    path == subject || path.parent() == Some(&subject)
}

/// One line that tells a record from its likes.
fn candidate(record: &Record) -> String {
    let short = |hash: &str| hash.chars().take(SHORTEST_KEY).collect::<String>();
    let Record {
        cell,
        subject,
        protocol,
        data,
        compute,
        ..
    } = record;
    let path = subject
        .path
        .as_ref()
        .map(|path| format!(" ({})", path.display()));
    format!(
        "{} {}{}: {} ({}), {} val images of {}, seed {}, {}, {}, of {}",
        cell.key,
        subject.name,
        path.unwrap_or_default(),
        protocol.name,
        short(&protocol.hash),
        data.val.images,
        data.root.display(),
        cell.seed,
        compute.engine,
        compute.precision,
        compute.created,
    )
}
