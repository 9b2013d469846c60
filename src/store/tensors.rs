//! Writing named tensors as one safetensors file, whole or not at all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::{Dtype, View};

use super::{AtomicFile, StoreError};

#[cfg(target_endian = "big")]
compile_error!(
    "tensors are written in the machine's byte order, which safetensors wants little-endian"
);

/// Elements of a tensor on their way to disk.
#[derive(Clone, Debug)]
pub enum Elements<'a> {
    /// 32-bit floats.
    F32(Cow<'a, [f32]>),
    /// 32-bit unsigned integers.
    U32(Cow<'a, [u32]>),
    /// 64-bit integers, PyTorch's labels.
    I64(Cow<'a, [i64]>),
    /// Bytes.
    U8(Cow<'a, [u8]>),
}

/// A tensor on its way to disk.
#[derive(Clone, Debug)]
pub struct NamedTensor<'a> {
    /// Key in the file.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub elements: Elements<'a>,
}

impl View for &NamedTensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.elements {
            Elements::F32(_) => Dtype::F32,
            Elements::U32(_) => Dtype::U32,
            Elements::I64(_) => Dtype::I64,
            Elements::U8(_) => Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(match &self.elements {
            Elements::F32(elements) => bytemuck::cast_slice(elements),
            Elements::U32(elements) => bytemuck::cast_slice(elements),
            Elements::I64(elements) => bytemuck::cast_slice(elements),
            Elements::U8(elements) => elements,
        })
    }

    fn data_len(&self) -> usize {
        self.data().len()
    }
}

/// Writes `tensors` and `metadata` to `path`.
pub fn write_tensors(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    metadata: Option<HashMap<String, String>>,
) -> Result<(), StoreError> {
    let views = tensors.iter().map(|tensor| (&tensor.name, tensor));
    let bytes = safetensors::serialize(views, metadata).map_err(|error| StoreError::Io {
        action: "write",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes)
        .map_err(StoreError::io("write", path))?;
    file.commit()
}
