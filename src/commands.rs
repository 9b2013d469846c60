//! One function a subcommand: from arguments to what is printed on stdout.

use std::io::{ErrorKind, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mimbench::checkpoint::{Checkpoint, LoadOptions};
use mimbench::cli::{
    AllArgs, AttentionArgs, Batch, BenchArgs, BenchMethod, BenchWork, CompareArgs, ComputeArgs,
    ConvertArgs, DataArgs, DataCommand, DemoArgs, Engine, EngineArgs, FeaturesArgs, FinetuneArgs,
    ForwardPrecision, InspectArgs, KnnArgs, LinearArgs, LoadArgs, MlpActivation, OnBadImage,
    Preset, Recipe, ReportArgs, Seeds, StoreArgs, StoreType, TableArgs, TableFormat, TensorNames,
    VerifyArgs,
};
use mimbench::data::OpenOptions;
use mimbench::data::check::{Published, published};
use mimbench::engine::{Activation, Compute, EngineKind, Precision};
use mimbench::error::Error;
use mimbench::features::{Observer, PassOptions};
#[cfg(not(feature = "hub"))]
use mimbench::hub::HubError;
use mimbench::hub::HubReference;
#[cfg(feature = "hub")]
use mimbench::hub::{self, HubSettings};
use mimbench::plan::{
    AtOnce, Counts, DataRequest, EvaluationSet, Origin, Plan, Prospect, RunOptions, StateOptions,
    Subject, default_store, input_spec,
};
use mimbench::report::{
    Question, Record, Table, comparison_tables, conflict_table, csv, full_table, html, json, latex,
    markdown, measure_table, pairs_table, table_list, tables, terminal,
};
use mimbench::run::bench::{BenchOptions, Method, PretrainStep, SegmentStep, Work};
use mimbench::run::cells::Finished;
use mimbench::run::convert::Converted;
use mimbench::run::features::{PixelSource, Wanted};
use mimbench::run::verify::VerifyOptions;
use mimbench::run::{self, Terminal};
use mimbench::spec::{
    FinetunePreset, InputSection, Kind, LinearPreset, PaperFolders, Papers, Protocol, Setting,
};
use mimbench::stats::Bootstrap;
use mimbench::store::RowType;
use mimbench::vit::Architecture;

mod pretrain;
mod segment;

pub use pretrain::pretrain;
pub use segment::segment;

type Outcome = Result<ExitCode, Error>;

pub fn knn(args: KnnArgs) -> Outcome {
    let protocol = protocol(args.protocol.as_deref(), Kind::Knn, args.set)?;
    let load = load_options(args.load);
    let data = data_request(args.data, args.val_labels, args.limit);
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = run_options(compute, &args.compute, &args.store)?;
            let subjects = subjects(&args.ckpt, &load, terminal)?;
            let root = data.root(&protocol.data.dataset)?;
            let set = EvaluationSet::open(&root, &data, options.seed)?;
            let seeds = [options.seed];
            let plan = Plan::new(subjects, vec![protocol], &seeds, set, options)?;
            evaluate(&plan, &args.store, terminal)
        },
    )
}

pub fn linear(args: LinearArgs) -> Outcome {
    let epochs = args.epochs.map(|n| format!("task.epochs={n}"));
    let shots = args.shots.map(|shots| format!("task.shots=\"{shots}\""));
    let set = args.set.into_iter().chain(epochs).chain(shots).collect();
    let preset = linear_preset(args.preset);
    let protocol = linear_protocol(args.protocol.as_deref(), preset, set)?;
    if let Some(Seeds(seeds)) = &args.seeds
        && protocol.kind() == Kind::LinearCached
        && seeds.len() > 1
    {
        return Err(Error::Usage {
            message: format!("{}: every seed gives the same fit", protocol.name),
            hint: "--set task.shots_seed=N holds other images out, and draws others where --shots takes a part".to_owned(),
        });
    }
    let load = load_options(args.load);
    let data = data_request(args.data, args.val_labels, args.limit);
    let states = StateOptions {
        every: Duration::from_secs(args.state_every.into()),
        folder: args.run,
    };
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = RunOptions {
                states,
                ..run_options(compute, &args.compute, &args.store)?
            };
            let subjects = subjects(&args.ckpt, &load, terminal)?;
            if args.protocol.is_none() {
                name_fitting_presets(preset, &subjects, terminal);
            }
            let root = data.root(&protocol.data.dataset)?;
            let set = EvaluationSet::open(&root, &data, options.seed)?;
            let seeds = match args.seeds {
                Some(Seeds(seeds)) => seeds,
                None => vec![options.seed],
            };
            let plan = Plan::new(subjects, vec![protocol], &seeds, set, options)?;
            evaluate(&plan, &args.store, terminal)
        },
    )
}

pub fn finetune(args: FinetuneArgs) -> Outcome {
    let epochs = args.epochs.map(|n| format!("task.epochs={n}"));
    let shots = args.shots.map(|shots| format!("task.shots=\"{shots}\""));
    let set = args.set.into_iter().chain(epochs).chain(shots);
    let settings: Vec<_> = set.map(Setting).collect();
    let kind = if args.eval {
        Kind::Classify
    } else {
        Kind::Finetune
    };
    let protocol = match &args.protocol {
        Some(path) => Protocol::read(path, Some(kind), &settings)?,
        None if args.eval => Protocol::builtin(kind, &settings)?,
        None => Protocol::finetune(finetune_preset(args.preset), &settings)?,
    };
    let load = load_options(args.load);
    let data = data_request(args.data, args.val_labels, args.limit);
    let states = StateOptions {
        every: Duration::from_secs(args.state_every.into()),
        folder: args.run,
    };
    let at_once = match args.compute.batch {
        None => AtOnce::Usual,
        Some(Batch::Images(images)) => AtOnce::Images(images as usize),
        Some(Batch::Auto) => AtOnce::Fitting,
    };
    let compute_args = ComputeArgs {
        // What validates needs little memory; an evaluation alone has nothing to fit.
        batch: (args.compute.batch).filter(|&batch| args.eval || batch != Batch::Auto),
        ..args.compute
    };
    in_pool(
        &compute_args.engine,
        compute_args.quiet,
        |compute, terminal| {
            let options = RunOptions {
                states,
                at_once,
                reset_head: args.reset_head,
                ..run_options(compute, &compute_args, &args.store)?
            };
            let mut subjects = subjects(&args.ckpt, &load, terminal)?;
            if args.from_scratch {
                subjects = subjects.into_iter().map(Subject::untrained).collect();
            }
            let seeds = match args.seeds {
                Some(Seeds(seeds)) => seeds,
                None => vec![options.seed],
            };
            if args.plan {
                let prospects = Prospects {
                    arch: args.arch.as_deref(),
                    subjects,
                    protocol,
                    seeds: &seeds,
                    data: &data,
                };
                return forecast(prospects, options, args.store.json, terminal);
            }
            let root = data.root(&protocol.data.dataset)?;
            let set = EvaluationSet::open(&root, &data, options.seed)?;
            let plan = Plan::new(subjects, vec![protocol], &seeds, set, options)?;
            evaluate(&plan, &args.store, terminal)
        },
    )
}

/// Runs of fine-tuning that are looked at before they are begun.
struct Prospects<'a> {
    arch: Option<&'a str>,
    subjects: Vec<Subject>,
    protocol: Protocol,
    seeds: &'a [u64],
    data: &'a DataRequest,
}

impl Prospects<'_> {
    /// Each of them, on the images that are there or on the published counts of the dataset.
    fn look(self, options: &RunOptions, terminal: &mut Terminal) -> Result<Vec<Prospect>, Error> {
        let arch = self.arch.map(Architecture::named).transpose()?;
        let seen = Seen::find(
            &self.protocol.data.dataset,
            self.data,
            options.seed,
            terminal,
        )?;
        let origins = match arch {
            Some(arch) => vec![Origin::Architecture(arch)],
            None => match seen {
                Seen::Set(set) => {
                    let protocols = vec![self.protocol];
                    let run = options.clone();
                    let plan = Plan::new(self.subjects, protocols, self.seeds, *set, run)?;
                    return Ok(plan.cells.into_iter().map(Prospect::of_cell).collect());
                }
                Seen::Published(_) => {
                    let subjects = self.subjects.into_iter().map(Arc::new);
                    subjects.map(Origin::Subject).collect()
                }
            },
        };
        let counts = seen.counts(self.data.limit);
        let protocol = Arc::new(self.protocol);
        let mut prospects = Vec::new();
        for origin in origins {
            for &seed in self.seeds {
                let origin = origin.clone();
                prospects.push(Prospect::new(origin, &protocol, counts, seed, options)?);
            }
        }
        Ok(prospects)
    }
}

/// What is known of a dataset's images.
enum Seen {
    /// They are here.
    Set(Box<EvaluationSet>),
    /// They were published.
    Published(&'static Published),
}

impl Seen {
    /// The images that are given, or what was published of the dataset.
    fn find(
        dataset: &str,
        data: &DataRequest,
        seed: u64,
        terminal: &mut Terminal,
    ) -> Result<Self, Error> {
        match published(dataset) {
            Some(published) if !data.finds(dataset) => {
                terminal.notice(&format!(
                    "no images are given: {} as published has {} + {} images of {} classes; the time to decode them is left out",
                    published.name, published.train, published.val, published.classes
                ));
                Ok(Self::Published(published))
            }
            _ => {
                let set = EvaluationSet::open(&data.root(dataset)?, data, seed)?;
                Ok(Self::Set(Box::new(set)))
            }
        }
    }

    /// As prospects take it; at most so many of each half.
    fn counts(&self, limit: Option<usize>) -> Counts<'_> {
        match self {
            Self::Set(set) => Counts::Set(set),
            Self::Published(published) => Counts::Published(published, limit),
        }
    }
}

/// Prints what runs are going to take.
fn forecast(
    prospects: Prospects<'_>,
    options: RunOptions,
    json: bool,
    terminal: &mut Terminal,
) -> Outcome {
    let prospects = prospects.look(&options, terminal)?;
    let forecasts = run::finetune::forecasts(&prospects, &options, terminal)?;
    if json {
        print_json(&forecasts)?;
    } else {
        let tables: Vec<_> = forecasts.iter().map(run::finetune::table).collect();
        print_tables(&tables)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn finetune_preset(recipe: Recipe) -> FinetunePreset {
    match recipe {
        Recipe::Mae => FinetunePreset::Mae,
        Recipe::MaeLarge => FinetunePreset::MaeLarge,
        Recipe::MaeHuge => FinetunePreset::MaeHuge,
        Recipe::Beit => FinetunePreset::Beit,
        Recipe::Beit2 => FinetunePreset::Beit2,
        Recipe::MaskAlignPaper => FinetunePreset::MaskAlignPaper,
        Recipe::MaskAlignCode => FinetunePreset::MaskAlignCode,
        Recipe::TinyMim => FinetunePreset::TinyMim,
        Recipe::Dbot => FinetunePreset::Dbot,
        Recipe::MedicPaper => FinetunePreset::MedicPaper,
        Recipe::MedicCode => FinetunePreset::MedicCode,
        Recipe::Mini => FinetunePreset::Mini,
    }
}

/// A linear probe in a file, or a built-in one, under `--set`.
fn linear_protocol(
    path: Option<&Path>,
    preset: LinearPreset,
    set: Vec<String>,
) -> Result<Protocol, Error> {
    let settings: Vec<_> = set.into_iter().map(Setting).collect();
    let Some(path) = path else {
        return Ok(Protocol::preset(preset, &settings)?);
    };
    let protocol = Protocol::read(path, None, &settings)?;
    match protocol.kind() {
        Kind::Linear | Kind::LinearCached => Ok(protocol),
        other => Err(Error::Usage {
            message: format!("{} is a protocol of {other}", path.display()),
            hint: format!("mimbench {} carries it out", other.command()),
        }),
    }
}

fn linear_preset(preset: Preset) -> LinearPreset {
    match preset {
        Preset::Beit => LinearPreset::Beit,
        Preset::Mae => LinearPreset::Mae,
        Preset::Dinov2 => LinearPreset::Dinov2,
        Preset::Dino => LinearPreset::Dino,
        Preset::DinoBase => LinearPreset::DinoBase,
        Preset::Ibot => LinearPreset::Ibot,
        Preset::IbotBase => LinearPreset::IbotBase,
        Preset::Simmim => LinearPreset::Simmim,
        Preset::MaskAlign => LinearPreset::MaskAlign,
        Preset::MedicPaper => LinearPreset::MedicPaper,
        Preset::Cached => LinearPreset::Cached,
    }
}

/// Says which preset the same repository has for the width of a checkpoint.
fn name_fitting_presets(preset: LinearPreset, subjects: &[Subject], terminal: &mut Terminal) {
    for subject in subjects {
        let Subject::Checkpoint(checkpoint) = subject else {
            continue;
        };
        let width = checkpoint.config.width;
        let fitting = preset.for_width(width);
        if fitting != preset {
            terminal.notice(&format!(
                "{}: --preset {} is for encoders of another size; of width {width}, its repository probes as --preset {} does",
                subject.name(),
                preset.name(),
                fitting.name(),
            ));
        }
    }
}

pub fn attention(args: AttentionArgs) -> Outcome {
    let protocol = protocol(args.protocol.as_deref(), Kind::Attention, args.set)?;
    let load = load_options(args.load);
    let data = data_request(args.data, args.val_labels, args.limit);
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = run_options(compute, &args.compute, &args.store)?;
            let subjects = subjects(&args.ckpt, &load, terminal)?;
            let set = match &args.images {
                Some(folder) => EvaluationSet::images(folder, data.limit, options.seed)?,
                None => {
                    let root = data.root(&protocol.data.dataset)?;
                    EvaluationSet::open(&root, &data, options.seed)?
                }
            };
            let seeds = [options.seed];
            let plan = Plan::new(subjects, vec![protocol], &seeds, set, options)?;
            let outcome = evaluate(&plan, &args.store, terminal)?;
            draw_sheets(&plan, args.sheets.as_deref(), terminal)?;
            Ok(outcome)
        },
    )
}

pub fn all(args: AllArgs) -> Outcome {
    let protocols = Protocol::read_all(&args.protocols)?;
    let load = load_options(args.load);
    let data = data_request(args.data, None, args.limit).of_collection()?;
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = RunOptions {
                reset_head: args.reset_head,
                ..run_options(compute, &args.compute, &args.store)?
            };
            let paths = fetched_all(&args.ckpt, terminal)?;
            let (subjects, unopened) = run::open_each_subject(&paths, &load)?;
            let (mut plan, skipped) = Plan::over(subjects, protocols, &data, options);
            if let Some(shard) = args.shard {
                plan.shard(shard);
            }
            let estimates = run::overview::estimates(&plan)?;
            let overview = run::overview::table(&plan, &estimates, &skipped);
            if args.plan {
                print_tables(&[overview])?;
            } else {
                let overview = terminal::render(&overview, None, terminal::Colour::Never)?;
                terminal.notice(overview.trim_end());
            }
            let mut failures: Vec<Error> = unopened.into_iter().map(Error::from).collect();
            if !args.plan {
                let finished = run::all::run(&plan, &estimates, terminal);
                failures.extend(finished.failures.into_iter().map(Error::from));
                if !finished.records.is_empty() {
                    print_records(&finished.records, &args.store)?;
                    let papers = Papers::builtin()?;
                    match run::table::regenerate(&papers, &args.store.results) {
                        Ok(files) => files.iter().for_each(|file| {
                            terminal.notice(&format!("table: {}", file.display()));
                        }),
                        Err(error) => failures.push(error),
                    }
                }
                if let Err(error) = draw_sheets(&plan, None, terminal) {
                    failures.push(error);
                }
            }
            if plan.cells.is_empty() && skipped.is_empty() {
                terminal.notice("nothing in this shard");
            }
            if !skipped.is_empty() {
                let cells = skipped.len();
                terminal.notice(&format!("{cells} cells are skipped, see the plan"));
            }
            match failures.pop() {
                Some(last) => {
                    failures.iter().for_each(crate::report_error);
                    Err(last)
                }
                None if !skipped.is_empty() => Ok(ExitCode::from(1)),
                None => Ok(ExitCode::SUCCESS),
            }
        },
    )
}

pub fn compare(args: CompareArgs) -> Outcome {
    let question = Question {
        measure: args.measure,
        features: args.feature,
        k: args.k,
        disagreements: args.show,
        bootstrap: Bootstrap {
            seed: args.seed,
            resamples: args.resamples as usize,
        },
    };
    let comparison = run::compare::run(&args.results, &args.subjects, &args.protocol, &question)?;
    if args.json {
        print_json(&comparison)?;
    } else if args.csv {
        print(&csv::render(&pairs_table(&comparison))?)?;
    } else {
        print_tables(&comparison_tables(&comparison))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn demo(args: DemoArgs) -> Outcome {
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = run_options(compute, &args.compute, &args.store)?;
            let per_class = [args.train_per_class, args.val_per_class].map(|n| n as usize);
            let plan = run::demo::plan(per_class, options, terminal)?;
            evaluate(&plan, &args.store, terminal)
        },
    )
}

pub fn report(args: &ReportArgs) -> Outcome {
    let papers = Papers::builtin()?;
    let plots = args.plots.as_deref();
    let mut text = String::new();
    for file in run::report::run(&papers, &args.results, &args.out, plots)? {
        text.push_str(&format!("{}\n", file.display()));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub fn features(args: FeaturesArgs) -> Outcome {
    let load = load_options(args.load);
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let mut checkpoint = Checkpoint::open(&fetched(&args.ckpt, terminal)?, &load)?;
            let source = match (args.images, args.pixels) {
                (Some(folder), _) => {
                    PixelSource::Images(folder, input_spec(&checkpoint, &InputSection::default())?)
                }
                (None, pixels) => {
                    let (path, key) = file_and_key(&pixels.unwrap_or_default());
                    PixelSource::Tensor(path, key)
                }
            };
            let wanted = Wanted {
                layers: args.layers.is_some(),
                attention: args.attention,
            };
            let pass = pass_options(&args.compute, Duration::ZERO)?;
            let written = run::features::run(
                &mut checkpoint,
                &source,
                wanted,
                &args.out,
                compute,
                &pass,
                terminal,
            )?;
            if written.skipped > 0 {
                let [skipped, images] = [written.skipped, written.images];
                let left_out = "images could not be decoded and are left out";
                terminal.notice(&format!("{skipped} of {images} {left_out}"));
            }
            let mut text = String::new();
            for (name, shape) in written.tensors {
                text.push_str(&format!("{name} {shape:?}\n"));
            }
            print(&text)?;
            Ok(ExitCode::SUCCESS)
        },
    )
}

pub fn inspect(args: InspectArgs) -> Outcome {
    let load = load_options(args.load);
    let file = fetched(&args.file, &mut Terminal::new(false))?;
    let inspection = run::inspect::inspect(&file, &load)?;
    if args.json {
        print(&format!("{:#}\n", run::inspect::json(&inspection)))?;
    } else {
        print(&run::inspect::text(&inspection))?;
    }
    inspection.checkpoint?;
    Ok(ExitCode::SUCCESS)
}

pub fn convert(args: ConvertArgs) -> Outcome {
    let mut terminal = Terminal::new(args.quiet);
    let input = fetched(&args.input, &mut terminal)?;
    let load = load_options(args.load);
    let converted = match args.names {
        TensorNames::Timm => {
            run::convert::timm(&input, &args.output, args.force, &load, &mut terminal)?
        }
        TensorNames::Original => {
            run::convert::original(&input, &args.output, args.force, &load, &mut terminal)?
        }
    };
    let Converted { python, tensors } = converted;
    match python {
        Some(python) => print(&python)?,
        None => print(&format!("{tensors} tensors\n"))?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn data(args: DataArgs) -> Outcome {
    let DataCommand::Check {
        dir,
        val_labels,
        workers,
        json,
        quiet,
    } = args.command;
    let workers = workers.and_then(|n| NonZeroUsize::new(n as usize));
    let terminal = Terminal::new(quiet);
    let options = OpenOptions { val_labels };
    let report = run::check::run(&dir, &options, workers.unwrap_or(cores()), &terminal)?;
    if json {
        print_json(&report)?;
    } else {
        print(&run::check::text(&report))?;
    }
    Ok(match run::check::trustworthy(&report) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

pub fn table(args: TableArgs) -> Outcome {
    let folders = PaperFolders {
        tables: args.tables,
        published: args.published,
        cards: args.cards,
    };
    if args.check || args.write {
        return page(&run::table::repository(&folders)?, args.write);
    }
    let papers = Papers::read(&folders)?;
    let table = match (&args.id, args.conflicts) {
        (Some(id), _) => run::table::joined(&papers, id, &args.results)?,
        (None, true) => conflict_table(&papers),
        (None, false) => table_list(&papers),
    };
    print(&formatted(&table, args.format)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the page of published tables or says whether it is up to date.
fn page(folders: &PaperFolders, write: bool) -> Outcome {
    let papers = Papers::read(folders)?;
    let published = folders.published.clone().unwrap_or_default();
    if write {
        let path = run::table::write(&papers, &published)?;
        print(&format!("{}\n", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (path, up_to_date) = run::table::check(&papers, &published)?;
    let path = path.display();
    if up_to_date {
        print(&format!("{path} is up to date\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&format!(
        "{path} is stale: mimbench table --write makes it again\n"
    ))?;
    Ok(ExitCode::from(1))
}

fn formatted(table: &Table, format: TableFormat) -> Result<String, Error> {
    Ok(match format {
        TableFormat::Terminal => terminal::render(table, width(), colour())?,
        TableFormat::Markdown => markdown::render(table)?,
        TableFormat::Latex => latex::render(table)?,
        TableFormat::Csv => csv::render(table)?,
        TableFormat::Json => json::render(table)?,
        TableFormat::Html => html::render(table)?,
    })
}

pub fn verify(args: VerifyArgs) -> Outcome {
    let data = data_request(args.data, args.val_labels, None).of_collection()?;
    in_pool(
        &args.compute.engine,
        args.compute.quiet,
        |compute, terminal| {
            let options = VerifyOptions {
                compute,
                pass: pass_options(&args.compute, Duration::ZERO)?,
                data,
            };
            let mut verified = if args.ckpt.is_empty() {
                run::verify::folder(&args.cards, &options, terminal)?
            } else {
                let paths = fetched_all(&args.ckpt, terminal)?;
                run::verify::named(&paths, &options, terminal)
            };
            if args.json {
                print_json(&run::verify::json(&verified))?;
            } else if !(verified.checks.is_empty() && verified.skipped.is_empty()) {
                print_tables(&run::verify::tables(&verified))?;
            }
            if let Some(last) = verified.failures.pop() {
                for failure in verified.failures {
                    crate::report_error(&failure.into());
                }
                return Err(last.into());
            }
            Ok(match run::verify::all_agree(&verified)? {
                true => ExitCode::SUCCESS,
                false => ExitCode::from(1),
            })
        },
    )
}

pub fn bench(args: BenchArgs) -> Outcome {
    let architecture = Architecture::named(&args.arch)?;
    let teacher = Architecture::named(&args.teacher_arch)?;
    let step = PretrainStep {
        method: match args.method {
            BenchMethod::Mae => Method::Mae,
            BenchMethod::Medic => Method::Medic,
        },
        teacher,
    };
    let work = match args.work {
        BenchWork::Forward => Work::Forward,
        BenchWork::Attention => Work::Attention,
        BenchWork::TrainStep => Work::TrainStep,
        BenchWork::PretrainStep => Work::PretrainStep(step),
        BenchWork::SegmentStep => Work::SegmentStep(SegmentStep {
            channels: args.channels as usize,
            crop: args.crop as usize,
        }),
    };
    in_pool(&args.engine, args.quiet, |compute, terminal| {
        let options = BenchOptions {
            work,
            architecture,
            batch: args.batch as usize,
            rounds: args.rounds as usize,
            warmup: args.warmup as usize,
            seed: args.seed,
            threads: threads(&args.engine),
            compute,
        };
        let benchmark = run::bench::run(&options, terminal)?;
        if args.json {
            print_json(&benchmark)?;
        } else {
            let table = run::bench::table(&benchmark);
            print(&terminal::render(&table, width(), colour())?)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The protocol in a file or the built-in one, under `--set`.
fn protocol(path: Option<&Path>, kind: Kind, set: Vec<String>) -> Result<Protocol, Error> {
    let settings: Vec<_> = set.into_iter().map(Setting).collect();
    Ok(match path {
        Some(path) => Protocol::read(path, Some(kind), &settings)?,
        None => Protocol::builtin(kind, &settings)?,
    })
}

fn data_request(
    folder: Option<PathBuf>,
    val_labels: Option<PathBuf>,
    limit: Option<u32>,
) -> DataRequest {
    DataRequest {
        folder,
        collection: std::env::var_os("MIMBENCH_DATA").map(PathBuf::from),
        given: None,
        val_labels,
        limit: limit.map(|limit| limit as usize),
    }
}

/// The checkpoints, brought to this machine where they are elsewhere, and opened.
fn subjects(
    ckpts: &[PathBuf],
    load: &LoadOptions,
    terminal: &mut Terminal,
) -> Result<Vec<Subject>, Error> {
    run::open_subjects(&fetched_all(ckpts, terminal)?, load)
}

fn fetched_all(ckpts: &[PathBuf], terminal: &mut Terminal) -> Result<Vec<PathBuf>, Error> {
    ckpts.iter().map(|ckpt| fetched(ckpt, terminal)).collect()
}

/// Where a checkpoint is on this machine: `hf://...` is brought to the hub's cache.
fn fetched(ckpt: &Path, terminal: &mut Terminal) -> Result<PathBuf, Error> {
    let hub = |text: &&str| text.starts_with(HubReference::SCHEME);
    let Some(text) = ckpt.to_str().filter(hub) else {
        return Ok(ckpt.to_owned());
    };
    fetch(&text.parse()?, terminal)
}

#[cfg(feature = "hub")]
fn fetch(reference: &HubReference, terminal: &mut Terminal) -> Result<PathBuf, Error> {
    let settings = HubSettings::new(|name| std::env::var_os(name));
    Ok(hub::fetch(reference, &settings, terminal)?)
}

#[cfg(not(feature = "hub"))]
fn fetch(reference: &HubReference, _: &mut Terminal) -> Result<PathBuf, Error> {
    Err(HubError::NotBuilt(reference.clone()).into())
}

fn load_options(args: LoadArgs) -> LoadOptions {
    LoadOptions {
        dialect: args.dialect,
        key: args.key,
        heads: args.heads,
        norm_eps: args.norm_eps,
        activation: args.activation.map(|activation| match activation {
            MlpActivation::Gelu => Activation::Gelu,
            MlpActivation::GeluTanh => Activation::GeluTanh,
            MlpActivation::QuickGelu => Activation::QuickGelu,
            MlpActivation::Silu => Activation::Silu,
        }),
        rope_precision: args.rope_precision.map(precision),
        input_size: args.input_size,
        position_resize: args.position_resize,
        ignore_keys: args.ignore_key,
    }
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn threads(args: &EngineArgs) -> usize {
    args.threads.map_or(cores().get(), |n| n as usize)
}

fn compute(args: &EngineArgs) -> Result<Compute, Error> {
    Ok(Compute {
        engine: match args.engine {
            Engine::Candle => EngineKind::Candle,
            Engine::Torch => EngineKind::Torch,
        },
        device: args.device.parse()?,
        precision: precision(args.precision),
    })
}

fn precision(precision: ForwardPrecision) -> Precision {
    match precision {
        ForwardPrecision::F32 => Precision::F32,
        ForwardPrecision::Bf16 => Precision::Bf16,
    }
}

fn pass_options(args: &ComputeArgs, save_every: Duration) -> Result<PassOptions, Error> {
    /// Images in a forward pass where nobody says.
    const USUAL: usize = 32;
    let batch = match args.batch {
        None => USUAL,
        Some(Batch::Images(images)) => images as usize,
        Some(Batch::Auto) => {
            return Err(Error::Usage {
                message: "--batch auto is for fine-tuning".to_owned(),
                hint: format!("a forward pass needs little memory: --batch N, or {USUAL} without"),
            });
        }
    };
    Ok(PassOptions {
        batch,
        workers: args.workers.map_or(threads(&args.engine), |n| n as usize),
        skip_bad_images: matches!(args.on_bad_image, OnBadImage::Skip),
        save_every,
    })
}

fn run_options(
    compute: Compute,
    args: &ComputeArgs,
    store: &StoreArgs,
) -> Result<RunOptions, Error> {
    Ok(RunOptions {
        compute,
        threads: threads(&args.engine),
        pass: pass_options(args, Duration::from_secs(store.save_every.into()))?,
        rows: match store.store_type {
            StoreType::F32 => RowType::F32,
            StoreType::F16 => RowType::F16,
        },
        seed: store.seed,
        results: store.results.clone(),
        store: match &store.store {
            Some(folder) => folder.clone(),
            None => default_store(&store.results),
        },
        recompute: store.recompute,
        states: StateOptions::default(),
        at_once: AtOnce::default(),
        reset_head: false,
        scene_head: None,
    })
}

/// Works in a pool of `--threads` threads, so that whatever runs in parallel inside stays within
/// them, once the engine is known to start.
fn in_pool(
    args: &EngineArgs,
    quiet: bool,
    work: impl FnOnce(Compute, &mut Terminal) -> Outcome + Send,
) -> Outcome {
    let compute = compute(args)?;
    let threads = threads(args);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| Error::Usage {
        message: format!("cannot start {threads} threads: {error}"),
        hint: "ask for fewer with --threads N".to_owned(),
    })?;
    pool.install(|| {
        run::check_engine(compute)?;
        work(compute, &mut Terminal::new(quiet))
    })
}

/// Draws the attention maps of the plan's cells that have a record.
fn draw_sheets(plan: &Plan, folder: Option<&Path>, terminal: &mut Terminal) -> Result<(), Error> {
    let usual = plan.run.results.join("attention");
    for folder in run::attention::draw_sheets(plan, folder.unwrap_or(&usual))? {
        terminal.notice(&format!("attention maps are in {}", folder.display()));
    }
    Ok(())
}

/// Prints the rows there are; then the errors of the others, the last as the command's own.
fn evaluate(plan: &Plan, args: &StoreArgs, terminal: &mut Terminal) -> Outcome {
    run::cells::announce(plan, terminal);
    let Finished {
        records,
        mut failures,
    } = run::cells::run(plan, terminal);
    let last = failures.pop();
    if !records.is_empty() {
        print_records(&records, args)?;
    }
    for failure in &failures {
        crate::report_error(&failure.error);
    }
    last.map_or(Ok(ExitCode::SUCCESS), |failure| Err(failure.error))
}

fn print_records(records: &[Record], args: &StoreArgs) -> Result<(), Error> {
    if args.json {
        return print_json(records);
    }
    let all_knn = records
        .iter()
        .all(|record| record.protocol.kind == Kind::Knn);
    if args.csv {
        let table = if all_knn {
            full_table(records)
        } else {
            measure_table(records)
        };
        return print(&csv::render(&table)?);
    }
    print_tables(&tables(records))
}

fn print_tables(tables: &[Table]) -> Result<(), Error> {
    let mut texts = Vec::new();
    for table in tables {
        let text = terminal::render(table, width(), colour())?;
        texts.push(text.trim_end().to_owned());
    }
    print(&format!("{}\n", texts.join("\n\n")))
}

/// Columns of the terminal, where stdout is one; files and pipes get whole lines.
fn width() -> Option<usize> {
    let terminal = console::Term::stdout();
    terminal.size_checked().map(|(_, columns)| columns.into())
}

/// Bold headings where a person reads them.
fn colour() -> terminal::Colour {
    match std::io::stdout().is_terminal() {
        true => terminal::Colour::Always,
        false => terminal::Colour::Never,
    }
}

fn print_json(value: &(impl serde::Serialize + ?Sized)) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| cannot_print(error.into()))?;
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(cannot_print(error)),
        _ => Ok(()),
    }
}

fn cannot_print(error: std::io::Error) -> Error {
    Error::Usage {
        message: format!("cannot write to stdout: {error}"),
        hint: "the records are complete; run the command again to print them".to_owned(),
    }
}

/// `FILE` or `FILE:KEY`; a file whose name has a colon is taken whole where it exists.
fn file_and_key(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((file, key)) if !Path::new(text).exists() => (file.into(), Some(key.to_owned())),
        _ => (text.into(), None),
    }
}
