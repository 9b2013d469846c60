//! Writing models: tensors under timm's names and the card that goes with them, or a file's tensors
//! as they are.

mod architecture;
mod call;
mod canonical;
mod class;
mod error;
mod model;
mod named;
mod origin;
mod original;
mod tensors;
mod timm;
mod value;

use std::path::Path;

use crate::nn::Weights;
use crate::store::{Elements, NamedTensor, StoreError, TensorFile};

pub use canonical::CanonicalModel;
pub use error::ConvertError;
pub use model::{Pretrained, Trained};
pub use original::save_original;
pub use timm::TimmModel;

/// Metadata that PyTorch's loaders ask for.
const METADATA: (&str, &str) = ("format", "pt");

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
    TensorFile::create(path)?.write(&tensors, &metadata())
}

fn metadata() -> std::collections::BTreeMap<String, String> {
    let (name, value) = METADATA;
    [(name.to_owned(), value.to_owned())].into()
}
