//! What is in the folder that a run is to have.

use std::path::Path;

use super::super::training::{CARD, WEIGHTS};
use super::record::key;
use super::{AT_ONCE, RECIPE, RECIPE_HASH, identity};
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::error::Error;
use crate::plan::PretrainPlan;
use crate::report::{PRETRAINING, PretrainingRecord, differing_settings};
use crate::spec::PretrainRecipe;
use crate::store::StoreError;
use crate::train::{Identity, StateFolder};

/// How far a run is.
#[derive(Debug)]
pub enum Standing {
    /// It is to begin, or to go on.
    Open,
    /// It has ended.
    Finished(Box<PretrainingRecord>),
}

/// How far the run of a plan is; one that is done again is to begin.
///
/// # Errors
/// Its folder holds another run, or files of somebody else's: nothing is overwritten.
pub fn standing(plan: &PretrainPlan) -> Result<Standing, Error> {
    let out = &plan.out;
    let own = identity(plan);
    let states = StateFolder::new(out, Identity::new(), plan.run.states.every);
    let a_run = [PRETRAINING, RECIPE]
        .iter()
        .any(|file| out.join(file).exists());
    if plan.run.recompute && (a_run || states.holds_state()?) {
        return Ok(Standing::Open);
    }
    if out.join(PRETRAINING).exists() {
        let record = PretrainingRecord::load(&out.join(PRETRAINING))?;
        if record.key != key(plan) {
            let what = format!("{}, another run", record.name);
            let why = unlike(&record.identity, &own, plan);
            return Err(occupied(out, &what, &why.unwrap_or_default()));
        }
        // Weights that somebody deleted or wrote to are made again.
        let written = Checkpoint::open(&out.join(CARD), &LoadOptions::default());
        let known = record.weights().map(|kept| &kept.blake3);
        let whole = written.is_ok_and(|written| Some(&written.blake3) == known);
        return Ok(match whole {
            true => Standing::Finished(Box::new(record)),
            false => Standing::Open,
        });
    }
    if states.holds_state()? {
        // Of damaged ones is told when they are read.
        let found = states.standing()?.map(|found| found.identity);
        return match found.and_then(|found| unlike(&found, &own, plan)) {
            Some(why) => Err(occupied(out, "the state of another run", &why)),
            None => Ok(Standing::Open),
        };
    }
    if let Some(file) = [WEIGHTS, CARD].into_iter().find(|f| out.join(f).exists()) {
        return Err(occupied(out, file, "no record says what it is of"));
    }
    if let Ok(text) = std::fs::read_to_string(out.join(RECIPE)) {
        let recipe: Option<PretrainRecipe> = toml::from_str(&text).ok();
        let hash = recipe.and_then(|recipe| recipe.hash().ok());
        return match hash.as_ref() == Some(&plan.recipe.hash) {
            true => Ok(Standing::Open),
            false => Err(occupied(out, RECIPE, "it is another recipe's")),
        };
    }
    match stranger(out)? {
        None => Ok(Standing::Open),
        Some(file) => Err(occupied(out, &file, "it belongs to no run")),
    }
}

/// A file of a folder without a run; what a run leaves that was killed before it began, the beginning
/// of its recipe included, counts as none.
fn stranger(out: &Path) -> Result<Option<String>, StoreError> {
    let failed = |source| StoreError::Io {
        action: "list",
        path: out.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(out) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if name != "lock" && !name.starts_with('.') && !name.starts_with(RECIPE) {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
}

/// The first that tells two runs apart, in words; images at once are settled later.
fn unlike(found: &Identity, own: &Identity, plan: &PretrainPlan) -> Option<String> {
    let value = |identity: &Identity, name: &str| {
        let known = identity.iter().find(|(known, _)| known == name);
        known.map_or("missing".to_owned(), |(_, value)| value.clone())
    };
    let names = own.iter().chain(found).map(|(name, _)| name);
    let mut names = names.filter(|name| *name != AT_ONCE && value(found, name) != value(own, name));
    let name = names.next()?;
    let settings = (name == RECIPE_HASH)
        .then(|| other_settings(plan))
        .flatten();
    Some(settings.unwrap_or_else(|| {
        let [found, own] = [found, own].map(|identity| value(identity, name));
        format!("its {name} is {found}, this run's is {own}")
    }))
}

/// Settings of the recipe that lies in the folder of a run and differ from its own; those of the
/// monitor decide no weight.
fn other_settings(plan: &PretrainPlan) -> Option<String> {
    let text = std::fs::read_to_string(plan.out.join(RECIPE)).ok()?;
    let mut differing = differing_settings(&text, &plan.recipe.text);
    differing.retain(|setting| !setting.starts_with("monitor."));
    let all = differing.join(", ");
    (!all.is_empty()).then(|| format!("its recipe and this run's differ in {all}"))
}

fn occupied(out: &Path, what: &str, why: &str) -> Error {
    Error::Usage {
        message: format!("{} holds {what}: {why}", out.display()),
        hint: "nothing is overwritten: choose another --out, or move the folder away".to_owned(),
    }
}
