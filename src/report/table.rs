//! A table before it has a format.

use std::collections::BTreeSet;

use super::table_error::TableError;

/// Rows of measures under named columns. The renderers differ in punctuation only; numbers stay
/// `f64` until they round them.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One line above the table.
    pub title: String,
    /// From left to right.
    pub columns: Vec<Column>,
    /// From top to bottom, each with one cell a column.
    pub rows: Vec<Vec<Cell>>,
    /// Lines below the table. Marks and missing cells explain themselves and need none.
    pub footnotes: Vec<String>,
}

/// The head of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Unique in its table.
    pub name: String,
    /// Such as `%`, shown in parentheses after the name.
    pub unit: Option<String>,
    /// Where the cells stand.
    pub align: Align,
}

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// For text.
    Left,
    /// For numbers.
    Right,
}

/// One entry of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words, shown as they are.
    Text(String),
    /// An exact number of things.
    Count(u64),
    /// A measured or published number, in the column's unit.
    Value {
        /// The estimate.
        value: f64,
        /// Lower and upper bound, where they are known.
        interval: Option<[f64; 2]>,
        /// Digits after the point in formats for people.
        decimals: u8,
        /// What the reader has to know about it.
        marks: Vec<Mark>,
    },
    /// Nothing, and why.
    Missing(String),
}

/// A warning attached to a value. The order is the one in which marks are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// The protocol, the images or the weights were changed on the command line.
    Modified,
    /// The best of several, by the data that it is reported on.
    Selected,
    /// Not every sample counts.
    Skipped,
}

impl Mark {
    /// The sign beside the value.
    pub const fn sign(self) -> char {
        match self {
            Mark::Modified => '*',
            Mark::Selected => '†',
            Mark::Skipped => '‡',
        }
    }

    /// The word for it in formats for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Modified => "modified",
            Mark::Selected => "selected",
            Mark::Skipped => "skipped",
        }
    }

    /// What it means, for a footnote.
    pub const fn explanation(self) -> &'static str {
        match self {
            Mark::Modified => "not the protocol as it stands, see below",
            Mark::Selected => "selected on the validation set",
            Mark::Skipped => "images that could not be decoded are left out",
        }
    }
}

/// The marks of one value, each once, in the order in which all formats show them.
pub(super) fn ordered(marks: &[Mark]) -> BTreeSet<Mark> {
    marks.iter().copied().collect()
}

impl Column {
    /// The name with its unit: `top-1 (%)`.
    pub fn heading(&self) -> String {
        self.with_unit("")
    }

    /// The heading of a field that goes with the column: `top-1_low (%)`.
    pub(super) fn with_unit(&self, suffix: &str) -> String {
        match &self.unit {
            Some(unit) => format!("{}{suffix} ({unit})", self.name),
            None => format!("{}{suffix}", self.name),
        }
    }
}

impl Table {
    /// Checks what every renderer relies on.
    ///
    /// # Errors
    /// No columns, two of one name, a row of another length, a number that is not finite, an interval
    /// with its bounds exchanged.
    pub fn check(&self) -> Result<(), TableError> {
        let title = || self.title.clone();
        if self.columns.is_empty() {
            return Err(TableError::NoColumns { title: title() });
        }
        let mut names = BTreeSet::new();
        for column in &self.columns {
            if !names.insert(&column.name) {
                return Err(TableError::DuplicateColumn {
                    title: title(),
                    column: column.name.clone(),
                });
            }
        }
        for (row, cells) in (1..).zip(&self.rows) {
            if cells.len() != self.columns.len() {
                return Err(TableError::Ragged {
                    title: title(),
                    row,
                    cells: cells.len(),
                    columns: self.columns.len(),
                });
            }
            for (cell, column) in cells.iter().zip(&self.columns) {
                let Cell::Value {
                    value, interval, ..
                } = cell
                else {
                    continue;
                };
                let bounds = interval.iter().flatten();
                if let Some(&value) = bounds.chain([value]).find(|v| !v.is_finite()) {
                    return Err(TableError::NotFinite {
                        title: title(),
                        row,
                        column: column.name.clone(),
                        value,
                    });
                }
                if let Some([low, high]) = *interval
                    && low > high
                {
                    return Err(TableError::Reversed {
                        title: title(),
                        row,
                        column: column.name.clone(),
                        low,
                        high,
                    });
                }
            }
        }
        Ok(())
    }

    /// The marks in use, in the order of [`Mark`].
    pub(super) fn marks(&self) -> BTreeSet<Mark> {
        let cells = self.rows.iter().flatten();
        cells.flat_map(Cell::marks).copied().collect()
    }

    /// Why cells are missing, each reason once, in the order in which a reader meets them.
    pub(super) fn reasons(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        let cells = self.rows.iter().flatten();
        cells
            .filter_map(|cell| match cell {
                Cell::Missing(reason) => Some(reason.as_str()),
                Cell::Text(_) | Cell::Count(_) | Cell::Value { .. } => None,
            })
            .filter(|reason| seen.insert(*reason))
            .collect()
    }
}

impl Cell {
    fn marks(&self) -> &[Mark] {
        match self {
            Cell::Value { marks, .. } => marks,
            Cell::Text(_) | Cell::Count(_) | Cell::Missing(_) => &[],
        }
    }
}

/// Tables that the tests of the renderers share.
#[cfg(test)]
pub(super) mod samples {
    use super::*;

    fn column(name: &str, unit: Option<&str>, align: Align) -> Column {
        Column {
            name: name.into(),
            unit: unit.map(Into::into),
            align,
        }
    }

    pub(in super::super) fn value(value: f64, interval: Option<[f64; 2]>, marks: &[Mark]) -> Cell {
        Cell::Value {
            value,
            interval,
            decimals: 1,
            marks: marks.to_vec(),
        }
    }

    pub(in super::super) fn knn() -> Table {
        Table {
            title: "k-NN on ImageNet-1K".into(),
            columns: vec![
                column("checkpoint", None, Align::Left),
                column("n", None, Align::Right),
                column("top-1", Some("%"), Align::Right),
                column("published", Some("%"), Align::Right),
            ],
            rows: vec![
                vec![
                    Cell::Text("MEDiC ViT-B/16, 300 epochs".into()),
                    Cell::Count(50_000),
                    value(71.4375, Some([71.04, 71.832]), &[]),
                    value(71.4, None, &[Mark::Selected]),
                ],
                vec![
                    Cell::Text("MAE, \"official\"".into()),
                    Cell::Count(1000),
                    value(46.25, Some([43.1, 49.4]), &[Mark::Selected, Mark::Modified]),
                    Cell::Missing("not in the paper".into()),
                ],
                vec![
                    Cell::Text("FD".into()),
                    Cell::Missing("not run".into()),
                    Cell::Missing("not run".into()),
                    Cell::Missing("not in the paper".into()),
                ],
            ],
            footnotes: vec!["k = 20, cosine".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    #[test]
    fn a_sound_table_passes() {
        assert_eq!(knn().check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_reported_is_an_error() {
        let broken = |change: fn(&mut Table)| {
            let mut table = knn();
            change(&mut table);
            table.check().unwrap_err().to_string()
        };
        assert_eq!(
            broken(|t| t.rows[1][2] = value(f64::NAN, None, &[])),
            "row 2, column \"top-1\" of \"k-NN on ImageNet-1K\" is NaN, not a number to report"
        );
        assert_eq!(
            broken(|t| t.rows[0][2] = value(1.0, Some([0.0, f64::INFINITY]), &[])),
            "row 1, column \"top-1\" of \"k-NN on ImageNet-1K\" is inf, not a number to report"
        );
        assert_eq!(
            broken(|t| t.rows[0][2] = value(1.0, Some([2.0, 1.0]), &[])),
            "row 1, column \"top-1\" of \"k-NN on ImageNet-1K\" has the interval [2, 1]"
        );
        assert_eq!(
            broken(|t| t.rows[2].truncate(3)),
            "row 3 of \"k-NN on ImageNet-1K\" has 3 cells for 4 columns"
        );
        assert_eq!(
            broken(|t| t.columns[1].name = "top-1".into()),
            "\"k-NN on ImageNet-1K\" has two columns named \"top-1\""
        );
        assert_eq!(
            broken(|t| t.columns.clear()),
            "\"k-NN on ImageNet-1K\" has no columns"
        );
    }
}
