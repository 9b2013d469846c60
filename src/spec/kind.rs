//! What protocols measure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `kind = ` of a protocol file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kNN classification of frozen features.
    Knn,
    /// Attention distance, mutual information, entropy, and diagnostics of the layers.
    Attention,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 2] = [Self::Knn, Self::Attention];

    /// The word in protocol files; also the subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Knn => "knn",
            Self::Attention => "attention",
        }
    }

    /// Text of the protocol that is used when no file is given.
    pub fn builtin(self) -> &'static str {
        match self {
            Self::Knn => include_str!("../../protocols/knn.toml"),
            Self::Attention => include_str!("../../protocols/attention.toml"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
