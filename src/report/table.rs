//! A table before it has a format.

use std::collections::BTreeSet;

use serde::Serialize;

use super::cell_text::rounded;
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
    /// Which values are the better ones, where the best is to be seen at a glance.
    pub better: Option<Better>,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Accuracies.
    Higher,
    /// Losses.
    Lower,
}

/// The place of a value in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// No other is better; bold.
    Best,
    /// Only the best are better; underlined.
    Second,
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
        /// Where it stands written; nothing for what the table computes from other values.
        source: Option<Source>,
    },
    /// Nothing, and why.
    Missing(String),
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It was measured.
    Record {
        /// Key of the record.
        key: String,
        /// Its place among the record's measures, from 0.
        measure: usize,
    },
    /// It was counted from the predictions for each image beside a record.
    Outcomes {
        /// Key of the record.
        key: String,
    },
    /// It was published.
    Paper {
        /// Such as `MEDiC, table 1`.
        citation: String,
    },
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
    /// Measured otherwise than the published number beside it.
    Differs,
    /// Measured otherwise than its neighbours in the column.
    Mixed,
}

impl Mark {
    /// The sign beside the value.
    pub const fn sign(self) -> char {
        match self {
            Mark::Modified => '*',
            Mark::Selected => '†',
            Mark::Skipped => '‡',
            Mark::Differs => '§',
            Mark::Mixed => '¶',
        }
    }

    /// The word for it in formats for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Mark::Modified => "modified",
            Mark::Selected => "selected",
            Mark::Skipped => "skipped",
            Mark::Differs => "differs",
            Mark::Mixed => "mixed",
        }
    }

    /// What it means, for a footnote.
    pub const fn explanation(self) -> &'static str {
        match self {
            Mark::Modified => "not the protocol as it stands, see below",
            Mark::Selected => "selected on the validation set",
            Mark::Skipped => "images that could not be decoded are left out",
            Mark::Differs => "the protocol differs from the paper's, see below",
            Mark::Mixed => "another protocol hash than the rest of the column, see below",
        }
    }
}

/// The marks of one value, each once, in the order in which all formats show them.
pub(super) fn ordered(marks: &[Mark]) -> BTreeSet<Mark> {
    marks.iter().copied().collect()
}

impl Column {
    /// A column of words.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            unit: None,
            align: Align::Left,
            better: None,
        }
    }

    /// A column of numbers.
    pub fn numbers(name: impl Into<String>, unit: Option<&str>) -> Self {
        Self {
            unit: unit.map(str::to_owned),
            align: Align::Right,
            ..Self::text(name)
        }
    }

    /// The column with its best values shown as such.
    pub fn ranked(self, better: Better) -> Self {
        Self {
            better: Some(better),
            ..self
        }
    }

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

    /// The place of each cell in its column: nothing but for the best and the second of two or more
    /// values. Values that look alike share a place.
    pub fn ranks(&self) -> Vec<Vec<Option<Rank>>> {
        let mut ranks = vec![vec![None; self.columns.len()]; self.rows.len()];
        for (column, head) in self.columns.iter().enumerate() {
            let Some(better) = head.better else { continue };
            let seen: Vec<Option<f64>> = self
                .rows
                .iter()
                .map(|row| row.get(column).and_then(Cell::seen))
                .collect();
            let mut values: Vec<f64> = seen.iter().copied().flatten().collect();
            if values.len() < 2 {
                continue;
            }
            values.sort_by(f64::total_cmp);
            if better == Better::Higher {
                values.reverse();
            }
            values.dedup();
            for (row, seen) in ranks.iter_mut().zip(seen) {
                let place = values.iter().position(|&value| Some(value) == seen);
                row[column] = match place {
                    Some(0) => Some(Rank::Best),
                    Some(1) => Some(Rank::Second),
                    Some(_) | None => None,
                };
            }
        }
        ranks
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
    /// The value as far as a reader sees it.
    fn seen(&self) -> Option<f64> {
        match self {
            Cell::Value {
                value, decimals, ..
            } => rounded(*value, *decimals).parse().ok(),
            Cell::Text(_) | Cell::Count(_) | Cell::Missing(_) => None,
        }
    }

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

    pub(in super::super) fn value(value: f64, interval: Option<[f64; 2]>, marks: &[Mark]) -> Cell {
        Cell::Value {
            value,
            interval,
            decimals: 1,
            marks: marks.to_vec(),
            source: None,
        }
    }

    pub(in super::super) fn knn() -> Table {
        Table {
            title: "k-NN on ImageNet-1K".into(),
            columns: vec![
                Column::text("checkpoint"),
                Column::numbers("n", None),
                Column::numbers("top-1", Some("%")).ranked(Better::Higher),
                Column::numbers("published", Some("%")),
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

    /// Whatever some format must escape, and one value of each source.
    pub(in super::super) fn hostile() -> Table {
        let sourced = |number, source| match value(number, None, &[]) {
            Cell::Value {
                value,
                interval,
                decimals,
                marks,
                ..
            } => Cell::Value {
                value,
                interval,
                decimals,
                marks,
                source: Some(source),
            },
            cell => cell,
        };
        Table {
            title: "50 % of <b>R&D</b> | $x_1^2$".into(),
            columns: vec![
                Column::text("a|b"),
                Column::numbers("loss", None).ranked(Better::Lower),
            ],
            rows: vec![
                vec![
                    Cell::Text("[a]\\{b}~#\n`c`".into()),
                    sourced(
                        -0.25,
                        Source::Record {
                            key: "ab12".into(),
                            measure: 3,
                        },
                    ),
                ],
                vec![
                    Cell::Text("1. *x* – α \u{1b}".into()),
                    sourced(
                        0.5,
                        Source::Paper {
                            citation: "\"A&B\", table 1".into(),
                        },
                    ),
                ],
                vec![
                    Cell::Text("- MAE".into()),
                    value(-0.24, None, &[Mark::Differs, Mark::Mixed]),
                ],
            ],
            footnotes: vec!["1. a_b > c".into()],
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
    fn the_best_and_the_second_of_a_column_are_those_that_look_so() {
        let ranks = |better, values: &[f64]| -> Vec<Option<Rank>> {
            let table = Table {
                title: String::new(),
                columns: vec![Column {
                    better,
                    ..Column::numbers("x", None)
                }],
                rows: values.iter().map(|&v| vec![value(v, None, &[])]).collect(),
                footnotes: Vec::new(),
            };
            table.ranks().concat()
        };
        let [best, second] = [Some(Rank::Best), Some(Rank::Second)];
        let higher = Some(Better::Higher);
        assert_eq!(ranks(None, &[1.0, 2.0]), [None, None]);
        assert_eq!(ranks(higher, &[1.0]), [None]);
        assert_eq!(ranks(higher, &[1.0, 3.0, 2.0]), [None, best, second]);
        assert_eq!(
            ranks(Some(Better::Lower), &[-0.04, 0.04, 9.0]),
            [best, best, second]
        );
        assert_eq!(
            ranks(higher, &[2.04, 1.0, 1.04, 1.96, 0.0]),
            [best, second, second, best, None]
        );
        let mut table = knn();
        assert_eq!(table.ranks()[0], [None, None, best, None]);
        table.rows[1][2] = Cell::Missing("not run".into());
        assert_eq!(table.ranks().concat(), [None; 12]);
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
