//! The numbers of a recipe.

use serde::Serialize;

use crate::train::Recipe;

/// Numbers of a recipe.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// Epochs.
    pub epochs: usize,
    /// Epochs of the warm-up.
    pub warmup_epochs: f64,
    /// Updates of an epoch.
    pub updates_per_epoch: usize,
    /// Updates in all.
    pub updates: usize,
    /// Images of an update.
    pub batch: usize,
    /// Images that go through the network together.
    pub at_once: usize,
    /// How many times they do for one update.
    pub parts: usize,
    /// Images that are trained on, in all epochs together.
    pub train_images: usize,
    /// Validations.
    pub validations: usize,
    /// Images that are validated, in all of them together.
    pub val_images: usize,
}

impl Numbers {
    /// Over so many train images and images of a validation.
    pub(in crate::run) fn of(recipe: &Recipe, [train, val]: [usize; 2]) -> Self {
        let validates = |&epoch: &usize| recipe.validates(epoch);
        let validations = (0..recipe.epochs).filter(validates).count();
        let updates_per_epoch = recipe.updates_per_epoch(train);
        Self {
            epochs: recipe.epochs,
            warmup_epochs: recipe.schedule.warmup_epochs(updates_per_epoch),
            updates_per_epoch,
            updates: recipe.updates(train),
            batch: recipe.batch,
            at_once: recipe.local_batch,
            parts: recipe.batch / recipe.local_batch,
            train_images: recipe.epochs * recipe.images_per_epoch(train),
            validations,
            val_images: validations * val,
        }
    }
}
