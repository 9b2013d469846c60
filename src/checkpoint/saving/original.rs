//! A file's tensors as they are, in a safetensors file.

use std::path::Path;

use super::error::ConvertError;
use super::metadata;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::pattern::matches;
use crate::checkpoint::root::parts;
use crate::checkpoint::source::TensorSource;
use crate::store::{Slot, TensorFile};

/// Element types of safetensors (huggingface/safetensors `safetensors/src/tensor.rs`, `Dtype`) that
/// a tensor of PyTorch's can have.
const ELEMENT_TYPES: [&str; 16] = [
    "BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "I16", "U16", "F16", "BF16", "I32", "U32",
    "F32", "C64", "F64", "I64",
];

/// How many times as long as the file the tensors may become, each written by itself, beside
/// [`SPARE`]: what is tied, or a view of the same numbers, is stored once in a file of PyTorch's.
const MOST_TIMES: usize = 4;
/// Bytes that may be written in any case.
const SPARE: usize = 1 << 26;

/// Writes every tensor of `source`, whatever it means, under its own name and in its own element
/// type; of a part alone where `key` names one, whose name is then left out of the tensors'. What
/// `ignore` matches is left out. How many were written.
pub fn save_original(
    source: &TensorSource,
    key: Option<&str>,
    ignore: &[String],
    path: &Path,
) -> Result<usize, ConvertError> {
    let from = source.path();
    let part = key.map(|key| format!("{}.", key.trim_end_matches('.')));
    let ignored = |key: &str| ignore.iter().any(|pattern| matches(pattern, key).is_some());
    for pattern in ignore {
        if !source
            .entries()
            .keys()
            .any(|key| matches(pattern, key).is_some())
        {
            return Err(CheckpointError::NothingIgnored {
                path: from.to_owned(),
                pattern: pattern.clone(),
            }
            .into());
        }
    }
    let mut keys = Vec::new();
    let mut slots = Vec::new();
    for (key, entry) in source.entries() {
        let name = match &part {
            None => Some(key.as_str()),
            Some(part) => key.strip_prefix(part.as_str()),
        };
        let Some(name) = name.filter(|_| !ignored(key)) else {
            continue;
        };
        if !ELEMENT_TYPES.contains(&entry.dtype.as_str()) {
            return Err(ConvertError::ElementType {
                path: from.to_owned(),
                name: key.clone(),
                dtype: entry.dtype.clone(),
            });
        }
        keys.push(key.as_str());
        slots.push(Slot {
            name: name.to_owned(),
            dtype: entry.dtype.clone(),
            shape: entry.shape.clone(),
            bytes: entry.size(),
        });
    }
    let bytes = slots.iter().map(|slot| slot.bytes);
    let bytes = bytes.fold(0, usize::saturating_add);
    let most = source.length().saturating_mul(MOST_TIMES);
    if bytes > most.saturating_add(SPARE) {
        return Err(CheckpointError::Excessive {
            path: from.to_owned(),
            what: "tensors over the same numbers to write each of them",
        }
        .into());
    }
    match &part {
        _ if !keys.is_empty() => {}
        Some(_) => {
            return Err(CheckpointError::NoSuchPart {
                path: from.to_owned(),
                key: key.unwrap_or_default().to_owned(),
                parts: parts(source),
            }
            .into());
        }
        None => {
            return Err(ConvertError::Empty {
                path: from.to_owned(),
            });
        }
    }
    let mut file = TensorFile::create(path)?.begin(&slots, &metadata())?;
    for key in keys {
        source.bytes(key, |bytes| file.append(bytes).map_err(ConvertError::from))?;
    }
    source.check_unchanged()?;
    file.commit()?;
    Ok(slots.len())
}
