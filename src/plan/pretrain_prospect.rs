//! Pre-training that is looked at before it is begun: known by its counts, with or without its images
//! and its teachers' weights.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::pretrain::{pretrain_at_once, pretrain_input};
use super::{Counts, RunOptions, TeacherOrigin};
use crate::data::{InputSpec, Split};
use crate::error::Error;
use crate::pretrain::Blueprint;
use crate::spec::ResolvedRecipe;

/// One run of pre-training before it begins.
#[derive(Debug)]
pub struct PretrainProspect {
    /// What it does.
    pub recipe: ResolvedRecipe,
    /// Its networks.
    pub blueprint: Blueprint,
    /// Its teachers, by their names in the recipe.
    pub teachers: BTreeMap<String, TeacherOrigin>,
    /// Which images, in words.
    pub data: String,
    /// How images become inputs.
    pub input: InputSpec,
    /// Seed of everything random.
    pub seed: u64,
    /// Classes of the images.
    pub classes: usize,
    /// Images to train on.
    pub train: usize,
    /// Images that a look by kNN encodes.
    pub watched: usize,
    /// The images to train on, where they are there.
    pub images: Option<Arc<Split>>,
    /// The run's folder, where one is named.
    pub out: Option<PathBuf>,
}

impl PretrainProspect {
    /// A run over images that are there, or over as many as were published of a dataset.
    ///
    /// # Errors
    /// The recipe is not for such teachers, or not for so many images.
    pub fn new(
        recipe: ResolvedRecipe,
        teachers: BTreeMap<String, TeacherOrigin>,
        counts: Counts<'_>,
        (out, run): (Option<PathBuf>, &RunOptions),
    ) -> Result<Self, Error> {
        let configs = teachers.iter();
        let configs = configs.map(|(name, origin)| (name.clone(), origin.config().clone()));
        let blueprint = Blueprint::new(&recipe.recipe.method(), configs.collect())?;
        let (data, classes, [train, val], images) = match counts {
            Counts::Set(set) => {
                let train = set.train.as_ref().map(|train| Arc::clone(&train.split));
                let count = |split: &Arc<Split>| split.samples.len();
                (
                    set.root.display().to_string(),
                    set.classes.len(),
                    [train.as_ref().map_or(0, count), count(&set.val.split)],
                    train,
                )
            }
            Counts::Published(published, limit) => {
                let limited = |images: u64| limit.map_or(images, |most| images.min(most as u64));
                (
                    format!("{} as published", published.name),
                    published.classes,
                    [published.train, published.val].map(|images| limited(images) as usize),
                    None,
                )
            }
        };
        let of_recipe = &recipe.recipe;
        let at_once = pretrain_at_once(of_recipe.training.batch, run.at_once)?;
        of_recipe.recipe(run.seed, at_once).check(train)?;
        let monitor = &of_recipe.monitor;
        let watched = monitor.every.map_or(0, |_| {
            monitor.train_images.min(train) + monitor.val_images.min(val)
        });
        Ok(Self {
            input: pretrain_input(&recipe, &blueprint),
            recipe,
            blueprint,
            teachers,
            data,
            seed: run.seed,
            classes,
            train,
            watched,
            images,
            out,
        })
    }
}
