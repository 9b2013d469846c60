//! What happens to one scene in one pass.

use super::rescale::{rescaled, scaled};
use super::{Distortion, LabelMap, SceneAugment, nearest};
use crate::data::Window;
use crate::data::augment::{Crop, SampleKey};
use crate::data::stream::Stream;

/// Crops that are looked at before one is taken as it comes (mmsegmentation
/// `datasets/pipelines/transforms.py`, `RandomCrop`).
const TRIES: usize = 10;

/// The parameters of one scene's augmentation.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneDraw {
    /// Height and width in pixels that image and mask are resized to.
    pub resized: [usize; 2],
    /// The part of that which is seen.
    pub crop: Crop,
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// Changes of the colours.
    pub distortion: Distortion,
}

impl SceneDraw {
    /// What happens under `spec` to the scene of `key` with these labels of `classes` classes.
    pub fn new(spec: &SceneAugment, key: SampleKey, labels: &LabelMap, classes: usize) -> Self {
        let mut stream = Stream::new(b"segment1", [key.seed, key.pass, key.index]);
        let scale = scaled(spec.scale, stream.between(spec.ratio));
        let resized = rescaled(scale, [labels.height, labels.width]);
        let mut crop = place(&mut stream, resized, spec.crop);
        if spec.category_share < 1.0 {
            let mut counts = vec![0; classes];
            for _ in 0..TRIES {
                if is_mixed(labels, resized, crop, spec.category_share, &mut counts) {
                    break;
                }
                crop = place(&mut stream, resized, spec.crop);
            }
        }
        let flip = stream.unit() < spec.flip;
        let distortion = if spec.photometric {
            Distortion::new(&mut stream)
        } else {
            Distortion::default()
        };
        Self {
            resized,
            crop,
            flip,
            distortion,
        }
    }

    /// The columns of the resized scene that are seen.
    pub(super) fn columns(&self) -> Window {
        Window {
            size: self.resized[1],
            start: self.crop.left,
            len: self.crop.width,
        }
    }

    /// Its rows that are seen.
    pub(super) fn rows(&self) -> Window {
        Window {
            size: self.resized[0],
            start: self.crop.top,
            len: self.crop.height,
        }
    }
}

/// A crop anywhere, cut to the image.
fn place(stream: &mut Stream, [height, width]: [usize; 2], side: usize) -> Crop {
    let (tall, wide) = (side.min(height), side.min(width));
    Crop {
        top: stream.below(height - tall + 1),
        left: stream.below(width - wide + 1),
        width: wide,
        height: tall,
    }
}

/// Whether a crop has two classes or more and none has the share of what has a class.
fn is_mixed(
    labels: &LabelMap,
    [height, width]: [usize; 2],
    crop: Crop,
    share: f64,
    counts: &mut [u64],
) -> bool {
    let window = |size, start, len| Window { size, start, len };
    let columns = nearest::repeats(labels.width, window(width, crop.left, crop.width));
    let rows = nearest::repeats(labels.height, window(height, crop.top, crop.height));
    counts.fill(0);
    for (row, down) in rows {
        let line = &labels.labels[row * labels.width..][..labels.width];
        for &(column, along) in &columns {
            if let Some(count) = counts.get_mut(usize::from(line[column])) {
                *count += down * along;
            }
        }
    }
    let present = counts.iter().filter(|&&count| count > 0).count();
    let (most, sum) = (counts.iter().max(), counts.iter().sum::<u64>());
    present > 1 && most.is_some_and(|&most| (most as f64 / sum as f64) < share)
}
