//! Attention maps: a picture an image and question, the checkpoints below each other.

use maud::Markup;

use super::figure;
use crate::report::AttentionMaps;
use crate::report::picture::{PictureError, SheetRow, View, sheet};

/// Side of a map, pixels.
const CELL: usize = 112;

/// The sheets of checkpoints by their names: of each image that any of them has, the class token's
/// attention, then that of each query patch.
pub(super) fn sheets(subjects: &[(&str, &[AttentionMaps])]) -> Result<Vec<Markup>, PictureError> {
    let mut paths: Vec<&str> = Vec::new();
    for maps in subjects.iter().flat_map(|(_, maps)| *maps) {
        if !paths.contains(&maps.path.as_str()) {
            paths.push(&maps.path);
        }
    }
    let mut pictures = Vec::new();
    for path in paths {
        let rows: Vec<SheetRow<'_>> = subjects
            .iter()
            .flat_map(|&(name, maps)| maps.iter().map(move |maps| SheetRow { name, maps }))
            .filter(|row| row.maps.path == path)
            .collect();
        let queries = rows.iter().map(|row| row.maps.queries.len()).min();
        let has_class = rows.iter().any(|row| row.maps.class.is_some());
        let class = has_class.then_some(View::Class);
        let queries = (0..queries.unwrap_or_default()).map(View::Query);
        for view in class.into_iter().chain(queries) {
            let whose = match view {
                View::Class => "the class token",
                View::Query(_) => "the outlined patch",
            };
            let title = format!("What {whose} attends to: {path}");
            let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
            let description = format!(
                "{title}; a row each for {}, a column a head",
                names.join(", ")
            );
            let bytes = sheet(&rows, view, CELL)?.png()?;
            pictures.push(figure::picture(&title, &description, &bytes));
        }
    }
    Ok(pictures)
}
