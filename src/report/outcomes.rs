//! What happened to every single image, for paired tests between checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::store::{Elements, NamedTensor, StoreError, TensorFile};

/// Predictions for one feature and one k.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOutcomes {
    /// Name in the file, as in `block 11 cls norm/k20`.
    pub name: String,
    /// Predicted class of each image.
    pub top1: Vec<u32>,
    /// Whether the true class is among the first five, in DINO's sense.
    pub top5: Vec<bool>,
}

/// The images of a record's validation split and what became of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcomes {
    /// Paths, as the dataset lists them.
    pub paths: Vec<String>,
    /// First half of the blake3 of each image's bytes.
    pub contents: Vec<[u8; 16]>,
    /// True classes.
    pub labels: Vec<u32>,
    /// One entry a feature and k.
    pub predictions: Vec<ImageOutcomes>,
}

impl Outcomes {
    /// The file beside the record of `key`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results
            .join("records")
            .join(format!("{key}.outcomes.safetensors"))
    }

    /// Writes `paths` (newline-separated bytes), `contents` `[n, 16]`, `labels` `[n]`, and for
    /// each prediction `<name>/top1` `[n]` and `<name>/top5` `[n]`.
    pub fn write(&self, results: &Path, key: &str) -> Result<(), StoreError> {
        let n = self.labels.len();
        let names = self.paths.join("\n").into_bytes();
        let tensor = |name: &str, shape: &[usize], elements| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            elements,
        };
        let mut tensors = vec![
            tensor(
                "contents",
                &[n, 16],
                Elements::U8(self.contents.concat().into()),
            ),
            tensor("labels", &[n], Elements::U32((&self.labels).into())),
            tensor("paths", &[names.len()], Elements::U8(names.into())),
        ];
        for ImageOutcomes { name, top1, top5 } in &self.predictions {
            let top5: Vec<u8> = top5.iter().map(|&hit| hit.into()).collect();
            tensors.push(tensor(
                &format!("{name}/top1"),
                &[n],
                Elements::U32(top1.into()),
            ));
            tensors.push(tensor(
                &format!("{name}/top5"),
                &[n],
                Elements::U8(top5.into()),
            ));
        }
        TensorFile::create(&Self::path(results, key))?.write(&tensors, &BTreeMap::new())
    }
}
