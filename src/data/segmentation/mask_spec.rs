//! What the values of a mask mean.

use serde::{Deserialize, Serialize};

use super::{IGNORED_LABEL, SegmentationDataError};

/// What the values of a set's masks mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskSpec {
    /// Number of classes.
    pub classes: u32,
    /// A value, as it is in the files, whose pixels belong to no class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u32>,
    /// Whether 0 belongs to no class and 1 is the first one, as in ADE20K. This happens once, here.
    #[serde(default)]
    pub reduce_zero_label: bool,
}

/// What mmsegmentation keeps for pixels without a class, in 8 bits.
const MMSEG_IGNORED: u16 = 255;

impl MaskSpec {
    /// Checks that the values make sense.
    ///
    /// # Errors
    /// [`SegmentationDataError::MaskSpec`] when there are no classes or more than 65,534, or the
    /// ignored value is above 65,535 or that of a class.
    pub fn check(&self) -> Result<(), SegmentationDataError> {
        let wrong = |field, reason| Err(SegmentationDataError::MaskSpec { field, reason });
        let most = u32::from(IGNORED_LABEL) - 1;
        if !(1..=most).contains(&self.classes) {
            let reason = format!("is {}, not from 1 to {most}", self.classes);
            return wrong("classes", reason);
        }
        let Some(ignore) = self.ignore else {
            return Ok(());
        };
        let Ok(raw) = u16::try_from(ignore) else {
            let reason = format!("is {ignore}, and masks have at most 16 bits");
            return wrong("ignore", reason);
        };
        match self.meaning(raw) {
            Some(class) if class != IGNORED_LABEL => {
                wrong("ignore", format!("is {ignore}, which is class {class}"))
            }
            _ => Ok(()),
        }
    }

    /// The class of a raw value, [`IGNORED_LABEL`] where it has none on purpose; `None` where it is
    /// above every class.
    pub fn label(&self, raw: u16) -> Option<u16> {
        if self.ignore == Some(u32::from(raw)) {
            return Some(IGNORED_LABEL);
        }
        self.meaning(raw)
    }

    /// [`MaskSpec::label`] but for the value that is ignored.
    fn meaning(&self, raw: u16) -> Option<u16> {
        let class = if self.reduce_zero_label {
            // mmsegmentation `datasets/pipelines/loading.py`, `LoadAnnotations`: 0 becomes 255, all
            // are lowered by 1, and 254 becomes 255, so that 0 and 255 both end as 255. In 16 bits
            // there can be a class 254.
            let raw_ignored = raw == MMSEG_IGNORED && self.classes < u32::from(MMSEG_IGNORED);
            if raw == 0 || raw_ignored {
                return Some(IGNORED_LABEL);
            }
            raw - 1
        } else {
            raw
        };
        (u32::from(class) < self.classes).then_some(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(classes: u32, ignore: Option<u32>, reduce_zero_label: bool) -> MaskSpec {
        MaskSpec {
            classes,
            ignore,
            reduce_zero_label,
        }
    }

    /// mmsegmentation's lines, on 8-bit values, 255 being ignored.
    fn reference(raw: u8) -> u8 {
        let mut value = if raw == 0 { 255 } else { raw };
        value -= 1;
        if value == 254 { 255 } else { value }
    }

    #[test]
    fn the_zero_label_is_reduced_as_mmsegmentation_does() {
        let ade = spec(150, None, true);
        ade.check().unwrap();
        for raw in 0..=255_u8 {
            let expected = match reference(raw) {
                255 => Some(IGNORED_LABEL),
                class if class < 150 => Some(u16::from(class)),
                _ => None,
            };
            assert_eq!(ade.label(u16::from(raw)), expected, "{raw}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_value_is_counted_as_another_class(
            classes in 1_u32..65_535,
            ignore in proptest::option::of(0_u32..70_000),
            reduce: bool,
            raw: u16,
        ) {
            let spec = spec(classes, ignore, reduce);
            if spec.check().is_ok() {
                let own = u32::from(raw).checked_sub(u32::from(reduce));
                match spec.label(raw) {
                    Some(IGNORED_LABEL) => proptest::prop_assert!(
                        ignore == Some(u32::from(raw)) || reduce && (raw == 0 || raw == 255)
                    ),
                    Some(class) => {
                        proptest::prop_assert_eq!(Some(u32::from(class)), own);
                        proptest::prop_assert!(u32::from(class) < classes);
                    }
                    None => proptest::prop_assert!(own.is_some_and(|own| own >= classes)),
                }
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (wrong, message) in [
            (
                spec(0, None, false),
                "mask.classes is 0, not from 1 to 65534",
            ),
            (spec(65_535, None, false), "mask.classes is 65535"),
            (
                spec(11, Some(3), false),
                "mask.ignore is 3, which is class 3",
            ),
            (
                spec(11, Some(3), true),
                "mask.ignore is 3, which is class 2",
            ),
            (
                spec(11, Some(65_536), false),
                "mask.ignore is 65536, and masks",
            ),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert!(error.hint().is_some());
        }
        for right in [
            spec(11, Some(11), false),
            spec(150, Some(255), true),
            spec(150, Some(0), true),
            spec(300, None, true),
        ] {
            right.check().unwrap();
        }
        assert_eq!(spec(300, None, true).label(255), Some(254));
    }

    #[test]
    fn it_is_written_as_a_table() {
        let ade: MaskSpec = toml::from_str("classes = 150\nreduce_zero_label = true").unwrap();
        assert_eq!(ade, spec(150, None, true));
        assert!(toml::from_str::<MaskSpec>("classes = 150\nignored = 3").is_err());
        assert!(toml::from_str::<MaskSpec>("ignore = 3").is_err());
    }
}
