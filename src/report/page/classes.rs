//! Results class by class, from the predictions beside a record.

use maud::{Markup, html};

use super::accuracy::blocks;
use super::provenance::Provenance;
use crate::report::cell_text::printable;
use crate::report::table::{Cell, Column, Source, Table};
use crate::report::table_error::TableError;
use crate::report::{Measured, Outcomes, Record};
use crate::stats::wilson;

/// Classes up to which all are shown; of more, the hardest and the easiest.
const ALL: usize = 24;
/// Of many classes, how many of the hardest.
const HARDEST: usize = 16;
/// Of many classes, how many of the easiest.
const EASIEST: usize = 8;
/// Confusions that are shown.
const CONFUSIONS: usize = 12;

/// The classes and the confusions of a record's headline, folded; nothing without predictions.
pub(super) fn results(
    record: &Record,
    outcomes: &Outcomes,
    provenance: &Provenance<'_>,
) -> Result<Option<Markup>, TableError> {
    let Some(counts) = Counts::new(record, outcomes) else {
        return Ok(None);
    };
    let classes = provenance.table(&counts.classes(record))?;
    let confusions = provenance.table(&counts.confusions(record))?;
    Ok(Some(html! {
        details class="classes" {
            summary {
                "Class by class: " strong { (printable(&record.subject.name)) } " "
                span class="faint" { (printable(&counts.prediction)) }
            }
            div class="pair" { (classes) (confusions) }
        }
    }))
}

/// What is counted: `block 11 cls norm, the last of 12 blocks that were read, k = 20`.
fn prediction_words(record: &Record, measured: &Measured) -> String {
    let mut words = measured.feature.clone();
    let blocks = blocks(record);
    if measured.selection.is_made() {
        words.push_str(", selected on the validation set");
    } else if blocks > 1 {
        words.push_str(&format!(", the last of {blocks} blocks that were read"));
    }
    if let Some(k) = measured.k {
        words.push_str(&format!(", k = {k}"));
    }
    words
}

struct Counts {
    /// Feature and k, or the head.
    prediction: String,
    names: Vec<String>,
    /// `[true class][predicted class]`, those that occur.
    pairs: Vec<(usize, usize, u64)>,
    /// Images of each class.
    images: Vec<u64>,
    /// Of those, how many were told right.
    hits: Vec<u64>,
}

impl Counts {
    fn new(record: &Record, outcomes: &Outcomes) -> Option<Self> {
        let headline = record
            .measures
            .iter()
            .filter(|m| m.headline && m.measure.name == "top1");
        let last = headline.max_by_key(|measured| measured.layer)?;
        let name = match last.k {
            Some(k) => format!("{}/k{k}", last.feature),
            None => last.feature.clone(),
        };
        let prediction = outcomes.predictions.iter().find(|p| p.name == name)?;
        let predicted = &prediction.top1;
        let largest = outcomes.labels.iter().chain(predicted).max()?;
        let classes = record.data.classes.max(*largest as usize + 1);
        let mut images = vec![0; classes];
        let mut hits = vec![0; classes];
        let mut pairs = std::collections::BTreeMap::new();
        for (&label, &class) in outcomes.labels.iter().zip(predicted) {
            images[label as usize] += 1;
            hits[label as usize] += u64::from(label == class);
            *pairs.entry((label as usize, class as usize)).or_insert(0) += 1;
        }
        let pairs = pairs
            .into_iter()
            .map(|((label, class), n)| (label, class, n));
        Some(Self {
            prediction: prediction_words(record, last),
            names: names(outcomes, classes),
            pairs: pairs.collect(),
            images,
            hits,
        })
    }

    /// The share of its images that were told right, for a class that has any.
    fn share(&self, class: usize) -> f64 {
        self.hits[class] as f64 / self.images[class] as f64
    }

    fn classes(&self, record: &Record) -> Table {
        let mut order: Vec<usize> = (0..self.images.len())
            .filter(|&c| self.images[c] > 0)
            .collect();
        order.sort_by(|&a, &b| self.share(a).total_cmp(&self.share(b)));
        let count = order.len();
        let mut footnotes = Vec::new();
        if count > ALL {
            order.drain(HARDEST..count - EASIEST);
            footnotes.push(format!(
                "the {HARDEST} hardest and the {EASIEST} easiest of {count} classes"
            ));
        }
        let rows = order.iter().map(|&class| {
            let (hits, n) = (self.hits[class], self.images[class]);
            let taken = self
                .pairs
                .iter()
                .filter(|(label, other, _)| *label == class && other != label);
            let taken = taken.max_by_key(|(_, other, n)| (*n, std::cmp::Reverse(*other)));
            vec![
                Cell::Text(self.names[class].clone()),
                Cell::Count(n),
                percentage(record, hits, n),
                match taken {
                    Some((_, other, n)) => Cell::Text(format!("{} ({n})", self.names[*other])),
                    None => Cell::Missing("no image of the class".to_owned()),
                },
            ]
        });
        Table {
            title: "Classes, the hardest first".to_owned(),
            columns: vec![
                Column::text("class"),
                Column::numbers("n", None),
                Column::numbers("top-1", Some("%")),
                Column::text("most often taken for"),
            ],
            rows: rows.collect(),
            footnotes,
        }
    }

    fn confusions(&self, record: &Record) -> Table {
        let mut pairs: Vec<_> = self
            .pairs
            .iter()
            .filter(|(label, class, _)| label != class)
            .collect();
        pairs.sort_by_key(|&&(label, class, n)| {
            // By the share of the class; cross-multiplied shares of small counts compare exactly.
            let share = n as f64 / self.images[label] as f64;
            (std::cmp::Reverse((share * 1e9) as u64), label, class)
        });
        pairs.truncate(CONFUSIONS);
        let rows = pairs.into_iter().map(|&(label, class, n)| {
            vec![
                Cell::Text(self.names[label].clone()),
                Cell::Text(self.names[class].clone()),
                Cell::Count(n),
                percentage(record, n, self.images[label]),
            ]
        });
        Table {
            title: "The hardest confusions".to_owned(),
            columns: vec![
                Column::text("images of"),
                Column::text("taken for"),
                Column::numbers("n", None),
                Column::numbers("of the class", Some("%")),
            ],
            rows: rows.collect(),
            footnotes: Vec::new(),
        }
    }
}

fn percentage(record: &Record, hits: u64, n: u64) -> Cell {
    Cell::Value {
        value: 100.0 * hits as f64 / n as f64,
        interval: wilson(hits, n)
            .ok()
            .map(|bounds| bounds.map(|bound| 100.0 * bound)),
        decimals: 0,
        marks: Vec::new(),
        source: Some(Source::Outcomes {
            key: record.cell.key.clone(),
        }),
    }
}

/// The folder that all images of a class are in, where it is one and no other class's; else the number.
fn names(outcomes: &Outcomes, classes: usize) -> Vec<String> {
    let mut folders: Vec<Option<&str>> = vec![None; classes];
    let mut whole = true;
    for (path, &label) in outcomes.paths.iter().zip(&outcomes.labels) {
        let mut parts = path.rsplit('/').skip(1);
        let folder = parts.next().filter(|folder| !folder.is_empty());
        let known = folders[label as usize].get_or_insert(folder.unwrap_or_default());
        whole &= folder == Some(known);
    }
    let mut distinct: Vec<&str> = folders.iter().copied().flatten().collect();
    let count = distinct.len();
    distinct.sort_unstable();
    distinct.dedup();
    whole &= distinct.len() == count;
    let names = folders.into_iter().enumerate();
    names
        .map(|(class, folder)| match folder {
            Some(folder) if whole => folder.to_owned(),
            _ => format!("class {class}"),
        })
        .collect()
}
