//! The encoder that comes out, as a checkpoint.

use std::path::{Path, PathBuf};

use super::super::training::{CARD, WEIGHTS, take_parameters, write_encoder};
use super::network::Training;
use crate::checkpoint::{Feature, Pretrained};
use crate::error::Error;
use crate::nn::Weights;
use crate::plan::PretrainPlan;
use crate::store::{StoreError, delete_folder};
use crate::train::TrainError;

/// Below a run's folder, those of its epochs.
const EPOCHS: &str = "epochs";

/// The folder of an epoch's weights below the run's, counted from 1.
pub(super) fn epoch_folder(out: &Path, epoch: usize) -> PathBuf {
    out.join(EPOCHS).join(format!("{epoch:04}"))
}

/// Deletes what earlier epochs of a run left.
pub(super) fn delete_epochs(out: &Path) -> Result<(), StoreError> {
    let folder = out.join(EPOCHS);
    match folder.is_dir() {
        true => delete_folder(&folder),
        false => Ok(()),
    }
}

/// Writes the student and its card into `folder`, under timm's names where timm has such a model;
/// what became of it.
pub(super) fn keep(
    plan: &PretrainPlan,
    training: &Training,
    epoch: usize,
    folder: &Path,
) -> Result<String, Error> {
    let weights = student(plan, training)?;
    check_finite(plan, &weights, epoch)?;
    let recipe = &plan.recipe.recipe;
    let output = folder.join(WEIGHTS);
    std::fs::create_dir_all(folder).map_err(|source| StoreError::Io {
        action: "create",
        path: folder.to_owned(),
        source,
    })?;
    let of_epoch = match epoch == recipe.training.epochs {
        true => String::new(),
        false => format!(" epoch {epoch}"),
    };
    let pretrained = Pretrained {
        path: &output,
        name: format!("{}{of_epoch}", plan.name),
        note: note(plan, epoch),
        config: plan.blueprint.student(),
        input: &plan.input,
        feature: Feature {
            token: recipe.input.feature.token(),
            norm: true,
        },
        weights: &weights,
    };
    let place = output.display();
    Ok(match write_encoder(&output, pretrained)? {
        None => {
            format!("the student is {place}; {CARD} beside it has the call that loads it in timm")
        }
        Some(reason) => format!("the student is {place}, for mimbench alone: {reason}"),
    })
}

/// Refuses weights that an update has made no numbers of: what comes before an update is checked, and
/// the last has none behind it.
fn check_finite(plan: &PretrainPlan, weights: &Weights, epoch: usize) -> Result<(), TrainError> {
    for (name, tensor) in weights.iter() {
        if let Some(value) = tensor.data.iter().find(|x| !x.is_finite()) {
            let recipe = plan.recipe.recipe.recipe(plan.seed, plan.at_once);
            let updates = recipe.updates_per_epoch(plan.train.split.samples.len());
            return Err(TrainError::NotFinite {
                update: updates.saturating_sub(1),
                epoch: epoch.saturating_sub(1),
                terms: vec![(name.to_owned(), f64::from(*value))],
                saved: None,
            });
        }
    }
    Ok(())
}

/// The encoder's tensors: what was trained, and what stayed as it began.
fn student(plan: &PretrainPlan, training: &Training) -> Result<Weights, Error> {
    let mut all = plan.blueprint.initial_weights(plan.seed)?;
    take_parameters(&mut all, training.save()?)?;
    let mut weights = Weights::default();
    for (name, tensor) in all.iter() {
        if is_kept(name) {
            weights.insert(name.to_owned(), tensor.clone());
        }
    }
    Ok(weights)
}

/// Whether a tensor is the encoder's, and no head's or decoder's.
pub(super) fn is_kept(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    !matches!(first, "heads" | "terms" | "decoder" | "mask_token")
}

/// What the weights come from.
fn note(plan: &PretrainPlan, epoch: usize) -> String {
    let recipe = &plan.recipe;
    let modified = match recipe.modified.is_empty() {
        true => String::new(),
        false => format!(" with {}", recipe.modified.join(", ")),
    };
    let teachers: Vec<_> = (plan.teachers.iter())
        .map(|(name, teacher)| format!("{name}: {} (blake3 {})", teacher.name, teacher.blake3))
        .collect();
    let teachers = match teachers.is_empty() {
        true => String::new(),
        false => format!("; {}", teachers.join(", ")),
    };
    format!(
        "Pre-trained by {} version {} (hash {}){modified}, seed {}, {epoch} of {} epochs over {} images{teachers}.",
        recipe.recipe.name,
        recipe.recipe.version,
        recipe.hash,
        plan.seed,
        recipe.recipe.training.epochs,
        plan.train.split.samples.len()
    )
}
