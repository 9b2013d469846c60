//! Names that tell records apart.

use super::Record;

/// The first eight digits of a hash.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..8).unwrap_or(hash)
}

/// The records, with whatever tells two of one name apart added to the name.
pub(super) fn labelled(records: &[&Record]) -> Vec<Record> {
    let differences: [fn(&Record) -> String; 6] = [
        |record| {
            record
                .subject
                .blake3
                .as_deref()
                .map_or("", short)
                .to_owned()
        },
        |record| format!("seed {}", record.cell.seed),
        |record| record.compute.engine.clone(),
        |record| {
            format!(
                "{}, stored {}",
                record.compute.precision, record.compute.stored
            )
        },
        |record| format!("numerics {}", record.compute.numerics),
        |record| short(&record.cell.key).to_owned(),
    ];
    let mut labelled: Vec<Record> = records.iter().map(|&record| record.clone()).collect();
    for difference in differences {
        let names: Vec<String> = labelled.iter().map(|r| r.subject.name.clone()).collect();
        for (record, name) in labelled.iter_mut().zip(&names) {
            let mut others = records.iter().zip(&names);
            let own = difference(record);
            // A difference helps where another of the same name has another one.
            if others.any(|(other, theirs)| theirs == name && difference(other) != own) {
                record.subject.name = format!("{name} ({own})");
            }
        }
    }
    labelled
}
