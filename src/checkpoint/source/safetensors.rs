//! The safetensors format, through its own crate, which bounds the header and rejects overlaps.

use std::fs::File;
use std::path::Path;

use ::safetensors::{Dtype, SafeTensors};

use super::{CheckpointError, Entry, Float, TensorSource, Written};

pub(super) fn open(path: &Path) -> Result<TensorSource, CheckpointError> {
    let read = |source| CheckpointError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(std::io::ErrorKind::IsADirectory.into()));
    }
    let opened = Written::of(path)?;
    // SAFETY: the map is read-only, and whoever reads weights through it asks afterwards whether
    // the file was written to meanwhile (`check_unchanged`).
    #[expect(unsafe_code, reason = "a memory map")]
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(read)?;
    if let Some(found) = other_format(&map) {
        return Err(CheckpointError::NotSafetensors {
            path: path.to_owned(),
            found,
        });
    }
    let header = header_end(&map);
    let tensors = SafeTensors::deserialize(&map).map_err(|error| CheckpointError::Damaged {
        path: path.to_owned(),
        reason: match header {
            Some(end) if end > map.len() as u64 => format!(
                "the header claims {end} bytes and the file has {}",
                map.len()
            ),
            _ => error.to_string(),
        },
    })?;
    let base = map.as_ptr() as usize;
    let entries = tensors
        .iter()
        .map(|(name, view)| {
            let start = view.data().as_ptr() as usize - base;
            let entry = Entry {
                float: match view.dtype() {
                    Dtype::F64 => Some(Float::F64),
                    Dtype::F32 => Some(Float::F32),
                    Dtype::F16 => Some(Float::F16),
                    Dtype::BF16 => Some(Float::Bf16),
                    _ => None,
                },
                dtype: format!("{:?}", view.dtype()),
                shape: view.shape().to_vec(),
                range: start..start + view.data().len(),
            };
            (name.to_owned(), entry)
        })
        .collect();
    Ok(TensorSource {
        path: path.to_owned(),
        map,
        opened,
        entries,
    })
}

/// End of the header as its first eight bytes claim.
fn header_end(bytes: &[u8]) -> Option<u64> {
    let length = bytes.first_chunk::<8>()?;
    u64::from_le_bytes(*length).checked_add(8)
}

/// What the file is when its first bytes say that it is something else.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("it is empty"),
        [b'P', b'K', 3, 4, ..] => Some("it is a zip archive, as torch.save writes"),
        [0x80, 2..=5, ..] if bytes.get(8) != Some(&b'{') => Some("it is a Python pickle"),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', ..] => {
            Some("it is a git LFS pointer: run git lfs pull")
        }
        _ if bytes.get(8) != Some(&b'{') => Some("it has no safetensors header"),
        _ => None,
    }
}
