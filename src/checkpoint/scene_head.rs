//! The head of a segmentation in a file of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::engine::HostTensor;
use crate::nn::Weights;
use crate::store::{Elements, NamedTensor, StoreError, TensorFile, read_tensors_and_metadata};

/// Raised when the meaning of a file changes.
const FORMAT: &str = "1";

/// What the file says of itself beside its tensors.
const KEYS: [&str; 5] = [
    "mimbench.segmentation",
    "encoder",
    "protocol",
    "settings",
    "classes",
];

/// A head that tells what pixels show, under mmsegmentation's names, and what it belongs to.
#[derive(Clone, Debug)]
pub struct SceneHead {
    /// The file.
    pub path: PathBuf,
    /// blake3 of all that it holds, hexadecimal.
    pub blake3: String,
    /// What it belongs to.
    pub origin: HeadOrigin,
    /// Its tensors.
    pub weights: Weights,
}

/// What a head was trained by and over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadOrigin {
    /// blake3 of the encoder's weights, hexadecimal.
    pub encoder: String,
    /// The protocol, TOML.
    pub protocol: String,
    /// What was changed of the protocol of that name.
    pub settings: Vec<String>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

impl SceneHead {
    /// Opens a file that [`SceneHead::write`] wrote.
    ///
    /// # Errors
    /// It cannot be read, or does not say what it belongs to.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (tensors, said) = read_tensors_and_metadata(path)?;
        let damaged = |reason: &str| StoreError::Damaged {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let [format, encoder, protocol, settings, classes] = KEYS.map(|key| said.get(key).cloned());
        let (Some(FORMAT), Some(encoder), Some(protocol), Some(settings), Some(classes)) =
            (format.as_deref(), encoder, protocol, settings, classes)
        else {
            return Err(damaged("it is no head that a segmentation wrote"));
        };
        let mut hasher = blake3::Hasher::new();
        let mut weights = Weights::default();
        for (name, tensor) in tensors {
            hasher.update(&tensor.hash());
            let Elements::F32(data) = tensor.elements else {
                return Err(damaged("it has tensors of other types than f32"));
            };
            let (shape, data) = (tensor.shape, data.into_owned());
            weights.insert(name, HostTensor { shape, data });
        }
        for text in [&encoder, &protocol, &classes] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Ok(Self {
            path: path.to_owned(),
            blake3: hasher.finalize().to_hex().to_string(),
            origin: HeadOrigin {
                encoder,
                protocol,
                settings: settings.lines().map(str::to_owned).collect(),
                classes: classes.lines().map(str::to_owned).collect(),
            },
            weights,
        })
    }

    /// Writes tensors and what they belong to, whole or not at all.
    pub fn write(
        path: &Path,
        origin: &HeadOrigin,
        tensors: &BTreeMap<String, HostTensor>,
    ) -> Result<(), StoreError> {
        let named: Vec<_> = (tensors.iter())
            .map(|(name, tensor)| NamedTensor {
                name: name.clone(),
                shape: tensor.shape.clone(),
                elements: Elements::F32((&tensor.data).into()),
            })
            .collect();
        let said = [
            FORMAT.to_owned(),
            origin.encoder.clone(),
            origin.protocol.clone(),
            origin.settings.join("\n"),
            origin.classes.join("\n"),
        ];
        let metadata = KEYS.into_iter().map(str::to_owned).zip(said).collect();
        TensorFile::create(path)?.write(&named, &metadata)
    }
}
