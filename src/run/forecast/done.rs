//! How far a run is.

use serde::Serialize;

use super::of_state;
use crate::train::{Progress, Recipe, Stage, Standing};

/// What of a run is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing.
    Nothing,
    /// What a state says.
    Part {
        /// Whole epochs, their validation included.
        epochs: usize,
        /// Updates.
        updates: usize,
        /// The images at once that it was made with.
        at_once: Option<usize>,
    },
    /// All of it: the record is up to date.
    All,
}

impl Done {
    /// What a state says of a run over so many train images; `recipe` makes its recipe for a number
    /// of images at once, where the state has one.
    pub(in crate::run) fn of(
        standing: &Standing,
        train: usize,
        recipe: &dyn Fn(Option<usize>) -> Recipe,
    ) -> Self {
        let Progress { epoch, stage } = standing.progress;
        let at_once = of_state(standing);
        let steps = recipe(at_once).updates_per_epoch(train);
        let of_epoch = match stage {
            Stage::Train { update, .. } => update,
            Stage::Validate { .. } => steps,
        };
        Self::Part {
            epochs: epoch,
            updates: epoch * steps + of_epoch,
            at_once,
        }
    }

    /// The images at once of its state.
    pub(in crate::run) fn at_once(self) -> Option<usize> {
        match self {
            Self::Part { at_once, .. } => at_once,
            Self::Nothing | Self::All => None,
        }
    }
}
