//! The hashes by which the hub names contents.

use std::fs::File;
use std::io::{Read, Result};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::client::is_hex;

/// Bytes that are read at a time.
pub(super) const BLOCK: usize = 1 << 20;

/// What an etag can be: of a file in LFS its sha256, of any other the name of git's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    /// sha256 of the bytes.
    Sha256,
    /// sha1 of `blob`, a space, the size in decimal, a zero byte and the bytes (git's
    /// `object-file.c`).
    GitBlob,
}

impl Hash {
    /// Which hash an etag is; other servers' etags may be none.
    pub(super) fn of_etag(etag: &str) -> Option<Self> {
        match etag.len() {
            64 if is_hex(etag, 64) => Some(Self::Sha256),
            40 if is_hex(etag, 40) => Some(Self::GitBlob),
            _ => None,
        }
    }

    /// What errors call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::GitBlob => "git hash",
        }
    }

    /// Begins with contents of `size` bytes.
    pub(super) fn begin(self, size: u64) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(Sha256::new()),
            Self::GitBlob => Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }
}

/// A hash of the bytes so far.
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Goes on with everything that is left of a file.
    pub(super) fn update_from(&mut self, file: &mut File) -> Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block)? {
                0 => return Ok(()),
                read => self.update(&block[..read]),
            }
        }
    }

    /// In lower-case hexadecimal digits, as etags are.
    pub(super) fn finish(self) -> String {
        let hexadecimal = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha256(hasher) => hexadecimal(&hasher.finalize()),
            Self::GitBlob(hasher) => hexadecimal(&hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_says_which_hash_it_is() {
        // `printf 'hello\n' | git hash-object --stdin`, `printf 'hello\n' | sha256sum`.
        for (hash, etag) in [
            (Hash::GitBlob, "ce013625030ba8dba906f756967f9e9ca394464a"),
            (
                Hash::Sha256,
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
            ),
        ] {
            assert_eq!(Hash::of_etag(etag), Some(hash));
            let mut hasher = hash.begin(6);
            hasher.update(b"hel");
            hasher.update(b"lo\n");
            assert_eq!(hasher.finish(), etag);
            assert_eq!(Hash::of_etag(&etag.to_uppercase()), None);
            assert_eq!(Hash::of_etag(&etag[1..]), None);
        }
    }
}
