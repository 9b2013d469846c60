//! Pre-training: a student that learns from pixels and teachers, and the checkpoint that it becomes.

mod forecast;
mod images;
mod masks;
mod memory;
mod monitor;
mod network;
mod record;
mod standing;
mod sweep;
mod table;
mod trainee;
mod weights;

use std::path::PathBuf;
use std::sync::Arc;

use super::Terminal;
use super::training::{CARD, WEIGHTS};
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::features::Observer;
use crate::plan::{PretrainPlan, teacher_key};
use crate::report::{KeptWeights, PRETRAINING, PretrainingRecord};
use crate::store::{Lock, delete, remove_leftovers, write_atomic};
use crate::train::{AT_ONCE, Identity, Solo, StateFolder, TRAINING_VERSION, TrainError, fit};
use images::PretrainImages;
use monitor::PretrainMonitor;
pub(super) use network::Basis;

pub use forecast::{PretrainCosts, PretrainOperations, forecast_table, forecasts};
pub use masks::draw_masks;
pub use memory::PretrainMemory;
pub use standing::{Standing, standing};
pub use sweep::{Swept, sweep};
pub use table::table;

/// The recipe with every setting resolved, beside the weights.
const RECIPE: &str = "recipe.toml";

/// The name of a recipe's hash in the identity of a run.
const RECIPE_HASH: &str = "recipe";

/// Trains a student, or goes on where an earlier attempt ended.
pub fn pretrain(plan: &PretrainPlan, terminal: &mut Terminal) -> Result<PretrainingRecord, Error> {
    let out = &plan.out;
    let _lock = Lock::take(&out.join("lock"), &mut |holder| {
        terminal.notice(&format!(
            "process {holder} is training in {}; waiting for it",
            out.display()
        ));
    })?;
    if let Standing::Finished(record) = standing(plan)? {
        record::publish(&record, out, &plan.run.results)?;
        terminal.notice(&format!(
            "{} is finished; its weights are as they were",
            plan.name
        ));
        let epochs = plan.recipe.recipe.training.epochs;
        let has = |epoch| record.kept.iter().any(|kept| kept.epoch == epoch);
        let wanted = (0..epochs).filter(|&epoch| keeps(plan, epoch));
        let missing = wanted.filter(|&epoch| !has(epoch)).count();
        if missing > 0 {
            terminal.notice(&format!(
                "it kept no weights of {missing} of the epochs that monitor.keep_every or keep_initial name; --recompute trains it again"
            ));
        }
        return Ok(*record);
    }
    remove_leftovers(out, RECIPE)?;
    let basis = Basis::of_plan(plan);
    let known = (!plan.run.recompute).then_some(out.as_path());
    let plan = &PretrainPlan {
        at_once: super::forecast::at_once(&basis, known, &plan.run, terminal)?,
        ..plan.clone()
    };
    let stamps = super::cells::split_stamps(&[&plan.train.split])?;
    let recipe = plan.recipe.recipe.recipe(plan.seed, plan.at_once);
    let mut states = StateFolder::new(out, identity(plan), plan.run.states.every);
    if plan.run.recompute {
        states.clear()?;
        if out.join(PRETRAINING).exists() {
            delete(&out.join(PRETRAINING))?;
        }
        weights::delete_epochs(out)?;
    }
    let mut training = basis.build(plan.run.compute)?;
    let groups = training.groups();
    for line in super::training::groups_text(&groups, &recipe) {
        terminal.notice(&line);
    }
    let split = Arc::clone(&plan.train.split);
    let mut images = PretrainImages {
        train: split,
        watched: plan.watched.iter().flatten().cloned().collect(),
        input: plan.input.clone(),
        augment: plan.recipe.recipe.augment.clone(),
        seed: plan.seed,
        classes: plan.set.classes.len(),
        pass: plan.run.pass,
    };
    let epochs = plan.recipe.recipe.training.epochs;
    // What says whose folder it is comes first.
    write_atomic(&out.join(RECIPE), plan.recipe.text.as_bytes())?;
    // Those of a run that goes on are there, or the user has deleted them.
    if keeps(plan, 0) && !states.holds_state()? {
        let initial = weights::epoch_folder(out, 0);
        terminal.notice(&weights::keep(plan, &*training, 0, &initial)?);
    }
    let mut keep = |epoch: usize, training: &network::Training| {
        if !keeps(plan, epoch) {
            return Ok(None);
        }
        let folder = weights::epoch_folder(out, epoch);
        let kept = weights::keep(plan, training, epoch, &folder).map(Some);
        kept.map_err(|error| match error {
            Error::Train(error) => error,
            error => TrainError::Keep {
                epoch,
                reason: error.to_string(),
            },
        })
    };
    let witness = (basis.clock.clone(), stamps.as_str());
    let mut monitor = PretrainMonitor::new(plan, &recipe, witness, out, terminal, &mut keep);
    let fitted = fit(
        &mut *training,
        &mut images,
        &recipe,
        &mut states,
        &Solo,
        &mut monitor,
    );
    monitor.rest();
    fitted?;
    let finished = monitor.finish();
    let line = weights::keep(plan, &*training, epochs, out)?;
    terminal.notice(&line);
    let mut kept = Vec::new();
    for epoch in (0..=epochs).filter(|&epoch| keeps(plan, epoch) || epoch == epochs) {
        let folder = match epoch == epochs {
            true => PathBuf::new(),
            false => weights::epoch_folder(&PathBuf::new(), epoch),
        };
        let card = out.join(&folder).join(CARD);
        // Those of earlier epochs are the user's to delete.
        if epoch == epochs || card.exists() {
            let written = Checkpoint::open(&card, &LoadOptions::default())?;
            kept.push(KeptWeights {
                epoch,
                file: folder.join(WEIGHTS),
                blake3: written.blake3,
            });
        }
    }
    let record = record::record(plan, &finished, kept)?;
    record.write_beside(out)?;
    record::publish(&record, out, &plan.run.results)?;
    Ok(record)
}

/// Whether the weights after so many epochs are kept beside the last.
fn keeps(plan: &PretrainPlan, epoch: usize) -> bool {
    let recipe = &plan.recipe.recipe;
    let monitor = &recipe.monitor;
    let every = |every: usize| epoch.is_multiple_of(every) && epoch < recipe.training.epochs;
    match epoch {
        0 => monitor.keep_initial,
        _ => monitor.keep_every.is_some_and(every),
    }
}

/// What a run's state must agree in to be gone on from.
fn identity(plan: &PretrainPlan) -> Identity {
    let compute = plan.run.compute;
    let versions = format!("{NUMERICS_VERSION}.{TRAINING_VERSION}");
    let manifest = blake3::Hash::from(plan.train.manifest);
    let mut identity = vec![
        (RECIPE_HASH, plan.recipe.hash.clone()),
        ("seed", plan.seed.to_string()),
        ("list of images", manifest.to_hex().to_string()),
        ("engine", compute.backend().to_owned()),
        ("precision", compute.precision.name().to_owned()),
        ("numerics", versions),
        (AT_ONCE, plan.at_once.to_string()),
    ];
    let names: Vec<_> = (plan.teachers.iter())
        .map(|(name, teacher)| (format!("teacher {name}"), teacher_key(teacher)))
        .collect();
    let mut all: Identity = (identity.drain(..))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    all.extend(names);
    all
}
