//! `mimbench pretrain`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use mimbench::cli::{Batch, ComputeArgs, PretrainArgs, Seeds};
use mimbench::error::Error;
use mimbench::features::Observer;
use mimbench::plan::{
    AtOnce, DataRequest, EvaluationSet, PretrainPlan, PretrainProspect, RunOptions, StateOptions,
    TeacherFile, TeacherOrigin, default_store, open_teachers, sweep_recipes, teacher_origins,
    teachers_of_each,
};
use mimbench::run::{self, Terminal};
use mimbench::spec::{ResolvedRecipe, Setting, Sweep};
use mimbench::store::RowType;

use super::{
    Outcome, Seen, data_request, fetched, in_pool, load_options, pass_options, print_json,
    print_tables, threads,
};

pub fn pretrain(args: PretrainArgs) -> Outcome {
    let epochs = args.epochs.map(|n| format!("training.epochs={n}"));
    let settings: Vec<_> = (args.set.into_iter().chain(epochs)).map(Setting).collect();
    let teachers: Vec<_> = args.teacher.iter().map(|text| teacher_file(text)).collect();
    let sweep = args.sweep.as_deref().map(Sweep::named).transpose()?;
    let points = match &sweep {
        None => vec![Point {
            folder: PathBuf::new(),
            recipe: ResolvedRecipe::named(&args.recipe, &settings)?,
            teachers,
        }],
        Some(sweep) => points(&args.recipe, sweep, &settings, &teachers)?,
    };
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
                scene_head: None,
            };
            if args.plan {
                let prospects = |point: Point| {
                    let folder = args.out.as_ref().map(|out| point.below(out));
                    Ok(Prospects {
                        teachers: teacher_origins(&point.recipe, &point.teachers, &load)?,
                        recipe: point.recipe,
                        runs: runs(args.seed, args.seeds.as_ref(), folder),
                        data: &data,
                    })
                };
                let prospects: Vec<_> = (points.into_iter())
                    .map(prospects)
                    .collect::<Result<_, Error>>()?;
                return forecast(prospects, &options, args.json, terminal);
            }
            let out = args.out.unwrap_or_default();
            let mut plans = Vec::new();
            let mut sets: Vec<(String, Arc<EvaluationSet>)> = Vec::new();
            for point in points {
                let folder = point.below(&out);
                let files = brought(&point.teachers, terminal)?;
                let teachers = open_teachers(&point.recipe, &files, &load)?;
                let dataset = &point.recipe.recipe.data.dataset;
                let set = match sets.iter().find(|(known, _)| known == dataset) {
                    Some((_, set)) => Arc::clone(set),
                    None => {
                        let root = data.root(dataset)?;
                        let set = Arc::new(EvaluationSet::open(&root, &data, options.seed)?);
                        sets.push((dataset.clone(), Arc::clone(&set)));
                        set
                    }
                };
                for (seed, out) in runs(args.seed, args.seeds.as_ref(), Some(folder)) {
                    let out = out.unwrap_or_default();
                    let run = RunOptions {
                        seed,
                        ..options.clone()
                    };
                    let (recipe, teachers) = (point.recipe.clone(), teachers.clone());
                    let set = Arc::clone(&set);
                    plans.push(PretrainPlan::over(recipe, teachers, set, (&out, run))?);
                }
            }
            if let (Some(picture), Some(plan)) = (&args.show_masks, plans.first()) {
                run::pretrain::draw_masks(plan, picture, terminal)?;
                return Ok(ExitCode::SUCCESS);
            }
            plans.iter().try_for_each(PretrainPlan::check)?;
            if let Some(sweep) = &sweep {
                note_base(sweep, &plans, terminal);
            }
            let mut swept = run::pretrain::sweep(&plans, terminal)?;
            let runs = swept.records.iter();
            let runs: Vec<_> = runs
                .map(|(place, record)| (&plans[*place], record))
                .collect();
            match args.json {
                true => print_json(&runs.iter().map(|(_, record)| record).collect::<Vec<_>>())?,
                false if runs.is_empty() => {}
                false => print_tables(&[run::pretrain::table(&runs)])?,
            }
            match swept.diverged.pop() {
                Some(last) => {
                    swept.diverged.iter().for_each(crate::report_error);
                    Err(last)
                }
                None => Ok(ExitCode::SUCCESS),
            }
        },
    )
}

/// Seeds and folders of runs.
fn runs(seed: u64, seeds: Option<&Seeds>, out: Option<PathBuf>) -> Vec<(u64, Option<PathBuf>)> {
    match seeds {
        None => vec![(seed, out)],
        Some(Seeds(seeds)) => {
            let below = |seed| {
                let out = out.as_ref();
                (seed, out.map(|out| out.join(format!("seed-{seed}"))))
            };
            seeds.iter().copied().map(below).collect()
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
    prospects: Vec<Prospects<'_>>,
    options: &RunOptions,
    json: bool,
    terminal: &mut Terminal,
) -> Outcome {
    let mut all = Vec::new();
    for Prospects {
        recipe,
        teachers,
        runs,
        data,
    } in prospects
    {
        let seen = Seen::find(&recipe.recipe.data.dataset, data, options.seed, terminal)?;
        for (seed, out) in runs {
            let run = RunOptions {
                seed,
                ..options.clone()
            };
            let counts = seen.counts(data.limit);
            let (recipe, teachers) = (recipe.clone(), teachers.clone());
            all.push(PretrainProspect::new(
                recipe,
                teachers,
                counts,
                (out, &run),
            )?);
        }
    }
    let forecasts = run::pretrain::forecasts(&all, options, terminal)?;
    if json {
        print_json(&forecasts)?;
    } else {
        let tables = forecasts.iter().map(run::pretrain::forecast_table);
        print_tables(&tables.collect::<Vec<_>>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A recipe that is carried out, with any seeds.
struct Point {
    /// Below `--out`.
    folder: PathBuf,
    recipe: ResolvedRecipe,
    teachers: Vec<TeacherFile>,
}

impl Point {
    fn below(&self, out: &Path) -> PathBuf {
        match self.folder.as_os_str().is_empty() {
            true => out.to_owned(),
            false => out.join(&self.folder),
        }
    }
}

fn points(
    recipe: &Path,
    sweep: &Sweep,
    settings: &[Setting],
    teachers: &[TeacherFile],
) -> Result<Vec<Point>, Error> {
    let recipes = sweep_recipes(recipe, sweep, settings)?;
    let teachers = teachers_of_each(&recipes, teachers)?;
    let points = recipes.into_iter().zip(teachers);
    Ok(points
        .map(|((name, recipe), teachers)| Point {
            folder: name.into(),
            recipe,
            teachers,
        })
        .collect())
}

/// Says where a sweep is over another recipe than the one that it was written for.
fn note_base(sweep: &Sweep, plans: &[PretrainPlan], terminal: &mut Terminal) {
    let Some(PretrainPlan { recipe, .. }) = plans.first() else {
        return;
    };
    let name = recipe.recipe.name.as_str();
    if name.strip_prefix("pretrain/").unwrap_or(name) != sweep.base {
        terminal.notice(&format!(
            "the sweep {} was written for {}, this is {name}",
            sweep.name, sweep.base
        ));
    }
}

/// The teachers, brought to this machine where they are elsewhere.
fn brought(teachers: &[TeacherFile], terminal: &mut Terminal) -> Result<Vec<TeacherFile>, Error> {
    let here = |teacher: &TeacherFile| {
        Ok(TeacherFile {
            name: teacher.name.clone(),
            path: fetched(&teacher.path, terminal)?,
        })
    };
    teachers.iter().map(here).collect()
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
