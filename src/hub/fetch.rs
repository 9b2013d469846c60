//! Which files a reference means, and where they are once they are here.

use std::path::{Path, PathBuf};

use super::blob::Blob;
use super::cache::{Cache, failed};
use super::client::{Client, Metadata};
use super::download::download;
use super::reference::is_plain;
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

/// Bytes of the longest configuration that is downloaded; those of models are of a few thousand.
const CONFIG_LIMIT: u64 = 1 << 20;

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
/// where the hub gives no answer at all they are all that is needed.
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
        return cached(&cache, reference, &candidates)?.ok_or_else(|| HubError::Offline {
            reference: reference.clone(),
            cache: settings.cache.display().to_string(),
        });
    }
    let client = Client::new(settings, reference);
    match client.metadata(&reference.revision, candidates[0]) {
        // Once the hub has answered, an older commit would be another model than the one asked for.
        Err(error @ HubError::Unreachable { .. }) => {
            let path = cached(&cache, reference, &candidates)?.ok_or(error)?;
            watcher.notice(&format!(
                "the hub cannot be reached; {reference} is taken from its cache: {}",
                path.display()
            ));
            Ok(path)
        }
        answer => downloaded(&client, &cache, reference, &candidates, answer?, watcher),
    }
}

/// `answer` is what the hub says of the first of the candidates.
fn downloaded(
    client: &Client,
    cache: &Cache,
    reference: &HubReference,
    candidates: &[&str],
    answer: Option<Metadata>,
    watcher: &mut dyn Watcher,
) -> Result<PathBuf, HubError> {
    let lacks = |revision: &str, files: Vec<String>| HubError::NoFile {
        repository: reference.repository.clone(),
        revision: revision.to_owned(),
        files,
    };
    let mut found = answer.map(|metadata| (candidates[0], metadata));
    for &file in &candidates[1..] {
        if found.is_none() {
            found = client
                .metadata(&reference.revision, file)?
                .map(|metadata| (file, metadata));
        }
    }
    let (file, metadata) = found.ok_or_else(|| {
        let files = candidates.iter().map(|&file| file.to_owned());
        lacks(&reference.revision, files.collect())
    })?;
    // From here on one commit is asked for, whatever becomes of the branch meanwhile.
    let commit = &metadata.commit;
    if file.ends_with(INDEX) {
        bounded(&client.url(commit, file), metadata.size, INDEX_LIMIT)?;
    }
    for config in CONFIGS {
        let config = beside(file, config);
        if let Some(metadata) = client.metadata(commit, &config)? {
            bounded(&client.url(commit, &config), metadata.size, CONFIG_LIMIT)?;
            download(client, cache, &config, &metadata, watcher)?;
        }
    }
    download(client, cache, file, &metadata, watcher)?;
    let path = cache.file(commit, file);
    if file.ends_with(INDEX) {
        let mut parts = Vec::new();
        for shard in shards(&path)? {
            let shard = beside(file, &shard);
            match client.metadata(commit, &shard)? {
                Some(metadata) => parts.push((shard, metadata)),
                None => return Err(lacks(commit, vec![shard])),
            }
        }
        for (shard, metadata) in parts {
            download(client, cache, &shard, &metadata, watcher)?;
        }
    }
    // Last, so that without network a revision is always one whose files are all here.
    cache.note_commit(&reference.revision, commit)?;
    Ok(path)
}

/// An error where a description is too long for one, before any of it is downloaded.
fn bounded(url: &str, size: u64, limit: u64) -> Result<(), HubError> {
    if size <= limit {
        return Ok(());
    }
    Err(HubError::TooLarge {
        url: url.to_owned(),
        size,
        limit,
    })
}

/// The first of the files that the cache has whole.
fn cached(
    cache: &Cache,
    reference: &HubReference,
    candidates: &[&str],
) -> Result<Option<PathBuf>, HubError> {
    let Some(commit) = cache.commit(&reference.revision) else {
        return Ok(None);
    };
    for file in candidates {
        let path = cache.file(&commit, file);
        let mut files = vec![path.clone()];
        if file.ends_with(INDEX) && path.is_file() {
            let shards = shards(&path)?;
            files.extend(shards.iter().map(|shard| path.with_file_name(shard)));
        }
        if files.iter().all(|file| file.is_file()) {
            files.iter().try_for_each(|file| sound(file))?;
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// An error where contents in the cache are not those of their name.
fn sound(file: &Path) -> Result<(), HubError> {
    match Blob::behind(file) {
        Some(blob) if !blob.is_sound(None)? => Err(HubError::Damaged {
            path: file.to_owned(),
        }),
        _ => Ok(()),
    }
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
    let wrong = |reason: String| HubError::Index {
        path: index.to_owned(),
        reason,
    };
    let size = std::fs::metadata(index)
        .map_err(failed("read", index))?
        .len();
    bounded(&index.display().to_string(), size, INDEX_LIMIT)?;
    let text = std::fs::read_to_string(index).map_err(failed("read", index))?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let map = json.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| wrong("it has no weight_map".to_owned()))?;
    let mut shards = Vec::new();
    for (key, file) in map {
        let plain = file.as_str().filter(|file| is_plain(file));
        let plain = plain
            .ok_or_else(|| wrong(format!("{key} is in {file}, which is no plain file name")))?;
        shards.push(plain.to_owned());
    }
    shards.sort();
    shards.dedup();
    Ok(shards)
}
