//! Checkpoints compared on the same images, and the images that tell them apart.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};

use super::accuracy::blocks;
use super::group::{Group, groups};
use super::provenance::Provenance;
use super::{Entry, PageError};
use crate::report::cell_text::{printable, rounded};
use crate::report::labels::labelled;
use crate::report::{
    Class, Comparison, ComparisonError, Pair, Question, Record, Run, comparison_tables,
};
use crate::spec::Kind;
use crate::stats::Bootstrap;

/// How `mimbench compare` draws where nothing else is asked for, so that both say the same.
const BOOTSTRAP: Bootstrap = Bootstrap {
    seed: 0,
    resamples: 10_000,
};
/// Disagreements that are shown for each checkpoint of a pair.
const DISAGREEMENTS: usize = 5;

/// A comparison and pictures of the images that it names.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The comparison.
    pub comparison: Comparison,
    /// Small pictures, PNG, by the content of the image: those that were found.
    pub pictures: BTreeMap<String, Vec<u8>>,
}

/// Comparisons of all classifications and segmentations with predictions, of one protocol on the same images each.
///
/// # Errors
/// Predictions that do not belong to their record.
pub fn comparisons(entries: &[Entry]) -> Result<Vec<Comparison>, ComparisonError> {
    let mut comparisons = Vec::new();
    for group in groups(entries.iter().map(|entry| &entry.record)) {
        // A probe's heads were chosen among when it was made; of stored features every block counts.
        let by_block = match group.kind {
            Kind::Knn | Kind::LinearCached | Kind::Finetune | Kind::Classify => true,
            Kind::Linear | Kind::Segment => false,
            Kind::Attention => continue,
        };
        let sides = sides(&group, entries);
        if sides.len() > 1 {
            let question = Question {
                measure: None,
                features: match by_block {
                    true => sides.iter().filter_map(|runs| feature(runs)).collect(),
                    false => Vec::new(),
                },
                k: None,
                disagreements: DISAGREEMENTS,
                bootstrap: BOOTSTRAP,
            };
            let mut comparison = Comparison::new(&sides, &question)?;
            let mut runs = sides.iter().flatten();
            if by_block && runs.any(|run| blocks(&run.record) > 1) {
                let note = "of several blocks that were read, the last is compared";
                comparison.notes.push(note.to_owned());
            }
            comparisons.push(comparison);
        }
    }
    Ok(comparisons)
}

/// The records of each checkpoint, which differ by seed alone, called by a name that tells it from the
/// others.
fn sides(group: &Group, entries: &[Entry]) -> Vec<Vec<Run>> {
    let mut sides: Vec<Vec<Run>> = Vec::new();
    for key in group.records.iter().map(|record| &record.cell.key) {
        let entry = entries.iter().find(|entry| entry.record.cell.key == *key);
        let Some((record, outcomes)) = entry.and_then(|e| Some((&e.record, e.outcomes.clone()?)))
        else {
            continue;
        };
        let side = sides.iter_mut().find(|side| {
            let mut runs = side.iter();
            runs.all(|run| run.record.differs_by_seed_alone(record))
        });
        let run = Run {
            record: record.clone(),
            outcomes,
        };
        match side {
            Some(side) => side.push(run),
            None => sides.push(vec![run]),
        }
    }
    let firsts: Vec<&Record> = sides.iter().map(|side| &side[0].record).collect();
    let names = labelled(&firsts)
        .into_iter()
        .map(|first| first.subject.name);
    for (side, name) in sides.iter_mut().zip(names.collect::<Vec<_>>()) {
        for run in side {
            run.record.subject.name.clone_from(&name);
        }
    }
    sides
}

/// Of several blocks the last.
fn feature(runs: &[Run]) -> Option<String> {
    let measures = runs.first()?.record.measures.iter();
    let last = measures.filter(|m| m.headline).max_by_key(|m| m.layer)?;
    Some(last.feature.clone())
}

/// The tables of a comparison and, for each pair, the images that it disagrees on.
pub(super) fn show(compared: &Compared, provenance: &Provenance<'_>) -> Result<Markup, PageError> {
    let Compared {
        comparison,
        pictures,
    } = compared;
    let tables = comparison_tables(comparison);
    // The last of a single pair names the images that are shown below.
    let classes = comparison.pairs.len() == 1 && !comparison.pairs[0].classes.is_empty();
    let tables: Result<Vec<Markup>, _> = tables
        .iter()
        .take(2 + usize::from(classes))
        .map(|table| provenance.table(table))
        .collect();
    let telling = comparison
        .pairs
        .iter()
        .filter(|pair| !pair.disagreements.is_empty());
    let segmented = comparison
        .pairs
        .iter()
        .filter(|pair| !pair.images.is_empty());
    Ok(html! {
        div class="comparison" {
            @for table in tables? { (table) }
            @for pair in telling {
                (disagreements(comparison, pair, pictures, comparison.pairs.len() == 1))
            }
            @for pair in segmented {
                (images(comparison, pair, pictures, comparison.pairs.len() == 1))
            }
        }
    })
}

fn disagreements(
    comparison: &Comparison,
    pair: &Pair,
    pictures: &BTreeMap<String, Vec<u8>>,
    open: bool,
) -> Markup {
    let name = |side: usize| comparison.sides.get(side).map_or("", |side| &side.name);
    html! {
        details class="disagreements" open[open] {
            summary { "Images that " strong { (printable(name(pair.a))) } " and "
                strong { (printable(name(pair.b))) } " disagree on most" }
            ul class="cards" {
                @for image in &pair.disagreements {
                    li {
                        @if let Some(png) = pictures.get(&image.content) {
                            img alt=(printable(&image.path))
                                src=(format!("data:image/png;base64,{}", STANDARD.encode(png)));
                        }
                        p { strong { (class(&image.label)) } }
                        @for (side, says) in [(pair.a, &image.a), (pair.b, &image.b)] {
                            p {
                                @if side == image.winner { "✓ " } @else { "✗ " }
                                (printable(name(side))) ": " (class(says))
                            }
                        }
                        p class="faint" { (printable(&image.path)) }
                    }
                }
            }
        }
    }
}

fn images(
    comparison: &Comparison,
    pair: &Pair,
    pictures: &BTreeMap<String, Vec<u8>>,
    open: bool,
) -> Markup {
    let name = |side: usize| comparison.sides.get(side).map_or("", |side| &side.name);
    html! {
        details class="disagreements" open[open] {
            summary { "Images that " strong { (printable(name(pair.a))) } " and "
                strong { (printable(name(pair.b))) } " segment most differently" }
            ul class="cards" {
                @for image in &pair.images {
                    li {
                        @if let Some(png) = pictures.get(&image.content) {
                            img alt=(printable(&image.path))
                                src=(format!("data:image/png;base64,{}", STANDARD.encode(png)));
                        }
                        @for (side, value) in [(pair.a, image.a), (pair.b, image.b)] {
                            p {
                                (printable(name(side))) ": "
                                @if side == image.winner { strong { (rounded(value, 1)) } }
                                @else { (rounded(value, 1)) }
                            }
                        }
                        p class="faint" { (printable(&image.path)) }
                    }
                }
            }
        }
    }
}

fn class(class: &Class) -> String {
    match &class.name {
        Some(name) => printable(name),
        None => format!("class {}", class.index),
    }
}
