//! What a file is, told by its contents: names lie.

use super::CheckpointError;
use std::path::Path;

/// Containers that checkpoints come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A safetensors file.
    Safetensors,
    /// Names of tensors and of the files they are in, as JSON.
    Index,
    /// A zip archive: `torch.save` since PyTorch 1.6, and TorchScript.
    Zip,
    /// A pickle: `torch.save` before PyTorch 1.6.
    Pickle,
}

/// What is no checkpoint, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) found: &'static str,
    pub(super) hint: &'static str,
}

impl Foreign {
    pub(super) fn at(self, path: &Path) -> CheckpointError {
        CheckpointError::NotCheckpoint {
            path: path.to_owned(),
            found: self.found,
            hint: self.hint,
        }
    }
}

const AGAIN: &str = "download it again";
const UNPACK: &str = "unpack it and give the checkpoint inside";
const CONVERT: &str = "convert it: in Python, safetensors.torch.save_file(state_dict, FILE)";

/// First bytes of what is downloaded or given by mistake.
const SIGNATURES: [(&[u8], Foreign); 13] = [
    (
        b"version https://git-lfs",
        foreign(
            "it is a git LFS pointer",
            "run git lfs pull where it was cloned",
        ),
    ),
    (&[0x1f, 0x8b], foreign("it is compressed by gzip", UNPACK)),
    (b"BZh", foreign("it is compressed by bzip2", UNPACK)),
    (b"\xfd7zXZ", foreign("it is compressed by xz", UNPACK)),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        foreign("it is compressed by zstd", UNPACK),
    ),
    (b"7z\xbc\xaf", foreign("it is a 7z archive", UNPACK)),
    (b"Rar!", foreign("it is a RAR archive", UNPACK)),
    (
        b"\x93NUMPY",
        foreign("it is one NumPy array (.npy)", CONVERT),
    ),
    (
        b"\x89HDF",
        foreign("it is HDF5, as Keras writes (.h5)", CONVERT),
    ),
    (b"GGUF", foreign("it is a GGUF file", CONVERT)),
    (b"<?xml", foreign("it is an XML page", AGAIN)),
    (b"\x7fELF", foreign("it is a program", AGAIN)),
    (b"PAR1", foreign("it is a Parquet table", AGAIN)),
];

const fn foreign(found: &'static str, hint: &'static str) -> Foreign {
    Foreign { found, hint }
}

pub(super) const INDEX: Foreign = foreign(
    "it is JSON where a file with tensors is needed",
    "give the index (model.safetensors.index.json) or the file with the weights",
);

pub(super) const NPZ: Foreign = foreign("it is a zip archive of NumPy arrays (.npz)", CONVERT);

pub(super) const OTHER_ZIP: Foreign = foreign(
    "it is a zip archive without data.pkl, so not PyTorch's",
    UNPACK,
);

pub(super) const OTHER_PICKLE: Foreign = foreign(
    "it is a Python pickle that torch.save did not write",
    "in Python: torch.save(state_dict, FILE)",
);

pub(super) const NO_HEADER: Foreign = foreign(
    "it has no safetensors header and is no file of PyTorch's",
    "safetensors files and what torch.save writes can be read; others: safetensors.torch.save_file(state_dict, FILE)",
);

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Result<Self, Foreign> {
        if bytes.is_empty() {
            return Err(foreign("it is empty", AGAIN));
        }
        // A header's length leaves the last of its eight bytes zero.
        if let Some([.., 0, b'{']) = bytes.first_chunk::<9>() {
            return Ok(Self::Safetensors);
        }
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Ok(Self::Zip);
        }
        if matches!(bytes, [0x80, 2..=5, ..]) {
            return Ok(Self::Pickle);
        }
        let signature = SIGNATURES
            .iter()
            .find(|(start, _)| bytes.starts_with(start));
        if let Some((_, foreign)) = signature {
            return Err(*foreign);
        }
        if bytes.get(257..262) == Some(b"ustar") {
            return Err(tar(bytes));
        }
        let text = bytes
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(bytes)
            .trim_ascii_start();
        let tag = |tag: &[u8]| {
            text.get(..tag.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(tag))
        };
        if tag(b"<!doctype") || tag(b"<html") || tag(b"<head") {
            return Err(foreign(
                "it is a web page (HTML), perhaps one that asks for a login",
                "download the file itself",
            ));
        }
        if text.starts_with(b"{") {
            return Ok(Self::Index);
        }
        if matches!(bytes, [0x81..=0x8f | 0xde | 0xdf, ..]) && text_key(bytes) {
            return Err(foreign("it is msgpack, as Flax writes", CONVERT));
        }
        // What protocol 0, which has no first bytes of its own, can begin with.
        if matches!(bytes, [b'(' | b'c' | b'L' | b'I' | b']' | b'}', ..])
            && bytes.get(8) != Some(&b'{')
        {
            return Ok(Self::Pickle);
        }
        // A header whose length is beyond all bounds is for the safetensors crate to refuse.
        if bytes.get(8) == Some(&b'{') {
            return Ok(Self::Safetensors);
        }
        Err(NO_HEADER)
    }
}

/// Whether a msgpack map's first key is a short text.
fn text_key(bytes: &[u8]) -> bool {
    let key = match bytes {
        [0xde, _, _, rest @ ..] | [0xdf, _, _, _, _, rest @ ..] | [_, rest @ ..] => rest,
        [] => return false,
    };
    matches!(key, [head @ 0xa1..=0xbf, name @ ..]
        if name.get(..usize::from(head & 0x1f)).is_some_and(|name| name.is_ascii()))
}

/// PyTorch 0.1 saved tar archives of these members (`torch/serialization.py`, `legacy_load`).
fn tar(bytes: &[u8]) -> Foreign {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    match name {
        b"sys_info" | b"storages" | b"tensors" | b"pickle" => foreign(
            "it is a tar archive, as PyTorch 0.1 saved",
            "in Python, where you trust the file: torch.save(torch.load(FILE, weights_only=False), NEW)",
        ),
        _ => foreign("it is a tar archive", UNPACK),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_tell() {
        let found = |bytes: &[u8]| match Format::of(bytes) {
            Ok(format) => format!("{format:?}"),
            Err(foreign) => foreign.found.to_owned(),
        };
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        tar[..4].copy_from_slice(b"a.py");
        let mut old = tar.clone();
        old[..8].copy_from_slice(b"sys_info");
        for (bytes, said) in [
            (&b""[..], "empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\n<!DOCTYPE html><html>", "web page"),
            (b"\xef\xbb\xbf<HTML>", "web page"),
            (&tar, "tar archive"),
            (&old, "PyTorch 0.1"),
            (b"\x81\xa6params\x82", "msgpack"),
            (b"\xde\x00\x10\xa6params\x82", "msgpack"),
            (b"\x93NUMPY\x01", "NumPy"),
            (b"abc", "no safetensors header"),
            (b"{\"weight_map\": {}}", "Index"),
            (b"{\0\0\0\0\0\0\0{", "Safetensors"),
            (b"\x80\x02}q\0", "Pickle"),
            (b"cos\nsystem\n", "Pickle"),
            (b"PK\x03\x04", "Zip"),
        ] {
            assert!(found(bytes).contains(said), "{said}: {}", found(bytes));
        }
    }
}
