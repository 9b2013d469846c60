//! What a paper published of the weight of one term.

use crate::spec::{Content, PaperTable, PublishedRow};

/// The sweep of the weights of MEDiC's terms, which its figure 4 draws.
const TABLE: &str = "medic-12";

/// kNN accuracies over the weight of one term, beside a patch distillation that counts 1.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishedWeights {
    /// The kind of the term, as recipes have it.
    pub kind: &'static str,
    /// Weight, top-1 in percent, and the citation.
    pub points: Vec<(f64, f64, String)>,
    /// On which images.
    pub dataset: String,
}

impl PublishedWeights {
    /// Those of MEDiC's two terms, each without the other.
    pub fn of(tables: &[PaperTable]) -> Vec<Self> {
        let Some(table) = tables.iter().find(|table| table.definition.id == TABLE) else {
            return Vec::new();
        };
        let columns = &table.definition.columns;
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let (Some(dlw), Some(clw), Some(knn)) = (place("DLW"), place("CLW"), place("kNN Top-1"))
        else {
            return Vec::new();
        };
        let dataset = columns[knn].measured.as_ref();
        let dataset = dataset.map_or("", |measured| measured.dataset.name());
        let of = |kind, own: usize, other: usize| {
            let number = |row: &PublishedRow, column: usize| match row.cells[column].content {
                Content::Number { value, .. } => Some(value),
                _ => None,
            };
            let rows = table.rows.iter();
            let rows = rows.filter(|row| number(row, other).is_none());
            let points = rows.filter_map(|row| {
                let citation = row.cells[knn].citation.clone();
                Some((number(row, own)?, number(row, knn)?, citation))
            });
            Self {
                kind,
                points: points.collect(),
                dataset: dataset.to_owned(),
            }
        };
        vec![
            of("pixel_reconstruction", dlw, clw),
            of("class_distillation", clw, dlw),
        ]
    }
}
