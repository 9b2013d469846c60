//! Named tensors in one or several files, before anything is known about the model.
//!
//! What a file is, its contents say, and what describes its tensors is read within bounds. Tensors
//! are read where they lie when they are asked for, so that one at a time is in memory.

mod bounds;
mod convert;
mod element;
mod format;
mod mapped;
mod members;
mod pickle;
mod printable;
pub(in crate::checkpoint) mod regular;
mod safetensors;
mod sharded;
mod torch_legacy;
mod torch_zip;
mod view;
mod zip;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use crate::engine::HostTensor;
use format::Format;
use mapped::Mapped;

pub use printable::printable;
pub(crate) use printable::shown;

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

impl Float {
    fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
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
    /// Which of the files.
    file: usize,
    /// From the first element to the last, in bytes.
    range: Range<usize>,
    /// Elements from one to the next along each axis, where rows do not simply follow each other.
    strides: Option<Box<[usize]>>,
}

impl Entry {
    /// Bytes of an element of a type that PyTorch has; only those have strides.
    fn element(&self) -> usize {
        element::Element::of_name(&self.dtype).map_or(0, |element| element.size)
    }

    /// Bytes of all elements.
    pub(super) fn size(&self) -> usize {
        match self.strides {
            None => self.range.len(),
            Some(_) => self.shape.iter().product::<usize>() * self.element(),
        }
    }
}

/// What was found in one file or in several.
#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<String, Entry>,
    others: Vec<String>,
}

/// A checkpoint's tensors, read when asked for.
#[derive(Debug)]
pub struct TensorSource {
    path: PathBuf,
    /// Which tensor is in which file, where there are several.
    index: Option<Mapped>,
    /// Files with tensors, sorted by name.
    files: Vec<Mapped>,
    contents: Contents,
}

/// What a folder's weights are called, in the order in which transformers looks for them
/// (`transformers/modeling_utils.py`, `_get_resolved_checkpoint_files`).
const IN_A_FOLDER: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What names of weights and of cards end with.
const CANDIDATES: [&str; 8] = [
    ".safetensors",
    ".index.json",
    ".bin",
    ".ckpt",
    ".pt",
    ".pth",
    ".pth.tar",
    ".toml",
];

impl TensorSource {
    /// Opens a safetensors file, a file that `torch.save` or `torch.jit.save` wrote, the index
    /// (`*.index.json`) of a checkpoint in several files, or a folder with one of those under its
    /// usual name. Names, types and extents are checked; nothing in a file is executed.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = Mapped::open(&weights(path)?)?;
        let (index, files, contents) = match Format::of(&file.head()?) {
            Ok(Format::Index) => {
                let (contents, files) = sharded::read(&file)?;
                (Some(file), files, contents)
            }
            _ => {
                let contents = read_file(&file)?;
                (None, vec![file], contents)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            index,
            files,
            contents,
        })
    }

    /// What was opened: a file or a folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file that was read: the index, where there is one, and those with tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.index.iter().chain(&self.files).map(Mapped::path)
    }

    /// An error if one of the files was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<(), CheckpointError> {
        let mut files = self.index.iter().chain(&self.files);
        files.try_for_each(Mapped::check_unchanged)
    }

    /// Keys and what is stored under them, sorted by key.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.contents.entries
    }

    /// Names of what the file holds beside tensors: numbers, arguments, optimizer settings. What
    /// holds no tensor is named as a whole.
    pub fn others(&self) -> &[String] {
        &self.contents.others
    }

    /// Bytes of the files with tensors, all together.
    pub(super) fn length(&self) -> usize {
        let lengths = self.files.iter().map(Mapped::len);
        lengths.fold(0, usize::saturating_add)
    }

    /// blake3 of the file, hexadecimal. Of a checkpoint in several files: blake3 of the 32-byte
    /// hashes of the files with tensors, in the order of their names; the index, which says
    /// nothing that the files do not, is left out.
    pub fn blake3(&self) -> Result<String, CheckpointError> {
        let hash = match (&self.index, self.files.as_slice()) {
            (None, [file]) => file.blake3()?,
            (_, files) => {
                let mut hasher = blake3::Hasher::new();
                for file in files {
                    hasher.update(file.blake3()?.as_bytes());
                }
                hasher.finalize()
            }
        };
        Ok(hash.to_hex().to_string())
    }

    /// The tensor under `name` in f32; half precision and f64 are converted, not refused.
    pub fn tensor(&self, name: &str) -> Option<Result<HostTensor, CheckpointError>> {
        let entry = self.contents.entries.get(name)?;
        let file = self.files.get(entry.file)?;
        Some(read_tensor(file, name, entry))
    }
}

/// A tensor's numbers as f32.
fn read_tensor(file: &Mapped, name: &str, entry: &Entry) -> Result<HostTensor, CheckpointError> {
    let Some(float) = entry.float else {
        return Err(CheckpointError::Dtype {
            path: file.path().to_owned(),
            name: name.to_owned(),
            dtype: entry.dtype.clone(),
        });
    };
    let mut data = Vec::with_capacity(entry.shape.iter().product());
    match &entry.strides {
        None => file.read(entry.range.clone(), |piece| {
            convert::append(float, piece, &mut data);
        })?,
        Some(strides) => {
            let bytes = file.view(entry.range.clone())?;
            let gathered = view::gather(bytes, float.size(), &entry.shape, strides);
            convert::append(float, &gathered, &mut data);
            file.let_go(entry.range.clone());
        }
    }
    Ok(HostTensor {
        shape: entry.shape.clone(),
        data,
    })
}

impl TensorSource {
    /// The bytes of the tensor under `name`, row by row, in pieces; nothing where there is none.
    pub(super) fn bytes<E: From<CheckpointError>>(
        &self,
        name: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(entry) = self.contents.entries.get(name) else {
            return Ok(());
        };
        let Some(file) = self.files.get(entry.file) else {
            return Ok(());
        };
        match &entry.strides {
            None => {
                let mut taken = Ok(());
                file.read(entry.range.clone(), |piece| {
                    if taken.is_ok() {
                        taken = take(piece);
                    }
                })?;
                taken
            }
            Some(strides) => {
                let bytes = file.view(entry.range.clone())?;
                let gathered = view::gather(bytes, entry.element(), &entry.shape, strides);
                file.let_go(entry.range.clone());
                take(&gathered)
            }
        }
    }
}

/// The file that `path` means.
fn weights(path: &Path) -> Result<PathBuf, CheckpointError> {
    if path.is_dir() {
        return in_folder(path).ok_or_else(|| CheckpointError::Folder {
            path: path.to_owned(),
            held: candidates(path),
        });
    }
    let index = path.with_added_extension("index.json");
    if !path.exists() && index.is_file() {
        return Err(CheckpointError::OnlyIndex {
            path: path.to_owned(),
            index,
        });
    }
    Ok(path.to_owned())
}

/// A folder's weights under their usual name, where there are such.
pub(super) fn in_folder(folder: &Path) -> Option<PathBuf> {
    let mut named = IN_A_FOLDER.iter().map(|name| folder.join(name));
    named.find(|path| path.is_file())
}

/// Names in a folder that are those of weights or of cards, sorted.
fn candidates(folder: &Path) -> Vec<String> {
    // What cannot be listed has none to offer.
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut held: Vec<_> = names
        .filter(|name| !name.starts_with('.') && CANDIDATES.iter().any(|end| name.ends_with(end)))
        .collect();
    held.sort();
    held
}

/// What is in a file that holds tensors itself.
fn read_file(file: &Mapped) -> Result<Contents, CheckpointError> {
    match Format::of(&file.head()?).map_err(|foreign| foreign.at(file.path()))? {
        Format::Safetensors => safetensors::read(file),
        Format::Index => Err(format::INDEX.at(file.path())),
        Format::Zip => torch_zip::read(file),
        Format::Pickle => torch_legacy::read(file),
    }
}
