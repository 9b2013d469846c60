//! Which files a reference means, and where they are once they are here.

use std::path::{Path, PathBuf};

use super::cache::{Cache, failed};
use super::client::{Client, Metadata};
use super::download::download;
use super::reference::is_relative;
use super::{HubError, HubReference, HubSettings};

/// Names of weights, in the order in which they are looked for: timm's and transformers', a model
/// of theirs in several files, open_clip's, PyTorch's.
const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
];

/// What weights cannot tell stands in these, beside them.
const CONFIGS: [&str; 2] = ["config.json", "open_clip_config.json"];

/// How the name of a list of shards ends.
const INDEX: &str = ".index.json";

/// Bytes of the longest list of shards that is read: a line a tensor, and ViTs have hundreds.
const INDEX_LIMIT: u64 = 64 << 20;

/// Who is told what is being downloaded.
pub trait Watcher {
    /// Something worth a line.
    fn notice(&mut self, message: &str);

    /// So many bytes of a file are here.
    fn progress(&mut self, file: &str, bytes: u64, size: u64);
}

/// Brings the weights that `reference` means into the hub's cache, with their configuration and
/// all of their shards, and returns their path. Files that are there are not downloaded again;
/// where the hub cannot be reached they are all that is needed.
pub fn fetch(
    reference: &HubReference,
    settings: &HubSettings,
    watcher: &mut dyn Watcher,
) -> Result<PathBuf, HubError> {
    let cache = Cache::new(settings, reference);
    let candidates: Vec<_> = match &reference.file {
        Some(file) => vec![file.as_str()],
        None => WEIGHTS.to_vec(),
    };
    if settings.offline {
        return cached(&cache, reference, &candidates).ok_or_else(|| HubError::Offline {
            reference: reference.clone(),
            cache: settings.cache.display().to_string(),
        });
    }
    match downloaded(&cache, reference, settings, &candidates, watcher) {
        Err(error @ HubError::Unreachable { .. }) => {
            let path = cached(&cache, reference, &candidates).ok_or(error)?;
            watcher.notice(&format!(
                "the hub cannot be reached; {reference} is taken from its cache: {}",
                path.display()
            ));
            Ok(path)
        }
        other => other,
    }
}

fn downloaded(
    cache: &Cache,
    reference: &HubReference,
    settings: &HubSettings,
    candidates: &[&str],
    watcher: &mut dyn Watcher,
) -> Result<PathBuf, HubError> {
    let client = Client::new(settings, reference);
    let Some((file, metadata)) = first(&client, &reference.revision, candidates)? else {
        return Err(HubError::NoFile {
            repository: reference.repository.clone(),
            revision: reference.revision.clone(),
            files: candidates.iter().map(|&file| file.to_owned()).collect(),
        });
    };
    // From here on one commit is asked for, whatever becomes of the branch meanwhile.
    let commit = &metadata.commit;
    for config in CONFIGS {
        let config = beside(file, config);
        if let Some(metadata) = client.metadata(commit, &config)? {
            download(&client, cache, &config, &metadata, watcher)?;
        }
    }
    download(&client, cache, file, &metadata, watcher)?;
    let path = cache.file(commit, file);
    if file.ends_with(INDEX) {
        for shard in shards(&path)? {
            let shard = beside(file, &shard);
            let Some(metadata) = client.metadata(commit, &shard)? else {
                return Err(HubError::NoFile {
                    repository: reference.repository.clone(),
                    revision: commit.clone(),
                    files: vec![shard],
                });
            };
            download(&client, cache, &shard, &metadata, watcher)?;
        }
    }
    // Last, so that without network a revision is always one whose files are all here.
    cache.note_commit(&reference.revision, commit)?;
    Ok(path)
}

/// The first of the files that the repository has.
fn first<'a>(
    client: &Client,
    revision: &str,
    candidates: &[&'a str],
) -> Result<Option<(&'a str, Metadata)>, HubError> {
    for &file in candidates {
        if let Some(metadata) = client.metadata(revision, file)? {
            return Ok(Some((file, metadata)));
        }
    }
    Ok(None)
}

/// The first of the files that the cache has whole.
fn cached(cache: &Cache, reference: &HubReference, candidates: &[&str]) -> Option<PathBuf> {
    let commit = cache.commit(&reference.revision)?;
    let whole = |path: &PathBuf| {
        let here = |shard: &String| path.with_file_name(shard).is_file();
        path.is_file()
            && (!path.to_string_lossy().ends_with(INDEX)
                || shards(path).is_ok_and(|shards| shards.iter().all(here)))
    };
    let paths = candidates.iter().map(|file| cache.file(&commit, file));
    paths.into_iter().find(whole)
}

/// `name` in the folder of `file`, both paths inside a repository.
fn beside(file: &str, name: &str) -> String {
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name.to_owned(),
    }
}

/// The files that an index names, each once.
fn shards(index: &Path) -> Result<Vec<String>, HubError> {
    let wrong = |reason: String| HubError::Answer {
        url: index.display().to_string(),
        reason,
    };
    let size = std::fs::metadata(index)
        .map_err(failed("read", index))?
        .len();
    if size > INDEX_LIMIT {
        return Err(wrong(format!(
            "{size} bytes are too many for a list of shards"
        )));
    }
    let text = std::fs::read_to_string(index).map_err(failed("read", index))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| wrong("it has no weight_map".to_owned()))?;
    let mut shards = Vec::new();
    for file in map.values() {
        let file = file.as_str().filter(|file| is_relative(file));
        let file = file.ok_or_else(|| wrong("weight_map names no files beside it".to_owned()))?;
        shards.push(file.to_owned());
    }
    shards.sort();
    shards.dedup();
    Ok(shards)
}
