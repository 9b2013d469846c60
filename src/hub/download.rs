//! Contents of one file: continued where they stopped, verified before they get their name.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use ureq::http::header::CONTENT_RANGE;

use super::cache::{Cache, failed, make_folder_of, remove};
use super::client::{Client, Metadata};
use super::hash::{BLOCK, Hash, Hasher};
use super::{HubError, Watcher};

/// Puts the contents of `file` into the cache, if they are not there, and links the file to them.
pub(super) fn download(
    client: &Client,
    cache: &Cache,
    file: &str,
    metadata: &Metadata,
    watcher: &mut dyn Watcher,
) -> Result<(), HubError> {
    let Metadata { commit, etag, size } = metadata;
    let blob = cache.blob(etag);
    if !blob.is_sound(Some(*size))? {
        let _lock = cache.lock(etag, &mut |holder| {
            watcher.notice(&format!(
                "waiting for process {holder}, which downloads {file}"
            ));
        })?;
        if !blob.is_sound(Some(*size))? {
            if blob.path().exists() {
                watcher.notice(&format!(
                    "{} is damaged and is fetched again",
                    blob.path().display()
                ));
                remove(blob.path())?;
            }
            make_folder_of(blob.path())?;
            let partial = blob.partial();
            let url = client.url(commit, file);
            Transfer {
                client,
                url: &url,
                name: file,
                metadata,
                partial: &partial,
            }
            .run(watcher)?;
            std::fs::rename(&partial, blob.path()).map_err(failed("write", blob.path()))?;
            blob.note_hashed()?;
        }
    }
    cache.link(commit, file, etag)
}

/// A download in hand; the lock on its contents is held.
struct Transfer<'a> {
    client: &'a Client<'a>,
    url: &'a str,
    name: &'a str,
    metadata: &'a Metadata,
    partial: &'a Path,
}

impl Transfer<'_> {
    /// Completes the partial file and verifies it.
    fn run(&self, watcher: &mut dyn Watcher) -> Result<(), HubError> {
        let size = self.metadata.size;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(self.partial)
            .map_err(failed("write", self.partial))?;
        let hash = self.metadata.hash();
        let here = file.metadata().map_err(failed("read", self.partial))?.len();
        // Files outside LFS are small: a part of one is not worth continuing.
        let mut have = match hash {
            Some(Hash::Sha256) if here <= size => here,
            _ => 0,
        };
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        watcher.notice(&match have {
            0 => format!("downloading {} ({})", self.url, megabytes(size)),
            _ => format!(
                "downloading {} ({}, of which {} are here)",
                self.url,
                megabytes(size),
                megabytes(have)
            ),
        });
        loop {
            let found = self.complete(&mut file, have, hash, watcher)?;
            let Some((hash, found)) = hash.zip(found) else {
                watcher.notice("it cannot be verified: its etag is no hash");
                break;
            };
            if found == self.metadata.etag {
                break;
            }
            // What another program left here may be anything.
            if have > 0 {
                watcher.notice("what was here already is not a part of it: starting again");
                have = 0;
                continue;
            }
            remove(self.partial)?;
            return Err(HubError::Checksum {
                url: self.url.to_owned(),
                hash: hash.name(),
                found,
                expected: self.metadata.etag.clone(),
            });
        }
        file.sync_all().map_err(failed("write", self.partial))
    }

    /// Keeps the first `have` bytes and fetches the others; returns the hash of all of them.
    fn complete(
        &self,
        file: &mut File,
        have: u64,
        hash: Option<Hash>,
        watcher: &mut dyn Watcher,
    ) -> Result<Option<String>, HubError> {
        let size = self.metadata.size;
        let mut hasher = self.keep(file, have, hash)?;
        let mut at = have;
        if at < size {
            let response = self.client.contents(self.url, at)?;
            if response.status() == 206 {
                let range = response.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or("");
                if !range.starts_with(&format!("bytes {at}-")) {
                    return Err(HubError::Answer {
                        url: self.url.to_owned(),
                        reason: format!("asked for bytes from {at} on, it sends {range:?}"),
                    });
                }
            } else if at > 0 {
                hasher = self.keep(file, 0, hash)?;
                at = 0;
            }
            let mut body = response.into_body().into_reader();
            let mut block = vec![0; BLOCK];
            while at < size {
                let wanted = block
                    .len()
                    .min((size - at).try_into().unwrap_or(usize::MAX));
                let read = match body.read(&mut block[..wanted]) {
                    Ok(0) => Err("the server ended the connection".to_owned()),
                    Ok(read) => Ok(read),
                    Err(error) => Err(error.to_string()),
                };
                let read = read.map_err(|reason| HubError::Interrupted {
                    url: self.url.to_owned(),
                    have: at,
                    size,
                    reason,
                })?;
                file.write_all(&block[..read])
                    .map_err(failed("write", self.partial))?;
                if let Some(hasher) = &mut hasher {
                    hasher.update(&block[..read]);
                }
                at += read as u64;
                watcher.progress(self.name, at, size);
            }
        }
        Ok(hasher.map(Hasher::finish))
    }

    /// Cuts the file to its first `have` bytes, hashes them and stands behind them.
    fn keep(
        &self,
        file: &mut File,
        have: u64,
        hash: Option<Hash>,
    ) -> Result<Option<Hasher>, HubError> {
        let failed = failed("read", self.partial);
        file.set_len(have).map_err(&failed)?;
        file.seek(SeekFrom::Start(0)).map_err(&failed)?;
        let Some(hash) = hash else { return Ok(None) };
        let mut hasher = hash.begin(self.metadata.size);
        hasher.update_from(file).map_err(&failed)?;
        Ok(Some(hasher))
    }
}
