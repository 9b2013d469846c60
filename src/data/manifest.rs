//! What identifies a dataset: its manifest (paths, sizes, labels) and its contents.

use super::{
    dataset::{Location, Split},
    dataset_error::DatasetError,
};
use serde::{Deserialize, Serialize};
use std::{fs::Metadata, os::unix::fs::MetadataExt};

/// What a file system says about an image without reading it: while it stays the same, so does a
/// content hash that was cached under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Inode of the file, the shard or the file of records.
    pub inode: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Where the image begins in it, in bytes: 0 where the file is the image.
    pub offset: u64,
}

impl FileStamp {
    pub(super) fn of(metadata: &Metadata, offset: u64) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            mtime_ns: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
            offset,
        }
    }
}

/// First 16 bytes of the BLAKE3 hash of an encoded image.
pub fn content_hash(bytes: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    blake3::Hasher::new()
        .update(bytes)
        .finalize_xof()
        .fill(&mut hash);
    hash
}

/// BLAKE3 over the class names in label order: two datasets with the same digest mean the same
/// class by the same label.
pub fn class_order_digest(classes: &[String]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"mimbench classes 1\0");
    for class in classes {
        update_text(&mut hasher, class);
    }
    hasher.finalize().into()
}

/// BLAKE3 over the manifest and the content hash of every sample (`content_hashes`: one for each,
/// in order). Equal fingerprints mean equal images, labels and order.
///
/// # Errors
/// [`DatasetError::HashCount`] when there is not one hash for each sample.
pub fn fingerprint(split: &Split, content_hashes: &[[u8; 16]]) -> Result<[u8; 32], DatasetError> {
    if content_hashes.len() != split.samples.len() {
        return Err(DatasetError::HashCount {
            samples: split.samples.len(),
            hashes: content_hashes.len(),
        });
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"mimbench fingerprint 1\0");
    hasher.update(&split.manifest_hash());
    hasher.update(content_hashes.as_flattened());
    Ok(hasher.finalize().into())
}

impl Split {
    /// BLAKE3 over path, size and label of every sample in order; of files of records, whose paths
    /// and sizes are all alike, over their contents too. Paths are relative, so a moved or copied
    /// dataset keeps its hash.
    pub fn manifest_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"mimbench manifest 1\0");
        for sample in &self.samples {
            update_text(&mut hasher, &sample.path);
            hasher.update(&sample.bytes.to_le_bytes());
            hasher.update(&sample.label.to_le_bytes());
        }
        for contents in self.shards.iter().filter_map(|shard| shard.contents) {
            hasher.update(&contents);
        }
        hasher.finalize().into()
    }

    /// The stamp of a sample as it was when the dataset was opened. [`Split::read`] refuses a file
    /// whose stamp differs.
    ///
    /// # Errors
    /// [`DatasetError::NoSuchSample`] past the end.
    pub fn stamp(&self, index: usize) -> Result<FileStamp, DatasetError> {
        let sample = self.sample(index)?;
        match sample.location {
            Location::File { inode, mtime_ns } => Ok(FileStamp {
                inode,
                size: sample.bytes,
                mtime_ns,
                offset: 0,
            }),
            Location::Member { shard, offset } | Location::Record { shard, offset } => self
                .shards
                .get(shard as usize)
                .map(|shard| FileStamp {
                    offset,
                    ..shard.stamp
                })
                .ok_or(DatasetError::NoSuchSample {
                    index,
                    samples: self.samples.len(),
                }),
        }
    }
}

/// Length first, so that no two lists of texts hash the same bytes.
fn update_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::super::dataset::tests::{open, tree, write};
    use super::*;
    use std::fs;

    #[test]
    fn a_moved_dataset_keeps_its_hash() {
        let files = ["train/a/1.jpg", "train/b/2.jpg", "val/a/1.jpg"];
        let (here, there) = (tree(&files), tree(&files));
        let hash = open(&here).unwrap().train.manifest_hash();
        assert_eq!(hash, open(&there).unwrap().train.manifest_hash());
        // Another size, another path, another label.
        write(there.path(), "train/a/1.jpg", b"other");
        assert_ne!(hash, open(&there).unwrap().train.manifest_hash());
        let renamed = tree(&["train/a/3.jpg", "train/b/2.jpg", "val/a/1.jpg"]);
        assert_ne!(hash, open(&renamed).unwrap().train.manifest_hash());
        let mut relabelled = open(&here).unwrap().train;
        relabelled.samples[0].label = 1;
        assert_ne!(hash, relabelled.manifest_hash());
        assert_ne!(
            class_order_digest(&["ab".into(), "c".into()]),
            class_order_digest(&["a".into(), "bc".into()])
        );
    }

    #[test]
    fn content_hashes_are_prefixes_of_blake3() {
        assert_eq!(content_hash(b"x"), blake3::hash(b"x").as_bytes()[..16]);
    }

    #[test]
    fn fingerprints_cover_contents() {
        let root = tree(&["train/a/1.jpg", "train/a/2.jpg", "val/a/1.jpg"]);
        let split = open(&root).unwrap().train;
        let one = fingerprint(&split, &[[1; 16], [2; 16]]).unwrap();
        assert_ne!(one, fingerprint(&split, &[[2; 16], [1; 16]]).unwrap());
        assert!(matches!(
            fingerprint(&split, &[[1; 16]]),
            Err(DatasetError::HashCount {
                samples: 2,
                hashes: 1
            })
        ));
    }

    #[test]
    fn stamps_are_those_of_the_file_system() {
        let root = tree(&["train/a/1.jpg", "val/a/1.jpg"]);
        let metadata = fs::metadata(root.path().join("train/a/1.jpg")).unwrap();
        let split = open(&root).unwrap().train;
        assert_eq!(split.stamp(0).unwrap(), FileStamp::of(&metadata, 0));
        assert_eq!(
            metadata
                .modified()
                .unwrap()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos(),
            split.stamp(0).unwrap().mtime_ns as u128
        );
        assert!(split.stamp(1).is_err());
    }
}
