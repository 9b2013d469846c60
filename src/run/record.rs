//! Records of cells.

use std::sync::Arc;
use std::time::Duration;

use super::machine::{device, peak_memory};
use crate::data::{DECODERS, Split, fingerprint};
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::plan::{Cell, Part, RunOptions, Subject};
use crate::report::{
    BesideRecord, CellKey, ComputeRecord, DataRecord, Measured, ProtocolRecord, Record, SCHEMA,
    Selection, SplitRecord, SubjectRecord,
};
use crate::spec::Protocol;

/// Images that were looked at, as they were.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    /// Which half of the dataset.
    pub part: Part,
    /// The images.
    pub split: Arc<Split>,
    /// Those that count, ascending.
    pub kept: Vec<u32>,
    /// First half of the blake3 of every image's bytes.
    pub contents: Vec<[u8; 16]>,
}

impl Looked {
    /// Classes of the images that count.
    pub(super) fn labels(&self) -> Vec<u32> {
        let label = |&image: &u32| self.split.samples[image as usize].label;
        self.kept.iter().map(label).collect()
    }
}

/// What a cell was evaluated on.
pub(super) struct Evaluated<'a> {
    /// Images of each request of the cell.
    pub looked: Vec<Looked>,
    /// Images that were encoded for it.
    pub encoded: usize,
    /// Seconds that this took.
    pub seconds: f64,
    /// Hash of the stamps of every file.
    pub stamps: &'a str,
    /// Time that the cell took.
    pub wall: Duration,
    /// Images that went through the network together.
    pub batch: usize,
}

/// The record of a cell that was just evaluated.
pub(super) fn new(
    run: &RunOptions,
    cell: &Cell,
    evaluated: &Evaluated<'_>,
    (measures, selection): (Vec<Measured>, Selection),
    mut notes: Vec<String>,
) -> Result<Record, Error> {
    let mut splits = Vec::new();
    for looked in &evaluated.looked {
        let split = split_record(looked)?;
        if split.skipped > 0 {
            notes.push(format!(
                "{} of {} {} images could not be decoded and are left out",
                split.skipped,
                split.images,
                looked.part.name()
            ));
        }
        splits.push((looked.part, split));
    }
    let mut split = |part| {
        let place = splits.iter().position(|(of, _)| *of == part);
        place.map(|place| splits.swap_remove(place).1)
    };
    Ok(Record {
        schema: SCHEMA,
        cell: CellKey {
            key: cell.key.clone(),
            subject: cell.subject_key.clone(),
            protocol: cell.protocol.hash.clone(),
            data: cell.data_key.clone(),
            seed: cell.seed,
        },
        subject: subject(&cell.subject),
        protocol: protocol(&cell.protocol),
        data: DataRecord {
            root: cell.set.root.clone(),
            dataset: cell.set.name.clone(),
            classes: cell.set.classes.len(),
            limit: cell.set.limit,
            train: split(Part::Train),
            val: split(Part::Val).unwrap_or_default(),
            stamps: evaluated.stamps.to_owned(),
        },
        input: json(&cell.input),
        compute: compute(run, cell, evaluated),
        selection,
        measures,
        notes,
        beside: BesideRecord::default(),
        seal: String::new(),
    }
    .sealed())
}

/// A record that is up to date, with the names and settings of this run: the cell's key covers
/// what was computed, not how it was called.
pub(super) fn reused(cell: &Cell, known: Record) -> Record {
    Record {
        subject: subject(&cell.subject),
        protocol: protocol(&cell.protocol),
        data: DataRecord {
            root: cell.set.root.clone(),
            dataset: cell.set.name.clone(),
            limit: cell.set.limit,
            ..known.data
        },
        ..known
    }
    .sealed()
}

fn split_record(looked: &Looked) -> Result<SplitRecord, Error> {
    let images = looked.split.samples.len();
    let fingerprint = fingerprint(&looked.split, &looked.contents)?;
    Ok(SplitRecord {
        images,
        fingerprint: blake3::Hash::from(fingerprint).to_hex().to_string(),
        skipped: images - looked.kept.len(),
    })
}

fn subject(subject: &Subject) -> SubjectRecord {
    match subject {
        Subject::Checkpoint(checkpoint) => SubjectRecord {
            name: checkpoint.name.clone(),
            path: Some(checkpoint.path.clone()),
            card: checkpoint.card.clone(),
            blake3: Some(checkpoint.blake3.clone()),
            dialect: Some(checkpoint.dialect.name().to_owned()),
            architecture: json(&checkpoint.config),
            choices: json(&checkpoint.choices),
            ignored_keys: checkpoint.audit.ignored().map(str::to_owned).collect(),
        },
        Subject::Untrained { name, checkpoint } => SubjectRecord {
            name: name.clone(),
            path: None,
            card: None,
            blake3: None,
            dialect: None,
            architecture: json(&checkpoint.config),
            choices: serde_json::Value::Null,
            ignored_keys: Vec::new(),
        },
        Subject::Pixels(_) => SubjectRecord {
            name: subject.name().to_owned(),
            path: None,
            card: None,
            blake3: None,
            dialect: None,
            architecture: serde_json::Value::Null,
            choices: serde_json::Value::Null,
            ignored_keys: Vec::new(),
        },
    }
}

fn protocol(protocol: &Protocol) -> ProtocolRecord {
    ProtocolRecord {
        kind: protocol.kind(),
        name: protocol.name.clone(),
        version: protocol.version,
        hash: protocol.hash.clone(),
        text: protocol.text.clone(),
        modified: protocol.modified.clone(),
    }
}

fn compute(run: &RunOptions, cell: &Cell, evaluated: &Evaluated<'_>) -> ComputeRecord {
    let Evaluated {
        encoded, seconds, ..
    } = *evaluated;
    ComputeRecord {
        engine: run.compute.engine.versions(),
        precision: run.compute.precision.name().to_owned(),
        device: device(run.compute),
        threads: run.threads,
        batch: evaluated.batch,
        stored: cell.rows(run).name().to_owned(),
        decoder: DECODERS.to_owned(),
        mimbench: program(),
        numerics: NUMERICS_VERSION,
        created: jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        wall_seconds: evaluated.wall.as_secs_f64(),
        encoded,
        images_per_second: (encoded > 0).then(|| encoded as f64 / seconds),
        peak_memory: peak_memory(),
    }
}

/// Version of mimbench, and the commit it was built from where known.
pub(super) fn program() -> String {
    match option_env!("MIMBENCH_COMMIT") {
        Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// A plain structure as JSON, its f32 numbers as short as they are written in files.
#[expect(
    clippy::expect_used,
    reason = "strings and numbers in plain structures serialise"
)]
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    let text = serde_json::to_string(value).expect("a plain structure serialises");
    serde_json::from_str(&text).expect("what was just written parses")
}
