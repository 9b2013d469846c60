//! The report: one HTML file with everything in it, for any browser, without a network.

mod attention;
mod classes;
mod figure;
mod group;
mod knn;
mod layout;
mod provenance;

use maud::{Markup, PreEscaped, html};

use super::plot::Plot;
use super::table::Table;
use super::table_error::TableError;
use super::{Outcomes, Record};
use crate::spec::Kind;
use group::Group;
use layout::Section;
use provenance::Provenance;

/// What a report shows.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Measured, in the order of the tables, each with what happened to its images where that is
    /// known.
    pub records: Vec<(Record, Option<Outcomes>)>,
    /// Of the papers, with measured values joined.
    pub papers: Vec<PaperTable>,
    /// Comparisons of checkpoints on the same images.
    pub comparisons: Vec<Table>,
    /// Attention maps.
    pub sheets: Vec<Sheet>,
}

/// A table of a paper.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperTable {
    /// Such as `medic-1`; its anchor in the page.
    pub id: String,
    /// Published and measured values.
    pub table: Table,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// One line above it.
    pub title: String,
    /// What it shows, for who cannot see it.
    pub description: String,
    /// The file, PNG.
    pub png: Vec<u8>,
}

impl Report {
    /// The page.
    ///
    /// # Errors
    /// A table that cannot be shown.
    pub fn page(&self) -> Result<String, TableError> {
        let provenance = Provenance::new(self.records.iter().map(|(record, _)| record));
        let mut sections = Vec::new();
        for group in self.groups() {
            sections.push(self.section(&group, &provenance)?);
        }
        sections.extend(self.sheets_section());
        sections.extend(self.comparisons_section(&provenance)?);
        sections.extend(self.papers_section(&provenance)?);
        sections.push(provenance.section());
        Ok(layout::page(&self.summary(), &sections).into_string() + "\n")
    }

    /// All plots of the page, as they stand in it.
    pub fn plots(&self) -> Vec<Plot> {
        self.groups().iter().flat_map(plots).collect()
    }

    fn groups(&self) -> Vec<Group> {
        group::groups(self.records.iter().map(|(record, _)| record))
    }

    fn section(&self, group: &Group, provenance: &Provenance<'_>) -> Result<Section, TableError> {
        let mut content = Vec::new();
        match group.kind {
            Kind::Knn => content.push(provenance.table(&super::headline_table(&group.records))?),
            Kind::Attention => {
                if let Some(table) = attention::table(group) {
                    content.push(provenance.table(&table)?);
                }
            }
        }
        content.push(figure::plots(&plots(group), provenance)?);
        let outcomes = |record: &Record| {
            let mut all = self.records.iter();
            let found = all.find(|(other, _)| other.cell.key == record.cell.key);
            found.and_then(|(_, outcomes)| outcomes.as_ref())
        };
        for record in &group.records {
            if let Some(outcomes) = outcomes(record) {
                content.extend(classes::results(record, outcomes, provenance)?);
            }
        }
        Ok(Section {
            id: group.id.clone(),
            name: group.name.clone(),
            title: group.title.clone(),
            content: html! { @for part in content { (part) } },
        })
    }

    fn sheets_section(&self) -> Option<Section> {
        let content = html! { @for sheet in &self.sheets { (figure::sheet(sheet)) } };
        Section::unless(self.sheets.is_empty(), "maps", "Attention maps", content)
    }

    fn comparisons_section(
        &self,
        provenance: &Provenance<'_>,
    ) -> Result<Option<Section>, TableError> {
        let tables: Result<Vec<Markup>, _> = self
            .comparisons
            .iter()
            .map(|table| provenance.table(table))
            .collect();
        let content = html! { @for table in tables? { (table) } };
        let none = self.comparisons.is_empty();
        Ok(Section::unless(none, "comparisons", "Comparisons", content))
    }

    fn papers_section(&self, provenance: &Provenance<'_>) -> Result<Option<Section>, TableError> {
        let mut tables = Vec::new();
        for PaperTable { id, table } in &self.papers {
            let table = provenance.table(table)?;
            tables.push(html! { div id=(id) { (table) } });
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
        for (record, _) in &self.records {
            if !subjects.contains(&record.cell.subject.as_str()) {
                subjects.push(&record.cell.subject);
            }
        }
        let records = self.records.iter();
        let newest = records
            .map(|(record, _)| record.compute.created.as_str())
            .max();
        html! {
            (count(subjects.len(), "checkpoint", "checkpoints")) ", "
            (count(self.records.len(), "record", "records"))
            @if let Some(newest) = newest {
                ", the newest of " time datetime=(newest) { (newest) }
            }
        }
    }
}

fn plots(group: &Group) -> Vec<Plot> {
    match group.kind {
        Kind::Knn => knn::plots(group),
        Kind::Attention => attention::plots(group),
    }
}

/// A script or a style, as it is.
fn verbatim(text: &'static str) -> PreEscaped<&'static str> {
    PreEscaped(text)
}
