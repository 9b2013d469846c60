//! The safetensors format, through its own crate, which bounds the header and rejects overlaps.

use ::safetensors::{Dtype, SafeTensors};
use serde::de::IgnoredAny;

use super::mapped::Mapped;
use super::members::Members;
use super::{CheckpointError, Contents, Entry, Float};

pub(super) fn read(file: &Mapped) -> Result<Contents, CheckpointError> {
    let bytes = file.bytes();
    let damaged = |reason| CheckpointError::Damaged {
        path: file.path().to_owned(),
        reason,
    };
    let header = header_end(bytes);
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| {
        damaged(match header {
            Some(end) if end > bytes.len() as u64 => format!(
                "the header claims {end} bytes and the file has {}",
                bytes.len()
            ),
            _ => error.to_string(),
        })
    })?;
    let header = header
        .and_then(|end| usize::try_from(end).ok())
        .and_then(|end| bytes.get(8..end))
        .unwrap_or_default();
    serde_json::from_slice::<Members<IgnoredAny>>(header)
        .map_err(|error| damaged(error.to_string()))?;
    let base = bytes.as_ptr() as usize;
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
                file: 0,
                range: start..start + view.data().len(),
                strides: None,
            };
            (name.to_owned(), entry)
        })
        .collect();
    Ok(Contents {
        entries,
        others: Vec::new(),
    })
}

/// End of the header as its first eight bytes claim.
fn header_end(bytes: &[u8]) -> Option<u64> {
    let length = bytes.first_chunk::<8>()?;
    u64::from_le_bytes(*length).checked_add(8)
}
