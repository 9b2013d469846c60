//! Checkpoint files made tensor by tensor, or of another file's tensors as they are stored there.

use std::collections::BTreeMap;
use std::path::Path;

use mimbench::checkpoint::{Checkpoint, CheckpointError, LoadOptions};
use mimbench::engine::HostTensor;
use mimbench::run::inspect::inspect;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};

/// A tensor as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl From<&HostTensor> for Stored {
    fn from(tensor: &HostTensor) -> Self {
        Self {
            dtype: Dtype::F32,
            shape: tensor.shape.clone(),
            bytes: tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

/// Numbers that no two names share, around 1 where a norm multiplies and around 0 elsewhere.
pub fn noise(name: &str, shape: &[usize]) -> HostTensor {
    let hash = blake3::hash(name.as_bytes());
    let mut state = u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap()) | 1;
    let scale = name.contains("norm") && name.ends_with("weight");
    let data = (0..shape.iter().product()).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let centred = (f64::from(state) / f64::from(u32::MAX) - 0.5) as f32;
        if scale {
            1.0 + 0.4 * centred
        } else {
            0.4 * centred
        }
    });
    HostTensor {
        shape: shape.to_vec(),
        data: data.collect(),
    }
}

/// The tensors of a file by key.
#[derive(Clone, Debug, Default)]
pub struct Tensors(pub BTreeMap<String, Stored>);

impl Tensors {
    /// Those of every safetensors file in a golden's folder that is part of its model.
    pub fn of_golden(folder: &Path) -> Self {
        let mut tensors = Self::default();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.starts_with("model") || !name.ends_with(".safetensors") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for (key, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
                let stored = Stored {
                    dtype: view.dtype(),
                    shape: view.shape().to_vec(),
                    bytes: view.data().to_vec(),
                };
                tensors.0.insert(key.to_owned(), stored);
            }
        }
        tensors
    }

    /// Adds a tensor of noise.
    pub fn add(&mut self, key: &str, shape: &[usize]) {
        self.0.insert(key.to_owned(), (&noise(key, shape)).into());
    }

    /// The same without some.
    pub fn without(&self, drop: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| !drop(key));
        Self(
            kept.map(|(key, stored)| (key.clone(), stored.clone()))
                .collect(),
        )
    }

    pub fn write(&self, path: &Path) {
        let views = self.0.iter().map(
            |(
                key,
                Stored {
                    dtype,
                    shape,
                    bytes,
                },
            )| { (key, TensorView::new(*dtype, shape.clone(), bytes).unwrap()) },
        );
        serialize_to_file(views, None, path).unwrap();
    }
}

/// Opens a file and builds its model once; what the program says where that fails.
pub fn build(path: &Path, options: &LoadOptions) -> Result<Checkpoint, CheckpointError> {
    inspect(path, options)?.checkpoint
}
