//! A segmentation dataset: scenes to train on, scenes to measure on, and what their classes are called.

use std::path::{Path, PathBuf};

use super::ade20k;
use super::layout::{self, IMAGES, TRAIN_NAMES, VAL_NAMES};
use super::{EncodedScene, MaskSpec, SegmentationDataError, class_names, palette};
use crate::data::{DatasetError, Split, fingerprint};

/// Images with a mask each, in two folders of the same paths.
#[derive(Clone, Debug)]
pub struct Scenes {
    /// The images, by path.
    pub images: Split,
    /// Their masks, in the order of the images.
    pub masks: Split,
}

impl Scenes {
    /// Number of scenes.
    pub fn len(&self) -> usize {
        self.images.samples.len()
    }

    /// The files of a scene.
    ///
    /// # Errors
    /// As [`Split::read`]'s.
    pub fn read(&self, index: usize) -> Result<EncodedScene, DatasetError> {
        Ok(EncodedScene {
            image: self.images.read(index)?,
            mask: self.masks.read(index)?,
            image_path: self.images.located(index),
            mask_path: self.masks.located(index),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.images.samples.is_empty()
    }

    /// BLAKE3 over the manifests of images and masks ([`Split::manifest_hash`]).
    pub fn manifest_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"mimbench scenes 1\0");
        hasher.update(&self.images.manifest_hash());
        hasher.update(&self.masks.manifest_hash());
        hasher.finalize().into()
    }

    /// BLAKE3 over the manifest and the content of every scene (`contents`: one for each, in order).
    ///
    /// # Errors
    /// [`DatasetError::HashCount`] when there is not one for each scene.
    pub fn fingerprint(&self, contents: &[[u8; 16]]) -> Result<[u8; 32], DatasetError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"mimbench scenes' fingerprint 1\0");
        hasher.update(&self.masks.manifest_hash());
        hasher.update(&fingerprint(&self.images, contents)?);
        Ok(hasher.finalize().into())
    }
}

/// First 16 bytes of the BLAKE3 hash of an encoded image and its mask.
pub fn scene_content(image: &[u8], mask: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    blake3::Hasher::new()
        .update(b"mimbench scene 1\0")
        .update(&(image.len() as u64).to_le_bytes())
        .update(image)
        .update(mask)
        .finalize_xof()
        .fill(&mut hash);
    hash
}

/// A segmentation dataset on disk: `images/{train,val}` and `annotations/{train,val}`, or ADE20K's
/// `{training,validation}`; a mask has its image's path with `.png`.
#[derive(Clone, Debug)]
pub struct SegmentationSet {
    /// The directory that was opened.
    pub root: PathBuf,
    /// `train`, or else `training`, where there is one.
    pub train: Option<Scenes>,
    /// `val`, or else `validation`, or else `test`.
    pub val: Scenes,
    /// Class names by label: of `classes.txt`, `objectInfo150.txt` or `classes150.tsv` in the root,
    /// or `class 0` and so on.
    pub classes: Vec<String>,
    /// A colour a class (red, green, blue): the file's or ADE20K's, or some that differ.
    pub palette: Vec<[u8; 3]>,
}

impl SegmentationSet {
    /// Opens the dataset below `root`; nothing is decoded.
    ///
    /// # Errors
    /// When the mask specification makes no sense, there is no validation split, an image has no
    /// mask or a mask no image, two images would have the same mask, or the file of class names does
    /// not name every class once.
    pub fn open(root: &Path, masks: &MaskSpec) -> Result<Self, SegmentationDataError> {
        masks.check()?;
        let named = class_names::find(root, masks)?;
        let train = layout::find(root, "train", TRAIN_NAMES)?;
        let val = layout::find(root, "val", VAL_NAMES)?.ok_or_else(|| no_split(root))?;
        let classes: Vec<String> = match &named {
            Some(named) => named.names.clone(),
            None => (0..masks.classes).map(|c| format!("class {c}")).collect(),
        };
        let colours = named.and_then(|named| named.colours);
        Ok(Self {
            root: root.to_path_buf(),
            train,
            val,
            palette: colours.unwrap_or_else(|| palette::of(&classes)),
            classes,
        })
    }
}

impl SegmentationSet {
    /// Whether a folder holds validation images as such a dataset has them.
    pub fn lies_in(root: &Path) -> bool {
        let images = root.join(IMAGES);
        VAL_NAMES.iter().any(|name| images.join(name).is_dir())
    }

    /// The public dataset that this is a complete copy of, as protocols name it: ADE20K's challenge, by
    /// its numbers of classes and images.
    pub fn complete_copy(&self) -> Option<String> {
        let train = self.train.as_ref().map_or(0, Scenes::len);
        let complete = self.classes.len() == ade20k::CLASSES.len()
            && [train, self.val.len()] == ade20k::SCENES;
        complete.then(|| "ade20k".to_owned())
    }
}

fn no_split(root: &Path) -> SegmentationDataError {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut inside: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| SegmentationSet::lies_in(path))
        .collect();
    inside.sort_unstable();
    SegmentationDataError::NoSplit {
        root: root.to_path_buf(),
        looked_for: VAL_NAMES
            .iter()
            .map(|name| format!("{IMAGES}/{name}/"))
            .collect(),
        inside: inside.into_iter().next(),
    }
}
