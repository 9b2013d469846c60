//! In what a record's protocol differs from the paper's.

use std::collections::BTreeSet;

use toml::Value;

use super::{Measured, Record};
use crate::data::{InputSpec, Resize, Statistics};
use crate::spec::{ColumnDefinition, Measurement, setting};

/// Settings that choose no number: a column names its own k and images, and shows no epoch but the
/// last; whom a protocol is for, and what it knows of its paper, are no settings of the run.
const FREE: [&str; 6] = [
    "data.dataset",
    "task.depth",
    "task.k",
    "task.headline",
    "task.validate_every",
    "task.not_in_paper",
];

/// What was measured otherwise than the paper did, a short sentence each; where the paper does not
/// say a setting, the protocol's own counts.
pub(super) fn differences(
    record: &Record,
    measured: &Measured,
    column: &ColumnDefinition,
    measurement: &Measurement,
) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(protocol) = record.protocol.text.parse::<toml::Table>() else {
        return vec!["its protocol does not parse".to_owned()];
    };
    let usual = column.usual().unwrap_or_default();
    for path in paths(&protocol, &usual, column) {
        let resolved = setting(&protocol, &path);
        let wanted = column.paper_settings.get(&path);
        let wanted = wanted.or_else(|| setting(&usual, &path));
        let same = match (resolved, wanted) {
            (Some(found), Some(wanted)) => {
                alike(found, wanted) || amounts_to(&path, wanted, record, measured)
            }
            (None, None) => true,
            _ => false,
        };
        if !same {
            let whose = match (column.paper_settings.contains_key(&path), &column.preset) {
                (true, _) => "the paper's is".to_owned(),
                (false, None) => "the usual is".to_owned(),
                (false, Some(preset)) => format!("that of {preset} is"),
            };
            let words = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), shown);
            found.push(format!(
                "{path} is {}, {whose} {}",
                words(resolved),
                words(wanted)
            ));
        }
    }
    if record.data.dataset.is_none() {
        found.push(format!(
            "{} is not known to be all of {}",
            record.data.root.display(),
            measurement.dataset.name()
        ));
    }
    if let Some(limit) = record.data.limit {
        found.push(format!("--limit {limit} images a split"));
    }
    for key in &record.subject.ignored_keys {
        found.push(format!("key {key} left out on request"));
    }
    // Double precision takes nothing from a number.
    if record.compute.precision == "bf16" {
        found.push(format!("computed in {}", record.compute.precision));
    }
    if record.compute.stored != "f32" {
        found.push(format!("features stored as {}", record.compute.stored));
    }
    found
}

/// A record's protocol without its name and that of its images: what numbers depend on.
pub(super) fn rules(record: &Record) -> String {
    let Ok(mut protocol) = record.protocol.text.parse::<toml::Table>() else {
        return record.protocol.hash.clone();
    };
    protocol.remove("name");
    if let Some(Value::Table(data)) = protocol.get_mut("data") {
        data.remove("dataset");
    }
    protocol.to_string()
}

/// Key paths of everything that is to be compared: what the paper says, what the protocol usually
/// sets, and what this one sets.
fn paths(
    protocol: &toml::Table,
    usual: &toml::Table,
    column: &ColumnDefinition,
) -> BTreeSet<String> {
    let mut paths: BTreeSet<String> = column.paper_settings.keys().cloned().collect();
    for protocol in [usual, protocol] {
        for section in ["input", "task"] {
            if let Some(Value::Table(table)) = protocol.get(section) {
                leaves(section, table, &mut paths);
            }
        }
    }
    let is = |path, word| setting(protocol, path).and_then(Value::as_str) == Some(word);
    let exact = is("task.search", "exact");
    let all_shots = is("task.shots", "all");
    let alone = setting(protocol, "task.head.batch_norm") == Some(&Value::Boolean(false));
    paths.retain(|path| {
        let unused = exact && path.starts_with("task.hnsw.")
            || all_shots && path == "task.shots_seed"
            // Images beside an image matter to a BatchNorm alone.
            || alone && path == "task.local_batch";
        !unused && !FREE.contains(&path.as_str())
    });
    paths
}

fn leaves(prefix: &str, table: &toml::Table, paths: &mut BTreeSet<String>) {
    for (key, value) in table {
        let path = format!("{prefix}.{key}");
        match value {
            // Of another kind it has other settings.
            Value::Table(table) if !table.contains_key("kind") => leaves(&path, table, paths),
            _ => {
                paths.insert(path);
            }
        }
    }
}

/// Whether two settings are the same; numbers as the f32 that protocols hold.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => *a as f32 == *b as f32,
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Table(a), Value::Table(b)) => {
            let same = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| alike(a, b));
            a.len() == b.len() && a.iter().all(same)
        }
        (a, b) => a == b,
    }
}

/// Whether what the record's setting led to is what the paper's would have led to: `card` to the
/// mean and std of ImageNet or the other way round, `all` to the last block among others.
fn amounts_to(path: &str, wanted: &Value, record: &Record, measured: &Measured) -> bool {
    let Some(wanted) = wanted.as_str() else {
        return false;
    };
    let input = || serde_json::from_value::<InputSpec>(record.input.clone()).ok();
    let mut words = measured.feature.split(' ');
    match path {
        "task.feature" | "task.norm" if wanted == "card" => {
            // Token and normalisation.
            let place = usize::from(path == "task.norm");
            let own = own(record, "feature").and_then(|own| own.split(' ').nth(place));
            own.is_some_and(|own| words.any(|word| word == own))
        }
        "task.feature" | "task.norm" => words.any(|word| word == wanted),
        "task.layers" => {
            let depth = record.subject.architecture["depth"].as_u64();
            let last = depth.and_then(|depth| depth.checked_sub(1));
            wanted == "last" && last.is_some() && measured.layer.map(|layer| layer as u64) == last
        }
        "input.normalise" if wanted == "card" => {
            let values = |field| serde_json::from_str::<Vec<f32>>(own(record, field)?).ok();
            input().is_some_and(|input| {
                values("mean") == Some(input.mean) && values("std") == Some(input.std)
            })
        }
        "input.normalise" => {
            let statistics = match wanted {
                "imagenet" => Statistics::Imagenet,
                "half" => Statistics::Half,
                "clip" => Statistics::Clip,
                _ => return false,
            };
            let (mean, std) = statistics.values();
            input().is_some_and(|input| input.mean == mean && input.std == std)
        }
        "input.interpolation" => record.input["interpolation"] == wanted,
        "input.resize" => input().is_some_and(|input| {
            let side = input.height.min(input.width);
            let shorter = match wanted {
                // 256 for 224, as facebookresearch/dino eval_knn.py.
                "dino" => side * 256 / 224,
                "whole" => side,
                _ => return false,
            };
            input.resize == Resize::Shorter(shorter)
        }),
        _ => false,
    }
}

/// What a checkpoint's own files, or its family, say of a field.
fn own<'a>(record: &'a Record, field: &str) -> Option<&'a str> {
    let choices = record.subject.choices.as_array()?;
    let choice = choices.iter().find(|choice| choice["field"] == field)?;
    choice["value"].as_str()
}

/// A setting as it stands in a protocol file, words without quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => (*number as f32).to_string(),
        value => value.to_string(),
    }
}
