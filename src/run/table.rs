//! The papers' tables and the files made of them.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::report::{
    PretrainingRecord, Record, Table, has_measured, markdown, paper_table, published_page,
};
use crate::spec::{PaperError, PaperFolders, Papers};
use crate::store::write_atomic;

/// The page of published tables, in a folder of published values.
const PAGE: &str = "README.md";

/// Folders of the repository that the page is made of, where no others are given: the page is there
/// to be compared with the files beside it, not with what the program was built from.
///
/// # Errors
/// There is no folder of published values here.
pub fn repository(folders: &PaperFolders) -> Result<PaperFolders, Error> {
    let or = |given: &Option<PathBuf>, usual: &str| {
        let given = given.clone();
        Some(given.unwrap_or_else(|| PathBuf::from(usual)))
    };
    let found = PaperFolders {
        tables: or(&folders.tables, "protocols/tables"),
        published: or(&folders.published, "results/published"),
        cards: or(&folders.cards, "checkpoints"),
    };
    let all = [&found.tables, &found.published, &found.cards];
    let absent: Vec<String> = (all.into_iter().flatten())
        .filter(|folder| !folder.is_dir())
        .map(|folder| folder.display().to_string())
        .collect();
    if absent.is_empty() {
        return Ok(found);
    }
    Err(Error::Usage {
        message: format!("no folder {} here", absent.join(", ")),
        hint: "the page is made of the repository's files: run it there, or name them with --tables, --published and --cards".to_owned(),
    })
}

/// The table of an id, with the values of all records under `results`.
///
/// # Errors
/// No table of that id, or a record that cannot be shown.
pub fn joined(papers: &Papers, id: &str, results: &Path) -> Result<Table, Error> {
    let table = papers.table(id)?;
    let records = Record::all(results)?;
    let runs = PretrainingRecord::all(results)?;
    Ok(paper_table(table, &records, &runs, &papers.conflicts))
}

/// Writes every table that the records under `results` have a value for into `tables/` there, in
/// Markdown; gives the files' paths.
///
/// # Errors
/// A record that cannot be shown, or a file that cannot be written.
pub fn regenerate(papers: &Papers, results: &Path) -> Result<Vec<PathBuf>, Error> {
    let records = Record::all(results)?;
    let runs = PretrainingRecord::all(results)?;
    let mut written = Vec::new();
    for table in &papers.tables {
        if has_measured(table, &records) {
            let joined = paper_table(table, &records, &runs, &papers.conflicts);
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
