//! What may happen to a scene in training.

use serde::{Deserialize, Serialize};

use super::SegmentationDataError;

/// Resizing, a crop, mirroring and changes of colours, in this order, as mmsegmentation 0.x has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SceneAugment {
    /// What an image is made to fit, longer and shorter side in pixels, before `ratio`.
    pub scale: [usize; 2],
    /// Least and largest factor of `scale`.
    pub ratio: [f64; 2],
    /// Side of the crop in pixels. Images that are smaller are filled up on the right and at the
    /// bottom, by 0 after normalisation and pixels without a class.
    pub crop: usize,
    /// Another crop is drawn, ten times at most, while one class has this share of those of its
    /// pixels that have one, or there are not two classes; 1 takes the first.
    pub category_share: f64,
    /// Probability of mirroring left and right.
    pub flip: f64,
    /// Whether brightness, contrast, saturation and hue change.
    pub photometric: bool,
}

impl Default for SceneAugment {
    /// ADE20K's (mmsegmentation `configs/_base_/datasets/ade20k.py`).
    fn default() -> Self {
        Self {
            scale: [2048, 512],
            ratio: [0.5, 2.0],
            crop: 512,
            category_share: 0.75,
            flip: 0.5,
            photometric: true,
        }
    }
}

/// Largest side of a scale, in pixels.
pub(super) const MAX_SIDE: usize = 65_535;

/// Largest factor of a scale.
pub(super) const MAX_RATIO: f64 = 100.0;

/// Largest side of a crop, whose tensor is 800 MB.
const MAX_CROP: usize = 8192;

impl SceneAugment {
    /// Checks that the values make sense.
    ///
    /// # Errors
    /// [`SegmentationDataError::Augment`] names the first that does not.
    pub fn check(&self) -> Result<(), SegmentationDataError> {
        let wrong = |field, reason| Err(SegmentationDataError::Augment { field, reason });
        if let Some(side) = self
            .scale
            .iter()
            .find(|side| !(1..=MAX_SIDE).contains(*side))
        {
            return wrong("scale", format!("has {side}, not from 1 to {MAX_SIDE}"));
        }
        let [low, high] = self.ratio;
        for value in [low, high] {
            if !(value > 0.0 && value <= MAX_RATIO) {
                let reason = format!("has {value}, which is not above 0 and at most {MAX_RATIO}");
                return wrong("ratio", reason);
            }
        }
        if low > high {
            return wrong("ratio", format!("begins with {low}, above its end {high}"));
        }
        if !(1..=MAX_CROP).contains(&self.crop) {
            return wrong(
                "crop",
                format!("is {}, not from 1 to {MAX_CROP}", self.crop),
            );
        }
        if !(self.category_share > 0.0 && self.category_share <= 1.0) {
            let share = self.category_share;
            return wrong(
                "category_share",
                format!("is {share}, not above 0 and at most 1"),
            );
        }
        if !(0.0..=1.0).contains(&self.flip) {
            return wrong("flip", format!("is {}, not from 0 to 1", self.flip));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_meaning_are_refused() {
        let wrong = |change: fn(&mut SceneAugment)| {
            let mut spec = SceneAugment::default();
            spec.check().unwrap();
            change(&mut spec);
            let error = spec.check().unwrap_err();
            assert!(error.hint().is_some());
            error.to_string()
        };
        for (message, change) in [
            (
                "augment.scale has 0, not from 1 to 65535",
                (|spec| spec.scale[1] = 0) as fn(&mut SceneAugment),
            ),
            (
                "augment.ratio has 0, which is not above 0 and at most 100",
                |spec| spec.ratio[0] = 0.0,
            ),
            (
                "augment.ratio has NaN, which is not above 0 and at most 100",
                |spec| spec.ratio[1] = f64::NAN,
            ),
            ("augment.ratio begins with 3, above its end 2", |spec| {
                spec.ratio[0] = 3.0
            }),
            ("augment.crop is 0, not from 1 to 8192", |spec| {
                spec.crop = 0
            }),
            (
                "augment.category_share is 0, not above 0 and at most 1",
                |spec| spec.category_share = 0.0,
            ),
            ("augment.flip is NaN, not from 0 to 1", |spec| {
                spec.flip = f64::NAN
            }),
        ] {
            assert_eq!(wrong(change), message);
        }
    }

    #[test]
    fn it_is_written_as_a_table() {
        let spec: SceneAugment = toml::from_str("crop = 256\nphotometric = false").unwrap();
        assert_eq!((spec.crop, spec.photometric, spec.flip), (256, false, 0.5));
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(toml::from_str::<SceneAugment>(&text).unwrap(), spec);
        assert!(toml::from_str::<SceneAugment>("crops = 256").is_err());
    }
}
