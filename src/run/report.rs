//! `mimbench report`: from a folder of records to one page.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::{
    AttentionMaps, Entry, JoinedTable, Outcomes, Record, Report, has_measured, paper_table,
};
use crate::spec::Papers;
use crate::store::{StoreError, write_atomic};

/// Everything that lies under `results`, and the papers' tables with it.
///
/// # Errors
/// No records, or the first that cannot be shown: none is left out.
pub fn read(papers: &Papers, results: &Path) -> Result<Report, Error> {
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
    let records: Vec<Record> = entries.iter().map(|entry| entry.record.clone()).collect();
    let joined = papers.tables.iter().map(|table| JoinedTable {
        id: table.definition.id.clone(),
        measured: has_measured(table, &records),
        table: paper_table(table, &records, &papers.conflicts),
    });
    Ok(Report {
        papers: joined.collect(),
        entries,
        comparisons: Vec::new(),
    })
}

/// Writes the page and, where asked for, each plot as a file of its own; gives their paths.
///
/// # Errors
/// Those of [`read`]; a table that cannot be shown; a file that cannot be written.
pub fn run(
    papers: &Papers,
    results: &Path,
    out: &Path,
    plots: Option<&Path>,
) -> Result<Vec<PathBuf>, Error> {
    let report = read(papers, results)?;
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
    Ok(files.into_iter().map(|(path, _)| path).collect())
}
