//! `mimbench report`: from a folder of records to one page.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::{AttentionMaps, Entry, Outcomes, Record, Report};
use crate::store::{StoreError, write_atomic};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Records that the page shows: every one there is.
    pub records: usize,
    /// The page, then the plots.
    pub files: Vec<PathBuf>,
}

/// Everything that lies under `results`.
///
/// # Errors
/// No records, or the first that cannot be shown: none is left out.
pub fn read(results: &Path) -> Result<Report, Error> {
    let mut entries = Vec::new();
    for record in Record::all(results)? {
        let key = &record.cell.key;
        let outcomes = match Outcomes::path(results, key).is_file() {
            true => Some(Outcomes::read(results, key)?),
            false => None,
        };
        let maps = match AttentionMaps::path(results, key).is_file() {
            true => AttentionMaps::read_all(results, key)?,
            false => Vec::new(),
        };
        entries.push(Entry {
            record,
            outcomes,
            maps,
        });
    }
    if entries.is_empty() {
        return Err(Error::Usage {
            message: format!("no records in {}", results.join("records").display()),
            hint: "mimbench demo makes some; --results DIR says where they are".to_owned(),
        });
    }
    Ok(Report {
        entries,
        ..Report::default()
    })
}

/// Writes the page and, where asked for, each plot as a file of its own.
///
/// # Errors
/// Those of [`read`]; a table that cannot be shown; a file that cannot be written.
pub fn run(results: &Path, out: &Path, plots: Option<&Path>) -> Result<Written, Error> {
    let report = read(results)?;
    let mut files = vec![(out.to_owned(), report.page()?)];
    if let Some(folder) = plots {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        for plot in report.plots() {
            files.push((folder.join(format!("{}.svg", plot.id())), plot.file()));
        }
    }
    for (path, text) in &files {
        write_atomic(path, text.as_bytes())?;
    }
    Ok(Written {
        records: report.entries.len(),
        files: files.into_iter().map(|(path, _)| path).collect(),
    })
}
