//! What can keep a file of the hub from arriving.

use std::path::PathBuf;

use super::HubReference;
use crate::store::StoreError;

/// A file of the hub cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The feature is not compiled in.
    #[error("{0}: this mimbench was built without the hub's client")]
    NotBuilt(HubReference),
    /// The text is no reference.
    #[error("{text:?} names no file of the hub: {reason}")]
    Reference {
        /// As given.
        text: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The hub knows no such repository, or hides it from this user.
    #[error("the hub has no repository {repository} that you may see")]
    NoRepository {
        /// `owner/name`.
        repository: String,
    },
    /// The repository has no such branch, tag or commit.
    #[error("{repository} has no revision {revision}")]
    NoRevision {
        /// `owner/name`.
        repository: String,
        /// As asked for.
        revision: String,
    },
    /// The repository has none of the files looked for.
    #[error("{repository} at {revision} has no {}", files.join(", "))]
    NoFile {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// What was looked for, in order.
        files: Vec<String>,
    },
    /// The repository is there, and its owner has not let this user in.
    #[error("access to {repository} is restricted")]
    Gated {
        /// `owner/name`.
        repository: String,
    },
    /// No answer, or one that says to come back later.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The network is not to be used, and the cache lacks the file.
    #[error("{reference} is not in {cache}, and HF_HUB_OFFLINE forbids to download it")]
    Offline {
        /// What was asked for.
        reference: HubReference,
        /// The cache.
        cache: String,
    },
    /// An answer that is not the hub's.
    #[error("{url} gives an answer that cannot be used: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection ended before the file did.
    #[error("{url} stopped after {have} of {size} bytes: {reason}")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes that are kept.
        have: u64,
        /// Bytes of the whole file.
        size: u64,
        /// What went wrong.
        reason: String,
    },
    /// The bytes that arrived are not those the hub announced.
    #[error("{url} has {hash} {found}, the hub announced {expected}")]
    Checksum {
        /// What was asked for.
        url: String,
        /// Which hash.
        hash: &'static str,
        /// Hash of what arrived.
        found: String,
        /// Hash that the hub names.
        expected: String,
    },
    /// Contents in the cache are not those of their name, and cannot be fetched again.
    #[error("{} is damaged: its bytes are not those that its name says", path.display())]
    Damaged {
        /// In the cache.
        path: PathBuf,
    },
    /// A description that is too long for one.
    #[error("{url} has {size} bytes, more than the {limit} that are read of such a file")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// Bytes.
        size: u64,
        /// Bytes.
        limit: u64,
    },
    /// A list of shards that cannot be followed.
    #[error("{} is no list of shards: {reason}", path.display())]
    Index {
        /// In the cache.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cache(#[from] StoreError),
}

impl HubError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        Some(match self {
            Self::NotBuilt(HubReference {
                repository, file, ..
            }) => format!(
                "build it with --features hub, or run `hf download {repository} {}` and give the path that it prints",
                file.as_deref().unwrap_or("model.safetensors")
            ),
            Self::Reference { .. } => {
                "hf://owner/name, hf://owner/name/file or hf://owner/name@revision/file".to_owned()
            }
            Self::NoRepository { .. } => {
                "check owner and name; a private repository needs a token of yours in HF_TOKEN"
                    .to_owned()
            }
            Self::NoRevision { repository, .. } => format!(
                "its branches, tags and commits are listed at https://huggingface.co/{repository}/commits/main"
            ),
            Self::NoFile { repository, .. } => format!(
                "its files are listed at https://huggingface.co/{repository}/tree/main: name one as hf://{repository}/FILE"
            ),
            Self::Gated { repository } => format!(
                "accept its terms at https://huggingface.co/{repository}, then set HF_TOKEN to a token that may read it"
            ),
            Self::Unreachable { .. } => {
                "check the network, HTTPS_PROXY and HF_ENDPOINT; a machine without network can use the cache of another (HF_HOME)"
                    .to_owned()
            }
            Self::Offline { .. } => {
                "unset HF_HUB_OFFLINE, or point HF_HOME at a cache that has it".to_owned()
            }
            Self::Answer { .. } => "check HF_ENDPOINT".to_owned(),
            Self::Interrupted { .. } => {
                "run the command again: what has arrived of the weights is kept".to_owned()
            }
            Self::Checksum { .. } => {
                "what arrived was deleted; run the command again, and if it comes back so, check HF_ENDPOINT and proxies"
                    .to_owned()
            }
            Self::Damaged { .. } => {
                "run the command with network: it is downloaded again".to_owned()
            }
            Self::TooLarge { .. } => {
                "download the weights yourself and give their path; flags and cards say what such a file would"
                    .to_owned()
            }
            Self::Index { .. } => {
                "the repository has it so: name another file of it as hf://owner/name/FILE"
                    .to_owned()
            }
            Self::Cache(StoreError::Io { source, .. })
                if matches!(source.kind(), StorageFull | QuotaExceeded) =>
            {
                "free some space or choose another disk with HF_HOME; what has arrived is kept"
                    .to_owned()
            }
            Self::Cache(_) => {
                "HF_HUB_CACHE or HF_HOME says where downloaded files are kept".to_owned()
            }
        })
    }
}
