//! The papers' tables and the files made of them.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::{Record, Table, has_measured, markdown, paper_table, published_page};
use crate::spec::{PaperError, PaperFolders, Papers};
use crate::store::write_atomic;

/// The page of published tables, in a folder of published values.
const PAGE: &str = "README.md";

/// Folders of the repository that the page is made of, where no others are given.
pub fn repository(folders: &PaperFolders) -> PaperFolders {
    let or = |given: &Option<PathBuf>, usual: &str| {
        let given = given.clone();
        Some(given.unwrap_or_else(|| PathBuf::from(usual)))
    };
    PaperFolders {
        tables: or(&folders.tables, "protocols/tables"),
        published: or(&folders.published, "results/published"),
        cards: or(&folders.cards, "checkpoints"),
    }
}

/// The table of an id, with the values of all records under `results`.
///
/// # Errors
/// No table of that id, or a record that cannot be shown.
pub fn joined(papers: &Papers, id: &str, results: &Path) -> Result<Table, Error> {
    let table = papers.table(id)?;
    let records = Record::all(results)?;
    Ok(paper_table(table, &records, &papers.conflicts))
}

/// Writes every table that the records under `results` have a value for into `tables/` there, in
/// Markdown; gives the files' paths.
///
/// # Errors
/// A record that cannot be shown, or a file that cannot be written.
pub fn regenerate(papers: &Papers, results: &Path) -> Result<Vec<PathBuf>, Error> {
    let records = Record::all(results)?;
    let mut written = Vec::new();
    for table in &papers.tables {
        if has_measured(table, &records) {
            let joined = paper_table(table, &records, &papers.conflicts);
            let text = markdown::render(&joined)?;
            let path = results
                .join("tables")
                .join(format!("{}.md", table.definition.id));
            write_atomic(&path, text.as_bytes())?;
            written.push(path);
        }
    }
    Ok(written)
}

/// The page in a folder of published values, and whether it says what `papers` do.
///
/// # Errors
/// The page is there and cannot be read.
pub fn check(papers: &Papers, published: &Path) -> Result<(PathBuf, bool), Error> {
    let path = published.join(PAGE);
    let page = published_page(papers)?;
    match std::fs::read_to_string(&path) {
        Ok(found) => Ok((path, found == page)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((path, false)),
        Err(source) => Err(PaperError::Read { path, source }.into()),
    }
}

/// Writes that page.
///
/// # Errors
/// It cannot be written.
pub fn write(papers: &Papers, published: &Path) -> Result<PathBuf, Error> {
    let path = published.join(PAGE);
    write_atomic(&path, published_page(papers)?.as_bytes())?;
    Ok(path)
}
