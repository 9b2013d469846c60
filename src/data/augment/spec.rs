//! What may happen to an image.

use serde::{Deserialize, Serialize};

use super::AugmentError;
use super::operation::MAX_MAGNITUDE;
use crate::data::{InputSpec, Interpolation};

/// Crop, mirroring, changes of the whole image and erasing, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentSpec {
    /// How the crop is chosen.
    pub crop: CropSpec,
    /// Least and largest share of the image's area that a random crop has.
    pub scale: [f64; 2],
    /// Least and largest width by height of a random crop.
    pub ratio: [f64; 2],
    /// How a random crop is resized to the input; the evaluation's crop has the input's own way.
    pub interpolation: Interpolation,
    /// Probability of mirroring left and right.
    pub flip: f64,
    /// Random changes of the colours.
    pub jitter: Option<Jitter>,
    /// Random operations in place of jitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rand_augment: Option<RandAugment>,
    /// Random boxes of noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub erase: Option<Erase>,
}

impl Default for AugmentSpec {
    /// torchvision's `RandomResizedCrop` and `RandomHorizontalFlip` as they come, which is what
    /// BEiT's linear probe trains with (microsoft/unilm `beit/run_linear_eval.py`).
    fn default() -> Self {
        Self {
            crop: CropSpec::Torchvision,
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bilinear,
            flip: 0.5,
            jitter: None,
            rand_augment: None,
            erase: None,
        }
    }
}

/// How a crop is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropSpec {
    /// Area and ratio are drawn until a crop lies in the image; after ten times the largest central
    /// crop of an allowed ratio (torchvision `transforms/transforms.py`, `RandomResizedCrop`).
    Torchvision,
    /// Area and ratio are drawn once, and sides cut to the image's (facebookresearch/mae
    /// `util/crop.py`).
    Mae,
    /// [`CropSpec::Torchvision`]; where the input has at most 32 pixels a side, the evaluation's
    /// crop with 4 zeros on every side, and of that a part as large as the input (microsoft/unilm
    /// `beit/datasets.py`, `build_transform`, which takes the image itself there, as CIFAR's are).
    Beit,
    /// The evaluation's.
    Centre,
}

impl CropSpec {
    /// Zeros on every side of the evaluation's crop, where a part of that is seen.
    pub(super) fn margin(self, input: &InputSpec) -> Option<usize> {
        let small = input.width <= 32 && input.height <= 32;
        (self == Self::Beit && small).then_some(4)
    }
}

/// The ranges of colour changes, whose order is random (torchvision `transforms/transforms.py`,
/// `ColorJitter`). What is 0 is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jitter {
    /// The factor is drawn from `max(0, 1 - brightness)` to `1 + brightness`.
    pub brightness: f64,
    /// Likewise.
    pub contrast: f64,
    /// Likewise.
    pub saturation: f64,
    /// The shift is drawn from `-hue` to `hue`, in turns of the colour circle.
    pub hue: f64,
}

/// RandAugment with the operations of timm's increasing set ([`OperationKind`]), each as likely as
/// another, as in timm's `rand-m9-mstd0.5-inc1` (timm `data/auto_augment.py`). Its maps look pixels
/// up by the crop's interpolation, and fill in the input's mean.
///
/// [`OperationKind`]: super::OperationKind
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandAugment {
    /// Operations that are drawn for an image.
    pub operations: usize,
    /// Mean of the magnitude, which is cut to 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the magnitude.
    pub deviation: f64,
    /// Probability that an operation that was drawn is applied.
    pub probability: f64,
}

impl Default for RandAugment {
    /// `rand-m9-mstd0.5-inc1`.
    fn default() -> Self {
        Self {
            operations: 2,
            magnitude: 9.0,
            deviation: 0.5,
            probability: 0.5,
        }
    }
}

/// Random erasing by a normal number a value, as timm's mode `pixel` (timm
/// `data/random_erasing.py`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Erase {
    /// Probability that boxes of an image are erased.
    pub probability: f64,
    /// Least and largest share of the input's area that the boxes together have.
    pub area: [f64; 2],
    /// Least height by width of a box; the largest is its inverse.
    pub aspect: f64,
    /// Most boxes; there are as likely fewer.
    pub count: usize,
}

impl Default for Erase {
    /// A quarter of the images, as MAE and BEiT fine-tune (facebookresearch/mae `main_finetune.py`,
    /// `--reprob`); the rest is timm's own.
    fn default() -> Self {
        Self {
            probability: 0.25,
            area: [0.02, 1.0 / 3.0],
            aspect: 0.3,
            count: 1,
        }
    }
}

impl AugmentSpec {
    /// Checks that the values make sense.
    pub fn check(&self) -> Result<(), AugmentError> {
        let wrong = |field, reason| Err(AugmentError::Value { field, reason });
        let erase = self.erase.unwrap_or_default();
        for (field, [low, high], most) in [
            ("scale", self.scale, 1.0),
            ("ratio", self.ratio, f64::MAX),
            ("erase.area", erase.area, 1.0),
        ] {
            for value in [low, high] {
                if !(value > 0.0 && value <= most) {
                    let bound = if most == 1.0 { " and at most 1" } else { "" };
                    return wrong(field, format!("has {value}, which is not above 0{bound}"));
                }
            }
            if low > high {
                return wrong(field, format!("begins with {low}, above its end {high}"));
            }
        }
        let bounded = |field, value: f64, most: f64| {
            if (0.0..=most).contains(&value) {
                return Ok(());
            }
            wrong(field, format!("is {value}, not from 0 to {most}"))
        };
        bounded("flip", self.flip, 1.0)?;
        let jitter = self.jitter.unwrap_or_default();
        for (field, value) in [
            ("jitter.brightness", jitter.brightness),
            ("jitter.contrast", jitter.contrast),
            ("jitter.saturation", jitter.saturation),
        ] {
            bounded(field, value, MAX_STRENGTH)?;
        }
        bounded("jitter.hue", jitter.hue, 0.5)?;
        if self.jitter.is_some() && self.rand_augment.is_some() {
            return wrong(
                "jitter",
                "stands beside rand_augment, of which timm does one".into(),
            );
        }
        let counted = |field, value: usize, most: usize| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            wrong(field, format!("is {value}, not from 1 to {most}"))
        };
        let rand_augment = self.rand_augment.unwrap_or_default();
        counted("rand_augment.operations", rand_augment.operations, MOST)?;
        bounded(
            "rand_augment.magnitude",
            rand_augment.magnitude,
            MAX_MAGNITUDE,
        )?;
        bounded(
            "rand_augment.deviation",
            rand_augment.deviation,
            MAX_DEVIATION,
        )?;
        bounded("rand_augment.probability", rand_augment.probability, 1.0)?;
        bounded("erase.probability", erase.probability, 1.0)?;
        counted("erase.count", erase.count, MOST)?;
        if !(erase.aspect > 0.0 && erase.aspect <= 1.0) {
            let reason = format!("is {}, which is not above 0 and at most 1", erase.aspect);
            return wrong("erase.aspect", reason);
        }
        Ok(())
    }
}

/// Most operations and most boxes of an image.
const MOST: usize = 100;

/// Largest deviation. Above it timm draws magnitudes uniformly instead.
const MAX_DEVIATION: f64 = 100.0;

/// Strongest jitter. A factor of 256 already makes every byte that it changes 0 or 255.
const MAX_STRENGTH: f64 = 255.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl Fn(&mut AugmentSpec)) -> String {
        let mut spec = AugmentSpec {
            jitter: Some(Jitter::default()),
            ..AugmentSpec::default()
        };
        assert_eq!(spec.check(), Ok(()));
        change(&mut spec);
        let error = spec.check().unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    }

    #[test]
    fn values_without_meaning_are_refused() {
        let jitter = |change: fn(&mut Jitter)| {
            wrong(|spec| {
                let mut jitter = Jitter::default();
                change(&mut jitter);
                spec.jitter = Some(jitter);
            })
        };
        assert_eq!(
            wrong(|spec| spec.scale = [0.5, 0.2]),
            "augment.scale begins with 0.5, above its end 0.2"
        );
        assert_eq!(
            wrong(|spec| spec.scale = [0.0, 1.0]),
            "augment.scale has 0, which is not above 0 and at most 1"
        );
        assert_eq!(
            wrong(|spec| spec.scale = [0.1, 1.5]),
            "augment.scale has 1.5, which is not above 0 and at most 1"
        );
        assert_eq!(
            wrong(|spec| spec.ratio = [0.75, f64::INFINITY]),
            "augment.ratio has inf, which is not above 0"
        );
        assert!(wrong(|spec| spec.scale[1] = f64::NAN).contains("NaN"));
        assert!(wrong(|spec| spec.ratio[0] = f64::NAN).contains("NaN"));
        assert!(wrong(|spec| spec.ratio = [2.0, 1.0]).contains("above its end"));
        assert_eq!(
            wrong(|spec| spec.flip = 1.5),
            "augment.flip is 1.5, not from 0 to 1"
        );
        assert!(wrong(|spec| spec.flip = f64::NAN).contains("NaN"));
        assert_eq!(
            jitter(|jitter| jitter.hue = 0.6),
            "augment.jitter.hue is 0.6, not from 0 to 0.5"
        );
        assert!(jitter(|jitter| jitter.brightness = -0.1).contains("brightness"));
        assert!(jitter(|jitter| jitter.contrast = f64::NAN).contains("contrast"));
        assert!(jitter(|jitter| jitter.saturation = f64::INFINITY).contains("saturation"));
    }

    #[test]
    fn operations_and_boxes_without_meaning_are_refused() {
        let with = |change: fn(&mut RandAugment, &mut Erase)| {
            wrong(|spec| {
                spec.jitter = None;
                let (mut rand_augment, mut erase) = Default::default();
                change(&mut rand_augment, &mut erase);
                (spec.rand_augment, spec.erase) = (Some(rand_augment), Some(erase));
            })
        };
        assert_eq!(
            with(|rand_augment, _| rand_augment.operations = 0),
            "augment.rand_augment.operations is 0, not from 1 to 100"
        );
        assert_eq!(
            with(|rand_augment, _| rand_augment.magnitude = 10.5),
            "augment.rand_augment.magnitude is 10.5, not from 0 to 10"
        );
        assert!(with(|rand_augment, _| rand_augment.deviation = -0.5).contains("deviation"));
        assert!(with(|rand_augment, _| rand_augment.probability = f64::NAN).contains("NaN"));
        assert!(with(|_, erase| erase.probability = 1.1).contains("erase.probability"));
        assert!(with(|_, erase| erase.count = 0).contains("erase.count is 0"));
        assert_eq!(
            with(|_, erase| erase.area = [0.5, 0.1]),
            "augment.erase.area begins with 0.5, above its end 0.1"
        );
        assert_eq!(
            with(|_, erase| erase.aspect = 3.3),
            "augment.erase.aspect is 3.3, which is not above 0 and at most 1"
        );
        assert_eq!(
            wrong(|spec| spec.rand_augment = Some(RandAugment::default())),
            "augment.jitter stands beside rand_augment, of which timm does one"
        );
    }

    #[test]
    fn what_is_not_asked_for_is_not_written() {
        let text = toml::to_string(&AugmentSpec::default()).unwrap();
        assert!(
            !text.contains("rand_augment") && !text.contains("erase"),
            "{text}"
        );
        let spec: AugmentSpec = toml::from_str(
            "crop = \"beit\"\ninterpolation = \"bicubic\"\n[rand_augment]\n[erase]\ncount = 3",
        )
        .unwrap();
        assert_eq!(spec.check(), Ok(()));
        assert_eq!(spec.rand_augment, Some(RandAugment::default()));
        assert_eq!(spec.erase.map(|erase| erase.count), Some(3));
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(toml::from_str::<AugmentSpec>(&text).unwrap(), spec);
        for unknown in [
            "rand_augment = { increasing = true }",
            "erase = { mode = \"pixel\" }",
        ] {
            assert!(toml::from_str::<AugmentSpec>(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn it_is_written_as_a_table() {
        let spec: AugmentSpec = toml::from_str(
            "crop = \"mae\"\nscale = [0.2, 1.0]\ninterpolation = \"bicubic\"\njitter = { hue = 0.1 }",
        )
        .unwrap();
        let jitter = Jitter {
            hue: 0.1,
            ..Jitter::default()
        };
        assert_eq!(
            spec,
            AugmentSpec {
                crop: CropSpec::Mae,
                scale: [0.2, 1.0],
                interpolation: Interpolation::Bicubic,
                jitter: Some(jitter),
                ..AugmentSpec::default()
            }
        );
        let text = toml::to_string(&spec).unwrap();
        assert_eq!(toml::from_str::<AugmentSpec>(&text).unwrap(), spec);
        for unknown in [
            "crops = \"mae\"",
            "crop = \"random\"",
            "jitter = { hues = 0.1 }",
        ] {
            assert!(toml::from_str::<AugmentSpec>(unknown).is_err(), "{unknown}");
        }
    }
}
