//! The record of a run that has ended.

use std::path::Path;

use super::monitor::Finished;
use super::{AT_ONCE, identity};
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::plan::PretrainPlan;
use crate::report::{KeptWeights, PRETRAINING_SCHEMA, PretrainingRecord, TeacherRecord};
use crate::store::{METRICS, StoreError};
use crate::train::TRAINING_VERSION;

/// Of a run that has ended and left these files.
pub(super) fn record(
    plan: &PretrainPlan,
    finished: &Finished,
    kept: Vec<KeptWeights>,
) -> Result<PretrainingRecord, Error> {
    let recipe = &plan.recipe.recipe;
    let compute = plan.run.compute;
    let terms = plan.blueprint.terms().iter();
    let means = finished.means.terms().zip(terms);
    let curves = curves(&plan.out)?;
    let record = PretrainingRecord {
        schema: PRETRAINING_SCHEMA,
        key: key(plan),
        name: plan.name.clone(),
        identity: identity(plan),
        recipe: recipe.name.clone(),
        version: recipe.version,
        hash: plan.recipe.hash.clone(),
        text: plan.recipe.text.clone(),
        modified: plan.recipe.modified.clone(),
        seed: plan.seed,
        epochs: recipe.training.epochs,
        teachers: (plan.teachers.iter())
            .map(|(name, teacher)| TeacherRecord {
                name: name.clone(),
                checkpoint: teacher.name.clone(),
                blake3: teacher.blake3.clone(),
            })
            .collect(),
        data: plan.set.root.clone(),
        manifest: blake3::Hash::from(plan.train.manifest).to_hex().to_string(),
        images: plan.train.split.samples.len(),
        terms: means
            .map(|((name, mean), term)| (name.to_owned(), mean / term.spec.weight()))
            .collect(),
        looks: finished.looks.clone(),
        kept,
        encoded: finished.encoded,
        seconds: finished.seconds,
        engine: compute.engine.versions(),
        device: super::super::machine::device(compute),
        precision: compute.precision.name().to_owned(),
        at_once: plan.at_once,
        numerics: format!("{NUMERICS_VERSION}.{TRAINING_VERSION}"),
        mimbench: env!("CARGO_PKG_VERSION").to_owned(),
        curves: curves.map(|bytes| blake3::hash(&bytes).to_hex().to_string()),
        seal: String::new(),
    };
    Ok(record.sealed())
}

/// Puts the record of a run in `folder`, and its curves, among the results; curves that somebody
/// deleted or wrote to since are left out.
pub(super) fn publish(
    record: &PretrainingRecord,
    folder: &Path,
    results: &Path,
) -> Result<(), Error> {
    let own =
        |bytes: &Vec<u8>| record.curves.as_deref() == Some(blake3::hash(bytes).to_hex().as_str());
    let curves = curves(folder)?.filter(own);
    Ok(record.publish(curves.as_deref(), results)?)
}

fn curves(folder: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = folder.join(METRICS);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io {
            action: "read",
            path,
            source,
        }),
    }
}

/// The run's name among others: what makes it this run, images at once where they count for more than
/// rounding.
pub(super) fn key(plan: &PretrainPlan) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("mimbench pre-training");
    let parts = plan.recipe.recipe.method().depends_on_parts();
    for (name, value) in identity(plan) {
        if name != AT_ONCE || parts {
            for text in [name, value] {
                hasher.update(&(text.len() as u64).to_le_bytes());
                hasher.update(text.as_bytes());
            }
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
