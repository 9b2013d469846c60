//! `mimbench bench`: how fast an architecture runs on an engine.

mod pretrain_step;
mod segment_step;

use std::time::Instant;

use indicatif::ProgressBar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::dispatch::{Job, dispatch};
use super::{Terminal, machine};
use crate::engine::{AdamW, Compute, Engine, Moments, Targets, Update};
use crate::error::Error;
use crate::nn::{Loader, ModelError};
use crate::report::{Align, Cell, Column, Table};
use crate::vit::{
    Architecture, Classifier, HeadConfig, Site, Vit, random_classifier_weights, random_weights,
};

pub use pretrain_step::{Method, PretrainStep};
pub use segment_step::SegmentStep;

/// Classes of the head that a training step has: ImageNet-1K's.
const CLASSES: usize = 1000;

/// What is timed. Weights and images are on the device before the clock starts.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Images to the tokens behind the final normalisation, without a graph.
    Forward,
    /// The same with the attention statistics of every block.
    Attention,
    /// Forward, cross entropy, the gradient of every parameter, AdamW.
    TrainStep,
    /// Masks, teacher, student, every term, the gradients, AdamW.
    PretrainStep(PretrainStep),
    /// Encoder, UperNet and its second head, the cross entropy of every pixel, the gradients, AdamW.
    SegmentStep(SegmentStep),
}

impl Work {
    /// Its word on the command line, and in words.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Forward => ["forward", "forward pass"],
            Self::Attention => ["attention", "forward pass with attention statistics"],
            Self::TrainStep => ["train-step", "training step"],
            Self::PretrainStep(PretrainStep { method, .. }) => match method {
                Method::Mae => ["pretrain-step", "pre-training step of MAE"],
                Method::Medic => ["pretrain-step", "pre-training step of MEDiC"],
            },
            Self::SegmentStep(_) => ["segment-step", "training step of UperNet"],
        }
    }
}

/// Everything that a benchmark does.
#[derive(Clone, Copy, Debug)]
pub struct BenchOptions {
    /// What is timed.
    pub work: Work,
    /// Of which architecture.
    pub architecture: Architecture,
    /// Images in a round.
    pub batch: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds before them that do not.
    pub warmup: usize,
    /// Seed of weights, images and classes.
    pub seed: u64,
    /// Threads of the engine.
    pub threads: usize,
    /// With what it computes.
    pub compute: Compute,
}

/// What a benchmark measured, and everything needed to repeat it.
#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    /// What was timed: its word on the command line.
    pub what: &'static str,
    /// That in words.
    #[serde(skip)]
    pub title: &'static str,
    /// timm's name of the architecture.
    pub arch: &'static str,
    /// How it learns, of a step of pre-training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// timm's name of its teacher's architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher_arch: Option<&'static str>,
    /// Images in a round.
    pub batch: usize,
    /// Engine with its versions.
    pub engine: String,
    /// Device, and the processor's name where it is known.
    pub device: String,
    /// Element type.
    pub precision: &'static str,
    /// Threads of the engine.
    pub threads: usize,
    /// Seed of weights, images and classes.
    pub seed: u64,
    /// Rounds that did not count.
    pub warmup: usize,
    /// Rounds that did.
    pub rounds: usize,
    /// Images a second in the median round.
    pub images_per_s: f64,
    /// Images a second in the slowest round.
    pub images_per_s_min: f64,
    /// Images a second in the fastest round.
    pub images_per_s_max: f64,
    /// Seconds of each round, in order.
    pub seconds: Vec<f64>,
    /// Bytes: on the processor the largest resident memory of the process, where the system
    /// tells; on another device the most that tensors held.
    pub peak_memory: Option<u64>,
    /// Loss of the last round of a training step, before its update: equal for equal runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
}

/// Times what is asked for.
pub fn run(options: &BenchOptions, terminal: &Terminal) -> Result<Benchmark, Error> {
    let rounds = options.warmup + options.rounds;
    let bar = terminal.bar(options.architecture.name(), rounds, "rounds");
    let network = |round| {
        let bar = bar.clone();
        dispatch(
            options.compute,
            Timing {
                options,
                round,
                bar,
            },
        )
    };
    let (timed, step) = match options.work {
        Work::Forward => (network(Round::Forward { statistics: false })??, None),
        Work::Attention => (network(Round::Forward { statistics: true })??, None),
        Work::TrainStep => (network(Round::TrainStep)??, None),
        Work::PretrainStep(step) => (step.time(options, rounds, &bar)?, Some(step)),
        Work::SegmentStep(step) => (step.time(options, rounds, &bar)?, None),
    };
    bar.finish_and_clear();
    let [what, title] = options.work.names();
    let mut sorted = timed.seconds.clone();
    sorted.sort_by(f64::total_cmp);
    let rate = |seconds: f64| options.batch as f64 / seconds;
    let (fastest, slowest) = (sorted.first(), sorted.last());
    Ok(Benchmark {
        what,
        title,
        arch: options.architecture.name(),
        method: step.map(|step| step.method),
        teacher_arch: step
            .filter(|step| step.method == Method::Medic)
            .map(|step| step.teacher.name()),
        batch: options.batch,
        engine: options.compute.engine.versions(),
        device: machine::device(options.compute),
        precision: options.compute.precision.name(),
        threads: options.threads,
        seed: options.seed,
        warmup: options.warmup,
        rounds: options.rounds,
        images_per_s: rate(median(&sorted)),
        images_per_s_min: rate(slowest.copied().unwrap_or(f64::NAN)),
        images_per_s_max: rate(fastest.copied().unwrap_or(f64::NAN)),
        peak_memory: timed.device_memory.or_else(machine::peak_memory),
        seconds: timed.seconds,
        loss: timed.loss,
    })
}

/// Of numbers in order: the middle one, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> f64 {
    let upper = sorted.len() / 2;
    let lower = sorted.len().saturating_sub(1) / 2;
    match (sorted.get(lower), sorted.get(upper)) {
        (Some(lower), Some(upper)) => (lower + upper) / 2.0,
        _ => f64::NAN,
    }
}

/// The benchmark for people.
pub fn table(benchmark: &Benchmark) -> Table {
    let column = |name: &str, unit: Option<&str>, align| Column {
        name: name.to_owned(),
        unit: unit.map(str::to_owned),
        align,
        better: None,
    };
    let value = |value, interval, decimals| Cell::Value {
        value,
        interval,
        decimals,
        marks: Vec::new(),
        source: None,
    };
    let what = benchmark.title;
    let mut columns = vec![
        column("architecture", None, Align::Left),
        column("batch", None, Align::Right),
        column("images/s", None, Align::Right),
        column("peak memory", Some("MiB"), Align::Right),
    ];
    let spread = [benchmark.images_per_s_min, benchmark.images_per_s_max];
    let mut row = vec![
        Cell::Text(benchmark.arch.to_owned()),
        Cell::Count(benchmark.batch as u64),
        value(benchmark.images_per_s, Some(spread), 2),
        match benchmark.peak_memory {
            Some(bytes) => Cell::Count(bytes >> 20),
            None => Cell::Missing("the system does not tell".to_owned()),
        },
    ];
    if let Some(loss) = benchmark.loss {
        columns.push(column("last loss", None, Align::Right));
        row.push(value(loss, None, 4));
    }
    Table {
        title: format!(
            "{what}, {}, {}, {}, {} thread(s)",
            benchmark.engine, benchmark.device, benchmark.precision, benchmark.threads
        ),
        columns,
        rows: vec![row],
        footnotes: vec![format!(
            "images/s: median [slowest, fastest] of {} round(s) after {} of warm-up",
            benchmark.rounds, benchmark.warmup
        )],
    }
}

/// What a round does with one network.
#[derive(Clone, Copy)]
enum Round {
    Forward { statistics: bool },
    TrainStep,
}

/// The benchmark on any engine.
struct Timing<'a> {
    options: &'a BenchOptions,
    round: Round,
    bar: ProgressBar,
}

/// Seconds of each round that counts, the loss of the last, and what the device's memory held.
struct Timed {
    seconds: Vec<f64>,
    loss: Option<f64>,
    device_memory: Option<u64>,
}

impl Job for Timing<'_> {
    type Output = Result<Timed, ModelError>;

    fn run<E: Engine + 'static>(self, engine: E) -> Self::Output {
        match self.round {
            Round::Forward { statistics } => self.forward(&engine, statistics),
            Round::TrainStep => self.train_steps(&engine),
        }
    }
}

impl Timing<'_> {
    /// Seconds of each round but the first ones.
    fn time(
        &self,
        mut round: impl FnMut() -> Result<(), ModelError>,
    ) -> Result<Vec<f64>, ModelError> {
        let mut seconds = Vec::with_capacity(self.options.rounds);
        for i in 0..self.options.warmup + self.options.rounds {
            let start = Instant::now();
            round()?;
            if i >= self.options.warmup {
                seconds.push(start.elapsed().as_secs_f64());
            }
            self.bar.inc(1);
        }
        Ok(seconds)
    }

    fn random(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.options.seed)
    }

    /// `[B, C, H, W]`, uniform between -1 and 1.
    fn images<E: Engine>(&self, engine: &E, rng: &mut ChaCha8Rng) -> Result<E::Tensor, ModelError> {
        let config = self.options.architecture.config();
        let [height, width] = config.input_size();
        let shape = [self.options.batch, config.channels, height, width];
        let count = shape.iter().product();
        let pixels: Vec<f32> = (0..count).map(|_| rng.random_range(-1.0..1.0)).collect();
        Ok(engine.tensor(&pixels[..], &shape)?)
    }

    fn forward<E: Engine>(&self, engine: &E, statistics: bool) -> Result<Timed, ModelError> {
        let config = self.options.architecture.config();
        let mut weights = random_weights(&config, self.options.seed);
        let vit = Vit::load(&mut Loader::frozen(engine, &mut weights), &config)?;
        let images = self.images(engine, &mut self.random())?;
        let wants = |site| statistics && matches!(site, Site::AttentionStatistics(_));
        let read = &mut |_, statistics: &E::Tensor| engine.to_f32(statistics).map(drop);
        let seconds = self.time(|| {
            let tokens = vit.forward(engine, &images, config.depth, &wants, read)?;
            let mut last = vit.normalise(engine, &tokens)?;
            // One number on the host: the device is done when it is there.
            for axis in 0..3 {
                last = engine.narrow(&last, axis, 0, 1)?;
            }
            engine.to_f32(&last)?;
            Ok(())
        })?;
        Ok(Timed {
            seconds,
            loss: None,
            device_memory: engine.peak_memory()?,
        })
    }

    fn train_steps<E: Engine>(&self, engine: &E) -> Result<Timed, ModelError> {
        let config = self.options.architecture.config();
        let mut weights = random_classifier_weights(&config, CLASSES, self.options.seed);
        let mut loader = Loader::trainable(engine, &mut weights);
        let model = Classifier::load(&mut loader, &config, HeadConfig::usual(&config, CLASSES))?;
        let parameters = loader.into_parameters();
        let handles: Vec<_> = parameters.iter().map(|(_, handle)| handle).collect();
        let moments: Vec<Moments<E::Tensor>> = handles
            .iter()
            .map(|handle| engine.moments(handle))
            .collect::<Result<_, _>>()?;
        let mut rng = self.random();
        let images = self.images(engine, &mut rng)?;
        let classes: Vec<u32> = (0..self.options.batch)
            .map(|_| rng.random_range(0..CLASSES as u32))
            .collect();
        let mut settings = AdamW {
            learning_rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.05,
            step: 0,
        };
        let mut loss = None;
        let seconds = self.time(|| {
            let logits = model.forward(engine, &images)?;
            let total = engine.cross_entropy(&logits, Targets::Classes(&classes))?;
            let gradients = engine.grad(&total, &handles)?;
            let mut group = Vec::with_capacity(handles.len());
            for (((name, parameter), gradient), moments) in
                parameters.iter().zip(&gradients).zip(&moments)
            {
                group.push(Update {
                    parameter,
                    gradient: gradient
                        .as_ref()
                        .ok_or_else(|| ModelError::NoGradient { name: name.clone() })?,
                    moments,
                });
            }
            settings.step += 1;
            engine.adamw(&settings, &group)?;
            // Read last: the device is done with the update when it is there.
            loss = engine.to_f64(&total)?.first().copied();
            Ok(())
        })?;
        Ok(Timed {
            seconds,
            loss,
            device_memory: engine.peak_memory()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[5.0]), 5.0);
    }
}
