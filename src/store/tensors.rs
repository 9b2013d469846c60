//! Named tensors as one safetensors file, written whole or not at all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

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
    /// 64-bit floats.
    F64(Cow<'a, [f64]>),
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

impl NamedTensor<'_> {
    /// Whether no element is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        match &self.elements {
            Elements::F32(elements) => elements.iter().all(|x| x.is_finite()),
            Elements::F64(elements) => elements.iter().all(|x| x.is_finite()),
            Elements::U32(_) | Elements::I64(_) | Elements::U8(_) => true,
        }
    }

    /// blake3 of name, shape, type and elements.
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.name.len() as u64).to_le_bytes());
        hasher.update(self.name.as_bytes());
        for &size in &self.shape {
            hasher.update(&(size as u64).to_le_bytes());
        }
        hasher.update(self.elements.dtype().as_bytes());
        hasher.update(self.elements.bytes());
        hasher.finalize().into()
    }
}

impl Elements<'_> {
    fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "F32",
            Self::F64(_) => "F64",
            Self::U32(_) => "U32",
            Self::I64(_) => "I64",
            Self::U8(_) => "U8",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(elements) => bytemuck::cast_slice(elements),
            Self::F64(elements) => bytemuck::cast_slice(elements),
            Self::U32(elements) => bytemuck::cast_slice(elements),
            Self::I64(elements) => bytemuck::cast_slice(elements),
            Self::U8(elements) => elements,
        }
    }
}

/// A safetensors file in the making: created before the work whose results it takes, so that a
/// place that cannot be written is known at once.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: AtomicFile,
}

impl TensorFile {
    /// Starts the file; nothing appears under its name yet.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            file: AtomicFile::create(path)?,
        })
    }

    /// Writes tensors and metadata without copying them, and puts the file in its place.
    pub fn write<'a, 'e: 'a>(
        self,
        tensors: impl IntoIterator<Item = &'a NamedTensor<'e>> + Clone,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), StoreError> {
        let slot = |tensor: &NamedTensor<'_>| Slot {
            name: tensor.name.clone(),
            dtype: tensor.elements.dtype().to_owned(),
            shape: tensor.shape.clone(),
            bytes: tensor.elements.bytes().len(),
        };
        let slots: Vec<_> = tensors.clone().into_iter().map(slot).collect();
        let mut file = self.begin(&slots, metadata)?;
        for tensor in tensors {
            file.append(tensor.elements.bytes())?;
        }
        file.commit()
    }

    /// Writes the header; the tensors' bytes are to follow in the order of their slots.
    pub fn begin(
        mut self,
        slots: &[Slot],
        metadata: &BTreeMap<String, String>,
    ) -> Result<TensorStream, StoreError> {
        let failed = StoreError::io("write", &self.path);
        let mut header = Map::new();
        if !metadata.is_empty() {
            header.insert("__metadata__".to_owned(), json!(metadata));
        }
        let mut end = 0usize;
        for slot in slots {
            let start = end;
            end = start
                .checked_add(slot.bytes)
                .ok_or_else(|| failed(std::io::Error::other("more bytes than a file can have")))?;
            let entry = json!({
                "dtype": slot.dtype, "shape": slot.shape, "data_offsets": [start, end],
            });
            if header.insert(slot.name.clone(), entry).is_some() {
                let message = format!("two tensors are called {}", slot.name.escape_debug());
                return Err(failed(std::io::Error::other(message)));
            }
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // The format wants data to begin on a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        let length = (header.len() as u64).to_le_bytes();
        for bytes in [&length[..], &header] {
            self.file.write_all(bytes).map_err(&failed)?;
        }
        drop(failed);
        Ok(TensorStream {
            file: self,
            left: end,
        })
    }
}

/// The place of a tensor whose bytes come later.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Key in the file.
    pub name: String,
    /// safetensors' name of the element type.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Its length.
    pub bytes: usize,
}

/// A safetensors file whose header is written and whose tensors follow, so that no more than one
/// of them need be in memory.
#[derive(Debug)]
pub struct TensorStream {
    file: TensorFile,
    left: usize,
}

impl TensorStream {
    /// The next bytes, in the order of the slots.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = StoreError::io("write", &self.file.path);
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or_else(|| failed(std::io::Error::other("more bytes than its header has")))?;
        self.file.file.write_all(bytes).map_err(failed)
    }

    /// Puts the file in its place, once every byte is there.
    pub fn commit(self) -> Result<(), StoreError> {
        if self.left > 0 {
            let message = format!("{} bytes fewer than its header has", self.left);
            let failed = StoreError::io("write", &self.file.path);
            return Err(failed(std::io::Error::other(message)));
        }
        self.file.file.commit()
    }
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, NamedTensor<'static>>;

/// The tensors of a file that [`TensorFile`] wrote, by name.
///
/// # Errors
/// A file that cannot be read, is no safetensors file, or has elements of another type.
pub fn read_tensors(path: &Path) -> Result<Tensors, StoreError> {
    Ok(read_tensors_and_metadata(path)?.0)
}

/// [`read_tensors`], and the metadata that was written with them.
pub fn read_tensors_and_metadata(
    path: &Path,
) -> Result<(Tensors, BTreeMap<String, String>), StoreError> {
    let bytes = std::fs::read(path).map_err(StoreError::io("read", path))?;
    let damaged = |reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let data = view.data();
        let elements = match view.dtype() {
            Dtype::F32 => Elements::F32(numbers(data, f32::from_le_bytes).into()),
            Dtype::F64 => Elements::F64(numbers(data, f64::from_le_bytes).into()),
            Dtype::U32 => Elements::U32(numbers(data, u32::from_le_bytes).into()),
            Dtype::I64 => Elements::I64(numbers(data, i64::from_le_bytes).into()),
            Dtype::U8 => Elements::U8(data.to_vec().into()),
            other => return Err(damaged(format!("{name} has elements of type {other:?}"))),
        };
        let tensor = NamedTensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            elements,
        };
        tensors.insert(name.to_owned(), tensor);
    }
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| damaged(error.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok((tensors, metadata.into_iter().collect()))
}

/// Numbers of `N` bytes each.
fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| number(bytes))
        .collect()
}
