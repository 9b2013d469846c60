//! One function a subcommand: from arguments to what is printed on stdout.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use mimbench::checkpoint::{Checkpoint, LoadOptions};
use mimbench::cli::{
    CommonArgs, DataArgs, DataCommand, DemoArgs, Engine, FeaturesArgs, InspectArgs, KnnArgs,
    OnBadImage, StoreType,
};
use mimbench::data::OpenOptions;
use mimbench::engine::{EngineKind, Precision};
use mimbench::error::Error;
use mimbench::features::PassOptions;
use mimbench::plan::{
    DataRequest, KnnPlan, RunOptions, Subject, default_store, input_spec, open_checkpoints,
};
use mimbench::report::{Record, csv, curve_table, headline_table, terminal};
use mimbench::run::{self, Terminal};
use mimbench::spec::{InputSection, KnnProtocol, Protocol, Setting};
use mimbench::store::RowType;

type Outcome = Result<ExitCode, Error>;

pub fn knn(args: KnnArgs) -> Outcome {
    let settings: Vec<_> = args.set.into_iter().map(Setting).collect();
    let protocol = Protocol::read(
        args.protocol.as_deref(),
        KnnProtocol::BUILTIN,
        "knn",
        &settings,
    )?;
    let load = LoadOptions {
        heads: args.heads,
        ignore_keys: args.ignore_key,
    };
    let data = DataRequest {
        folder: args.data,
        collection: std::env::var_os("MIMBENCH_DATA").map(PathBuf::from),
        val_labels: args.val_labels,
        limit: args.limit.map(|limit| limit as usize),
    };
    in_pool(&args.common, args.recompute, |options, terminal| {
        let checkpoints = open_checkpoints(&args.ckpt, &load)?;
        let subjects = checkpoints
            .into_iter()
            .map(|c| Subject::Checkpoint(Box::new(c)))
            .collect();
        let mut plan = KnnPlan::new(protocol, &data, subjects, options)?;
        let records = run::knn::run(&mut plan, terminal)?;
        print_records(&records, args.json, args.csv)
    })
}

pub fn demo(args: DemoArgs) -> Outcome {
    let protocol = Protocol::read(None, KnnProtocol::BUILTIN, "knn", &[])?;
    in_pool(&args.common, false, |options, terminal| {
        let per_class = (args.train_per_class as usize, args.val_per_class as usize);
        let (folder, subjects) = run::demo::prepare(per_class.0, per_class.1, &options, terminal)?;
        let data = DataRequest {
            folder: Some(folder),
            collection: None,
            val_labels: None,
            limit: None,
        };
        let mut plan = KnnPlan::new(protocol, &data, subjects, options)?;
        let records = run::knn::run(&mut plan, terminal)?;
        print_records(&records, args.json, args.csv)
    })
}

pub fn features(args: FeaturesArgs) -> Outcome {
    let load = LoadOptions {
        heads: args.heads,
        ignore_keys: args.ignore_key,
    };
    in_pool(&args.common, false, |options, terminal| {
        let mut checkpoint = Checkpoint::open(&args.ckpt, &load)?;
        let source = match (args.images, args.pixels) {
            (Some(folder), _) => {
                let spec = input_spec(&checkpoint, &InputSection::default())?;
                run::features::PixelSource::Images(folder, spec)
            }
            (None, pixels) => {
                let (path, key) = file_and_key(&pixels.unwrap_or_default());
                run::features::PixelSource::Tensor(path, key)
            }
        };
        let wanted = run::features::Wanted {
            layers: args.layers.is_some(),
            attention: args.attention,
        };
        let written = run::features::run(
            &mut checkpoint,
            &source,
            wanted,
            &args.out,
            &options,
            terminal,
        )?;
        let lines: Vec<_> = written
            .iter()
            .map(|(name, shape)| format!("{name} {shape:?}"))
            .collect();
        print(&format!("{}\n", lines.join("\n")))
    })
}

pub fn inspect(args: InspectArgs) -> Outcome {
    let load = LoadOptions {
        heads: args.heads,
        ignore_keys: args.ignore_key,
    };
    let checkpoint = Checkpoint::open(&args.file, &load)?;
    if args.json {
        print(&format!("{:#}\n", run::inspect::json(&checkpoint)))
    } else {
        print(&run::inspect::text(&checkpoint))
    }
}

pub fn data(args: DataArgs) -> Outcome {
    let DataCommand::Check {
        dir,
        val_labels,
        workers,
        json,
        quiet,
    } = args.command;
    let workers = workers
        .and_then(|n| NonZeroUsize::new(n as usize))
        .unwrap_or(cores());
    let mut terminal = Terminal::new(quiet);
    let report = run::check::run(&dir, &OpenOptions { val_labels }, workers, &mut terminal)?;
    if json {
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&report).unwrap_or_default()
        ))?;
    } else {
        print(&run::check::text(&report))?;
    }
    Ok(if run::check::trustworthy(&report) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Resolves the common flags and works in a pool of `--threads` threads, so that whatever runs in
/// parallel inside stays within them.
fn in_pool(
    args: &CommonArgs,
    recompute: bool,
    work: impl FnOnce(RunOptions, &mut Terminal) -> Outcome + Send,
) -> Outcome {
    let threads = args.threads.map_or(cores().get(), |n| n as usize);
    let options = RunOptions {
        engine: match args.engine {
            Engine::Candle => EngineKind::Candle,
        },
        precision: Precision::F32,
        threads,
        pass: PassOptions {
            batch: args.batch as usize,
            workers: args.workers.map_or(threads, |n| n as usize),
            skip_bad_images: matches!(args.on_bad_image, OnBadImage::Skip),
            save_every: Duration::from_secs(args.save_every.into()),
        },
        rows: match args.store_type {
            StoreType::F32 => RowType::F32,
            StoreType::F16 => RowType::F16,
        },
        seed: args.seed,
        results: args.results.clone(),
        store: args
            .store
            .clone()
            .unwrap_or_else(|| default_store(&args.results)),
        recompute,
    };
    let quiet = args.quiet;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| Error::Usage {
            message: format!("cannot start {threads} threads: {error}"),
            hint: "ask for fewer with --threads N".to_owned(),
        })?;
    pool.install(|| work(options, &mut Terminal::new(quiet)))
}

fn print_records(records: &[Record], json: bool, as_csv: bool) -> Outcome {
    if json {
        return print(&format!(
            "{}\n",
            serde_json::to_string_pretty(records).unwrap_or_default()
        ));
    }
    let headline = headline_table(records);
    if as_csv {
        return print(&csv::render(&headline)?);
    }
    let out = std::io::stdout();
    let colour = if out.is_terminal() {
        terminal::Colour::Always
    } else {
        terminal::Colour::Never
    };
    let headline = terminal::render(&headline, None, colour)?;
    let curve = terminal::render(&curve_table(records), None, colour)?;
    print(&format!("{headline}\n\n{curve}\n"))
}

fn print(text: &str) -> Outcome {
    // Whoever closed the pipe has read enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// `FILE` or `FILE:KEY`; a file whose name has a colon is taken whole where it exists.
fn file_and_key(text: &str) -> (PathBuf, Option<String>) {
    match text.rsplit_once(':') {
        Some((file, key)) if !std::path::Path::new(text).exists() => {
            (file.into(), Some(key.to_owned()))
        }
        _ => (text.into(), None),
    }
}
