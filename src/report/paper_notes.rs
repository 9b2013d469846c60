//! Footnotes of a paper's table: what is known of published values.

use crate::spec::{
    Claim, Conflict, Content, PaperTable, PublishedCell, PublishedMark, PublishedRow, Select,
};

/// Sentences, each with the cells that it is about: rows with one list of columns are named together.
#[derive(Default)]
pub(super) struct Spots(Vec<(String, Vec<(String, String)>)>);

impl Spots {
    /// Says `words` of one more cell.
    pub(super) fn add(&mut self, words: String, row: &str, column: &str) {
        let spot = (row.to_owned(), column.to_owned());
        match self.0.iter_mut().find(|(known, _)| *known == words) {
            Some((_, spots)) => spots.push(spot),
            None => self.0.push((words, vec![spot])),
        }
    }

    /// One line a sentence, in the order in which they were first said.
    pub(super) fn lines(self) -> Vec<String> {
        let line = |(words, spots): (String, Vec<(String, String)>)| {
            format!("{}: {words}", places(&spots))
        };
        self.0.into_iter().map(line).collect()
    }
}

/// `MAE and BEiT (top-1, top-5); MEDiC (top-1)`.
fn places(spots: &[(String, String)]) -> String {
    let mut columns: Vec<(&str, Vec<&str>)> = Vec::new();
    for (row, column) in spots {
        match columns.iter_mut().find(|(known, _)| known == row) {
            Some((_, columns)) => columns.push(column),
            None => columns.push((row, vec![column])),
        }
    }
    let mut rows: Vec<(Vec<&str>, Vec<&str>)> = Vec::new();
    for (row, columns) in columns {
        match rows.iter_mut().find(|(known, _)| *known == columns) {
            Some((_, rows)) => rows.push(row),
            None => rows.push((columns, vec![row])),
        }
    }
    let groups = rows.into_iter().map(|(columns, rows)| {
        let rows = rows.join(", ");
        format!("{rows} ({})", columns.join(", "))
    });
    groups.collect::<Vec<_>>().join("; ")
}

/// Notes of the cells, what was selected, contradictions, and where the values are from.
pub(super) fn published_notes(table: &PaperTable, conflicts: &[Conflict]) -> Vec<String> {
    let definition = &table.definition;
    let mut notes = Vec::new();
    for column in &definition.columns {
        let chosen = match column.select {
            Select::None => continue,
            Select::BestK => "number of neighbours",
            Select::BestLayer => "block",
            Select::BestEpoch => "epoch",
        };
        notes.push(format!(
            "{}: the paper chose the best {chosen} on the validation set",
            column.name
        ));
    }
    let mut spots = Spots::default();
    for row in &table.rows {
        let row_name = name(table, row);
        for (cell, column) in row.cells.iter().zip(&definition.columns) {
            if let Some(words) = words(cell) {
                spots.add(words, &row_name, &column.name);
            }
        }
    }
    notes.extend(spots.lines());
    let cells = |conflict: &&Conflict| {
        table.rows.iter().any(|row| {
            let mut columns = definition.columns.iter();
            columns.any(|column| conflict.concerns(&definition.id, row.number, &column.name))
        })
    };
    for conflict in conflicts.iter().filter(cells) {
        let claims = conflict.claims.iter();
        let claims: Vec<_> = claims
            .map(|Claim { place, value }| format!("{value} ({place})"))
            .collect();
        notes.push(format!(
            "contradiction: {}: {}",
            conflict.what,
            claims.join(", ")
        ));
    }
    let mut citations: Vec<&str> = Vec::new();
    for cell in table.rows.iter().flat_map(|row| &row.cells) {
        if !citations.contains(&cell.citation.as_str()) {
            citations.push(&cell.citation);
        }
    }
    notes.push(format!("published: {}", citations.join("; ")));
    notes
}

/// The label, with the number where the table has it twice.
fn name(table: &PaperTable, row: &PublishedRow) -> String {
    let same = table.rows.iter().filter(|other| other.label == row.label);
    match same.count() {
        1 => row.label.clone(),
        _ => format!("{} in row {}", row.label, row.number),
    }
}

/// The note of a cell; signs whose meaning it does not tell are named.
fn words(cell: &PublishedCell) -> Option<String> {
    let mut words = Vec::new();
    let note = cell.note.as_deref().unwrap_or_default();
    for mark in &cell.marks {
        let sign = match mark {
            PublishedMark::Dagger => "†",
            PublishedMark::DoubleDagger => "‡",
            PublishedMark::Asterisk => "*",
            PublishedMark::Approximate => "≈",
            // Shown beside the value.
            PublishedMark::Selected => continue,
        };
        if !note.contains(sign) {
            words.push(match mark {
                PublishedMark::Approximate => "approximate".to_owned(),
                _ => format!("the paper's {sign}, which it does not explain"),
            });
        }
    }
    let selected = cell.marks.contains(&PublishedMark::Selected);
    let shown = matches!(cell.content, Content::Number { .. });
    if selected && !shown {
        words.push("selected on the validation set".to_owned());
    }
    words.extend(cell.note.as_deref().map(note_words));
    (!words.is_empty()).then(|| words.join("; "))
}

/// A note that explains a sign of the paper's says so: tables have signs of their own.
fn note_words(note: &str) -> String {
    match note.starts_with(['†', '‡', '*']) {
        true => format!("the paper's {note}"),
        false => note.to_owned(),
    }
}
