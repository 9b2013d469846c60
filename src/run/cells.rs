//! Carrying out the cells of a plan: cells that look at one network through one input share their
//! passes over the images.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::extraction::{Features, extract};
use super::record::{self, Evaluated};
use super::{
    Terminal, attention, classify, dispatch, finetune, knn, linear, linear_cached, segment,
    training,
};
use crate::data::{FileStamp, Resize, Split};
use crate::error::Error;
use crate::features::{Encoder, ExtractError, Observer, PixelEncoder};
use crate::plan::{Cell, HeadStart, Part, Plan, Request, RunOptions, Subject};
use crate::report::{
    AttentionMaps, ImageConfusions, ImageOutcomes, ImageValues, Measured, Outcomes, Record,
    Selection, segmentation_sheet,
};
use crate::spec::Task;
use crate::store::{Lock, remove_leftovers, write_atomic};
use crate::train::TrainError;

/// What became of the cells of a plan.
#[derive(Debug, Default)]
pub struct Finished {
    /// Records, in the order of their cells.
    pub records: Vec<Record>,
    /// Cells without one, and why.
    pub failures: Vec<Failure>,
}

/// A cell without a record, or a checkpoint without cells.
#[derive(Debug)]
pub struct Failure {
    /// Checkpoint and protocol, or the file.
    pub cell: String,
    /// Why.
    pub error: Error,
}

impl From<Failure> for Error {
    fn from(Failure { cell, error }: Failure) -> Self {
        Self::Cell {
            cell,
            source: Box::new(error),
        }
    }
}

impl Finished {
    /// Whether the user stopped it.
    pub fn interrupted(&self) -> bool {
        let last = self.failures.last();
        last.is_some_and(|failure| interrupts(&failure.error))
    }
}

fn interrupts(error: &Error) -> bool {
    matches!(
        error,
        Error::Extract(ExtractError::Interrupted { .. })
            | Error::Train(TrainError::Interrupted { .. })
    )
}

/// What a protocol makes of the features.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The results.
    pub measures: Vec<Measured>,
    /// What a reader must know.
    pub notes: Vec<String>,
    /// What became of every image.
    pub predictions: Vec<ImageOutcomes>,
    /// Numbers of every image.
    pub values: Vec<ImageValues>,
    /// What became of every image's pixels.
    pub confusions: Vec<ImageConfusions>,
    /// Images with what their pixels were taken for, PNG.
    pub sheet: Option<Vec<u8>>,
    /// What is to be drawn.
    pub maps: Vec<AttentionMaps>,
    /// What the headline was chosen by.
    pub selection: Selection,
}

/// Evaluates every cell of the plan; a cell whose record is up to date is not computed again.
/// A cell that fails does not keep the others from their records.
pub fn run(plan: &Plan, terminal: &mut Terminal) -> Finished {
    run_groups(plan, groups(plan), terminal)
}

/// [`run`] over the places of cells that share their passes, group after group.
pub(super) fn run_groups(
    plan: &Plan,
    groups: Vec<Vec<usize>>,
    terminal: &mut Terminal,
) -> Finished {
    let mut records: Vec<(usize, Record)> = Vec::new();
    let mut finished = Finished::default();
    let mut begun = Begun::default();
    for group in groups {
        let mut left = vec![group];
        while let Some(group) = left.pop() {
            let cells: Vec<_> = group.iter().map(|&place| &plan.cells[place]).collect();
            match run_group(plan, &cells, &mut begun, terminal) {
                Ok(found) => records.extend(group.iter().copied().zip(found)),
                Err(error) if group.len() > 1 && !interrupts(&error) => {
                    // One at a time, so that only what fails is without a record.
                    left.extend(group.iter().rev().map(|&place| vec![place]));
                }
                Err(error) => {
                    let failure = |&cell: &&Cell| name(cell);
                    finished.failures.push(Failure {
                        cell: cells.iter().map(failure).collect::<Vec<_>>().join(", "),
                        error,
                    });
                }
            }
            if finished.interrupted() {
                break;
            }
        }
        if finished.interrupted() {
            break;
        }
    }
    records.sort_by_key(|&(place, _)| place);
    finished.records = records.into_iter().map(|(_, record)| record).collect();
    finished
}

/// What a command knows since it began.
#[derive(Default)]
struct Begun {
    stamps: Stamps,
    /// Keys of the cells whose records it has written: to be evaluated again is to be so once.
    kept: BTreeSet<String>,
}

/// Places of the cells that share their passes, in the order of the first of each. Training makes
/// its inputs anew: who trains shares nothing, and waits for nobody.
pub(super) fn groups(plan: &Plan) -> Vec<Vec<usize>> {
    let trains = |cell: &Cell| cell.protocol.task.trains();
    grouped(plan, |a, b| !trains(a) && !trains(b) && shares_input(a, b))
}

/// Whether two cells look at one network through one input.
fn shares_input(a: &Cell, b: &Cell) -> bool {
    a.subject_key == b.subject_key && std::ptr::eq(&*a.set, &*b.set)
}

/// Places of cells that are alike, in the order of the first of each.
fn grouped(plan: &Plan, alike: impl Fn(&Cell, &Cell) -> bool) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (place, cell) in plan.cells.iter().enumerate() {
        let alike = |group: &&mut Vec<usize>| {
            let first = group.first().map(|&first| &plan.cells[first]);
            first.is_some_and(|first| alike(first, cell))
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(place),
            None => groups.push(vec![place]),
        }
    }
    groups
}

/// Checkpoint and protocol.
pub(super) fn name(cell: &Cell) -> String {
    format!("{} ({})", cell.subject.name(), cell.protocol.name)
}

/// What is going to be done and what disk it takes.
pub fn announce(plan: &Plan, terminal: &mut Terminal) {
    let mut announced: Vec<&Cell> = Vec::new();
    for cell in &plan.cells {
        let alike = |other: &Cell| {
            std::ptr::eq(&*other.set, &*cell.set) && other.protocol.hash == cell.protocol.hash
        };
        if announced.iter().any(|other| alike(other)) {
            continue;
        }
        announced.push(cell);
        let requests = plan.cells.iter().filter(|cell| alike(cell));
        let bytes: usize = requests
            .flat_map(|cell| &cell.requests)
            .map(Request::bytes)
            .sum();
        let images = |request: &Request| {
            format!(
                "{} {}",
                request.images.split.samples.len(),
                request.part.name()
            )
        };
        let images: Vec<_> = cell.requests.iter().map(images).collect();
        let trained = |epochs: usize| {
            format!(
                "{epochs} epochs, each of inputs made anew; nothing is stored but the run's state"
            )
        };
        let kept = match &cell.protocol.task {
            Task::Linear(task) => trained(task.epochs),
            Task::Finetune(task) => trained(task.epochs),
            Task::Segment(task) => match cell.scene_head {
                None => format!(
                    "{} updates of {} crops; nothing is stored but the run's state",
                    task.updates, task.batch
                ),
                Some(_) => "a head as it is; nothing is stored".to_owned(),
            },
            _ => format!(
                "features take {:.1} MB in {}",
                bytes as f64 / 1e6,
                plan.run.store.display()
            ),
        };
        terminal.notice(&format!(
            "plan: {} version {} on {} ({} images, {} classes); {kept}",
            cell.protocol.name,
            cell.protocol.version,
            cell.set.root.display(),
            images.join(" + "),
            cell.set.classes.len(),
        ));
    }
    for group in grouped(plan, shares_input) {
        let cells = group.iter().map(|&place| &plan.cells[place]);
        for cell in cells.clone() {
            announce_input(cell, terminal);
        }
        // Heads read what their protocol says.
        let reads_feature = cells.clone().any(|cell| !cell.protocol.task.trains());
        let Some(Subject::Checkpoint(checkpoint)) = cells.map(|cell| &*cell.subject).next() else {
            continue;
        };
        let choices = checkpoint.choices.iter();
        for choice in choices.filter(|choice| reads_feature || choice.field != "feature") {
            terminal.notice(&format!("  {}: {choice}", choice.field));
        }
        for key in checkpoint.audit.ignored() {
            terminal.notice(&format!("  left out on request: {key}"));
        }
    }
}

/// What is read, out of which inputs.
fn announce_input(cell: &Cell, terminal: &mut Terminal) {
    /// Features that are named one by one.
    const NAMED: usize = 4;
    let input = &cell.input;
    let features: Vec<_> = match &cell.protocol.task {
        Task::Linear(_) => cell.heads.iter().map(ToString::to_string).collect(),
        Task::Finetune(_) => vec!["all layers".to_owned()],
        Task::Segment(_) => vec!["windows".to_owned()],
        _ => cell.taps().map(|tap| tap.to_string()).collect(),
    };
    let features = match features.as_slice() {
        [first, .., last] if features.len() > NAMED => {
            format!("{first} to {last} ({} features)", features.len())
        }
        all => all.join(", "),
    };
    terminal.notice(&format!(
        "{}: {features} of {} x {} x {} inputs, {}",
        cell.subject.name(),
        input.channels,
        input.height,
        input.width,
        match input.resize {
            _ if matches!(cell.protocol.task, Task::Segment(_)) => {
                "out of larger images".to_owned()
            }
            Resize::Shorter(side) => format!("shorter side {side} before the crop"),
            Resize::Exact => "resized to it".to_owned(),
        },
    ));
}

/// Stamps of the lists of images that cells look at, taken once for all cells of a list.
#[derive(Default)]
pub(super) struct Stamps(BTreeMap<(PathBuf, String), String>);

impl Stamps {
    /// Hash of the stamps of every file that the cell looks at: equal means that nothing has
    /// changed since.
    pub(super) fn of(&mut self, cell: &Cell) -> Result<String, Error> {
        let list = (cell.set.root.clone(), cell.data_key.clone());
        Ok(match self.0.entry(list) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => place.insert(stamps(cell)?).clone(),
        })
    }
}

fn stamps(cell: &Cell) -> Result<String, Error> {
    let lists = cell.requests.iter().map(|request| &request.images);
    let splits: Vec<_> = lists
        .flat_map(|list| [Some(&*list.split), list.masks.as_deref()])
        .flatten()
        .collect();
    split_stamps(&splits)
}

/// Hash of the stamps of every file of some images.
pub(super) fn split_stamps(splits: &[&Split]) -> Result<String, Error> {
    let mut hasher = blake3::Hasher::new();
    for split in splits {
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

/// Records of cells that share network, input and dataset, in their order.
fn run_group(
    plan: &Plan,
    cells: &[&Cell],
    begun: &mut Begun,
    terminal: &mut Terminal,
) -> Result<Vec<Record>, Error> {
    let results = &plan.run.results;
    let mut keys: Vec<_> = cells.iter().map(|cell| &cell.key).collect();
    // One order for every process, so that two never wait for each other.
    keys.sort();
    // The same weights under two names are one cell.
    keys.dedup();
    let mut locks = Vec::new();
    for key in keys {
        let lock = Record::path(results, key).with_extension("lock");
        locks.push(Lock::take(&lock, &mut |holder| {
            terminal.notice(&format!(
                "{}: process {holder} is computing this row; waiting for it",
                cells[0].subject.name()
            ));
        })?);
        remove_leftovers(&results.join("records"), key)?;
    }
    let mut records: Vec<Option<Record>> = Vec::new();
    let mut missing: Vec<(&Cell, String)> = Vec::new();
    for &cell in cells {
        let stamps = begun.stamps.of(cell)?;
        let known = match begun.kept.contains(&cell.key) {
            true => valid(&plan.run, cell, &stamps),
            false => up_to_date(&plan.run, cell, &stamps),
        };
        match known {
            Some(known) => {
                terminal.notice(&format!(
                    "{}: the record of {} is up to date; no forward pass",
                    name(cell),
                    known.compute.created
                ));
                let mut record = record::reused(cell, known.clone());
                if record != known {
                    // It was called otherwise then; tables read what is on disk.
                    record = record.write(results)?;
                }
                records.push(Some(record));
            }
            None => {
                records.push(None);
                if missing.iter().all(|(other, _)| other.key != cell.key) {
                    missing.push((cell, stamps));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(records.into_iter().flatten().collect());
    }
    let mut encoder = LazyEncoder {
        cell: missing[0].0,
        run: &plan.run,
        built: None,
    };
    // Training makes its inputs anew.
    let reads_features = |cell: &&Cell| cell.taps().next().is_some();
    let wanting: Vec<_> = missing
        .iter()
        .map(|&(cell, _)| cell)
        .filter(reads_features)
        .collect();
    let mut extracted = Vec::new();
    for part in [Part::Train, Part::Val] {
        let requests = wanting.iter().flat_map(|cell| &cell.requests);
        let requests: Vec<_> = requests.filter(|request| request.part == part).collect();
        if !requests.is_empty() {
            extracted.extend(extract(part, &requests, &mut encoder, terminal)?);
        }
    }
    let mut found = Vec::new();
    for (cell, stamps) in &missing {
        let start = Instant::now();
        let trained = match &cell.protocol.task {
            Task::Linear(task) => Some(linear::evaluate(cell, task, stamps, &plan.run, terminal)?),
            Task::Finetune(task) => {
                Some(finetune::evaluate(cell, task, stamps, &plan.run, terminal)?)
            }
            Task::Segment(task) if cell.scene_head.is_none() => {
                Some(segment::evaluate(cell, task, stamps, &plan.run, terminal)?)
            }
            _ => None,
        };
        if let Some(trained) = trained {
            let evaluated = Evaluated {
                looked: trained.looked,
                encoded: trained.encoded,
                seconds: trained.seconds,
                stamps,
                wall: Duration::from_secs_f64(trained.seconds),
                batch: trained.batch,
            };
            found.push(keep(plan, cell, evaluated, trained.outcome)?);
            trained.folder.settle()?;
            begun.kept.insert(cell.key.clone());
            continue;
        }
        if let Task::Segment(task) = &cell.protocol.task {
            let looked = segment::evaluate_head(cell, task, &plan.run, terminal)?;
            let evaluated = Evaluated {
                looked: vec![looked.looked],
                encoded: looked.encoded,
                seconds: start.elapsed().as_secs_f64(),
                stamps,
                wall: start.elapsed(),
                batch: plan.run.pass.batch,
            };
            found.push(keep(plan, cell, evaluated, looked.outcome)?);
            begun.kept.insert(cell.key.clone());
            continue;
        }
        let features: Vec<_> = (cell.requests.iter())
            .map(|request| Features::of(request, &extracted))
            .collect::<Result<_, _>>()?;
        let outcome = match &cell.protocol.task {
            Task::Knn(task) => knn::evaluate(cell, task, &features, &plan.run, terminal)?,
            Task::LinearCached(task) => {
                linear_cached::evaluate(cell, task, &features, &plan.run, terminal)?
            }
            Task::Attention(task) => {
                attention::evaluate(cell, task, &features, &plan.run, &mut encoder, terminal)?
            }
            Task::Classify(_) => classify::evaluate(cell, &features)?,
            Task::Linear(_) | Task::Finetune(_) | Task::Segment(_) => continue,
        };
        let seconds = features.iter().map(|features| features.seconds).sum();
        let evaluated = Evaluated {
            looked: features.iter().map(Features::looked).collect(),
            encoded: features.iter().map(|features| features.encoded).sum(),
            seconds,
            stamps,
            wall: start.elapsed() + Duration::from_secs_f64(seconds),
            batch: plan.run.pass.batch,
        };
        found.push(keep(plan, cell, evaluated, outcome)?);
        begun.kept.insert(cell.key.clone());
    }
    let records = cells.iter().zip(records).map(|(cell, known)| {
        let new = || found.iter().find(|record| record.cell.key == cell.key);
        known.or_else(|| Some(record::reused(cell, new()?.clone())))
    });
    Ok(records.flatten().collect())
}

/// Writes the record of a cell, after what lies beside it.
fn keep(
    plan: &Plan,
    cell: &Cell,
    evaluated: Evaluated<'_>,
    outcome: Outcome,
) -> Result<Record, Error> {
    let results = &plan.run.results;
    let found = (outcome.measures, outcome.selection);
    let record = record::new(&plan.run, cell, &evaluated, found, outcome.notes)?;
    if let Some(val) = evaluated.looked.last() {
        let images = || val.kept.iter().map(|&image| image as usize);
        let samples = &val.split.samples;
        let outcomes = Outcomes {
            paths: images().map(|image| samples[image].path.clone()).collect(),
            contents: images().map(|image| val.contents[image]).collect(),
            labels: val.labels(),
            predictions: outcome.predictions,
            values: outcome.values,
            confusions: outcome.confusions,
        };
        outcomes.write(results, &cell.key)?;
    }
    if let Some(sheet) = &outcome.sheet {
        write_atomic(&segmentation_sheet(results, &cell.key), sheet)?;
    }
    if !outcome.maps.is_empty() {
        AttentionMaps::write_all(&outcome.maps, results, &cell.key)?;
    }
    Ok(record.write(results)?)
}

/// The cell's record, if nothing it depends on has changed since, no other is asked for or begun,
/// and what was trained is there.
pub(super) fn up_to_date(run: &RunOptions, cell: &Cell, stamps: &str) -> Option<Record> {
    let again = run.recompute || training::recomputes(run, cell);
    match again || training::lacks_weights(run, cell) {
        true => None,
        false => valid(run, cell, stamps),
    }
}

/// The cell's record, if nothing it depends on has changed since.
fn valid(run: &RunOptions, cell: &Cell, stamps: &str) -> Option<Record> {
    let results = &run.results;
    let record = Record::load(&Record::path(results, &cell.key)).ok();
    record.filter(|record| {
        // Images skipped on request must not appear in a row that was asked to have none.
        let complete = record.skipped() == 0 || run.pass.skip_bad_images;
        complete && record.data.stamps == stamps && record.is_whole(results)
    })
}

/// The network of some cells, built when the first image has to be encoded.
pub(super) struct LazyEncoder<'a> {
    cell: &'a Cell,
    run: &'a RunOptions,
    built: Option<Box<dyn Encoder>>,
}

impl<'a> LazyEncoder<'a> {
    /// Its inputs and name.
    pub(super) fn cell(&self) -> &'a Cell {
        self.cell
    }

    /// How it runs.
    pub(super) fn run(&self) -> &'a RunOptions {
        self.run
    }

    /// The network, from the file as it is now.
    pub(super) fn get(&mut self) -> Result<&dyn Encoder, Error> {
        let encoder = match self.built.take() {
            Some(encoder) => encoder,
            None => match &*self.cell.subject {
                Subject::Pixels(input) => Box::new(PixelEncoder {
                    dim: input.channels * input.height * input.width,
                }),
                Subject::Checkpoint(checkpoint) if self.cell.head == HeadStart::Own => {
                    dispatch::classifier(&checkpoint.classifier()?, self.run.compute)?
                }
                Subject::Checkpoint(checkpoint) | Subject::Untrained { checkpoint, .. } => {
                    dispatch::encoder(checkpoint, self.run.compute)?
                }
            },
        };
        Ok(&**self.built.insert(encoder))
    }
}
