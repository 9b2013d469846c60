//! What makes a segmentation impossible before it begins.

/// An encoder, a head and windows that do not go together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SegmentationError {
    /// BEiT's neck has levels for other patches.
    #[error("UperNet's neck has no levels for patches of {patch_size} pixels")]
    PatchSize {
        /// Side of the encoder's patches, pixels.
        patch_size: usize,
    },
    /// The coarsest level of the pyramid would have no pixel.
    #[error("UperNet's coarsest level has no pixel over a grid of {} x {} patches", grid[0], grid[1])]
    Grid {
        /// Rows and columns of patches.
        grid: [usize; 2],
    },
    /// The head reads what the encoder does not have.
    #[error("the head reads normalised tokens, and the encoder has no norm over its tokens")]
    NoNorm,
    /// A number in a configuration that nothing can be built with.
    #[error("{name} is {value}, it must be {range}")]
    Setting {
        /// What it is.
        name: &'static str,
        /// What it was given as.
        value: String,
        /// What it may be.
        range: &'static str,
    },
}

impl SegmentationError {
    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::PatchSize { .. } => {
                "UperNet takes encoders with patches of 4, 8, 14 or 16 pixels; a linear head takes any"
            }
            Self::Grid { .. } => "a larger crop has more patches",
            Self::NoNorm => "a head without the norm reads the blocks' outputs as they are",
            Self::Setting { .. } => "the protocol or --set chooses it",
        }
    }
}
