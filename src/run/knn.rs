//! kNN cells: features from the store or by one pass, votes, and one record a cell.

use std::path::PathBuf;
use std::time::Instant;

use super::record::{self, Evaluated};
use super::{Terminal, dispatch};
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::data::{FileStamp, Resize, Split};
use crate::error::Error;
use crate::features::{
    Encoder, ExtractError, Extraction, Extractor, Observer, PixelEncoder, Stored, Tap,
};
use crate::metric::Rows;
use crate::plan::{KnnCell, KnnPlan, Subject, check_heads, tell_apart};
use crate::protocol::knn::{KnnData, KnnOutcome, evaluate};
use crate::report::{Outcomes, Record};
use crate::store::{Lock, remove_leftovers};

/// Opens the checkpoints one by one and builds each model once, so that whatever is wrong with
/// one of them is known before the first image is read; no weights are kept.
pub fn open(paths: &[PathBuf], load: &LoadOptions) -> Result<Vec<Subject>, Error> {
    let mut checkpoints = Vec::new();
    for path in paths {
        let checkpoint = Checkpoint::open(path, load)?;
        dispatch::check(&checkpoint)?;
        checkpoints.push(checkpoint);
    }
    check_heads(load.heads.as_ref(), &checkpoints)?;
    tell_apart(&mut checkpoints);
    let subject = |checkpoint| Subject::Checkpoint(Box::new(checkpoint));
    Ok(checkpoints.into_iter().map(subject).collect())
}

/// Evaluates every cell of the plan; a cell whose record is up to date is not computed again.
/// A cell that fails does not keep the others from their rows: its error comes back beside them.
pub fn run(plan: &KnnPlan, terminal: &mut Terminal) -> Result<(Vec<Record>, Vec<Error>), Error> {
    announce(plan, terminal);
    let stamps = stamps(plan)?;
    let mut records = Vec::new();
    let mut errors = Vec::new();
    for cell in &plan.cells {
        match run_cell(plan, cell, &stamps, terminal) {
            Ok(record) => records.push(record),
            Err(error @ Error::Extract(ExtractError::Interrupted { .. })) => {
                errors.push(error);
                break;
            }
            Err(error) => errors.push(error),
        }
    }
    Ok((records, errors))
}

/// What is going to be done and what disk it takes.
fn announce(plan: &KnnPlan, terminal: &mut Terminal) {
    let dataset = &plan.dataset;
    let images = dataset.train.samples.len() + dataset.val.samples.len();
    let numbers: usize = plan.cells.iter().flat_map(|cell| &cell.dims).sum();
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
                terminal.notice(&format!("  {}: {choice}", choice.field));
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
    stamps: &str,
    terminal: &mut Terminal,
) -> Result<Record, Error> {
    let name = cell.subject.name();
    let results = &plan.run.results;
    let lock = Record::path(results, &cell.key).with_extension("lock");
    let _lock = Lock::take(&lock, &mut |holder| {
        terminal.notice(&format!(
            "{name}: process {holder} is computing this row; waiting for it"
        ));
    })?;
    let start = Instant::now();
    remove_leftovers(&results.join("records"), &cell.key)?;
    if let Some(known) = up_to_date(plan, cell, stamps) {
        terminal.notice(&format!(
            "{name}: the record of {} is up to date; no forward pass",
            known.compute.created
        ));
        return Ok(record::reused(plan, cell, known));
    }
    let mut encoder = None;
    let train = features(
        plan,
        cell,
        &plan.dataset.train,
        &cell.train,
        &mut encoder,
        terminal,
    )?;
    let val = features(
        plan,
        cell,
        &plan.dataset.val,
        &cell.val,
        &mut encoder,
        terminal,
    )?;
    drop(encoder);
    let outcome = vote(plan, cell, &train, &val, terminal)?;
    let evaluated = Evaluated {
        train: &train,
        val: &val,
        stamps,
        wall: start.elapsed(),
    };
    let record = record::new(plan, cell, &evaluated, outcome.measures, outcome.notes)?;
    let images = || val.kept().iter().map(|&image| image as usize);
    let samples = &plan.dataset.val.samples;
    let contents = val.contents();
    let outcomes = Outcomes {
        paths: images().map(|image| samples[image].path.clone()).collect(),
        contents: images().map(|image| contents[image]).collect(),
        labels: labels(&plan.dataset.val, &val),
        predictions: outcome.outcomes,
        values: Vec::new(),
    };
    outcomes.write(results, &cell.key)?;
    record.write(results)?;
    Ok(record)
}

/// The cell's record, if nothing it depends on has changed since.
fn up_to_date(plan: &KnnPlan, cell: &KnnCell, stamps: &str) -> Option<Record> {
    let results = &plan.run.results;
    let record = Record::load(&Record::path(results, &cell.key)).ok();
    record.filter(|record| {
        // Images skipped on request must not appear in a row that was asked to have none.
        let complete = record.skipped() == 0 || plan.run.pass.skip_bad_images;
        !plan.run.recompute
            && complete
            && record.data.stamps == stamps
            && Outcomes::path(results, &cell.key).is_file()
    })
}

/// Features of one split; `encoder` is made when the first image has to be encoded.
fn features(
    plan: &KnnPlan,
    cell: &KnnCell,
    split: &Split,
    stored: &[Stored],
    encoder: &mut Option<Box<dyn Encoder>>,
    terminal: &mut Terminal,
) -> Result<Extraction, Error> {
    let name = cell.subject.name();
    let mut extractor = Extractor::open(split, stored, &cell.dims, plan.run.pass, terminal)?;
    if extractor.missing() > 0 {
        let encoder = match encoder {
            Some(encoder) => encoder,
            None => encoder.insert(encoder_of(plan, cell)?),
        };
        terminal.begin(&format!("{name} {}", split.name));
        let encoded = extractor.encode(encoder.as_ref(), &cell.input, terminal);
        terminal.end();
        encoded?;
    }
    let extraction = extractor.finish()?;
    let (images, split) = (extraction.images, &split.name);
    terminal.notice(&match extraction.encoded {
        0 => {
            format!("{name}: features of {images} {split} images are in the store; no forward pass")
        }
        n => format!(
            "{name}: {n} of {images} {split} images encoded, {:.1} images/s",
            n as f64 / extraction.seconds
        ),
    });
    Ok(extraction)
}

/// The cell's encoder, from the file as it is now.
fn encoder_of(plan: &KnnPlan, cell: &KnnCell) -> Result<Box<dyn Encoder>, Error> {
    match &cell.subject {
        Subject::Pixels(input) => Ok(Box::new(PixelEncoder {
            dim: input.channels * input.height * input.width,
        })),
        Subject::Checkpoint(checkpoint) => dispatch::encoder(checkpoint, plan.run.compute),
    }
}

/// Search and vote for every feature of the cell.
fn vote(
    plan: &KnnPlan,
    cell: &KnnCell,
    train: &Extraction,
    val: &Extraction,
    terminal: &Terminal,
) -> Result<KnnOutcome, Error> {
    let train_labels = labels(&plan.dataset.train, train);
    let val_labels = labels(&plan.dataset.val, val);
    let mut all = KnnOutcome::default();
    for ((tap, train), val) in cell.taps.iter().zip(&train.matrices).zip(&val.matrices) {
        let bar = terminal.bar(
            &format!("{} {tap}", cell.subject.name()),
            val.len(),
            "queries",
        );
        let outcome = evaluate(
            &KnnData {
                feature: &tap.to_string(),
                layer: tap.layer(),
                train,
                train_labels: &train_labels,
                val,
                val_labels: &val_labels,
                classes: plan.dataset.classes.len(),
            },
            &plan.protocol.spec.task,
            plan.run.threads,
            &|done| bar.set_position(done as u64),
        );
        bar.finish_and_clear();
        let outcome = outcome?;
        all.measures.extend(outcome.measures);
        all.notes.extend(outcome.notes);
        all.outcomes.extend(outcome.outcomes);
    }
    Ok(all)
}

/// Classes of the images that have features.
fn labels(split: &Split, extraction: &Extraction) -> Vec<u32> {
    let label = |&image: &u32| split.samples[image as usize].label;
    extraction.kept().iter().map(label).collect()
}
