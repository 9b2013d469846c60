//! What is in the folder that a run is to have.

use std::path::Path;

use super::super::training::{CARD, WEIGHTS};
use super::record::key;
use super::{AT_ONCE, RECIPE, identity};
use crate::checkpoint::{Checkpoint, LoadOptions};
use crate::error::Error;
use crate::plan::PretrainPlan;
use crate::report::{PRETRAINING, PretrainingRecord};
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

/// How far the run of a plan is.
///
/// # Errors
/// Its folder holds another run, or files of somebody else's: nothing is overwritten.
pub fn standing(plan: &PretrainPlan) -> Result<Standing, Error> {
    let out = &plan.out;
    let own = identity(plan);
    if out.join(PRETRAINING).exists() {
        let record = PretrainingRecord::load(&out.join(PRETRAINING))?;
        if record.key != key(plan) {
            let what = format!("the finished run {}", record.name);
            return Err(occupied(out, &what, &unlike(&record.identity, &own)));
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
    let states = StateFolder::new(out, Identity::new(), plan.run.states.every);
    if states.holds_state()? {
        return match states.standing()? {
            Some(found) if found.identity != own => Err(occupied(
                out,
                "the states of another run",
                &unlike(&found.identity, &own),
            )),
            // Of damaged ones is told when they are read.
            _ => Ok(Standing::Open),
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

/// A file of a folder without a run; what a run leaves that was ended before it began counts as none.
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
        if !matches!(&*name, "lock" | "epochs") && !name.starts_with('.') {
            return Ok(Some(name.into_owned()));
        }
    }
    Ok(None)
}

/// The first that tells two runs apart, in words.
fn unlike(found: &Identity, own: &Identity) -> String {
    let value = |identity: &Identity, name: &str| {
        let known = identity.iter().find(|(known, _)| known == name);
        known.map_or("missing".to_owned(), |(_, value)| value.clone())
    };
    let names = own.iter().chain(found).map(|(name, _)| name);
    let mut names = names.filter(|name| value(found, name) != value(own, name));
    match names.next() {
        None => "it is of another kind".to_owned(),
        Some(name) => format!(
            "its {name} is {}, this run's is {}",
            value(found, name),
            value(own, name)
        ),
    }
}

fn occupied(out: &Path, what: &str, why: &str) -> Error {
    let hint = match why.contains(AT_ONCE) {
        true => "the same --batch goes on from it",
        false => "nothing is overwritten: choose another --out, or move the folder away",
    };
    Error::Usage {
        message: format!("{} holds {what}: {why}", out.display()),
        hint: hint.to_owned(),
    }
}
