//! Settings over settings: what `--set` changes, and what extends what.

use toml::{Table, Value};

use super::SpecError;

/// Tables inside each other that a setting may name. Protocols have three; tables without end would
/// exhaust the stack of whatever walks them.
const DEEPEST: usize = 16;

/// Keys that name a protocol: a row must not carry the name of what was not run.
const IDENTITY: [&str; 4] = ["extends", "kind", "name", "version"];

/// One `--set key.path=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting(pub String);

impl Setting {
    /// The key path that it is about.
    pub fn key(&self) -> &str {
        let (key, _) = self.0.split_once('=').unwrap_or((&self.0, ""));
        key.trim()
    }

    pub(super) fn apply(&self, table: &mut Table) -> Result<(), SpecError> {
        let wrong = |reason: &str| SpecError::Set {
            setting: self.0.clone(),
            reason: reason.to_owned(),
        };
        let (path, text) = self
            .0
            .split_once('=')
            .ok_or_else(|| wrong("needs key=value"))?;
        // What is no TOML value is taken as a string, so that --set task.vote=majority works.
        let value = toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(text.to_owned()));
        if value.as_table().is_some_and(Table::is_empty) {
            return Err(wrong(
                "is an empty table, which stands for what is usual: name a key of it",
            ));
        }
        let mut keys: Vec<_> = path.split('.').map(str::trim).collect();
        let last = keys
            .pop()
            .filter(|key| !key.is_empty())
            .ok_or_else(|| wrong("names no key"))?;
        if keys.is_empty() && IDENTITY.contains(&last) {
            return Err(wrong(
                "says what a protocol is: a file of your own can have another",
            ));
        }
        if keys.len() > DEEPEST {
            return Err(wrong("names too many tables inside each other"));
        }
        let mut place = table;
        for key in keys {
            place = place
                .entry(key)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .ok_or_else(|| wrong("goes through a key that is no table"))?;
        }
        place.insert(last.to_owned(), value);
        Ok(())
    }
}

/// Values of `over` replace those of `base`; tables merge, but for one of another `kind`, which has
/// other keys and takes the place of the whole.
pub(super) fn merge(base: &mut Table, over: Table) {
    let other_kind = |base: &Table, over: &Table| {
        let kind = over.get("kind");
        kind.is_some() && kind != base.get("kind")
    };
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) if !other_kind(base, &over) => {
                merge(base, over);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
