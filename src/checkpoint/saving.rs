//! Writing a model's tensors as a safetensors file.

use std::path::Path;

use crate::nn::Weights;
use crate::store::{Elements, NamedTensor, StoreError, TensorFile};

/// Writes tensors in f32 under their canonical (timm) names, whole or not at all.
pub fn save(path: &Path, weights: &Weights) -> Result<(), StoreError> {
    let tensors: Vec<_> = weights
        .iter()
        .map(|(name, tensor)| NamedTensor {
            name: name.to_owned(),
            shape: tensor.shape.clone(),
            elements: Elements::F32((&tensor.data).into()),
        })
        .collect();
    // PyTorch's loaders ask for this entry.
    let metadata = [("format".to_owned(), "pt".to_owned())]
        .into_iter()
        .collect();
    TensorFile::create(path)?.write(&tensors, &metadata)
}
