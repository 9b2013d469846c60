//! Whether the images of a run are still those that it began with.

use std::sync::Arc;

use super::super::record::Looked;
use crate::data::segmentation::scene_content;
use crate::data::{LoadError, Pick, Split, content_hash};
use crate::error::Error;
use crate::plan::Part;
use crate::store::{Elements, NamedTensor, Tensors};
use crate::train::TrainError;

/// Contents of the images of a split, as they were when they were first met.
pub(in crate::run) struct Ledger {
    part: Part,
    pub split: Arc<Split>,
    masks: Option<Arc<Split>>,
    contents: Vec<[u8; 16]>,
    seen: Vec<u8>,
}

impl Ledger {
    pub(in crate::run) fn new(part: Part, split: Arc<Split>) -> Self {
        let images = split.samples.len();
        Self {
            part,
            split,
            masks: None,
            contents: vec![[0; 16]; images],
            seen: vec![0; images],
        }
    }

    /// The masks of the images count too.
    pub(in crate::run) fn with_masks(self, masks: Option<Arc<Split>>) -> Self {
        Self { masks, ..self }
    }

    /// What identifies an image as it is now.
    fn read(&self, index: usize) -> Result<[u8; 16], LoadError> {
        let image = self.split.read(index)?;
        Ok(match &self.masks {
            None => content_hash(&image),
            Some(masks) => scene_content(&image, &masks.read(index)?),
        })
    }

    /// Notes the contents of images, or refuses what is not as it was.
    pub(in crate::run) fn meets(
        &mut self,
        picks: &[Pick],
        contents: &[[u8; 16]],
    ) -> Result<(), TrainError> {
        for (pick, &content) in picks.iter().zip(contents) {
            let index = pick.index;
            if self.seen[index] == 0 {
                self.contents[index] = content;
                self.seen[index] = 1;
            } else if self.contents[index] != content {
                return Err(self.changed(index));
            }
        }
        Ok(())
    }

    /// Images that have been met, or have not.
    pub(in crate::run) fn count(&self, met: bool) -> usize {
        self.seen.iter().filter(|&&seen| (seen != 0) == met).count()
    }

    /// Reads the images that have been met again, with a call for each, and refuses what is not
    /// as it was.
    pub(in crate::run) fn meets_again(&self, read: &dyn Fn()) -> Result<(), TrainError> {
        for (index, seen) in self.seen.iter().enumerate() {
            if *seen != 0 {
                read();
                if self.read(index)? != self.contents[index] {
                    return Err(self.changed(index));
                }
            }
        }
        Ok(())
    }

    fn changed(&self, index: usize) -> TrainError {
        TrainError::ImageChanged {
            path: self.split.located(index),
        }
    }

    fn names(&self) -> [String; 2] {
        ["contents", "seen"].map(|what| format!("{}.{what}", self.part.name()))
    }

    pub(in crate::run) fn save(&self) -> [NamedTensor<'static>; 2] {
        let images = self.seen.len();
        let [contents, seen] = self.names();
        let tensor = |name, shape: &[usize], bytes: Vec<u8>| NamedTensor {
            name,
            shape: shape.to_vec(),
            elements: Elements::U8(bytes.into()),
        };
        [
            tensor(
                contents,
                &[images, 16],
                self.contents.as_flattened().to_vec(),
            ),
            tensor(seen, &[images], self.seen.clone()),
        ]
    }

    pub(in crate::run) fn restore(&mut self, tensors: &Tensors) -> Result<(), TrainError> {
        let [contents, seen] = self.names();
        let images = self.seen.len();
        self.contents = bytes(tensors, &contents, images * 16)?
            .as_chunks()
            .0
            .to_vec();
        self.seen = bytes(tensors, &seen, images)?.to_vec();
        Ok(())
    }

    /// Reads the images that no epoch has met, with a call for each: those that made no whole
    /// batch.
    pub(in crate::run) fn looked(mut self, read: &dyn Fn()) -> Result<Looked, Error> {
        for index in 0..self.seen.len() {
            if self.seen[index] == 0 {
                read();
                self.contents[index] = self.read(index).map_err(TrainError::from)?;
            }
        }
        Ok(Looked {
            part: self.part,
            kept: (0..self.seen.len() as u32).collect(),
            split: self.split,
            contents: self.contents,
        })
    }
}

/// The bytes of a state's tensor.
pub(in crate::run) fn bytes<'a>(
    tensors: &'a Tensors,
    name: &str,
    length: usize,
) -> Result<&'a [u8], TrainError> {
    match tensors.get(name).map(|tensor| &tensor.elements) {
        Some(Elements::U8(bytes)) if bytes.len() == length => Ok(bytes),
        _ => Err(TrainError::Unfit {
            name: name.to_owned(),
            reason: "is missing or of another length".to_owned(),
        }),
    }
}
