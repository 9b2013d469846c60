//! Published values: one CSV file a table, one line a cell.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{ColumnKind, Paper, PaperError, TableDefinition};

/// The fields of a line.
const HEADER: [&str; 10] = [
    "paper", "table", "row", "label", "column", "value", "missing", "marks", "note", "citation",
];

/// A table of a paper: its definition and every value that is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperTable {
    /// What its columns and rows are.
    pub definition: TableDefinition,
    /// From top to bottom; every row has a cell for every column.
    pub rows: Vec<PublishedRow>,
}

/// A row as it is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedRow {
    /// Counted from 1.
    pub number: usize,
    /// What is printed at its left.
    pub label: String,
    /// In the order of the definition's columns.
    pub cells: Vec<PublishedCell>,
}

/// A cell as it is printed.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedCell {
    /// What stands there.
    pub content: Content,
    /// Signs beside it, and what is known of it.
    pub marks: Vec<PublishedMark>,
    /// What a reader must know.
    pub note: Option<String>,
    /// Paper and table.
    pub citation: String,
}

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// A number and the way it is printed.
    Number {
        /// The number.
        value: f64,
        /// As printed: `60.50`.
        printed: String,
    },
    /// Words.
    Text(String),
    /// Nothing, and why.
    Missing(String),
}

impl Content {
    /// As printed, where anything is.
    pub fn printed(&self) -> Option<&str> {
        match self {
            Self::Number { printed, .. } => Some(printed),
            Self::Text(text) => Some(text),
            Self::Missing(_) => None,
        }
    }
}

/// A sign beside a value, or what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublishedMark {
    /// † in the paper.
    Dagger,
    /// ‡ in the paper.
    DoubleDagger,
    /// * in the paper.
    Asterisk,
    /// Chosen by looking at the validation set.
    Selected,
    /// Read off a figure, or rounded by the paper's own words.
    Approximate,
}

impl PublishedMark {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Dagger,
        Self::DoubleDagger,
        Self::Asterisk,
        Self::Selected,
        Self::Approximate,
    ];

    /// The word in CSV files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dagger => "dagger",
            Self::DoubleDagger => "double-dagger",
            Self::Asterisk => "asterisk",
            Self::Selected => "selected",
            Self::Approximate => "approximate",
        }
    }
}

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    paper: String,
    table: String,
    row: String,
    label: String,
    column: String,
    value: String,
    missing: String,
    marks: String,
    note: String,
    citation: String,
}

/// A row while its lines are read.
struct Partial {
    label: String,
    cells: Vec<Option<PublishedCell>>,
}

impl PaperTable {
    /// The table of `definition` with the values in `text`, which was read from `file`.
    ///
    /// # Errors
    /// One that names the file, the line and the field; a row is never left out.
    pub fn parse(definition: TableDefinition, file: &Path, text: &str) -> Result<Self, PaperError> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| malformed(file, &error))?;
        if *header != HEADER[..] {
            let reason = format!("the header is to be {}", HEADER.join(","));
            return Err(PaperError::line(file, 1, reason));
        }
        let header = header.clone();
        let mut rows: BTreeMap<usize, Partial> = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|error| malformed(file, &error))?;
            let at = record.position().map_or(0, csv::Position::line);
            let line = record.deserialize(Some(&header));
            let line: Line = line.map_err(|error| malformed(file, &error))?;
            let wrong = |reason: String| PaperError::line(file, at, reason);
            line.check_place(&definition).map_err(wrong)?;
            let column = definition
                .columns
                .iter()
                .position(|column| column.name == line.column);
            let column = column.ok_or_else(|| {
                wrong(format!(
                    "column: the definition has no column \"{}\"",
                    line.column
                ))
            })?;
            let kind = definition.columns[column].kind;
            let cell = line.cell(kind).map_err(wrong)?;
            let number = line.number().map_err(wrong)?;
            let row = rows.entry(number).or_insert_with(|| Partial {
                label: line.label.clone(),
                cells: vec![None; definition.columns.len()],
            });
            if row.label != line.label {
                return Err(wrong(format!(
                    "label: row {number} is \"{}\" above and \"{}\" here",
                    row.label, line.label
                )));
            }
            if row.cells[column].replace(cell).is_some() {
                return Err(wrong(format!(
                    "column: row {number} has \"{}\" twice",
                    line.column
                )));
            }
        }
        let table = Self {
            rows: complete(&definition, rows, file)?,
            definition,
        };
        Ok(table)
    }

    /// The cell of a row, counted from 1, under a column's name.
    pub fn cell(&self, row: usize, column: &str) -> Option<&PublishedCell> {
        let mut columns = self.definition.columns.iter();
        let column = columns.position(|found| found.name == column)?;
        self.rows.get(row.checked_sub(1)?)?.cells.get(column)
    }
}

/// Rows that are numbered without gaps, each with all its cells.
fn complete(
    definition: &TableDefinition,
    rows: BTreeMap<usize, Partial>,
    file: &Path,
) -> Result<Vec<PublishedRow>, PaperError> {
    let count = rows.len();
    if let Some(row) = definition
        .rows
        .iter()
        .find(|row| !rows.contains_key(&row.row))
    {
        let known = row.checkpoint.as_ref().or(row.point.as_ref());
        let reason = format!(
            "row {} is {} in the definition and is not here",
            row.row,
            known.map_or("", String::as_str)
        );
        return Err(PaperError::field(file, "row", reason));
    }
    let mut complete = Vec::new();
    for (expected, (number, Partial { label, cells })) in (1..).zip(rows) {
        if number != expected {
            let reason = format!("there is no row {expected} among {count}");
            return Err(PaperError::field(file, "row", reason));
        }
        let mut row = PublishedRow {
            number,
            label,
            cells: Vec::new(),
        };
        for (cell, column) in cells.into_iter().zip(&definition.columns) {
            row.cells.push(cell.ok_or_else(|| PaperError::NoCell {
                file: file.to_owned(),
                row: number,
                column: column.name.clone(),
            })?);
        }
        complete.push(row);
    }
    if complete.is_empty() {
        return Err(PaperError::field(file, "row", "there are none"));
    }
    Ok(complete)
}

fn malformed(file: &Path, error: &csv::Error) -> PaperError {
    let line = error.position().map_or(1, csv::Position::line);
    let reason = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("has {len} fields in place of {expected_len}"),
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    PaperError::line(file, line, reason)
}

impl Line {
    /// Checks that the line is of this table.
    fn check_place(&self, definition: &TableDefinition) -> Result<(), String> {
        if Paper::of_slug(&self.paper).is_none() {
            let known = Paper::ALL.map(Paper::slug).join(", ");
            return Err(format!(
                "paper: \"{}\" is unknown; known are {known}",
                self.paper
            ));
        }
        if self.paper != definition.paper.slug() || self.table != definition.table {
            return Err(format!(
                "table: {} {} does not belong here",
                self.paper, self.table
            ));
        }
        Ok(())
    }

    fn number(&self) -> Result<usize, String> {
        match self.row.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("row: \"{}\" is no number from 1 on", self.row)),
        }
    }

    fn cell(&self, kind: ColumnKind) -> Result<PublishedCell, String> {
        if self.label.trim().is_empty() {
            return Err("label: is empty".to_owned());
        }
        if self.citation.trim().is_empty() {
            return Err("citation: is missing".to_owned());
        }
        let content = match (self.value.is_empty(), self.missing.is_empty()) {
            (false, true) => self.content(kind)?,
            (true, false) => Content::Missing(self.missing.clone()),
            (true, true) => {
                return Err("value: is missing, and missing does not say why".to_owned());
            }
            (false, false) => {
                return Err("missing: says why a value is missing that is there".to_owned());
            }
        };
        let marks = self.marks.split(';').filter(|mark| !mark.is_empty());
        let marks: Result<Vec<_>, _> = marks.map(mark).collect();
        Ok(PublishedCell {
            content,
            marks: marks?,
            note: (!self.note.is_empty()).then(|| self.note.clone()),
            citation: self.citation.clone(),
        })
    }

    fn content(&self, kind: ColumnKind) -> Result<Content, String> {
        let printed = self.value.clone();
        match kind {
            ColumnKind::Text => Ok(Content::Text(printed)),
            ColumnKind::Number => match number(&printed) {
                Some(value) => Ok(Content::Number { value, printed }),
                None => Err(format!(
                    "value: \"{printed}\" is no number, and \"{}\" is a column of numbers",
                    self.column
                )),
            },
        }
    }
}

fn mark(name: &str) -> Result<PublishedMark, String> {
    let mut marks = PublishedMark::ALL.into_iter();
    let found = marks.find(|mark| mark.name() == name);
    found.ok_or_else(|| {
        let known = PublishedMark::ALL.map(PublishedMark::name).join(", ");
        format!("marks: \"{name}\" is unknown; known are {known}")
    })
}

/// A number as papers print it: digits, perhaps a sign and a point.
fn number(printed: &str) -> Option<f64> {
    let digits = printed.strip_prefix(['+', '-']).unwrap_or(printed);
    let plain = digits.bytes().all(|c| c.is_ascii_digit() || c == b'.');
    let ends = [digits.bytes().next(), digits.bytes().last()];
    let whole = ends.iter().all(|c| c.is_some_and(|c| c.is_ascii_digit()));
    (plain && whole).then(|| printed.parse().ok())?
}

#[cfg(test)]
pub(super) mod samples {
    use super::super::table::samples::definition;
    use super::*;

    pub(in super::super) const CSV: &str = "\
paper,table,row,label,column,value,missing,marks,note,citation
medic,1,1,MAE,Epochs,800,,,,\"MEDiC, table 1\"
medic,1,1,MAE,Backbone,ViT-B,,,,\"MEDiC, table 1\"
medic,1,1,MAE,top-1,9.53,,dagger;selected,the paper's own run,\"MEDiC, table 1\"
medic,1,2,\"BEiT, 800\",Epochs,,dash in the paper,,,\"MEDiC, table 1\"
medic,1,2,\"BEiT, 800\",Backbone,ViT-B,,,,\"MEDiC, table 1\"
medic,1,2,\"BEiT, 800\",top-1,1.93,,,,\"MEDiC, table 1\"
medic,1,3,MEDiC,Epochs,300,,,,\"MEDiC, table 1\"
medic,1,3,MEDiC,Backbone,ViT-B,,,,\"MEDiC, table 1\"
medic,1,3,MEDiC,top-1,73.92,,,,\"MEDiC, table 1\"
";

    pub(in super::super) fn table() -> PaperTable {
        PaperTable::parse(definition(), Path::new("medic-1.csv"), CSV).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::samples::definition;
    use super::{samples::*, *};

    #[test]
    fn values_are_read_as_they_are_printed() {
        let table = table();
        let labels: Vec<_> = table.rows.iter().map(|row| row.label.as_str()).collect();
        assert_eq!(labels, ["MAE", "BEiT, 800", "MEDiC"]);
        let cell = table.cell(1, "top-1").unwrap();
        assert_eq!(cell.content.printed(), Some("9.53"));
        assert_eq!(cell.marks, [PublishedMark::Dagger, PublishedMark::Selected]);
        let missing = Content::Missing("dash in the paper".to_owned());
        assert_eq!(table.cell(2, "Epochs").unwrap().content, missing);
        assert_eq!(table.cell(4, "top-1"), None);
        assert_eq!(table.cell(1, "top-5"), None);
    }

    #[test]
    fn what_is_wrong_is_named_by_file_line_and_field() {
        for (from, to, said) in [
            ("9.53", "9.5.3", "line 4: value: \"9.5.3\" is no number"),
            ("9.53", "1e3", "line 4: value: \"1e3\" is no number"),
            ("9.53", "nan", "line 4: value: \"nan\" is no number"),
            (
                "9.53,,",
                ",,",
                "line 4: value: is missing, and missing does not say why",
            ),
            (
                "9.53,,",
                "9.53,lost,",
                "line 4: missing: says why a value is missing that is there",
            ),
            ("dagger;", "dager;", "line 4: marks: \"dager\" is unknown"),
            (
                "run,\"MEDiC, table 1\"",
                "run,",
                "line 4: citation: is missing",
            ),
            (
                "medic,1,1,MAE,E",
                "mae,1,1,MAE,E",
                "line 2: paper: \"mae\" is unknown; known are medic, ",
            ),
            (
                "medic,1,1,MAE,E",
                "medic,2,1,MAE,E",
                "line 2: table: medic 2 does not belong here",
            ),
            (
                "medic,1,1,MAE,E",
                "medic,1,x,MAE,E",
                "line 2: row: \"x\" is no number from 1 on",
            ),
            (
                "medic,1,1,MAE,E",
                "medic,1,0,MAE,E",
                "line 2: row: \"0\" is no number from 1 on",
            ),
            (
                "medic,1,1,MAE,B",
                "medic,1,1,mae,B",
                "line 3: label: row 1 is \"MAE\" above and \"mae\" here",
            ),
            ("medic,1,1,MAE,B", "medic,1,1,,B", "line 3: label: is empty"),
            (
                ",top-1,9.53",
                ",top-5,9.53",
                "line 4: column: the definition has no column \"top-5\"",
            ),
            (
                "1,MAE,Backbone,ViT-B",
                "1,MAE,Epochs,800",
                "line 3: column: row 1 has \"Epochs\" twice",
            ),
            (
                "medic,1,3,MEDiC,Backbone,ViT-B,,,,\"MEDiC, table 1\"\n",
                "",
                "row 3 has no cell for column \"Backbone\"",
            ),
            (
                "medic,1,3",
                "medic,1,4",
                "row: row 3 is medic-vit-base-16 in the definition and is not here",
            ),
            ("medic,1,2", "medic,1,4", "row: there is no row 2 among 3"),
            (",800,,,,", ",800,,,", "line 2: has 9 fields in place of 10"),
            (
                "missing,marks",
                "marks,missing",
                "line 1: the header is to be paper,table,",
            ),
        ] {
            assert!(CSV.contains(from), "{from}");
            let text = CSV.replace(from, to);
            let parsed = PaperTable::parse(definition(), Path::new("p/medic-1.csv"), &text);
            let error = parsed.unwrap_err();
            assert!(error.hint().is_some());
            let error = error.to_string();
            assert!(
                error.starts_with(&format!("p/medic-1.csv: {said}")),
                "{error}"
            );
        }
        let header = format!("{}\n", HEADER.join(","));
        let mut definition = definition();
        definition.rows.clear();
        let none = PaperTable::parse(definition, Path::new("x.csv"), &header);
        assert_eq!(none.unwrap_err().to_string(), "x.csv: row: there are none");
    }
}
