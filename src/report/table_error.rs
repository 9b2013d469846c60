//! What can be wrong with a table.

/// Why a table cannot be rendered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A row has too few or too many cells.
    #[error("row {row} of {title:?} has {cells} cells for {columns} columns")]
    Ragged {
        /// The table.
        title: String,
        /// Counted from 1.
        row: usize,
        /// Cells in the row.
        cells: usize,
        /// Columns of the table.
        columns: usize,
    },
    /// There is nothing to show.
    #[error("{title:?} has no columns")]
    NoColumns {
        /// The table.
        title: String,
    },
    /// Two columns share a name, so that the fields of a CSV file would.
    #[error("{title:?} has two columns named {column:?}")]
    DuplicateColumn {
        /// The table.
        title: String,
        /// The name, as the CSV header writes it.
        column: String,
    },
    /// A value or a bound is NaN or infinite.
    #[error("row {row}, column {column:?} of {title:?} is {value}, not a number to report")]
    NotFinite {
        /// The table.
        title: String,
        /// Counted from 1.
        row: usize,
        /// The column's name.
        column: String,
        /// NaN or an infinity.
        value: f64,
    },
    /// The lower bound lies above the upper one.
    #[error("row {row}, column {column:?} of {title:?} has the interval [{low}, {high}]")]
    Reversed {
        /// The table.
        title: String,
        /// Counted from 1.
        row: usize,
        /// The column's name.
        column: String,
        /// The lower bound.
        low: f64,
        /// The upper bound.
        high: f64,
    },
}

impl TableError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFinite { .. } => Some(
                "a run that diverged has no value: look at its record, and leave the cell missing"
                    .into(),
            ),
            Self::DuplicateColumn { .. } => Some("give each column its own name".into()),
            Self::Ragged { .. } | Self::NoColumns { .. } | Self::Reversed { .. } => None,
        }
    }
}
