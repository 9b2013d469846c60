//! The encoder that comes out, as a checkpoint.

use std::path::{Path, PathBuf};

use super::super::pair::Pair;
use super::super::training::{CARD, WEIGHTS, take_parameters, unwritten};
use super::network::Training;
use crate::checkpoint::{CanonicalModel, ConvertError, Feature, Pretrained, TimmModel};
use crate::error::Error;
use crate::nn::Weights;
use crate::plan::PretrainPlan;
use crate::store::StoreError;

/// The folder of an epoch's weights below the run's, counted from 1.
pub(super) fn epoch_folder(out: &Path, epoch: usize) -> PathBuf {
    out.join("epochs").join(format!("{epoch:04}"))
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
    let out = plan.out.file_name().unwrap_or_default().to_string_lossy();
    let pretrained = Pretrained {
        path: &output,
        name: format!("{out}{of_epoch}"),
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
    let reason = match for_timm(&output, pretrained.clone()) {
        Ok(()) => {
            return Ok(format!(
                "the student is {place}; {CARD} beside it has the call that loads it in timm"
            ));
        }
        Err(error) => unwritten(error)?,
    };
    let model = CanonicalModel::pretrained(pretrained);
    Pair::locked(&output)?.write(
        &output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    )?;
    Ok(format!(
        "the student is {place}, for mimbench alone: {reason}"
    ))
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

fn for_timm(output: &Path, pretrained: Pretrained<'_>) -> Result<(), ConvertError> {
    let model = TimmModel::pretrained(pretrained)?;
    Pair::locked(output)?.write(
        output,
        &|path| model.write(path),
        &|path| model.card(path),
        &|again| model.difference(again),
    )
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
