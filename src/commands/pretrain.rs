//! `mimbench pretrain`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mimbench::cli::{Batch, ComputeArgs, PretrainArgs, Seeds};
use mimbench::error::Error;
use mimbench::plan::{
    AtOnce, DataRequest, EvaluationSet, PretrainPlan, PretrainProspect, RunOptions, StateOptions,
    TeacherFile, TeacherOrigin, default_store, open_teachers, teacher_origins,
};
use mimbench::run::{self, Terminal};
use mimbench::spec::{ResolvedRecipe, Setting};
use mimbench::store::RowType;

use super::{
    Outcome, Seen, data_request, in_pool, load_options, pass_options, print_json, print_tables,
    threads,
};

pub fn pretrain(args: PretrainArgs) -> Outcome {
    let epochs = args.epochs.map(|n| format!("training.epochs={n}"));
    let settings: Vec<_> = (args.set.into_iter().chain(epochs)).map(Setting).collect();
    let recipe = ResolvedRecipe::named(&args.recipe, &settings)?;
    let teachers: Vec<_> = args.teacher.iter().map(|text| teacher_file(text)).collect();
    let load = load_options(args.load);
    let data = data_request(args.data, args.val_labels, args.limit);
    let at_once = match args.compute.batch {
        None => AtOnce::Usual,
        Some(Batch::Images(images)) => AtOnce::Images(images as usize),
        Some(Batch::Auto) => AtOnce::Fitting,
    };
    let compute_args = ComputeArgs {
        batch: (args.compute.batch).filter(|&batch| batch != Batch::Auto),
        ..args.compute
    };
    in_pool(
        &compute_args.engine,
        compute_args.quiet,
        |compute, terminal| {
            let options = RunOptions {
                compute,
                threads: threads(&compute_args.engine),
                pass: pass_options(&compute_args, Duration::from_secs(20))?,
                rows: RowType::F32,
                seed: args.seed,
                store: default_store(&args.results),
                results: args.results,
                recompute: args.recompute,
                states: StateOptions {
                    every: Duration::from_secs(args.state_every.into()),
                    folder: None,
                },
                at_once,
                reset_head: false,
            };
            if args.plan {
                let prospects = Prospects {
                    teachers: teacher_origins(&recipe, &teachers, &load)?,
                    recipe,
                    runs: runs(args.seed, args.seeds, args.out),
                    data: &data,
                };
                return forecast(prospects, options, args.json, terminal);
            }
            let out = args.out.unwrap_or_default();
            let teachers = open_teachers(&recipe, &teachers, &load)?;
            let root = data.root(&recipe.recipe.data.dataset)?;
            let set = Arc::new(EvaluationSet::open(&root, &data, options.seed)?);
            if let Some(picture) = &args.show_masks {
                let plan = PretrainPlan::over(recipe, teachers, set, (&out, options))?;
                run::pretrain::draw_masks(&plan, picture, terminal)?;
                return Ok(ExitCode::SUCCESS);
            }
            let runs = runs(args.seed, args.seeds, Some(out));
            let plan = |(seed, out)| {
                let run = RunOptions {
                    seed,
                    ..options.clone()
                };
                let set = Arc::clone(&set);
                PretrainPlan::over(recipe.clone(), teachers.clone(), set, (out, run))
            };
            let plans: Vec<_> = (runs.iter())
                .map(|(seed, out)| plan((*seed, out.as_deref().unwrap_or(Path::new("")))))
                .collect::<Result<_, Error>>()?;
            let mut records = Vec::new();
            for plan in &plans {
                records.push(run::pretrain::pretrain(plan, terminal)?);
            }
            match args.json {
                true => print_json(&records)?,
                false => print_tables(&[run::pretrain::table(&plans, &records)])?,
            }
            Ok(ExitCode::SUCCESS)
        },
    )
}

/// Seeds and folders of runs.
fn runs(seed: u64, seeds: Option<Seeds>, out: Option<PathBuf>) -> Vec<(u64, Option<PathBuf>)> {
    match seeds {
        None => vec![(seed, out)],
        Some(Seeds(seeds)) => {
            let below = |seed| {
                let out = out.as_ref();
                (seed, out.map(|out| out.join(format!("seed-{seed}"))))
            };
            seeds.into_iter().map(below).collect()
        }
    }
}

/// Runs that are looked at before they are begun.
struct Prospects<'a> {
    recipe: ResolvedRecipe,
    teachers: BTreeMap<String, TeacherOrigin>,
    runs: Vec<(u64, Option<PathBuf>)>,
    data: &'a DataRequest,
}

/// Prints what runs are going to take.
fn forecast(
    prospects: Prospects<'_>,
    options: RunOptions,
    json: bool,
    terminal: &mut Terminal,
) -> Outcome {
    let Prospects {
        recipe,
        teachers,
        runs,
        data,
    } = prospects;
    let seen = Seen::find(&recipe.recipe.data.dataset, data, options.seed, terminal)?;
    let prospect = |(seed, out)| {
        let run = RunOptions {
            seed,
            ..options.clone()
        };
        let counts = seen.counts(data.limit);
        PretrainProspect::new(recipe.clone(), teachers.clone(), counts, (out, &run))
    };
    let prospects: Vec<_> = (runs.into_iter())
        .map(prospect)
        .collect::<Result<_, Error>>()?;
    let forecasts = run::pretrain::forecasts(&prospects, &options, terminal)?;
    if json {
        print_json(&forecasts)?;
    } else {
        let tables = forecasts.iter().map(run::pretrain::forecast_table);
        print_tables(&tables.collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `NAME=FILE`, or a file alone: a name has neither dots nor slashes.
fn teacher_file(text: &str) -> TeacherFile {
    let named = text.split_once('=').filter(|(name, _)| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-".contains(c))
    });
    match named {
        Some((name, path)) => TeacherFile {
            name: Some(name.to_owned()),
            path: path.into(),
        },
        None => TeacherFile {
            name: None,
            path: text.into(),
        },
    }
}
