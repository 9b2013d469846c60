//! Why a training run ended before its end.

use std::io::ErrorKind::{QuotaExceeded, StorageFull};
use std::path::PathBuf;

use super::{AT_ONCE, CurvesError, OptimizerError};
use crate::data::LoadError;
use crate::data::segmentation::SegmentationDataError;
use crate::engine::EngineError;
use crate::nn::ModelError;
use crate::store::StoreError;

/// Training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A term of the loss is no number.
    #[error(
        "the loss is no number at update {update} (epoch {epoch}): {}",
        named(terms)
    )]
    NotFinite {
        /// Update, counted from 0.
        update: usize,
        /// Epoch, counted from 0.
        epoch: usize,
        /// The terms that are none, with their values.
        terms: Vec<(String, f64)>,
        /// Whether a state from before the update was saved, and where.
        saved: Option<PathBuf>,
    },
    /// A gradient is no number although the loss is.
    #[error("the gradient is no number at update {update} (epoch {epoch}), the loss is")]
    GradientNotFinite {
        /// Update, counted from 0.
        update: usize,
        /// Epoch, counted from 0.
        epoch: usize,
        /// Whether a state from before the update was saved, and where.
        saved: Option<PathBuf>,
    },
    /// The loss on validation images is no number.
    #[error("the validation loss of {term} is {value} after epoch {epoch}")]
    ValidationNotFinite {
        /// Epoch, counted from 0.
        epoch: usize,
        /// The term that is none.
        term: String,
        /// Its value.
        value: f64,
    },
    /// The user or the system asked for the end; the state is saved.
    #[error("interrupted after {updates_done} of {updates} updates")]
    Interrupted {
        /// Updates that are done.
        updates_done: usize,
        /// Updates of the whole run.
        updates: usize,
        /// The state that the same command goes on from.
        state: PathBuf,
    },
    /// A saved state belongs to another run.
    #[error(
        "{} is the state of another run: its {what} is {found}, this run's is {expected}",
        path.display()
    )]
    OtherRun {
        /// The state.
        path: PathBuf,
        /// What tells the two apart.
        what: String,
        /// What the state was made under.
        found: String,
        /// What the command asks for.
        expected: String,
    },
    /// A tensor of a saved state does not fit the model.
    #[error("the saved state does not fit: {name} {reason}")]
    Unfit {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights that were to be kept on the way are not.
    #[error("the weights of epoch {epoch} cannot be kept: {reason}")]
    Keep {
        /// Epoch, counted from 1.
        epoch: usize,
        /// What is wrong.
        reason: String,
    },
    /// An image is not what it was when the run began.
    #[error("{path} has changed since the run began")]
    ImageChanged {
        /// The image.
        path: String,
    },
    /// An image that cannot be trained on.
    #[error("{path}: {reason}")]
    Image {
        /// The image.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A label that the head has no output for.
    #[error("{path} has label {label}, the head has {classes} classes")]
    Label {
        /// The image.
        path: String,
        /// Its label.
        label: u32,
        /// Outputs of the head.
        classes: usize,
    },
    /// A recipe that cannot be carried out.
    #[error("{message}")]
    Recipe {
        /// What is wrong with it.
        message: String,
        /// What to change.
        hint: &'static str,
    },
    /// Images cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Images and masks cannot be loaded.
    #[error(transparent)]
    Scenes(#[from] SegmentationDataError),
    /// The state cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The curves cannot be written.
    #[error(transparent)]
    Curves(#[from] CurvesError),
    /// The model cannot be built or trained.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The parameters cannot be moved.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
}

impl From<EngineError> for TrainError {
    fn from(error: EngineError) -> Self {
        Self::Model(error.into())
    }
}

fn named(terms: &[(String, f64)]) -> String {
    let term = |(name, value): &(String, f64)| format!("{name} is {value}");
    terms.iter().map(term).collect::<Vec<_>>().join(", ")
}

impl TrainError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let diverged = |saved: &Option<PathBuf>| match saved {
            Some(path) => format!(
                "a smaller learning rate or clipped gradients may keep it finite; the state before the update is {}",
                path.display()
            ),
            None => "a smaller learning rate or clipped gradients may keep it finite".to_owned(),
        };
        match self {
            Self::NotFinite { saved, .. } | Self::GradientNotFinite { saved, .. } => {
                Some(diverged(saved))
            }
            Self::ValidationNotFinite { .. } => Some(diverged(&None)),
            Self::Interrupted { state, .. } => Some(format!(
                "the same command goes on from {}",
                state.display()
            )),
            Self::OtherRun { what, found, .. } if what == AT_ONCE => Some(format!(
                "--batch {found} or --batch auto goes on from it; --recompute begins again and loses the state"
            )),
            Self::OtherRun { .. } => Some(
                "choose another folder (--run, or --out of pre-training), or give --recompute to begin again and lose the state"
                    .to_owned(),
            ),
            Self::Unfit { .. } => {
                Some("it is of another version: --recompute begins again".to_owned())
            }
            Self::ImageChanged { .. } => Some(
                "--recompute begins again on the images as they are now; the state is kept until then"
                    .to_owned(),
            ),
            Self::Keep { .. } => Some("the same command goes on from the state before".to_owned()),
            Self::Image { .. } => Some(
                "neither training nor its validation leaves an image out: mend the file or remove it (mimbench data check names all such files)"
                    .to_owned(),
            ),
            Self::Label { .. } => {
                Some("the dataset has more classes than the checkpoint's head".to_owned())
            }
            Self::Recipe { hint, .. } => Some((*hint).to_owned()),
            Self::Load(error) => error.hint(),
            Self::Scenes(error) => error.hint(),
            Self::Store(StoreError::Damaged { .. }) => {
                Some("no state of the run can be read: --recompute begins again".to_owned())
            }
            Self::Store(StoreError::Io { source, .. })
                if matches!(source.kind(), StorageFull | QuotaExceeded) =>
            {
                Some("free some space: the same command goes on from the last state".to_owned())
            }
            Self::Store(error) => error.hint(),
            Self::Curves(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Optimizer(error) => error.hint(),
        }
    }
}
