//! What a plan is going to cost, and what of it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::cells::{Stamps, groups, up_to_date};
use super::dispatch::{Job, dispatch};
use crate::checkpoint::Checkpoint;
use crate::engine::{Compute, Engine, EngineError};
use crate::error::Error;
use crate::features::EncoderError;
use crate::plan::{Cell, Part, Plan, Request, Skipped, Subject, images_at_once};
use crate::report::{Cell as TableCell, Column, Table};
use crate::spec::{LinearTask, Task};
use crate::store::list_spans;
use crate::vit::VitConfig;

/// Share of one large product's pace that a whole forward pass reaches.
const PACE: f64 = 0.8;

/// Images a second that one thread decodes and resizes, from photographs of ImageNet's size.
const DECODED: f64 = 500.0;

/// Iterations that a fit of a cached probe takes, from the one before.
const ITERATIONS: f64 = 50.0;

/// Forward passes that an update of a whole network takes the time of: the gradient of a product is
/// two products.
const TRAINING_PASSES: usize = 3;

/// What is to be done for one cell.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// How far it is.
    pub state: State,
    /// Images to be encoded that no earlier cell of its group encodes.
    pub images: usize,
    /// Time that these images and its evaluation take.
    pub time: Duration,
    /// Bytes of features to be stored.
    pub disk: usize,
    /// Bytes of memory at the peak.
    pub memory: usize,
}

/// How far a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its record is up to date.
    Done,
    /// Its features are stored.
    Cached,
    /// Images have to be encoded.
    Missing,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cached => "features stored",
            Self::Missing => "to compute",
        }
    }
}

/// The estimate of every cell, in the order of the plan.
pub fn estimates(plan: &Plan) -> Result<Vec<Estimate>, Error> {
    let pace = dispatch(plan.run.compute, Pace)?.map_err(EncoderError::from)?;
    let mut estimates: Vec<Option<Estimate>> = plan.cells.iter().map(|_| None).collect();
    let mut stamps = Stamps::default();
    for group in groups(plan) {
        // Images that a cell before has encoded are there for the next.
        let mut encoded = BTreeMap::new();
        for place in group {
            let cell = &plan.cells[place];
            estimates[place] = Some(estimate(plan, cell, &stamps.of(cell)?, pace, &mut encoded)?);
        }
    }
    Ok(estimates.into_iter().flatten().collect())
}

/// Places of the images that are encoded, by half of the dataset.
type Encoded = BTreeMap<Part, BTreeSet<u32>>;

fn estimate(
    plan: &Plan,
    cell: &Cell,
    stamps: &str,
    pace: f64,
    encoded: &mut Encoded,
) -> Result<Estimate, Error> {
    let done = up_to_date(&plan.run, cell, stamps).is_some();
    let (mut missing, mut new, mut disk) = (0, 0, 0);
    for request in cell.requests.iter().filter(|_| !done) {
        let places = absent(request)?;
        missing += places.len();
        disk += request.bytes() / request.images.split.samples.len().max(1) * places.len();
        let known = encoded.entry(request.part).or_default();
        new += places
            .into_iter()
            .filter(|&place| known.insert(place))
            .count();
    }
    let mut passes = new;
    if let (Some([train, val]), false) = (trained(cell), done) {
        // Every epoch makes its inputs anew.
        new = train + val;
        missing = new;
        passes = match cell.protocol.task {
            Task::Finetune(_) => TRAINING_PASSES * train + val,
            Task::Segment(ref task) if !task.frozen => TRAINING_PASSES * train + val,
            _ => new,
        };
    }
    let state = match (done, missing) {
        (true, _) => State::Done,
        (false, 0) => State::Cached,
        (false, _) => State::Missing,
    };
    let encoding = passes as f64 * operations(&cell.subject) / (PACE * pace);
    let decoding = new as f64 / (DECODED * plan.run.pass.workers as f64);
    let time = match state {
        State::Done => Duration::ZERO,
        State::Cached | State::Missing => {
            Duration::from_secs_f64(encoding + decoding) + tail(cell, pace)
        }
    };
    if let (Task::Finetune(task), Some(checkpoint), false) =
        (&cell.protocol.task, cell.subject.architecture(), done)
    {
        // Two states with what the optimizer has, and the trained weights.
        let numbers = 2 * (1 + task.optimizer.remembered()) + 1;
        disk += 4 * numbers * block_weights(&checkpoint.config);
    }
    Ok(Estimate {
        state,
        images: new,
        time,
        disk,
        memory: memory(plan, cell),
    })
}

/// Places, in the whole split, of the images that lack some feature, as the names of the stored
/// parts tell.
fn absent(request: &Request) -> Result<Vec<u32>, Error> {
    let count = request.images.split.samples.len();
    let mut absent = vec![false; count];
    for stored in &request.stored {
        let mut held = vec![false; count];
        for span in list_spans(&stored.folder)? {
            let end = span.end.min(count);
            held[span.start.min(end)..end].fill(true);
        }
        for (absent, held) in absent.iter_mut().zip(held) {
            *absent |= !held;
        }
    }
    let places = (0..count).filter(|&at| absent[at]);
    let place = |at: usize| match &request.images.places {
        Some(places) => places[at],
        None => at as u32,
    };
    Ok(places.map(place).collect())
}

/// Images that go through the network while a cell is trained, and those that are then validated.
fn trained(cell: &Cell) -> Option<[usize; 2]> {
    let recipe = match &cell.protocol.task {
        Task::Linear(task) => task.recipe(cell.seed),
        Task::Finetune(task) => task.recipe(cell.seed, task.batch),
        Task::Segment(_) if cell.scene_head.is_some() => {
            return Some([0, cell.images(Part::Val).split.samples.len()]);
        }
        Task::Segment(task) => task.recipe(cell.seed, task.batch),
        Task::Knn(_) | Task::LinearCached(_) | Task::Classify(_) | Task::Attention(_) => {
            return None;
        }
    };
    let images = |part| cell.images(part).split.samples.len();
    let epochs = 0..recipe.epochs;
    let validations = epochs.filter(|&epoch| recipe.validates(epoch)).count();
    let train = recipe.epochs * recipe.images_per_epoch(images(Part::Train));
    Some([train, validations * images(Part::Val)])
}

/// Time beyond the passes: the search of a kNN cell, the fits of a cached probe.
fn tail(cell: &Cell, pace: f64) -> Duration {
    let images = |place: usize| {
        let request = cell.requests.get(place);
        request.map_or(0.0, |request| request.images.split.samples.len() as f64)
    };
    let dims: usize = cell
        .requests
        .first()
        .map_or(0, |request| request.dims.iter().sum());
    Duration::from_secs_f64(match &cell.protocol.task {
        Task::Knn(_) => 2.0 * images(0) * images(1) * dims as f64 / (PACE * pace),
        Task::Linear(_) | Task::Finetune(_) | Task::Segment(_) | Task::Classify(_) => 0.0,
        Task::LinearCached(task) => {
            let classes = cell.set.classes.len() as f64;
            let fits = task.strengths.len() as f64 * ITERATIONS;
            4.0 * images(0) * dims as f64 * classes * fits / (PACE * pace)
        }
        Task::Attention(task) => {
            let columns = dims as f64 * task.resamples as f64;
            images(0) * columns / pace
        }
    })
}

/// Multiplications and additions of one image's forward pass.
fn operations(subject: &Subject) -> f64 {
    let checkpoint = subject.architecture();
    checkpoint.map_or(0.0, |checkpoint| {
        2.0 * checkpoint.config.multiply_adds() as f64
    })
}

/// Numbers that training keeps for the heads of a probe: weights, gradients and what the optimizer
/// remembers.
fn trained_numbers(cell: &Cell, task: &LinearTask, checkpoint: &Checkpoint) -> usize {
    let widths = cell
        .heads
        .iter()
        .map(|input| input.width(&checkpoint.config));
    let rows: usize = widths.map(|width| width.unwrap_or(0) + 1).sum();
    let each = 2 + task.optimizer.remembered();
    rows * cell.set.classes.len() * task.learning_rates.len() * each
}

/// Weights, a batch of inputs and a layer's activations; of a probe its heads, of fine-tuning all
/// that it keeps.
fn memory(plan: &Plan, cell: &Cell) -> usize {
    let Some(checkpoint) = cell.subject.architecture() else {
        return 0;
    };
    let config = &checkpoint.config;
    let weights = block_weights(config);
    let input = cell.input.channels * cell.input.height * cell.input.width;
    let activations = config.tokens() * (4 * config.width + config.mlp_width);
    if let Task::Finetune(task) = &cell.protocol.task {
        let at_once = images_at_once(task, plan.run.at_once).unwrap_or(task.batch);
        let Compute {
            engine, precision, ..
        } = plan.run.compute;
        let kept = config.activation_bytes(engine, precision) as usize;
        // Weights, gradients of the images at once and of those before, what the optimizer has.
        let numbers = weights * (3 + task.optimizer.remembered());
        return 4 * numbers + at_once * (kept + 4 * 4 * input);
    }
    // Two batches are decoded ahead.
    let heads = match &cell.protocol.task {
        Task::Linear(task) => trained_numbers(cell, task, checkpoint),
        _ => 0,
    };
    4 * (weights + heads + plan.run.pass.batch * (3 * input + 2 * activations))
}

/// Elements of the matrices of all blocks, which nearly all weights are.
fn block_weights(config: &VitConfig) -> usize {
    config.depth * (4 * config.width + 2 * config.mlp_width) * config.width
}

/// Multiplications and additions a second of a product as large as a ViT-B's.
struct Pace;

impl Job for Pace {
    type Output = Result<f64, EngineError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        const SHAPE: [usize; 3] = [1576, 768, 3072];
        let [rows, inner, columns] = SHAPE;
        let x = engine.tensor(&vec![0.5f32; rows * inner][..], &[rows, inner])?;
        let y = engine.tensor(&vec![0.5f32; inner * columns][..], &[inner, columns])?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            engine.to_f32(&engine.matmul(&x, &y)?)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(2.0 * (rows * inner * columns) as f64 / best)
    }
}

/// Cells down, what they need across.
pub fn table(plan: &Plan, estimates: &[Estimate], skipped: &[Skipped]) -> Table {
    let mut rows = Vec::new();
    let text = |text: String| TableCell::Text(text);
    for (cell, estimate) in plan.cells.iter().zip(estimates) {
        rows.push(vec![
            text(cell.subject.name().to_owned()),
            text(cell.protocol.name.clone()),
            text(cell.set.root.display().to_string()),
            text(estimate.state.name().to_owned()),
            TableCell::Count(estimate.images as u64),
            text(shown(estimate.time)),
            text(bytes(estimate.disk)),
            text(bytes(estimate.memory)),
        ]);
    }
    for cell in skipped {
        let missing = || TableCell::Missing(cell.reason.clone());
        let mut row = vec![text(cell.subject.clone()), text(cell.protocol.clone())];
        row.extend(std::iter::repeat_with(missing).take(6));
        rows.push(row);
    }
    let total = estimates.iter().map(|estimate| estimate.time).sum();
    let disk = estimates.iter().map(|estimate| estimate.disk).sum();
    Table {
        title: "plan".to_owned(),
        columns: vec![
            Column::text("checkpoint"),
            Column::text("protocol"),
            Column::text("data"),
            Column::text("state"),
            Column::numbers("images to encode", None),
            Column::text("time, about"),
            Column::text("disk"),
            Column::text("memory, about"),
        ],
        rows,
        footnotes: vec![format!(
            "in all about {}, {} of disk",
            shown(total),
            bytes(disk)
        )],
    }
}

/// `3 h 20 min`.
pub(super) fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

pub(super) fn bytes(bytes: usize) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
