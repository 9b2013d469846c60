//! A checkpoint in several files, and the index that says which tensor is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::bounds::LONGEST;
use super::mapped::Mapped;
use super::members::Members;
use super::printable::{printable, shown};
use super::{CheckpointError, Contents, read_file};

/// Characters of an error that quotes the index.
const SAID: usize = 400;

/// `total_size` and whatever else stands beside the map tells nothing that the shards do not.
#[derive(Deserialize)]
struct Index {
    weight_map: Members<String>,
}

/// The tensors of every shard, and the shards in the order of their names.
pub(super) fn read(index: &Mapped) -> Result<(Contents, Vec<Mapped>), CheckpointError> {
    let refuse = |reason| CheckpointError::Index {
        path: index.path().to_owned(),
        reason,
    };
    let excessive = |what| CheckpointError::Excessive {
        path: index.path().to_owned(),
        what,
    };
    if index.len() > LONGEST {
        return Err(excessive("bytes for an index of shards"));
    }
    let Index { weight_map } =
        serde_json::from_slice(&index.bytes_at(0..index.len())?).map_err(|error| {
            let error = printable(&error.to_string(), SAID);
            refuse(format!("it is no index of shards: {error}"))
        })?;
    let weight_map = weight_map.0.map_err(excessive)?;
    let mut shards: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (key, shard) in &weight_map {
        if !is_plain(shard) {
            return Err(refuse(format!(
                "{} is in \"{}\", which is no plain file name",
                shown(key),
                shown(shard)
            )));
        }
        shards.entry(shard).or_default().insert(key);
    }
    let mut contents = Contents::default();
    let mut files = Vec::new();
    for (name, keys) in shards {
        let path = index.path().with_file_name(name);
        if !path.exists() {
            return Err(refuse(format!("its shard {} is not there", shown(name))));
        }
        let shard = Mapped::open(&path)?;
        let found = read_file(&shard)?;
        let file = shown(name);
        for key in found.entries.keys() {
            if let Some(other) = contents.entries.get(key) {
                let other: &Mapped = &files[other.file];
                let other = other.path().file_name().unwrap_or_default().display();
                let key = shown(key);
                return Err(refuse(format!("{key} is in {file} as well as in {other}")));
            }
            if !keys.contains(key.as_str()) {
                let key = shown(key);
                return Err(refuse(format!(
                    "{file} holds {key}, and the map does not say so"
                )));
            }
        }
        if let Some(key) = keys.iter().find(|&&key| !found.entries.contains_key(key)) {
            let key = shown(key);
            return Err(refuse(format!("{key} should be in {file} and is not")));
        }
        let entries = found.entries.into_iter().map(|(key, mut entry)| {
            entry.file = files.len();
            (key, entry)
        });
        contents.entries.extend(entries);
        contents.others.extend(found.others);
        files.push(shard);
    }
    Ok((contents, files))
}

/// Whether a name stays in its folder.
fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(_)))
        && parts.next().is_none()
        && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn only_names_in_the_folder_are_plain() {
        for name in ["model-00001-of-00002.safetensors", "a", "..a", ".a"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "", ".", "..", "/a", "a/", "../a", "a/b", "./a", "a\\b", "C:a", "a\0",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
