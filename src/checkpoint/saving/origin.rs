//! What a model was before it was written.

use std::path::Path;

use crate::checkpoint::{Checkpoint, CheckpointError, PositionResize};

/// Where a model comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'a> {
    /// A checkpoint, whose weights it has or whose architecture was trained.
    Checkpoint(&'a Checkpoint),
    /// Training alone; this is the file that it is written to.
    Nothing(&'a Path),
}

impl<'a> Origin<'a> {
    /// The file that an error is about.
    pub(super) fn path(self) -> &'a Path {
        match self {
            Self::Checkpoint(from) => &from.path,
            Self::Nothing(path) => path,
        }
    }

    /// Whose way of bringing position tables to another grid the model keeps.
    pub(super) fn position_resize(self) -> PositionResize {
        match self {
            Self::Checkpoint(from) => from.position_resize(),
            // The file is timm's, under canonical names too.
            Self::Nothing(_) => PositionResize::Timm,
        }
    }

    /// An error if the checkpoint was written to since it was opened.
    pub(super) fn check_unchanged(self) -> Result<(), CheckpointError> {
        match self {
            Self::Checkpoint(from) => from.check_unchanged(),
            Self::Nothing(_) => Ok(()),
        }
    }
}
