//! Pre-training recipes by the name of whose they are.

/// A recipe that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PretrainPreset {
    /// MAE, ViT-B.
    Mae,
}

impl PretrainPreset {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Mae];

    /// Its word on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mae => "mae",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The recipe's text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Mae => include_str!("../../protocols/pretrain/mae.toml"),
        }
    }
}
