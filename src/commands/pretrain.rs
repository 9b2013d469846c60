//! `mimbench pretrain`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mimbench::cli::{Batch, ComputeArgs, PretrainArgs, Seeds};
use mimbench::error::Error;
use mimbench::plan::{
    AtOnce, EvaluationSet, PretrainPlan, RunOptions, StateOptions, TeacherFile, default_store,
    open_teachers,
};
use mimbench::run;
use mimbench::spec::{ResolvedRecipe, Setting};
use mimbench::store::RowType;

use super::{
    Outcome, data_request, in_pool, load_options, pass_options, print_json, print_tables, threads,
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
                recompute: false,
                states: StateOptions {
                    every: Duration::from_secs(args.state_every.into()),
                    folder: None,
                },
                at_once,
                reset_head: false,
            };
            let Some(out) = args.out else {
                return Ok(ExitCode::SUCCESS);
            };
            let teachers = open_teachers(&recipe, &teachers, &load)?;
            let root = data.root(&recipe.recipe.data.dataset)?;
            let set = Arc::new(EvaluationSet::open(&root, &data, options.seed)?);
            let runs = match args.seeds {
                None => vec![(args.seed, out)],
                Some(Seeds(seeds)) => (seeds.iter())
                    .map(|seed| (*seed, out.join(format!("seed-{seed}"))))
                    .collect(),
            };
            let plan = |(seed, out)| {
                let run = RunOptions {
                    seed,
                    ..options.clone()
                };
                let set = Arc::clone(&set);
                PretrainPlan::over(recipe.clone(), teachers.clone(), set, (out, run))
            };
            let plans: Vec<_> = (runs.iter())
                .map(|(seed, out)| plan((*seed, out.as_path())))
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
