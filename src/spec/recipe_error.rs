//! What can be wrong with a pre-training recipe.

use std::path::PathBuf;

use super::{PretrainPreset, SpecError};
use crate::pretrain::MethodError;

/// A recipe that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read, and its name is no built-in recipe's.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not parse, or has an unknown key.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        reason: String,
    },
    /// `extends` leads to a file that extends another.
    #[error("{}: extends a file that extends another one", path.display())]
    Chain {
        /// The file.
        path: PathBuf,
    },
    /// A file that gives other settings under the name of a built-in recipe.
    #[error("{} is called {name}, and its settings are not those of {name}", path.display())]
    TakenName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// A `--set` is none.
    #[error(transparent)]
    Setting(SpecError),
    /// A `--set` cannot be applied.
    #[error("--set {setting}: {reason}")]
    Set {
        /// As given.
        setting: String,
        /// What is wrong.
        reason: String,
    },
    /// A value makes no sense.
    #[error("{recipe}: {field} {reason}")]
    Value {
        /// Name of the recipe.
        recipe: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What it describes cannot be carried out.
    #[error("{recipe}: {source}")]
    Method {
        /// Name of the recipe.
        recipe: String,
        /// What is wrong.
        source: Box<MethodError>,
    },
}

impl RecipeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => {
                let names = PretrainPreset::ALL.map(PretrainPreset::name).join(", ");
                Some(format!(
                    "a recipe is a TOML file such as protocols/pretrain/mae.toml, or one of {names}"
                ))
            }
            Self::Parse { .. } | Self::Set { .. } => {
                Some("protocols/pretrain/medic-paper.toml shows the keys of a recipe".to_owned())
            }
            Self::Chain { .. } => Some("name the recipe that the other one extends".to_owned()),
            Self::TakenName { .. } => Some("give it a name of its own".to_owned()),
            Self::Setting(error) => error.hint(),
            Self::Value {
                field: "training.schedule",
                ..
            } => Some(
                "--set training.schedule.warmup_epochs=N with fewer epochs than the run, 0 for none"
                    .to_owned(),
            ),
            Self::Value {
                field: field @ ("augment" | "training.optimizer"),
                ..
            } => Some(format!("--set {field}.KEY=VALUE changes a part of it")),
            Self::Value { field, .. } => Some(format!("--set {field}=VALUE changes it")),
            Self::Method { source, .. } => source.hint(),
        }
    }
}
