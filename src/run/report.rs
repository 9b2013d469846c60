//! `mimbench report`: from a folder of records to one page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::segmentation::scene_content;
use crate::data::{Colour, Limits, decode};
use crate::error::Error;
use crate::report::picture::Picture;
use crate::report::{
    AttentionMaps, Compared, Comparison, Entry, JoinedTable, Outcomes, PretrainingEntry,
    PretrainingRecord, PublishedWeights, Record, Report, comparisons, has_measured, paper_table,
};
use crate::spec::Papers;
use crate::store::{StoreError, curves_path, write_atomic};

/// Shorter side of a small picture, pixels.
const THUMBNAIL: usize = 96;

/// Everything that lies under `results`, and the papers' tables with it.
///
/// # Errors
/// No records, or the first that cannot be shown: none is left out.
pub fn read(papers: &Papers, results: &Path) -> Result<Report, Error> {
    let mut entries = Vec::new();
    for record in Record::all(results)? {
        let key = &record.cell.key;
        let outcomes = match Outcomes::path(results, key).is_file() {
            true => Some(record.outcomes(results)?),
            false => None,
        };
        let maps = match AttentionMaps::path(results, key).is_file() {
            true => record.maps(results)?,
            false => Vec::new(),
        };
        let curves = match curves_path(results, key).is_file() {
            true => record.curves(results)?,
            false => Vec::new(),
        };
        let sheet = record.sheet(results)?;
        entries.push(Entry {
            record,
            outcomes,
            maps,
            curves,
            sheet,
        });
    }
    let runs = PretrainingRecord::all(results)?;
    if entries.is_empty() && runs.is_empty() {
        return Err(Error::Usage {
            message: format!("no records in {}", results.join("records").display()),
            hint: "mimbench demo makes some; --results DIR says where they are".to_owned(),
        });
    }
    let records: Vec<Record> = entries.iter().map(|entry| entry.record.clone()).collect();
    let joined = papers.tables.iter().map(|table| JoinedTable {
        id: table.definition.id.clone(),
        measured: has_measured(table, &records),
        table: paper_table(table, &records, &runs, &papers.conflicts),
    });
    let comparisons = comparisons(&entries)?;
    let compared = comparisons.into_iter().map(|comparison| Compared {
        pictures: pictures(&comparison),
        comparison,
    });
    let papers_tables = joined.collect();
    let mut pretraining = Vec::new();
    for record in runs {
        let curves = record.curve_points(results)?;
        pretraining.push(PretrainingEntry { record, curves });
    }
    Ok(Report {
        papers: papers_tables,
        pretraining,
        weights: PublishedWeights::of(&papers.tables),
        entries,
        comparisons: compared.collect(),
    })
}

/// Small pictures of the images that a comparison names, where the dataset still has them as files.
fn pictures(comparison: &Comparison) -> BTreeMap<String, Vec<u8>> {
    let images = comparison.pairs.iter().flat_map(|pair| {
        let classified = pair.disagreements.iter().map(|d| (&d.path, &d.content));
        let segmented = pair.images.iter().map(|d| (&d.path, &d.content));
        classified.chain(segmented)
    });
    let found = images.filter_map(|(path, content)| {
        let root = &comparison.data;
        let bytes = image(root, path, content).or_else(|| scene(root, path, content))?;
        Some((content.clone(), thumbnail(&bytes)?))
    });
    found.collect()
}

/// The file of an image that still has these contents.
fn image(root: &Path, path: &str, content: &str) -> Option<Vec<u8>> {
    let places = [root.join("val").join(path), root.join(path)];
    let bytes = places.iter().find_map(|path| std::fs::read(path).ok())?;
    let same = blake3::hash(&bytes).to_hex().starts_with(content);
    same.then_some(bytes)
}

/// The file of a scene's image, where it and its mask still have these contents.
fn scene(root: &Path, path: &str, content: &str) -> Option<Vec<u8>> {
    ["val", "validation", "test"].iter().find_map(|split| {
        let below = |folder: &str| root.join(folder).join(split).join(path);
        let image = std::fs::read(below("images")).ok()?;
        let mask = std::fs::read(below("annotations").with_extension("png")).ok()?;
        let found = scene_content(&image, &mask);
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        (found == content).then_some(image)
    })
}

/// The image as PNG, its shorter side brought to [`THUMBNAIL`] pixels.
fn thumbnail(bytes: &[u8]) -> Option<Vec<u8>> {
    let pixels = decode(bytes, Colour::Rgb, &Limits::default()).ok()?;
    let shorter = pixels.width.min(pixels.height).max(1);
    let side = |side: usize| (side * THUMBNAIL / shorter).clamp(1, 4 * THUMBNAIL);
    let [width, height] = [side(pixels.width), side(pixels.height)];
    let picture = Picture::new(pixels.width, pixels.height, pixels.data).ok()?;
    picture.resized(width, height).ok()?.png().ok()
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
