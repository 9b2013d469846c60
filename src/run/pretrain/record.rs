//! What a pre-training run was, beside its weights.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::monitor::Finished;
use crate::engine::NUMERICS_VERSION;
use crate::error::Error;
use crate::plan::PretrainPlan;
use crate::store::{StoreError, write_atomic};
use crate::train::TRAINING_VERSION;

/// One look of kNN at the watched images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Epochs before it.
    pub epoch: usize,
    /// Validation images that were named right.
    pub hits: u64,
    /// Validation images.
    pub images: u64,
}

impl Look {
    /// Top-1, percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.hits as f64 / self.images.max(1) as f64
    }
}

/// A finished run of pre-training: `pretraining.json` beside its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PretrainingRecord {
    /// Version of this layout.
    pub schema: u32,
    /// The recipe's name.
    pub recipe: String,
    /// Its version.
    pub version: u32,
    /// Hash of everything in it that decides the weights.
    pub hash: String,
    /// All its settings, as TOML.
    pub text: String,
    /// Settings of the command line, as given.
    pub modified: Vec<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// The teachers: name in the recipe, name of the checkpoint, blake3 of its weights.
    pub teachers: Vec<(String, String, String)>,
    /// Folder of the images.
    pub data: PathBuf,
    /// Hash of the paths, sizes and labels of the train images.
    pub manifest: String,
    /// Train images.
    pub images: usize,
    /// Mean of each term over the last epoch, without its weight.
    pub terms: Vec<(String, f64)>,
    /// What kNN said on the way, of the watched images.
    pub looks: Vec<Look>,
    /// Weights that were kept: epoch, file below the run's folder.
    pub kept: Vec<(usize, PathBuf)>,
    /// blake3 of the weights.
    pub weights: String,
    /// Images that went through the networks.
    pub encoded: usize,
    /// Seconds of the whole run.
    pub seconds: f64,
    /// Engine and its versions.
    pub engine: String,
    /// Where it was trained.
    pub device: String,
    /// Element type.
    pub precision: String,
    /// Images at once.
    pub at_once: usize,
    /// Versions of numerics and training.
    pub numerics: String,
    /// Version of this program.
    pub mimbench: String,
}

/// Version of the layout.
const SCHEMA: u32 = 1;

/// The record's name.
pub const RECORD: &str = "pretraining.json";

impl PretrainingRecord {
    /// Of a run that has ended and left these files.
    pub(super) fn new(
        plan: &PretrainPlan,
        finished: &Finished,
        (weights, kept): (String, Vec<(usize, PathBuf)>),
    ) -> Self {
        let recipe = &plan.recipe.recipe;
        let compute = plan.run.compute;
        let terms = plan.blueprint.terms().iter();
        let means = finished.means.terms().zip(terms);
        Self {
            schema: SCHEMA,
            recipe: recipe.name.clone(),
            version: recipe.version,
            hash: plan.recipe.hash.clone(),
            text: plan.recipe.text.clone(),
            modified: plan.recipe.modified.clone(),
            seed: plan.seed,
            teachers: (plan.teachers.iter())
                .map(|(name, teacher)| (name.clone(), teacher.name.clone(), teacher.blake3.clone()))
                .collect(),
            data: plan.set.root.clone(),
            manifest: blake3::Hash::from(plan.train.manifest).to_hex().to_string(),
            images: plan.train.split.samples.len(),
            terms: means
                .map(|((name, mean), term)| (name.to_owned(), mean / term.spec.weight()))
                .collect(),
            looks: finished.looks.clone(),
            kept,
            weights,
            encoded: finished.encoded,
            seconds: finished.seconds,
            engine: compute.engine.versions(),
            device: super::super::machine::device(compute),
            precision: compute.precision.name().to_owned(),
            at_once: plan.at_once,
            numerics: format!("{NUMERICS_VERSION}.{TRAINING_VERSION}"),
            mimbench: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Writes it into a folder, whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(RECORD);
        let json = serde_json::to_vec_pretty(self).map_err(|error| StoreError::Io {
            action: "write",
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        Ok(write_atomic(&path, &json)?)
    }
}
