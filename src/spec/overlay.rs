//! Reading a protocol: the file, what it extends, and what `--set` changes.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{SpecError, line_of};

/// Tables inside each other that a setting may name. Protocols have three; tables without end would
/// exhaust the stack of whatever walks them.
const DEEPEST: usize = 16;

/// One `--set key.path=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting(pub String);

impl Setting {
    fn apply(&self, table: &mut Table) -> Result<(), SpecError> {
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
        let mut keys: Vec<_> = path.split('.').map(str::trim).collect();
        let last = keys
            .pop()
            .filter(|key| !key.is_empty())
            .ok_or_else(|| wrong("names no key"))?;
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

/// A protocol with every setting resolved.
#[derive(Clone, Debug)]
pub struct Protocol<T> {
    /// All settings, defaults included.
    pub spec: T,
    /// blake3 of all settings, hexadecimal.
    pub hash: String,
    /// All settings as TOML.
    pub text: String,
    /// Settings given on the command line, as given.
    pub modified: Vec<String>,
}

impl<T: DeserializeOwned + Serialize> Protocol<T> {
    /// Reads the protocol of `kind` in `path` or, without a path, the `builtin` text.
    pub fn read(
        path: Option<&Path>,
        builtin: &'static str,
        kind: &'static str,
        settings: &[Setting],
    ) -> Result<Self, SpecError> {
        let shown = path.unwrap_or(Path::new("built-in protocol"));
        let text = match path {
            Some(path) => read(path)?,
            None => builtin.to_owned(),
        };
        let parse = |path: &Path, text: &str| -> Result<Table, SpecError> {
            let wrong = |error: toml::de::Error| SpecError::Parse {
                path: path.to_owned(),
                reason: line_of(&error, text),
            };
            let mut table: Table = toml::from_str(text).map_err(wrong)?;
            match table.get("kind").and_then(Value::as_str) {
                Some(found) if found != kind => {
                    return Err(SpecError::Kind {
                        path: path.to_owned(),
                        found: found.to_owned(),
                        expected: kind,
                    });
                }
                Some(_) => {}
                None => {
                    return Err(SpecError::Parse {
                        path: path.to_owned(),
                        reason: format!("kind = \"{kind}\" is missing"),
                    });
                }
            }
            // Read from the text as well, for errors that know their line.
            toml::from_str::<T>(text).map_err(wrong)?;
            table.remove("kind");
            Ok(table)
        };
        let mut table = parse(shown, &text)?;
        if let Some(base) = table.remove("extends") {
            let base = shown.with_file_name(base.as_str().unwrap_or_default());
            let mut base_table = parse(&base, &read(&base)?)?;
            if base_table.contains_key("extends") {
                return Err(SpecError::Chain { path: base });
            }
            merge(&mut base_table, table);
            table = base_table;
        }
        for setting in settings {
            setting.apply(&mut table)?;
        }
        table.insert("kind".to_owned(), Value::String(kind.to_owned()));
        let spec: T = Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| {
                let setting = settings
                    .iter()
                    .map(|setting| setting.0.as_str())
                    .collect::<Vec<_>>();
                SpecError::Set {
                    setting: setting.join(" --set "),
                    reason: error.message().replace('\n', ", "),
                }
            })?;
        let text = toml::to_string(&spec).map_err(|error| SpecError::Parse {
            path: shown.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
            text,
            spec,
            modified: settings.iter().map(|setting| setting.0.clone()).collect(),
        })
    }
}

fn read(path: &Path) -> Result<String, SpecError> {
    std::fs::read_to_string(path).map_err(|source| SpecError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Values of `over` replace those of `base`; tables merge.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}
