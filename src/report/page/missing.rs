//! What should lie beside a record and does not: said, so that nobody looks for it in vain.

use std::path::Path;

use maud::{Markup, html};

use super::Entry;
use crate::report::cell_text::printable;
use crate::report::{AttentionMaps, Outcomes, Record};
use crate::spec::Kind;
use crate::store::curves_path;

/// A line for each file that is missing beside one of the records, called as the page calls them;
/// nothing where none is.
pub(super) fn files(entries: &[(&Record, &Entry)]) -> Option<Markup> {
    let lines: Vec<String> = entries
        .iter()
        .flat_map(|&(record, entry)| of(record, entry))
        .collect();
    (!lines.is_empty()).then(|| {
        html! {
            ul class="notes" { @for line in &lines { li { (printable(line)) } } }
        }
    })
}

fn of(record: &Record, entry: &Entry) -> Vec<String> {
    let here = Path::new("");
    let key = &record.cell.key;
    let outcomes = match (&entry.outcomes, record.protocol.kind) {
        (Some(_), _) => None,
        (None, Kind::Knn | Kind::Linear | Kind::LinearCached | Kind::Finetune | Kind::Classify) => {
            Some((
                "predictions",
                "no classes are shown and nothing is compared",
            ))
        }
        (None, Kind::Segment) => Some((
            "pixels of every image",
            "no classes are shown and nothing is compared",
        )),
        (None, Kind::Attention) => Some(("values of every image", "nothing can be compared")),
    };
    let outcomes = outcomes.map(|(what, so)| {
        let file = Outcomes::path(here, key);
        format!("{what} are missing: {}; without them {so}", file.display())
    });
    let maps = (entry.maps.is_empty() && record.beside.maps.is_some()).then(|| {
        let file = AttentionMaps::path(here, key);
        format!("attention maps are missing: {}", file.display())
    });
    let curves = (entry.curves.is_empty() && record.beside.curves.is_some()).then(|| {
        let file = curves_path(here, key);
        format!("curves of the training are missing: {}", file.display())
    });
    let lines = outcomes.into_iter().chain(maps).chain(curves);
    let name = &record.subject.name;
    lines
        .map(|line| format!("{name}: {line} (its command makes them again)"))
        .collect()
}
