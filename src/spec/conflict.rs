//! Where papers contradict themselves or each other.

use std::fmt;
use std::path::Path;

use serde::Deserialize;

use super::{PaperError, PaperTable, line_of};

/// One thing that is said in several ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What is said.
    pub what: String,
    /// Why it matters or how it may come about.
    pub note: Option<String>,
    /// What is said where; at least two.
    pub claims: Vec<Claim>,
}

/// What is said in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub place: Place,
    /// What, as it stands there.
    pub value: String,
}

/// Where something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a table.
    Cell(CellPlace),
    /// Elsewhere: `MEDiC, section 4.3`.
    Source(String),
}

/// A cell of a published table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellPlace {
    /// Id of the table.
    pub table: String,
    /// Counted from 1.
    pub row: usize,
    /// Name of the column.
    pub column: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(CellPlace { table, row, column }) => {
                write!(f, "{table}, row {row}, {column}")
            }
            Self::Source(source) => f.write_str(source),
        }
    }
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConflictFile {
    #[serde(default)]
    conflict: Vec<ConflictEntry>,
}

/// `[[conflict]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConflictEntry {
    what: String,
    note: Option<String>,
    #[serde(default)]
    claims: Vec<ClaimEntry>,
}

/// `[[conflict.claims]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClaimEntry {
    cell: Option<CellPlace>,
    source: Option<String>,
    value: String,
}

impl Conflict {
    /// The conflicts in `text`, which was read from `file`, about `tables` and the papers' prose.
    ///
    /// # Errors
    /// One that names the file and the conflict: also a claim about a cell that holds another value.
    pub fn parse(file: &Path, text: &str, tables: &[PaperTable]) -> Result<Vec<Self>, PaperError> {
        let parsed: ConflictFile = toml::from_str(text).map_err(|error| PaperError::Toml {
            file: file.to_owned(),
            reason: line_of(&error, text),
        })?;
        let mut conflicts: Vec<Self> = Vec::new();
        for entry in parsed.conflict {
            let field = format!("conflict \"{}\"", entry.what);
            let twice = conflicts.iter().any(|other| other.what == entry.what);
            let conflict = match twice {
                true => Err("is there twice".to_owned()),
                false => entry.conflict(tables),
            };
            conflicts.push(conflict.map_err(|reason| PaperError::field(file, field, reason))?);
        }
        Ok(conflicts)
    }

    /// Whether a cell is one of those that contradict each other.
    pub fn concerns(&self, table: &str, row: usize, column: &str) -> bool {
        self.claims.iter().any(|claim| match &claim.place {
            Place::Cell(cell) => {
                (cell.table.as_str(), cell.row, cell.column.as_str()) == (table, row, column)
            }
            Place::Source(_) => false,
        })
    }
}

impl ConflictEntry {
    fn conflict(self, tables: &[PaperTable]) -> Result<Conflict, String> {
        let claims: Result<Vec<_>, _> = self
            .claims
            .into_iter()
            .map(|claim| claim.claim(tables))
            .collect();
        let claims = claims?;
        if claims.len() < 2 {
            return Err("needs two claims".to_owned());
        }
        Ok(Conflict {
            what: self.what,
            note: self.note,
            claims,
        })
    }
}

impl ClaimEntry {
    fn claim(self, tables: &[PaperTable]) -> Result<Claim, String> {
        let place = match (self.cell, self.source) {
            (Some(cell), None) => Place::Cell(cell),
            (None, Some(source)) => Place::Source(source),
            (Some(_), Some(_)) | (None, None) => {
                return Err(format!(
                    "the claim of {} needs a cell or a source",
                    self.value
                ));
            }
        };
        if let Place::Cell(cell) = &place {
            let table = tables
                .iter()
                .find(|table| table.definition.id == cell.table);
            let table = table.ok_or_else(|| format!("there is no table {}", cell.table))?;
            let found = table.cell(cell.row, &cell.column);
            let found = found.ok_or_else(|| format!("there is no cell {place}"))?;
            match found.content.printed() {
                Some(printed) if printed == self.value => {}
                Some(printed) => {
                    return Err(format!("{place} is {printed}, not {}", self.value));
                }
                None => return Err(format!("{place} is missing, not {}", self.value)),
            }
        }
        Ok(Claim {
            place,
            value: self.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::published::samples::table;
    use super::*;

    const CONFLICTS: &str = r#"
[[conflict]]
what = "kNN top-1 of MAE"
note = "a sentence"

[[conflict.claims]]
cell = { table = "medic-1", row = 1, column = "top-1" }
value = "9.53"

[[conflict.claims]]
source = "MEDiC, section 4.3"
value = "9.5"
"#;

    #[test]
    fn conflicts_are_read_and_found_by_their_cells() {
        let conflicts = Conflict::parse(Path::new("medic.toml"), CONFLICTS, &[table()]).unwrap();
        assert_eq!(conflicts.len(), 1);
        assert!(conflicts[0].concerns("medic-1", 1, "top-1"));
        assert!(!conflicts[0].concerns("medic-1", 2, "top-1"));
        let places: Vec<_> = conflicts[0]
            .claims
            .iter()
            .map(|claim| claim.place.to_string())
            .collect();
        assert_eq!(places, ["medic-1, row 1, top-1", "MEDiC, section 4.3"]);
    }

    #[test]
    fn a_claim_that_does_not_hold_is_refused() {
        for (from, to, said) in [
            (
                "\"9.53\"",
                "\"9.54\"",
                "medic-1, row 1, top-1 is 9.53, not 9.54",
            ),
            (
                "row = 1",
                "row = 9",
                "there is no cell medic-1, row 9, top-1",
            ),
            ("\"medic-1\"", "\"medic-9\"", "there is no table medic-9"),
            (
                "source = ",
                "# ",
                "the claim of 9.5 needs a cell or a source",
            ),
        ] {
            let text = CONFLICTS.replace(from, to);
            let error = Conflict::parse(Path::new("c/medic.toml"), &text, &[table()]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("c/medic.toml: conflict \"kNN top-1 of MAE\": {said}")
            );
        }
        let twice = CONFLICTS.repeat(2);
        let error = Conflict::parse(Path::new("m.toml"), &twice, &[table()]).unwrap_err();
        assert!(error.to_string().ends_with("is there twice"));
        let one = CONFLICTS.rsplit_once("[[conflict.claims]]").unwrap().0;
        let error = Conflict::parse(Path::new("m.toml"), one, &[table()]).unwrap_err();
        assert!(error.to_string().ends_with("needs two claims"));
        let unknown = CONFLICTS.replace("note", "notes");
        let error = Conflict::parse(Path::new("m.toml"), &unknown, &[table()]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("m.toml: line 4: unknown field")
        );
    }
}
