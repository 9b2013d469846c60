//! Records of kNN cells.

use std::time::Duration;

use super::machine::{device, peak_memory};
use crate::data::{DECODERS, Split, fingerprint};
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::Extraction;
use crate::plan::{KnnCell, KnnPlan, Subject};
use crate::report::{
    CellKey, ComputeRecord, DataRecord, Measured, ProtocolRecord, Record, SCHEMA, Selection,
    SplitRecord, SubjectRecord,
};
use crate::spec::Kind;

/// What a cell was evaluated on.
pub(super) struct Evaluated<'a> {
    /// Train features.
    pub train: &'a Extraction,
    /// Validation features.
    pub val: &'a Extraction,
    /// Hash of the stamps of every file.
    pub stamps: &'a str,
    /// Time since the cell began.
    pub wall: Duration,
}

/// The record of a cell that was just evaluated.
pub(super) fn new(
    plan: &KnnPlan,
    cell: &KnnCell,
    evaluated: &Evaluated<'_>,
    measures: Vec<Measured>,
    mut notes: Vec<String>,
) -> Result<Record, Error> {
    let data = DataRecord {
        root: plan.dataset.root.clone(),
        dataset: plan.dataset_name.clone(),
        classes: plan.dataset.classes.len(),
        limit: plan.limit,
        train: Some(split_record(&plan.dataset.train, evaluated.train)?),
        val: split_record(&plan.dataset.val, evaluated.val)?,
        stamps: evaluated.stamps.to_owned(),
    };
    let train = data.train.iter().map(|record| ("train", record));
    for (split, record) in train.chain([("val", &data.val)]) {
        if record.skipped > 0 {
            notes.push(format!(
                "{} of {} {split} images could not be decoded and are left out",
                record.skipped, record.images
            ));
        }
    }
    Ok(Record {
        schema: SCHEMA,
        cell: CellKey {
            key: cell.key.clone(),
            subject: cell.subject_key.clone(),
            protocol: plan.protocol.hash.clone(),
            data: plan.data_key.clone(),
            seed: plan.run.seed,
        },
        subject: subject(&cell.subject),
        protocol: protocol(plan),
        data,
        input: json(&cell.input),
        compute: compute(plan, evaluated),
        selection: Selection::None,
        measures,
        notes,
        seal: String::new(),
    }
    .sealed())
}

/// A record that is up to date, with the names and settings of this run: the cell's key covers
/// what was computed, not how it was called.
pub(super) fn reused(plan: &KnnPlan, cell: &KnnCell, known: Record) -> Record {
    Record {
        subject: subject(&cell.subject),
        protocol: protocol(plan),
        data: DataRecord {
            root: plan.dataset.root.clone(),
            limit: plan.limit,
            ..known.data
        },
        ..known
    }
    .sealed()
}

fn split_record(split: &Split, extraction: &Extraction) -> Result<SplitRecord, Error> {
    let fingerprint = fingerprint(split, &extraction.contents())?;
    Ok(SplitRecord {
        images: split.samples.len(),
        fingerprint: blake3::Hash::from(fingerprint).to_hex().to_string(),
        skipped: split.samples.len() - extraction.kept().len(),
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

fn protocol(plan: &KnnPlan) -> ProtocolRecord {
    ProtocolRecord {
        kind: Kind::Knn,
        name: plan.protocol.spec.name.clone(),
        version: plan.protocol.spec.version,
        hash: plan.protocol.hash.clone(),
        text: plan.protocol.text.clone(),
        modified: plan.protocol.modified.clone(),
    }
}

fn compute(plan: &KnnPlan, evaluated: &Evaluated<'_>) -> ComputeRecord {
    let encoded = evaluated.train.encoded + evaluated.val.encoded;
    let seconds = evaluated.train.seconds + evaluated.val.seconds;
    ComputeRecord {
        engine: plan.run.compute.engine.versions(),
        precision: plan.run.compute.precision.name().to_owned(),
        device: device(plan.run.compute),
        threads: plan.run.threads,
        batch: plan.run.pass.batch,
        stored: plan.run.rows.name().to_owned(),
        decoder: DECODERS.to_owned(),
        mimbench: match option_env!("MIMBENCH_COMMIT") {
            Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
            None => env!("CARGO_PKG_VERSION").to_owned(),
        },
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

/// A plain structure as JSON, its f32 numbers as short as they are written in files.
#[expect(
    clippy::expect_used,
    reason = "strings and numbers in plain structures serialise"
)]
fn json(value: &impl serde::Serialize) -> serde_json::Value {
    let text = serde_json::to_string(value).expect("a plain structure serialises");
    serde_json::from_str(&text).expect("what was just written parses")
}
