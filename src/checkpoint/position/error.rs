//! Why a position table cannot be resized.

/// A position table cannot be brought to another grid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// The table is not one of the grid it is said to be of.
    #[error(
        "a table of {} x {} patches and {others} other rows cannot have shape {shape:?}",
        grid[0], grid[1]
    )]
    Shape {
        /// Dimensions of the table.
        shape: Vec<usize>,
        /// Rows and columns of patches it should be of.
        grid: [usize; 2],
        /// Rows that belong to no place: prefix tokens, or pairs with the class token.
        others: usize,
    },
    /// A grid without patches, or with more than memory can address.
    #[error("there is no table of {} x {} patches", grid[0], grid[1])]
    Grid {
        /// Rows and columns of patches.
        grid: [usize; 2],
    },
    /// A cubic spline needs four points.
    #[error(
        "no cubic spline passes through a relative position table of {} x {} patches: it needs 3 x 3",
        grid[0], grid[1]
    )]
    TooFewPoints {
        /// Rows and columns of patches.
        grid: [usize; 2],
    },
}

impl PositionError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Shape { .. } => {
                "the checkpoint was trained at another input size than it is read as"
            }
            Self::Grid { .. } => "another input size is needed, in pixels and at least one patch",
            Self::TooFewPoints { .. } => {
                "another way of resizing takes fewer patches, a linear one for example"
            }
        };
        Some(hint.to_owned())
    }
}
