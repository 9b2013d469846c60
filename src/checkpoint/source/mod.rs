//! Named tensors in a file, before anything is known about the model.

mod safetensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};

use super::CheckpointError;
use crate::engine::HostTensor;

/// Element types that become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Float {
    /// 64-bit.
    F64,
    /// 32-bit.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

/// Where one tensor's bytes are.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Element type, where it is a floating point one.
    pub float: Option<Float>,
    /// Name of the element type in the file.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

/// When a file was last written to, and its length then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written(u64, Option<std::time::SystemTime>);

impl Written {
    fn of(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = std::fs::metadata(path).map_err(|source| CheckpointError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(metadata.len(), metadata.modified().ok()))
    }
}

/// A checkpoint file's tensors, read when asked for.
#[derive(Debug)]
pub struct TensorSource {
    path: PathBuf,
    map: memmap2::Mmap,
    opened: Written,
    entries: BTreeMap<String, Entry>,
}

impl TensorSource {
    /// Opens a file and checks its header against its length.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        safetensors::open(path)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error if the file was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        if Written::of(&self.path)? == self.opened {
            Ok(())
        } else {
            Err(CheckpointError::Changed {
                path: self.path.clone(),
            })
        }
    }

    /// Keys and what is stored under them, sorted by key.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// blake3 of the whole file, hexadecimal.
    pub fn blake3(&self) -> String {
        blake3::hash(&self.map).to_hex().to_string()
    }

    /// The tensor under `name` in f32; half precision and f64 are converted, not refused.
    pub fn tensor(&self, name: &str) -> Option<Result<HostTensor, CheckpointError>> {
        let entry = self.entries.get(name)?;
        let bytes = &self.map[entry.range.clone()];
        let data: Vec<f32> = match entry.float {
            Some(Float::F64) => chunks(bytes, f64::from_le_bytes)
                .map(|x| x as f32)
                .collect(),
            Some(Float::F32) => chunks(bytes, f32::from_le_bytes).collect(),
            Some(Float::F16) => chunks(bytes, f16::from_le_bytes).map(f16::to_f32).collect(),
            Some(Float::Bf16) => chunks(bytes, bf16::from_le_bytes)
                .map(bf16::to_f32)
                .collect(),
            None => {
                return Some(Err(CheckpointError::Dtype {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    dtype: entry.dtype.clone(),
                }));
            }
        };
        Some(Ok(HostTensor {
            shape: entry.shape.clone(),
            data,
        }))
    }
}

fn chunks<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    bytes
        .as_chunks::<N>()
        .0
        .iter()
        .map(move |chunk| read(*chunk))
}
