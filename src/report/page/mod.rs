//! The report: one HTML file with everything in it, for any browser, without a network.

mod accuracy;
mod attention;
mod classes;
mod comparisons;
mod figure;
mod group;
mod layout;
mod maps;
mod missing;
mod pretraining;
mod provenance;
mod segmentation;
mod sensitivity;
mod training;

use maud::{Markup, PreEscaped, html};

use super::cell_text::printable;
use super::picture::PictureError;
use super::plot::Plot;
use super::table::Table;
use super::table_error::TableError;
use super::{AttentionMaps, Outcomes, PublishedWeights, Record};
use crate::spec::Kind;
use crate::store::CurvePoint;
pub use comparisons::{Compared, comparisons};
use group::Group;
use layout::Section;
pub use pretraining::PretrainingEntry;
use provenance::Provenance;

/// What a report shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was measured, in the order of the tables.
    pub entries: Vec<Entry>,
    /// Of the papers, with measured values joined.
    pub papers: Vec<JoinedTable>,
    /// Comparisons of checkpoints on the same images.
    pub comparisons: Vec<Compared>,
    /// Runs of pre-training.
    pub pretraining: Vec<PretrainingEntry>,
    /// What papers published of the weights of terms.
    pub weights: Vec<PublishedWeights>,
}

/// A table of a paper.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedTable {
    /// Such as `medic-1`; its anchor in the page.
    pub id: String,
    /// Whether any value in it was measured.
    pub measured: bool,
    /// Published and measured values.
    pub table: Table,
}

/// A record and what lies beside it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// What happened to its images, where that is known.
    pub outcomes: Option<Outcomes>,
    /// Attention maps of some of its images.
    pub maps: Vec<AttentionMaps>,
    /// The curves of its training, in the order they were written in.
    pub curves: Vec<CurvePoint>,
    /// The sheet of segmented images, PNG, where there is one.
    pub sheet: Option<Vec<u8>>,
}

/// Why a page cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Attention maps.
    #[error("attention maps: {0}")]
    Picture(#[from] PictureError),
}

impl PageError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Table(error) => error.hint(),
            Self::Picture(error) => error.hint(),
        }
    }
}

impl Report {
    /// The page.
    ///
    /// # Errors
    /// A table or a map that cannot be shown.
    pub fn page(&self) -> Result<String, PageError> {
        let provenance = Provenance::new(self.records());
        let mut sections = Vec::new();
        for group in self.groups() {
            sections.push(self.section(&group, &provenance)?);
        }
        sections.extend(self.pretraining_section(&provenance)?);
        sections.extend(self.training_section(&provenance)?);
        sections.extend(self.comparisons_section(&provenance)?);
        sections.extend(self.papers_section(&provenance)?);
        sections.push(provenance.section());
        Ok(layout::page(&self.summary(), &sections).into_string() + "\n")
    }

    /// All plots of the page, as they stand in it.
    pub fn plots(&self) -> Vec<Plot> {
        let rows = self.groups();
        let rows = rows.iter().flat_map(plots);
        let training = training::runs(&self.entries);
        let titled = pretraining::rows(self).into_iter().chain(training);
        let rows = rows.chain(titled.map(|(_, row)| row));
        rows.flat_map(|row| row.plots).collect()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    fn groups(&self) -> Vec<Group> {
        group::groups(self.records())
    }

    fn section(&self, group: &Group, provenance: &Provenance<'_>) -> Result<Section, PageError> {
        let mut entries = Vec::new();
        for record in &group.records {
            let mut all = self.entries.iter();
            let entry = all.find(|entry| entry.record.cell.key == record.cell.key);
            entries.extend(entry.map(|entry| (record, entry)));
        }
        let (table, seeds) = match group.kind {
            Kind::Knn => (super::headline_table(&group.records), None),
            Kind::Linear | Kind::LinearCached | Kind::Finetune | Kind::Classify => {
                // Its rows have a column for seeds, so that names need not tell them.
                let records: Vec<_> = entries.iter().map(|(_, e)| e.record.clone()).collect();
                let seeds = super::seed_table(&records, &super::ACCURACIES);
                (super::linear_table(&records), seeds)
            }
            Kind::Segment => {
                let records: Vec<_> = entries.iter().map(|(_, e)| e.record.clone()).collect();
                let seeds = super::seed_table(&records, &super::SEGMENTATION);
                (super::segmentation_table(&records), seeds)
            }
            Kind::Attention => (super::layer_table(&group.records), None),
        };
        let table = provenance.table(&table)?;
        let seeds = seeds.map(|seeds| provenance.table(&seeds)).transpose()?;
        let plots = figure::rows(&plots(group), provenance)?;
        let mut content = vec![html! { div class="lead" { (table) (plots) } }];
        content.extend(seeds);
        content.extend(missing::files(&entries));
        let mut maps = Vec::new();
        for &(record, entry) in &entries {
            if let Some(outcomes) = &entry.outcomes {
                content.extend(classes::results(record, outcomes, provenance)?);
                content.extend(segmentation::results(record, outcomes, provenance));
            }
            content.extend(segmentation::sheet(record, entry.sheet.as_deref()));
            maps.push((record.subject.name.as_str(), entry.maps.as_slice()));
        }
        content.extend(maps::sheets(&maps)?);
        Ok(Section {
            id: group.id.clone(),
            name: group.name.clone(),
            title: group.name.clone(),
            content: html! { @for part in content { (part) } },
        })
    }

    fn pretraining_section(
        &self,
        provenance: &Provenance<'_>,
    ) -> Result<Option<Section>, TableError> {
        let none = self.pretraining.is_empty();
        let content = pretraining::show(self, provenance)?;
        Ok(Section::unless(
            none,
            "pretraining",
            "Pre-training",
            content,
        ))
    }

    fn training_section(&self, provenance: &Provenance<'_>) -> Result<Option<Section>, TableError> {
        let runs = training::runs(&self.entries);
        let content = training::show(&runs, provenance)?;
        Ok(Section::unless(
            runs.is_empty(),
            "training",
            "Training",
            content,
        ))
    }

    fn comparisons_section(
        &self,
        provenance: &Provenance<'_>,
    ) -> Result<Option<Section>, PageError> {
        let mut parts = Vec::new();
        for compared in &self.comparisons {
            parts.push(comparisons::show(compared, provenance)?);
        }
        let content = html! { @for part in parts { (part) } };
        let none = self.comparisons.is_empty();
        Ok(Section::unless(
            none,
            "comparisons",
            "Compared on the same images",
            content,
        ))
    }

    fn papers_section(&self, provenance: &Provenance<'_>) -> Result<Option<Section>, TableError> {
        let mut tables = Vec::new();
        for paper in &self.papers {
            let table = provenance.table(&paper.table)?;
            tables.push(html! {
                details class="paper" id=(paper.id) open[paper.measured] {
                    summary { (printable(&paper.table.title)) }
                    (table)
                }
            });
        }
        let content = html! { @for table in tables { (table) } };
        let none = self.papers.is_empty();
        Ok(Section::unless(
            none,
            "papers",
            "The papers' tables",
            content,
        ))
    }

    /// A line under the title.
    fn summary(&self) -> Markup {
        let count = |number: usize, one: &str, many: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{number} {many}"),
        };
        let mut subjects: Vec<&str> = Vec::new();
        for record in self.records() {
            if !subjects.contains(&record.cell.subject.as_str()) {
                subjects.push(&record.cell.subject);
            }
        }
        let created = self.records().map(|record| record.compute.created.as_str());
        let newest = created.max();
        html! {
            (count(subjects.len(), "checkpoint", "checkpoints")) ", "
            (count(self.entries.len(), "record", "records"))
            @if let Some(newest) = newest {
                ", the newest of " time datetime=(newest) { (newest) }
            }
        }
    }
}

/// Plots side by side.
struct Row {
    /// Above them.
    title: Option<&'static str>,
    plots: Vec<Plot>,
}

fn plots(group: &Group) -> Vec<Row> {
    match group.kind {
        Kind::Knn | Kind::Linear | Kind::LinearCached | Kind::Finetune | Kind::Classify => {
            accuracy::plots(group)
        }
        Kind::Segment => Vec::new(),
        Kind::Attention => attention::plots(group),
    }
}

/// A script or a style, as it is.
fn verbatim(text: &'static str) -> PreEscaped<&'static str> {
    PreEscaped(text)
}
