//! `mimbench verify`: whether published numbers of checkpoints, evaluated as they are, are found
//! again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cells::Failure;
use super::machine::device;
use super::record::program;
use super::{Terminal, dispatch};
use crate::checkpoint::card::Card;
use crate::checkpoint::{
    Anchor, AnchorKind, AnchorMeasure, Checkpoint, CheckpointError, LoadOptions,
};
use crate::data::{DECODERS, InputSpec};
use crate::engine::{Compute, NUMERICS_VERSION};
use crate::error::Error;
use crate::features::{Ask, ExtractError, Outputs, PassOptions, Sink, Tap, pass};
use crate::metric::{LogitTally, MetricError};
use crate::plan::{DataRequest, EvaluationSet, input_spec};
use crate::report::{Cell, Column, Source, Table};
use crate::spec::{InputSection, InterpolationChoice, Normalise, ResizeChoice};
use crate::stats::{of_mean, wilson};

/// How checkpoints are evaluated.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// What to compute with.
    pub compute: Compute,
    /// How a pass runs.
    pub pass: PassOptions,
    /// Where the datasets are.
    pub data: DataRequest,
}

/// What became of the anchors.
#[derive(Debug)]
pub struct Verified {
    /// By what numbers were computed.
    pub by: ComputedBy,
    /// Those that were checked.
    pub checks: Vec<Check>,
    /// Those that were not.
    pub skipped: Vec<Unchecked>,
    /// What could not be evaluated.
    pub failures: Vec<Failure>,
}

/// What a number may depend on besides checkpoint, images and input.
#[derive(Clone, Debug, Serialize)]
pub struct ComputedBy {
    /// Engine, with its version.
    pub engine: String,
    /// Element type of the forward pass.
    pub precision: &'static str,
    /// Device, with its name where the system tells.
    pub device: String,
    /// Image decoders and their versions.
    pub decoder: &'static str,
    /// Version of mimbench, and the commit it was built from where known.
    pub mimbench: String,
    /// Version of everything that can change a feature's bits.
    pub numerics: u32,
}

impl ComputedBy {
    fn new(compute: Compute) -> Self {
        Self {
            engine: compute.engine.versions(),
            precision: compute.precision.name(),
            device: device(compute),
            decoder: DECODERS,
            mimbench: program(),
            numerics: NUMERICS_VERSION,
        }
    }
}

/// In one line.
impl fmt::Display for ComputedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            engine,
            precision,
            device,
            decoder,
            mimbench,
            numerics,
        } = self;
        write!(
            f,
            "mimbench {mimbench}, numerics {numerics}: {engine}, {precision} on {device}; {decoder}"
        )
    }
}

/// An anchor and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Name in tables.
    pub checkpoint: String,
    /// The weights.
    pub file: PathBuf,
    /// Their hash, hexadecimal.
    pub blake3: String,
    /// What the head reads.
    pub head_reads: String,
    /// How images became inputs.
    pub input: InputSpec,
    /// The dataset.
    pub data: PathBuf,
    /// What was expected.
    pub anchor: Anchor,
    /// What was found, in the anchor's unit.
    pub measured: f64,
    /// Its 95 % interval, where it has one.
    pub interval: Option<[f64; 2]>,
    /// Validation images behind it.
    pub images: u64,
    /// Measured less expected.
    pub difference: f64,
    /// Whether that is within the anchor's tolerance.
    pub agrees: bool,
}

/// Anchors of a card that could not be looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Unchecked {
    /// Name in tables.
    pub checkpoint: String,
    /// What was looked for.
    pub reason: String,
}

/// Checks the anchors of every checkpoint that is named; whatever of it is not there is a failure.
pub fn named(paths: &[PathBuf], options: &VerifyOptions, terminal: &mut Terminal) -> Verified {
    let mut work = Work::new(options);
    for path in paths {
        let opened = Checkpoint::open(path, &LoadOptions::default()).map_err(Error::from);
        let checked = opened.and_then(|checkpoint| match checkpoint.anchors.is_empty() {
            true => Err(Error::Usage {
                message: format!("no card of {} has an anchor", path.display()),
                hint: "an [[anchor]] of a card says what is to be found again; checkpoints/README.md has one".to_owned(),
            }),
            false => work.check(&checkpoint, terminal),
        });
        if work.failed(path, checked) {
            break;
        }
    }
    work.verified
}

/// Checks the anchors of every card in a folder; cards whose weights or datasets are not there are
/// listed.
///
/// # Errors
/// The folder cannot be read, or none of its cards has an anchor.
pub fn folder(
    cards: &Path,
    options: &VerifyOptions,
    terminal: &mut Terminal,
) -> Result<Verified, Error> {
    let mut work = Work::new(options);
    let mut anchored = 0;
    for path in card_paths(cards)? {
        let checked = Card::read(&path).map_err(Error::from).and_then(|mut card| {
            anchored += usize::from(!card.anchors.is_empty());
            let lost = |reason: String| Unchecked {
                checkpoint: card.name.clone(),
                reason,
            };
            if card.anchors.is_empty() {
                return Ok(());
            }
            if let Err(absent @ CheckpointError::Absent { .. }) = card.weights(&path) {
                let reason = [Some(absent.to_string()), absent.hint()];
                let reason = reason.into_iter().flatten().collect::<Vec<_>>();
                work.verified.skipped.push(lost(reason.join("; ")));
                return Ok(());
            }
            let datasets: BTreeSet<_> = card.anchors.iter().map(|x| &x.dataset).collect();
            let mut absent = Vec::new();
            for dataset in datasets {
                if let Err(error) = work.root(dataset) {
                    work.verified.skipped.push(lost(error.to_string()));
                    absent.push(dataset.clone());
                }
            }
            card.anchors.retain(|x| !absent.contains(&x.dataset));
            if card.anchors.is_empty() {
                return Ok(());
            }
            let mut checkpoint = Checkpoint::open(&path, &LoadOptions::default())?;
            checkpoint.anchors = card.anchors;
            work.check(&checkpoint, terminal)
        });
        if work.failed(&path, checked) {
            break;
        }
    }
    if anchored == 0 && work.verified.failures.is_empty() {
        return Err(Error::Usage {
            message: format!("no card in {} has an anchor", cards.display()),
            hint: "--cards DIR names another folder of cards, --ckpt CARD a single one".to_owned(),
        });
    }
    Ok(work.verified)
}

/// The cards of a folder, by name.
fn card_paths(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| CheckpointError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|x| x == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// What is done and what is needed again.
struct Work<'a> {
    options: &'a VerifyOptions,
    sets: BTreeMap<PathBuf, EvaluationSet>,
    /// The dataset that anchors were looked for in, where `--data` is one itself.
    only: Option<String>,
    verified: Verified,
}

impl<'a> Work<'a> {
    fn new(options: &'a VerifyOptions) -> Self {
        Self {
            options,
            sets: BTreeMap::new(),
            only: None,
            verified: Verified {
                by: ComputedBy::new(options.compute),
                checks: Vec::new(),
                skipped: Vec::new(),
                failures: Vec::new(),
            },
        }
    }

    /// Notes an error; whether the user stopped the command.
    fn failed(&mut self, path: &Path, checked: Result<(), Error>) -> bool {
        let Err(error) = checked else { return false };
        let stopped = matches!(error, Error::Extract(ExtractError::Interrupted { .. }));
        self.verified.failures.push(Failure {
            cell: path.display().to_string(),
            error,
        });
        stopped
    }

    /// The folder of a dataset that anchors name; where `--data` is a dataset itself, it is the
    /// first that is asked for, and no other.
    fn root(&mut self, dataset: &str) -> Result<PathBuf, Error> {
        if let Some(folder) = &self.options.data.folder {
            let only = self.only.get_or_insert_with(|| dataset.to_owned());
            if only != dataset {
                return Err(Error::Usage {
                    message: format!(
                        "--data {} was taken for {only}, and cannot be {dataset} too",
                        folder.display()
                    ),
                    hint: "--data DIR may hold a folder for each dataset; or name cards of one dataset with --ckpt".to_owned(),
                });
            }
        }
        self.options.data.root(dataset)
    }

    /// Checks the checkpoint's anchors, those of one dataset by one pass.
    fn check(&mut self, checkpoint: &Checkpoint, terminal: &mut Terminal) -> Result<(), Error> {
        let mut by_dataset: BTreeMap<&str, Vec<&Anchor>> = BTreeMap::new();
        for anchor in &checkpoint.anchors {
            by_dataset.entry(&anchor.dataset).or_default().push(anchor);
        }
        for (dataset, anchors) in by_dataset {
            let root = self.root(dataset)?;
            let set = match self.sets.entry(root) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let set = EvaluationSet::open(new.key(), &self.options.data, 0)?;
                    new.insert(set)
                }
            };
            let checks = classify(checkpoint, &anchors, set, self.options, terminal)?;
            self.verified.checks.extend(checks);
        }
        Ok(())
    }
}

/// One pass of the validation images through the checkpoint's own classifier.
fn classify(
    checkpoint: &Checkpoint,
    anchors: &[&Anchor],
    set: &EvaluationSet,
    options: &VerifyOptions,
    terminal: &mut Terminal,
) -> Result<Vec<Check>, Error> {
    let split = &set.val.split;
    let fine_tuned = checkpoint.classifier()?;
    let (known, classes) = (fine_tuned.head.classes, set.classes.len());
    if known != classes {
        return Err(Error::Usage {
            message: format!(
                "the head of {} names {known} classes, {} has {classes}",
                checkpoint.name,
                set.root.display()
            ),
            hint: "a head is evaluated on the dataset that it was trained on: --data DIR names it, and a missing class folder counts too".to_owned(),
        });
    }
    let images = split.samples.len() as u64;
    if let Some(other) = anchors.iter().find(|anchor| anchor.images != images) {
        return Err(Error::Usage {
            message: format!(
                "{} has {images} validation images, the anchors of {} on {} are over {}",
                set.root.display(),
                checkpoint.name,
                other.dataset,
                other.images
            ),
            hint: "a number can only be found again on all of its images: --data DIR names the dataset".to_owned(),
        });
    }
    let input = input_spec(checkpoint, &own_input(checkpoint))?;
    let encoder = dispatch::classifier(&fine_tuned, options.compute)?;
    let labels = split.samples.iter().map(|sample| sample.label).collect();
    let mut sink = Tally {
        labels,
        tally: LogitTally::default(),
        fault: None,
    };
    terminal.begin(&format!("{} {}", checkpoint.name, split.name));
    let mut asks = [Ask {
        taps: vec![Tap::Logits],
        sink: &mut sink,
    }];
    let all = 0..split.samples.len();
    let passed = pass(
        encoder.as_ref(),
        split,
        &input,
        &[all],
        &options.pass,
        &mut asks,
        terminal,
    );
    terminal.end();
    passed?;
    if let Some(fault) = sink.fault {
        return Err(Error::Usage {
            message: format!("{}: {fault}", set.root.display()),
            hint: "mimbench data check DIR says what is wrong with a dataset".to_owned(),
        });
    }
    let tally = sink.tally;
    if tally.images() != images {
        let lost = images - tally.images();
        return Err(Error::Usage {
            message: format!(
                "{lost} of the {images} validation images of {} could not be decoded",
                set.root.display()
            ),
            hint: "a number can only be found again on all of its images; mimbench data check DIR lists the others".to_owned(),
        });
    }
    let check = |anchor: &&Anchor| {
        let (measured, interval) = found(&tally, anchor.kind, anchor.measure);
        Check {
            checkpoint: checkpoint.name.clone(),
            file: checkpoint.path.clone(),
            blake3: checkpoint.blake3.clone(),
            head_reads: fine_tuned.reads.value.clone(),
            input: input.clone(),
            data: set.root.clone(),
            anchor: (*anchor).clone(),
            measured,
            interval,
            images,
            difference: measured - anchor.value,
            agrees: anchor.agrees(measured),
        }
    };
    Ok(anchors.iter().map(check).collect())
}

/// The checkpoint's own resize and filter where something says them, else the usual ones.
fn own_input(checkpoint: &Checkpoint) -> InputSection {
    let facts = &checkpoint.input;
    let usual = InputSection::default();
    InputSection {
        normalise: Normalise::Card,
        resize: match facts.resize {
            Some(_) => ResizeChoice::Card,
            None => usual.resize,
        },
        interpolation: match facts.interpolation {
            Some(_) => InterpolationChoice::Card,
            None => usual.interpolation,
        },
    }
}

/// What an anchor's number came out as, and its interval.
fn found(tally: &LogitTally, kind: AnchorKind, measure: AnchorMeasure) -> (f64, Option<[f64; 2]>) {
    let AnchorKind::Classify = kind;
    let n = tally.images();
    // The share in units of which `whole` are all images.
    let share = |hits: u64, whole: f64| {
        let interval = wilson(hits, n).ok();
        let interval = interval.map(|ends| ends.map(|end| end * whole));
        (hits as f64 * whole / n as f64, interval)
    };
    match measure {
        AnchorMeasure::Correct => (tally.top1() as f64, share(tally.top1(), n as f64).1),
        AnchorMeasure::Top1 => share(tally.top1(), 100.0),
        AnchorMeasure::Top5 => share(tally.top5(), 100.0),
        AnchorMeasure::Loss => {
            let deviation = tally.loss_deviation();
            let interval = deviation.map(|deviation| of_mean(tally.loss(), deviation, n));
            (tally.loss(), interval)
        }
    }
}

/// Counts the logits of a pass.
struct Tally {
    labels: Vec<u32>,
    tally: LogitTally,
    fault: Option<MetricError>,
}

impl Sink for Tally {
    fn wants(&self, _: usize) -> bool {
        true
    }

    fn accept(&mut self, outputs: &Outputs<'_>) -> Result<(), ExtractError> {
        let images = outputs.images.iter();
        let kept = images.filter(|image| image.skipped.is_none());
        for logits in &outputs.taps {
            let classes = logits.shape.last().copied().unwrap_or_default().max(1);
            for (row, image) in logits.data.chunks(classes).zip(kept.clone()) {
                if let Err(fault) = self.tally.add(row, self.labels[image.index]) {
                    self.fault.get_or_insert(fault);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ExtractError> {
        Ok(())
    }
}

/// Whether every number was found again.
///
/// # Errors
/// Nothing could be checked.
pub fn all_agree(verified: &Verified) -> Result<bool, Error> {
    if verified.checks.is_empty() {
        let skipped = verified.skipped.len();
        return Err(Error::Usage {
            message: format!("nothing could be checked: {skipped} skipped"),
            hint: "put the weights where their cards look for them, and give --data DIR or set $MIMBENCH_DATA".to_owned(),
        });
    }
    Ok(verified.checks.iter().all(|check| check.agrees))
}

/// Checks, what was skipped and what failed as JSON.
pub fn json(verified: &Verified) -> serde_json::Value {
    let failure = |Failure { cell, error }: &Failure| serde_json::json!({ "file": cell, "error": error.to_string() });
    serde_json::json!({
        "compute": verified.by,
        "checks": verified.checks,
        "skipped": verified.skipped,
        "failures": verified.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}

/// The checks, and what was skipped.
pub fn tables(verified: &Verified) -> Vec<Table> {
    let mut tables = Vec::new();
    if !verified.checks.is_empty() {
        tables.push(checked(verified));
    }
    if !verified.skipped.is_empty() {
        let row = |skipped: &Unchecked| {
            let Unchecked { checkpoint, reason } = skipped.clone();
            vec![Cell::Text(checkpoint), Cell::Text(reason)]
        };
        tables.push(Table {
            title: "Not checked".to_owned(),
            columns: vec![Column::text("checkpoint"), Column::text("skipped because")],
            rows: verified.skipped.iter().map(row).collect(),
            footnotes: Vec::new(),
        });
    }
    tables
}

fn checked(Verified { by, checks, .. }: &Verified) -> Table {
    let number = |value, interval, decimals, source| Cell::Value {
        value,
        interval,
        decimals,
        marks: Vec::new(),
        source,
    };
    let row = |check: &Check| {
        let anchor = &check.anchor;
        let decimals = match anchor.measure {
            AnchorMeasure::Correct => 0,
            AnchorMeasure::Top1 | AnchorMeasure::Top5 | AnchorMeasure::Loss => 3,
        };
        let paper = Source::Paper {
            citation: anchor.citation.clone(),
        };
        vec![
            Cell::Text(check.checkpoint.clone()),
            Cell::Text(format!("{} {}", anchor.dataset, anchor.measure)),
            number(anchor.value, None, decimals, Some(paper)),
            number(check.measured, check.interval, decimals, None),
            Cell::Count(check.images),
            number(check.difference, None, decimals, None),
            number(anchor.tolerance, None, decimals, None),
            Cell::Text(if check.agrees { "agrees" } else { "differs" }.to_owned()),
        ]
    };
    let mut footnotes: Vec<String> = Vec::new();
    for check in checks {
        let anchor = &check.anchor;
        let mut note = format!("{}: {}", check.checkpoint, anchor.citation);
        if let Some(reason) = &anchor.reason {
            note.push_str(&format!("; {reason}"));
        }
        if !footnotes.contains(&note) {
            footnotes.push(note);
        }
    }
    footnotes.push(by.to_string());
    Table {
        title: "Checkpoints evaluated as they are".to_owned(),
        columns: vec![
            Column::text("checkpoint"),
            Column::text("anchor"),
            Column::numbers("expected", None),
            Column::numbers("measured", None),
            Column::numbers("n", None),
            Column::numbers("difference", None),
            Column::numbers("tolerance", None),
            Column::text("verdict"),
        ],
        rows: checks.iter().map(row).collect(),
        footnotes,
    }
}
