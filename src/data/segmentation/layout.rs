//! Where images and masks lie, and which belong to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::{Scenes, SegmentationDataError};
use crate::data::dataset::{LabelSource, Split};
use crate::data::dataset_error::some;
use crate::data::folder;

/// The folder of a root with a folder of images for each split.
pub(super) const IMAGES: &str = "images";

/// The folder of a root with a folder of masks for each split.
pub(super) const MASKS: &str = "annotations";

/// Accepted names of the training split, in order of preference.
pub(super) const TRAIN_NAMES: &[&str] = &["train", "training"];

/// Accepted names of the validation split, in order of preference.
pub(super) const VAL_NAMES: &[&str] = &["val", "validation", "test"];

/// Opens the split of a root whose folder of images has one of these names; `None` if none has.
pub(super) fn find(
    root: &Path,
    split: &str,
    names: &[&str],
) -> Result<Option<Scenes>, SegmentationDataError> {
    let present = |name: &&&str| root.join(IMAGES).join(name).is_dir();
    let Some(directory) = names.iter().find(present) else {
        return Ok(None);
    };
    let (images, masks) = (
        root.join(IMAGES).join(directory),
        root.join(MASKS).join(directory),
    );
    if !masks.is_dir() {
        return Err(SegmentationDataError::NoMasks { images, masks });
    }
    let images = scan(&images, split, directory)?;
    if images.samples.is_empty() {
        return Err(SegmentationDataError::Empty { path: images.root });
    }
    let masks = scan(&masks, split, directory)?;
    paired(images, masks).map(Some)
}

fn scan(root: &Path, split: &str, directory: &str) -> Result<Split, SegmentationDataError> {
    let scanned = folder::nested(root)?;
    Ok(Split {
        name: split.into(),
        directory: directory.into(),
        root: root.to_path_buf(),
        samples: scanned.samples,
        labels: LabelSource::Unlabelled,
        ignored: scanned.ignored,
        shards: Arc::new([]),
    })
}

/// A path without its last extension.
fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}

/// Puts masks in the order of their images, if there is one for each.
fn paired(images: Split, mut masks: Split) -> Result<Scenes, SegmentationDataError> {
    let mut others = Vec::new();
    let mut by_stem = BTreeMap::new();
    for mask in std::mem::take(&mut masks.samples) {
        match mask.path.strip_suffix(".png").map(str::to_owned) {
            Some(stem) => {
                by_stem.insert(stem, mask);
            }
            None => others.push(mask.path),
        }
    }
    let (mut missing, mut twice) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for image in &images.samples {
        let stem = stem(&image.path);
        if !seen.insert(stem) {
            twice.push(image.path.clone());
        } else if let Some(mask) = by_stem.remove(stem) {
            masks.samples.push(mask);
        } else {
            missing.push(image.path.clone());
        }
    }
    let left = by_stem.into_values().map(|mask| mask.path).collect();
    let faults: Vec<String> = [
        ("image(s) without a mask", missing),
        ("image(s) of the same name as another", twice),
        ("mask(s) without an image", left),
        ("mask(s) that are not called .png", others),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(fault, names)| format!("{} {fault}: {}", names.len(), some(&names)))
    .collect();
    if faults.is_empty() {
        return Ok(Scenes { images, masks });
    }
    Err(SegmentationDataError::Unpaired {
        images: images.root,
        masks: masks.root,
        faults,
    })
}
