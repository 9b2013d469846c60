//! What happens to one image in one pass.

use super::colour::Adjustment;
use super::crop::{Bounds, Crop};
use super::erasure::Erasure;
use super::noise::normal;
use super::operation::{MAX_MAGNITUDE, Operation, OperationKind};
use super::{AugmentSpec, CropSpec, Erase, Jitter, RandAugment};
use crate::data::InputSpec;
use crate::data::stream::Stream;

/// What a draw is a function of, besides the specification and the image's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// The run's seed.
    pub seed: u64,
    /// Passes over the split before this one.
    pub pass: u64,
    /// The image's place in its split.
    pub index: u64,
}

impl SampleKey {
    /// The random numbers of the image in the pass.
    pub(super) fn stream(self) -> Stream {
        Stream::new(b"augment1", [self.seed, self.pass, self.index])
    }
}

/// The parameters of one image's augmentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The part of the image that is resized to the input; `None` is the evaluation's crop.
    pub crop: Option<Crop>,
    /// Pixels by which that is then moved to the right and down; zeros come in. `[0, 0]` but where a
    /// part of the evaluation's crop with zeros around it is asked for.
    pub shift: [isize; 2],
    /// Whether left and right are exchanged.
    pub flip: bool,
    /// Changes of the colours, in their order.
    pub adjustments: Vec<Adjustment>,
    /// RandAugment's operations, in their order.
    pub operations: Vec<Operation>,
    /// Boxes of the tensor that become noise, in their order.
    pub erasures: Vec<Erasure>,
}

impl Draw {
    /// What happens under `spec` to the image of `key`, which is `width` x `height` pixels, on its way
    /// to `input`.
    pub fn new(
        spec: &AugmentSpec,
        input: &InputSpec,
        key: SampleKey,
        width: usize,
        height: usize,
    ) -> Self {
        let mut stream = key.stream();
        let bounds = Bounds {
            scale: spec.scale,
            ratio: spec.ratio,
        };
        let margin = spec.crop.margin(input);
        let shift = margin.map_or([0; 2], |margin| {
            [(); 2].map(|()| margin as isize - stream.below(2 * margin + 1) as isize)
        });
        let crop = match spec.crop {
            CropSpec::Beit if margin.is_some() => None,
            CropSpec::Torchvision | CropSpec::Beit => {
                Some(bounds.torchvision(&mut stream, width, height))
            }
            CropSpec::Mae => Some(bounds.mae(&mut stream, width, height)),
            CropSpec::Centre => None,
        };
        let flip = stream.unit() < spec.flip;
        let adjustments = spec.jitter.map_or_else(Vec::new, |j| j.draw(&mut stream));
        let operations = spec.rand_augment;
        let operations = operations.map_or_else(Vec::new, |r| r.draw(&mut stream));
        let erase = |erase: Erase| erase.draw(&mut stream, input.width, input.height);
        let erasures = spec.erase.map_or_else(Vec::new, erase);
        Self {
            crop,
            shift,
            flip,
            adjustments,
            operations,
            erasures,
        }
    }
}

impl RandAugment {
    fn draw(&self, stream: &mut Stream) -> Vec<Operation> {
        let mut operations = Vec::with_capacity(self.operations);
        for _ in 0..self.operations {
            let kind = OperationKind::ALL[stream.below(OperationKind::ALL.len())];
            if stream.unit() < self.probability {
                let magnitude = self.magnitude + self.deviation * normal(stream.word() as u32);
                let negative = stream.unit() < 0.5;
                operations.push(kind.at(magnitude.clamp(0.0, MAX_MAGNITUDE), negative));
            }
        }
        operations
    }
}

impl Jitter {
    fn draw(&self, stream: &mut Stream) -> Vec<Adjustment> {
        let mut adjustments = Vec::with_capacity(4);
        for (strength, adjustment) in [
            (self.brightness, Adjustment::Brightness as fn(f64) -> _),
            (self.contrast, Adjustment::Contrast),
            (self.saturation, Adjustment::Saturation),
        ] {
            if strength > 0.0 {
                let range = [(1.0 - strength).max(0.0), 1.0 + strength];
                adjustments.push(adjustment(stream.between(range)));
            }
        }
        if self.hue > 0.0 {
            adjustments.push(Adjustment::Hue(stream.between([-self.hue, self.hue])));
        }
        for last in (1..adjustments.len()).rev() {
            adjustments.swap(last, stream.below(last + 1));
        }
        adjustments
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::data::{Interpolation, Resize};

    const FULL: Jitter = Jitter {
        brightness: 0.4,
        contrast: 1.5,
        saturation: 0.2,
        hue: 0.1,
    };

    fn draw(spec: &AugmentSpec, seed: u64, pass: u64, index: u64) -> Draw {
        let key = SampleKey { seed, pass, index };
        Draw::new(spec, &input(224), key, 500, 375)
    }

    fn input(side: usize) -> InputSpec {
        InputSpec {
            height: side,
            width: side,
            channels: 3,
            resize: Resize::Exact,
            interpolation: Interpolation::Bicubic,
            mean: vec![0.5; 3],
            std: vec![0.5; 3],
        }
    }

    fn jittered() -> AugmentSpec {
        AugmentSpec {
            jitter: Some(FULL),
            ..AugmentSpec::default()
        }
    }

    #[test]
    fn a_draw_is_a_function_of_its_key() {
        let spec = jittered();
        let first = draw(&spec, 1, 2, 3);
        assert_eq!(first, draw(&spec, 1, 2, 3));
        for (seed, pass, index) in [(0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3), (3, 2, 1)] {
            assert_ne!(first, draw(&spec, seed, pass, index));
        }
    }

    #[test]
    fn a_draw_never_changes_between_versions() {
        let crop = Crop {
            left: 138,
            top: 49,
            width: 221,
            height: 213,
        };
        let adjustments = vec![
            Adjustment::Brightness(0.7145194308633621),
            Adjustment::Hue(0.07680905443881395),
            Adjustment::Contrast(2.3732491726874128),
            Adjustment::Saturation(1.1551264583679437),
        ];
        let pinned = Draw {
            crop: Some(crop),
            shift: [0; 2],
            flip: false,
            adjustments,
            operations: vec![],
            erasures: vec![],
        };
        assert_eq!(draw(&jittered(), 42, 7, 1234), pinned);
    }

    fn fine_tuned() -> AugmentSpec {
        AugmentSpec {
            rand_augment: Some(RandAugment::default()),
            erase: Some(Erase {
                probability: 1.0,
                ..Erase::default()
            }),
            ..AugmentSpec::default()
        }
    }

    #[test]
    fn operations_and_boxes_never_change_either_and_come_last() {
        let found = draw(&fine_tuned(), 42, 7, 1235);
        let plain = draw(&AugmentSpec::default(), 42, 7, 1235);
        assert_eq!(found.operations, [Operation::Contrast(1.8741049822372489)]);
        assert_eq!(
            found.erasures,
            [Erasure {
                left: 60,
                top: 51,
                width: 70,
                height: 83,
                noise: 4_076_933_293_514_680_482,
            }]
        );
        let operations = vec![];
        let erasures = vec![];
        let others = Draw {
            operations,
            erasures,
            ..found.clone()
        };
        assert_eq!(others, plain);
        assert_eq!(found, draw(&fine_tuned(), 42, 7, 1235));
        assert_ne!(found.erasures, draw(&fine_tuned(), 42, 8, 1235).erasures);
    }

    #[test]
    fn kinds_are_equally_likely_and_half_of_them_applied() {
        const DRAWS: u64 = 30_000;
        let spec = fine_tuned();
        let mut counts = BTreeMap::<String, u64>::new();
        let mut lengths = [0_u64; 3];
        for index in 0..DRAWS {
            let operations = draw(&spec, 3, 0, index).operations;
            lengths[operations.len()] += 1;
            for operation in operations {
                let name = format!("{operation:?}");
                let name = name.split('(').next().unwrap().to_owned();
                *counts.entry(name).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), OperationKind::ALL.len());
        // 2,000 of each; five standard deviations.
        assert!(
            counts.values().all(|count| count.abs_diff(2000) < 220),
            "{counts:?}"
        );
        assert!(lengths[0].abs_diff(DRAWS / 4) < 375, "{lengths:?}");
        assert!(lengths[2].abs_diff(DRAWS / 4) < 375, "{lengths:?}");
    }

    #[test]
    fn magnitudes_are_normal_and_cut() {
        let of = |magnitude, deviation| -> Vec<f64> {
            let spec = AugmentSpec {
                rand_augment: Some(RandAugment {
                    operations: 20,
                    probability: 1.0,
                    magnitude,
                    deviation,
                }),
                ..AugmentSpec::default()
            };
            let draws = (0..10_000).flat_map(|index| draw(&spec, 1, 1, index).operations);
            let shears = draws.filter_map(|operation| match operation {
                Operation::ShearX(by) => Some(by / 0.03),
                _ => None,
            });
            shears.collect()
        };
        let found = of(9.0, 0.5);
        let count = found.len() as f64;
        let share =
            |test: &dyn Fn(f64) -> bool| found.iter().filter(|&&x| test(x)).count() as f64 / count;
        // 13,333 shears; five standard deviations of shares of 0.5, 0.0228 and 0.1587.
        assert!((count - 13_333.0).abs() < 560.0);
        assert!((share(&|x| x < 0.0) - 0.5).abs() < 0.022);
        assert!((share(&|x| x.abs() > 10.0 - 1e-9) - 0.022_75).abs() < 0.0065);
        assert!((share(&|x| x.abs() < 8.5) - 0.158_66).abs() < 0.016);
        assert!((share(&|x| x.abs() < 9.0) - 0.5).abs() < 0.022);
        assert!(found.iter().all(|x| (6.0..10.0 + 1e-9).contains(&x.abs())));
        assert!(of(7.0, 0.0).iter().all(|x| (x.abs() - 7.0).abs() < 1e-9));
        assert!(of(0.0, 3.0).contains(&0.0));
    }

    #[test]
    fn beit_moves_small_inputs_and_crops_others() {
        let beit = AugmentSpec {
            crop: CropSpec::Beit,
            ..AugmentSpec::default()
        };
        let mut counts = BTreeMap::<[isize; 2], u64>::new();
        for index in 0..16_200 {
            let key = SampleKey {
                seed: 2,
                pass: 0,
                index,
            };
            let drawn = Draw::new(&beit, &input(32), key, 32, 32);
            assert_eq!(drawn.crop, None);
            *counts.entry(drawn.shift).or_default() += 1;
            assert!(index > 100 || Draw::new(&beit, &input(33), key, 32, 32).crop.is_some());
        }
        assert_eq!(counts.len(), 81);
        assert!(counts.keys().flatten().all(|by| by.abs() <= 4));
        // 200 of each; five standard deviations.
        assert!(
            counts.values().all(|count| count.abs_diff(200) < 71),
            "{counts:?}"
        );
        assert_eq!(draw(&beit, 1, 2, 3), draw(&AugmentSpec::default(), 1, 2, 3));
    }

    #[test]
    fn mirrors_as_often_as_asked() {
        let flips = |flip: f64| {
            let spec = AugmentSpec {
                flip,
                ..AugmentSpec::default()
            };
            let draws = (0..10_000).map(|index| draw(&spec, 0, 0, index));
            draws.filter(|draw| draw.flip).count()
        };
        assert_eq!((flips(0.0), flips(1.0)), (0, 10_000));
        // Five standard deviations.
        assert!(flips(0.5).abs_diff(5000) < 250);
        assert!(flips(0.1).abs_diff(1000) < 150);
    }

    #[test]
    fn factors_are_uniform_and_their_orders_equally_likely() {
        const DRAWS: u64 = 24_000;
        let spec = jittered();
        let mut orders = BTreeMap::<Vec<usize>, u64>::new();
        let mut sums = [0.0; 4];
        let ranges = [[0.6, 1.4], [0.0, 2.5], [0.8, 1.2], [-0.1, 0.1]];
        for index in 0..DRAWS {
            let order = draw(&spec, 9, 1, index).adjustments.into_iter();
            let order = order.map(|adjustment| {
                let (kind, factor) = match adjustment {
                    Adjustment::Brightness(factor) => (0, factor),
                    Adjustment::Contrast(factor) => (1, factor),
                    Adjustment::Saturation(factor) => (2, factor),
                    Adjustment::Hue(shift) => (3, shift),
                };
                let [low, high] = ranges[kind];
                assert!((low..=high).contains(&factor), "{kind}: {factor}");
                sums[kind] += (factor - low) / (high - low);
                kind
            });
            *orders.entry(order.collect()).or_default() += 1;
        }
        assert_eq!(orders.len(), 24);
        // A thousand each: five standard deviations are 155.
        assert!(
            orders.values().all(|count| count.abs_diff(1000) < 155),
            "{orders:?}"
        );
        for sum in sums {
            assert!((sum / DRAWS as f64 - 0.5).abs() < 0.0094, "{sums:?}");
        }
    }

    #[test]
    fn what_is_not_asked_for_does_not_happen() {
        let spec = AugmentSpec {
            crop: CropSpec::Centre,
            flip: 0.0,
            jitter: Some(Jitter {
                saturation: 0.5,
                ..Jitter::default()
            }),
            ..AugmentSpec::default()
        };
        let Draw {
            crop,
            shift,
            flip,
            adjustments,
            operations,
            erasures,
        } = draw(&spec, 0, 0, 0);
        assert!(crop.is_none() && !flip && shift == [0; 2]);
        assert!(operations.is_empty() && erasures.is_empty());
        assert!(matches!(adjustments[..], [Adjustment::Saturation(_)]));
    }
}
