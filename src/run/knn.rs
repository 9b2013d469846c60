//! kNN cells: features from the store or by one pass, votes, and one record a cell.

use std::time::Instant;

use super::Terminal;
use super::dispatch;
use crate::data::{DECODERS, FileStamp, Resize, Split, fingerprint};
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::{
    Encoder, Extraction, Extractor, FeatureMatrix, Observer, PixelEncoder, Stored, Tap,
};
use crate::plan::{KnnCell, KnnPlan, Subject};
use crate::protocol::knn::{KnnData, evaluate};
use crate::report::{
    CellKey, ComputeRecord, DataRecord, Outcomes, ProtocolRecord, Record, SCHEMA, Selection,
    SplitRecord, SubjectRecord,
};
use crate::store::Lock;

/// Evaluates every cell of the plan; a cell whose record is up to date is not computed again.
pub fn run(plan: &mut KnnPlan, terminal: &mut Terminal) -> Result<Vec<Record>, Error> {
    // Every checkpoint must build and have the features before the first image is read.
    let mut dims = Vec::new();
    for cell in &mut plan.cells {
        let encoder = match &mut cell.subject {
            Subject::Checkpoint(checkpoint) => {
                dispatch::encoder(checkpoint, plan.run.engine, plan.run.precision)?
            }
            Subject::Pixels(_) => pixel_encoder(cell),
        };
        let widths: Result<Vec<usize>, _> = cell
            .taps
            .iter()
            .map(|&tap| Ok(encoder.shape(tap)?.iter().product()))
            .collect();
        dims.push(widths.map_err(|error: crate::features::EncoderError| Error::from(error))?);
    }
    announce(plan, &dims, terminal);
    let stamps = stamps(plan)?;
    let mut records = Vec::new();
    for (cell, dims) in plan.cells.iter().zip(&dims) {
        records.push(run_cell(plan, cell, dims, &stamps, terminal)?);
    }
    terminal.end();
    Ok(records)
}

fn pixel_encoder(cell: &KnnCell) -> Box<dyn Encoder> {
    let input = &cell.input;
    Box::new(PixelEncoder {
        dim: input.channels * input.height * input.width,
    })
}

/// What is going to be done and what disk it takes.
fn announce(plan: &KnnPlan, dims: &[Vec<usize>], terminal: &mut Terminal) {
    let dataset = &plan.dataset;
    let images = dataset.train.samples.len() + dataset.val.samples.len();
    let numbers: usize = dims.iter().flatten().sum();
    let megabytes = (images * numbers * plan.run.rows.bytes()) as f64 / 1e6;
    terminal.notice(&format!(
        "plan: {} version {} on {} ({} train + {} val images, {} classes); features take {megabytes:.1} MB in {}",
        plan.protocol.spec.name,
        plan.protocol.spec.version,
        dataset.root.display(),
        dataset.train.samples.len(),
        dataset.val.samples.len(),
        dataset.classes.len(),
        plan.run.store.display(),
    ));
    for cell in &plan.cells {
        let input = &cell.input;
        let features: Vec<_> = cell.taps.iter().map(Tap::to_string).collect();
        terminal.notice(&format!(
            "{}: {} of {} x {} x {} inputs, {}",
            cell.subject.name(),
            features.join(", "),
            input.channels,
            input.height,
            input.width,
            match input.resize {
                Resize::Shorter(side) => format!("shorter side {side} before the crop"),
                Resize::Exact => "resized to it".to_owned(),
            },
        ));
        if let Subject::Checkpoint(checkpoint) = &cell.subject {
            for choice in &checkpoint.choices {
                terminal.notice(&format!(
                    "  {}: {} ({})",
                    choice.field, choice.value, choice.from
                ));
            }
            for key in checkpoint.audit.ignored() {
                terminal.notice(&format!("  left out on request: {key}"));
            }
        }
    }
}

/// Hash of the stamps of every file: equal means that nothing has changed since.
fn stamps(plan: &KnnPlan) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    for split in [&plan.dataset.train, &plan.dataset.val] {
        for index in 0..split.samples.len() {
            let FileStamp {
                inode,
                size,
                mtime_ns,
                offset,
            } = split.stamp(index)?;
            for number in [inode, size, offset] {
                hasher.update(&number.to_le_bytes());
            }
            hasher.update(&mtime_ns.to_le_bytes());
        }
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
}

fn run_cell(
    plan: &KnnPlan,
    cell: &KnnCell,
    dims: &[usize],
    stamps: &str,
    terminal: &mut Terminal,
) -> Result<Record, Error> {
    let start = Instant::now();
    let name = cell.subject.name();
    let results = &plan.run.results;
    let lock = Record::path(results, &cell.key).with_extension("lock");
    let _lock = Lock::take(&lock, &mut |holder| {
        terminal.notice(&format!(
            "{name}: process {holder} is computing this row; waiting for it"
        ));
    })?;
    let known = Record::read(results, &cell.key);
    if let Some(record) = known.filter(|record| {
        // Images skipped on request must not appear in a row that was asked to have none.
        let complete = record.skipped() == 0 || plan.run.pass.skip_bad_images;
        !plan.run.recompute && complete && record.data.stamps == stamps
    }) {
        terminal.notice(&format!(
            "{name}: the record of {} is up to date; no forward pass",
            record.compute.created
        ));
        return Ok(record);
    }
    let mut features = |split: &Split, stored: &[Stored]| {
        terminal.begin(&format!("{name} {}", split.name));
        let since = Instant::now();
        let mut extractor = Extractor::open(split, stored, dims, plan.run.pass, terminal)?;
        if extractor.missing() > 0 {
            let encoder = reopen(plan, cell)?;
            let encoded = extractor.encode(encoder.as_ref(), &cell.input, terminal);
            terminal.end();
            encoded?;
        }
        let extraction = extractor.finish()?;
        let images = extraction.images;
        terminal.notice(&match extraction.encoded {
            0 => format!(
                "{name}: features of {images} {} images are in the store; no forward pass",
                split.name
            ),
            n => format!(
                "{name}: {n} of {images} {} images encoded, {:.1} images/s",
                split.name,
                n as f64 / since.elapsed().as_secs_f64()
            ),
        });
        Ok::<_, Error>(extraction)
    };
    let train = features(&plan.dataset.train, &cell.train)?;
    let val = features(&plan.dataset.val, &cell.val)?;
    let encoded = train.encoded + val.encoded;
    let rate = (encoded > 0).then(|| encoded as f64 / start.elapsed().as_secs_f64());
    let train_labels = labels(&plan.dataset.train, &train);
    let val_labels = labels(&plan.dataset.val, &val);
    let mut measures = Vec::new();
    let mut notes = Vec::new();
    let mut predictions = Vec::new();
    for ((tap, train), val) in cell.taps.iter().zip(&train.matrices).zip(&val.matrices) {
        let outcome = evaluate(
            &KnnData {
                feature: &tap.to_string(),
                train,
                train_labels: &train_labels,
                val,
                val_labels: &val_labels,
                classes: plan.dataset.classes.len(),
            },
            &plan.protocol.spec.task,
            plan.run.threads,
            &|_| {},
        )?;
        measures.extend(outcome.measures);
        notes.extend(outcome.notes);
        predictions.extend(outcome.outcomes);
    }
    let data = DataRecord {
        root: plan.dataset.root.clone(),
        classes: plan.dataset.classes.len(),
        limit: plan.limit,
        train: split_record(&plan.dataset.train, &train)?,
        val: split_record(&plan.dataset.val, &val)?,
        stamps: stamps.to_owned(),
    };
    for (split, record) in [("train", &data.train), ("val", &data.val)] {
        if record.skipped > 0 {
            notes.push(format!(
                "{} of {} {split} images could not be decoded and are left out",
                record.skipped, record.images
            ));
        }
    }
    let record = Record {
        schema: SCHEMA,
        cell: CellKey {
            key: cell.key.clone(),
            subject: cell.subject_key.clone(),
            protocol: plan.protocol.hash.clone(),
            data: plan.data_key.clone(),
            seed: plan.run.seed,
        },
        subject: subject_record(&cell.subject),
        protocol: ProtocolRecord {
            name: plan.protocol.spec.name.clone(),
            version: plan.protocol.spec.version,
            hash: plan.protocol.hash.clone(),
            text: plan.protocol.text.clone(),
            modified: plan.protocol.modified.clone(),
        },
        data,
        input: json(&cell.input),
        compute: ComputeRecord {
            engine: plan.run.engine.name().to_owned(),
            precision: plan.run.precision.name().to_owned(),
            device: "cpu".to_owned(),
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
            wall_seconds: start.elapsed().as_secs_f64(),
            encoded,
            images_per_second: rate,
            peak_memory: peak_memory(),
        },
        selection: Selection::None,
        measures,
        notes,
    };
    let outcomes = outcomes(&plan.dataset.val, &val, val_labels, predictions);
    outcomes.write(results, &cell.key)?;
    record.write(results)?;
    Ok(record)
}

/// The cell's encoder, from the file as it is now.
fn reopen(plan: &KnnPlan, cell: &KnnCell) -> Result<Box<dyn Encoder>, Error> {
    match &cell.subject {
        Subject::Pixels(_) => Ok(pixel_encoder(cell)),
        Subject::Checkpoint(known) => {
            let mut checkpoint = known.reopen()?;
            Ok(dispatch::encoder(
                &mut checkpoint,
                plan.run.engine,
                plan.run.precision,
            )?)
        }
    }
}

fn labels(split: &Split, extraction: &Extraction) -> Vec<u32> {
    kept(extraction)
        .iter()
        .map(|&image| split.samples[image as usize].label)
        .collect()
}

/// Images that have features; the same for every tap, because one pass decoded them.
fn kept(extraction: &Extraction) -> &[u32] {
    extraction.matrices.first().map_or(&[], FeatureMatrix::kept)
}

fn contents(extraction: &Extraction) -> Vec<[u8; 16]> {
    extraction
        .matrices
        .first()
        .map_or_else(Vec::new, |matrix| matrix.contents().collect())
}

fn split_record(split: &Split, extraction: &Extraction) -> Result<SplitRecord, Error> {
    let fingerprint = fingerprint(split, &contents(extraction))?;
    Ok(SplitRecord {
        images: split.samples.len(),
        fingerprint: blake3::Hash::from(fingerprint).to_hex().to_string(),
        skipped: split.samples.len() - kept(extraction).len(),
    })
}

fn outcomes(
    split: &Split,
    extraction: &Extraction,
    labels: Vec<u32>,
    predictions: Vec<crate::report::ImageOutcomes>,
) -> Outcomes {
    let contents = contents(extraction);
    let kept = kept(extraction).iter().map(|&image| image as usize);
    Outcomes {
        paths: kept
            .clone()
            .map(|image| split.samples[image].path.clone())
            .collect(),
        contents: kept.map(|image| contents[image]).collect(),
        labels,
        predictions,
    }
}

fn subject_record(subject: &Subject) -> SubjectRecord {
    match subject {
        Subject::Checkpoint(checkpoint) => SubjectRecord {
            name: checkpoint.name.clone(),
            path: Some(checkpoint.path.clone()),
            blake3: Some(checkpoint.blake3.clone()),
            dialect: Some(checkpoint.dialect.name().to_owned()),
            architecture: json(&checkpoint.config),
            choices: json(&checkpoint.choices),
            ignored_keys: checkpoint.audit.ignored().map(str::to_owned).collect(),
        },
        Subject::Pixels(_) => SubjectRecord {
            name: subject.name().to_owned(),
            path: None,
            blake3: None,
            dialect: None,
            architecture: serde_json::Value::Null,
            choices: serde_json::Value::Null,
            ignored_keys: Vec::new(),
        },
    }
}

fn json(value: &impl serde::Serialize) -> serde_json::Value {
    #[expect(
        clippy::expect_used,
        reason = "strings and numbers in plain structures serialise"
    )]
    serde_json::to_value(value).expect("a plain structure serialises")
}

/// Largest resident memory of this process, bytes, where `/proc` tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
