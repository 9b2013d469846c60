//! In which settings two protocols differ.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// Settings of two protocols, resolved TOML both, that differ, each as `task.k: [10] and [20]`, in
/// the order of their names. Only the name and the version are left where all else is equal.
pub fn differing_settings(left: &str, right: &str) -> Vec<String> {
    let (left, right) = (settings(left), settings(right));
    let fields: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let word = |settings: &BTreeMap<String, String>, field: &String| {
        settings
            .get(field)
            .cloned()
            .unwrap_or_else(|| "nothing".to_owned())
    };
    fields
        .into_iter()
        .filter(|field| left.get(*field) != right.get(*field))
        .map(|field| {
            format!(
                "{field}: {} and {}",
                word(&left, field),
                word(&right, field)
            )
        })
        .collect()
}

/// Key paths and their values; a text that is no TOML has one setting, itself.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    match text.parse::<Table>() {
        Ok(table) => flatten("", &table, &mut all),
        Err(_) => {
            all.insert("text".to_owned(), format!("{text:?}"));
        }
    }
    all
}

fn flatten(prefix: &str, table: &Table, all: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = match prefix {
            "" => key.clone(),
            prefix => format!("{prefix}.{key}"),
        };
        match value {
            Value::Table(table) => flatten(&path, table, all),
            value => {
                all.insert(path, value.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let left = "name = \"a\"\n[task]\nk = [1, 20]\nheadline = 20\n[input]\nresize = \"dino\"\n";
        let right = "name = \"a\"\n[task]\nk = [20]\nheadline = 20\nvote = \"dino\"\n[input]\nresize = \"dino\"\n";
        assert_eq!(
            differing_settings(left, right),
            [
                "task.k: [1, 20] and [20]",
                "task.vote: nothing and \"dino\""
            ]
        );
        assert!(differing_settings(left, left).is_empty());
        assert_eq!(differing_settings("=", "name = 1").len(), 2);
    }
}
