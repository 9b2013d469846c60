//! Semantic segmentation: the pixels of an image by true and predicted class, and what
//! mmsegmentation makes of them over a set of images.

use std::collections::BTreeMap;

use super::metric_error::MetricError;
use crate::stats::{RatioSample, RatioTerm, SampleError};

/// Pixels of one image that are of one class and were given one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelPair {
    /// The true class.
    pub label: u32,
    /// The class that was predicted.
    pub prediction: u32,
    /// How many pixels, at least one.
    pub pixels: u32,
}

/// The pixels of one image by true and predicted class; those whose label is ignored are not among
/// them. Every measure of a segmentation can be computed from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    /// Ascending by label, then by prediction; each pair of classes once.
    pairs: Vec<PixelPair>,
}

/// Pixels of one class, of an image or of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassAreas {
    /// Pixels of the class that were given it.
    pub intersect: u64,
    /// Pixels that were given it.
    pub predicted: u64,
    /// Pixels that are of it.
    pub labelled: u64,
}

impl ClassAreas {
    /// Pixels that are of the class, or were given it.
    pub fn union(&self) -> u64 {
        self.predicted + self.labelled - self.intersect
    }

    /// Intersection over union, 0 to 1; none where the class neither occurs nor is predicted.
    pub fn iou(&self) -> Option<f64> {
        ratio(self.intersect, self.union())
    }

    /// The share of the class's pixels that were given it, 0 to 1; none where it does not occur.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.intersect, self.labelled)
    }

    fn add(&mut self, other: &Self) {
        self.intersect += other.intersect;
        self.predicted += other.predicted;
        self.labelled += other.labelled;
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), x| (sum + x, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

impl Confusion {
    /// labels, predictions: `[pixels]`, classes below `classes`; where the label is `ignored`,
    /// neither it nor the prediction counts (mmsegmentation 1.2,
    /// `mmseg/evaluation/metrics/iou_metric.py`, `intersect_and_union`, whose histograms drop a
    /// class beyond the last without a word: here it is refused).
    ///
    /// # Errors
    /// Maps of different sizes, a class that there is not.
    pub fn count(
        labels: &[u16],
        predictions: &[u16],
        classes: usize,
        ignored: u16,
    ) -> Result<Self, MetricError> {
        if labels.len() != predictions.len() {
            return Err(MetricError::Mismatch {
                what: "pixels of a label map and of its prediction",
                left: labels.len(),
                right: predictions.len(),
            });
        }
        let mut counts: BTreeMap<[u16; 2], u32> = BTreeMap::new();
        let outside = |what, pixel, class: u16| MetricError::PixelClass {
            what,
            pixel,
            class: class.into(),
            classes,
        };
        let known = |class: u16| usize::from(class) < classes;
        let mut pixel = 0;
        // Neighbours are mostly of one class.
        for run in labels.chunk_by(|a, b| a == b) {
            let start = pixel;
            pixel += run.len();
            if run[0] == ignored {
                continue;
            }
            if !known(run[0]) {
                return Err(outside("label", start, run[0]));
            }
            let mut at = start;
            for same in predictions[start..pixel].chunk_by(|a, b| a == b) {
                if !known(same[0]) {
                    return Err(outside("prediction", at, same[0]));
                }
                at += same.len();
                let pixels = counts.entry([run[0], same[0]]).or_default();
                *pixels = (u32::try_from(same.len()).ok())
                    .and_then(|more| pixels.checked_add(more))
                    .ok_or(MetricError::TooManyPixels {
                        pixels: labels.len(),
                    })?;
            }
        }
        let pairs = counts.into_iter().map(|([label, prediction], pixels)| {
            let [label, prediction] = [label, prediction].map(u32::from);
            PixelPair {
                label,
                prediction,
                pixels,
            }
        });
        Ok(Self {
            pairs: pairs.collect(),
        })
    }

    /// The confusion of these pairs; none where they are not as [`Self::pairs`] gives them.
    pub fn from_pairs(pairs: Vec<PixelPair>) -> Option<Self> {
        let place = |pair: &PixelPair| (pair.label, pair.prediction);
        let ascend = pairs.windows(2).all(|two| place(&two[0]) < place(&two[1]));
        (ascend && pairs.iter().all(|pair| pair.pixels > 0)).then_some(Self { pairs })
    }

    /// The pixels, ascending by label, then by prediction; each pair of classes once.
    pub fn pairs(&self) -> &[PixelPair] {
        &self.pairs
    }

    /// The classes that occur or are predicted, ascending.
    pub fn areas(&self) -> BTreeMap<u32, ClassAreas> {
        let mut areas: BTreeMap<u32, ClassAreas> = BTreeMap::new();
        for pair in &self.pairs {
            let pixels = u64::from(pair.pixels);
            areas.entry(pair.label).or_default().labelled += pixels;
            areas.entry(pair.prediction).or_default().predicted += pixels;
            if pair.label == pair.prediction {
                areas.entry(pair.label).or_default().intersect += pixels;
            }
        }
        areas
    }

    /// Pixels of each class that occurs, whatever was predicted.
    pub fn labels(&self) -> BTreeMap<u32, u64> {
        let mut labels = BTreeMap::new();
        for pair in &self.pairs {
            *labels.entry(pair.label).or_default() += u64::from(pair.pixels);
        }
        labels
    }

    /// Mean intersection over union of the classes that occur in this image or are predicted for it,
    /// 0 to 1; none where every pixel is ignored.
    pub fn mean_iou(&self) -> Option<f64> {
        mean(self.areas().values().filter_map(ClassAreas::iou))
    }
}

/// How well a set of images is segmented, as mmsegmentation 1.2 says it (`IoUMetric`, metric
/// `mIoU`), each 0 to 1. Its sums are f32, which lose pixels beyond 2^24 of a class; these are exact,
/// and divided in f64.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentationScore {
    /// `[classes]`, sums over the set.
    pub areas: Vec<ClassAreas>,
    /// `aAcc`: the share of all pixels that were given their class.
    pub accuracy: f64,
    /// `mAcc`: the mean of the classes' accuracies, of those that occur.
    pub mean_accuracy: f64,
    /// `mIoU`: the mean of the classes' intersections over unions, of those that occur or are
    /// predicted.
    pub mean_iou: f64,
}

impl SegmentationScore {
    /// The score of these images.
    ///
    /// # Errors
    /// A class beyond `classes`; no pixel that counts.
    pub fn of<'a>(
        confusions: impl IntoIterator<Item = &'a Confusion>,
        classes: usize,
    ) -> Result<Self, MetricError> {
        let mut areas = vec![ClassAreas::default(); classes];
        for confusion in confusions {
            for (class, of_image) in confusion.areas() {
                match areas.get_mut(class as usize) {
                    Some(areas) => areas.add(&of_image),
                    None => return Err(MetricError::UnknownClass { class, classes }),
                }
            }
        }
        let sum = |area: fn(&ClassAreas) -> u64| areas.iter().map(area).sum::<u64>();
        let accuracy = ratio(sum(|class| class.intersect), sum(|class| class.labelled));
        let mean_accuracy = mean(areas.iter().filter_map(ClassAreas::accuracy));
        let mean_iou = mean(areas.iter().filter_map(ClassAreas::iou));
        match (accuracy, mean_accuracy, mean_iou) {
            (Some(accuracy), Some(mean_accuracy), Some(mean_iou)) => Ok(Self {
                areas,
                accuracy,
                mean_accuracy,
                mean_iou,
            }),
            _ => Err(MetricError::NoPixels),
        }
    }
}

/// What is said of a segmentation of a set of images. Each is a mean of ratios of sums over the
/// images, and no mean over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationMeasure {
    /// `mIoU`.
    MeanIou,
    /// `mAcc`.
    MeanAccuracy,
    /// `aAcc`.
    PixelAccuracy,
    /// The intersection over union of one class.
    Iou(u32),
}

impl SegmentationMeasure {
    /// That of this name in records; of one class where the measure has one.
    pub fn named(name: &str, class: Option<u32>) -> Option<Self> {
        match (name, class) {
            ("miou", None) => Some(Self::MeanIou),
            ("macc", None) => Some(Self::MeanAccuracy),
            ("aacc", None) => Some(Self::PixelAccuracy),
            ("iou", Some(class)) => Some(Self::Iou(class)),
            _ => None,
        }
    }

    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanIou => "miou",
            Self::MeanAccuracy => "macc",
            Self::PixelAccuracy => "aacc",
            Self::Iou(_) => "iou",
        }
    }

    /// Whether its ratios are one a class.
    pub fn is_of_classes(self) -> bool {
        matches!(self, Self::MeanIou | Self::MeanAccuracy)
    }

    /// What every image adds to the ratios, whose mean is the measure: one a class of `classes`, or
    /// one.
    ///
    /// # Errors
    /// A class beyond `classes`.
    pub fn sample<'a>(
        self,
        confusions: impl IntoIterator<Item = &'a Confusion>,
        classes: usize,
    ) -> Result<RatioSample, SampleError> {
        let ratios = if self.is_of_classes() { classes } else { 1 };
        let images = confusions.into_iter().map(|image| self.terms(image));
        RatioSample::new(ratios, images)
    }

    fn terms(self, image: &Confusion) -> Vec<RatioTerm> {
        let areas = image.areas();
        let term = |ratio: u32, part: u64, whole: u64| {
            (whole > 0).then_some(RatioTerm {
                ratio,
                numerator: part as f64,
                denominator: whole as f64,
            })
        };
        let each = areas.iter();
        match self {
            Self::MeanIou => each
                .filter_map(|(&class, areas)| term(class, areas.intersect, areas.union()))
                .collect(),
            Self::MeanAccuracy => each
                .filter_map(|(&class, areas)| term(class, areas.intersect, areas.labelled))
                .collect(),
            Self::PixelAccuracy => {
                let mut all = ClassAreas::default();
                each.for_each(|(_, areas)| all.add(areas));
                term(0, all.intersect, all.labelled).into_iter().collect()
            }
            Self::Iou(class) => areas
                .get(&class)
                .and_then(|areas| term(0, areas.intersect, areas.union()))
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IGNORED: u16 = u16::MAX;

    fn confusion(labels: &[u16], predictions: &[u16]) -> Confusion {
        Confusion::count(labels, predictions, 4, IGNORED).unwrap()
    }

    /// Five images of up to 4 classes by a formula; class 3 is in the first alone.
    fn images() -> Vec<Confusion> {
        let map = |image: usize, phase: usize| -> Vec<u16> {
            let class = |at: usize| match (at * (image + 3) + phase) / 5 % 7 {
                6 if image > 0 || phase > 0 => 0,
                6 => 3,
                5 => 1,
                other => (other % 3) as u16,
            };
            (0..60).map(class).collect()
        };
        (0..5)
            .map(|image| confusion(&map(image, 0), &map(image, 2)))
            .collect()
    }

    #[test]
    fn pixels_are_counted_by_both_classes_and_ignored_ones_are_not() {
        let labels = [0, 0, 1, 1, IGNORED, 1, 0, IGNORED];
        let predictions = [0, 1, 1, 1, 2, 2, 0, 0];
        let found = confusion(&labels, &predictions);
        let pairs: Vec<_> = (found.pairs().iter())
            .map(|pair| [pair.label, pair.prediction, pair.pixels])
            .collect();
        assert_eq!(pairs, [[0, 0, 2], [0, 1, 1], [1, 1, 2], [1, 2, 1]]);
        assert_eq!(
            Confusion::from_pairs(found.pairs().to_vec()),
            Some(found.clone())
        );
        let areas = found.areas();
        assert_eq!((areas[&1].intersect, areas[&1].union()), (2, 4));
        // Class 2 is predicted and does not occur: its IoU is 0, and it has no accuracy.
        assert_eq!((areas[&2].iou(), areas[&2].accuracy()), (Some(0.0), None));
        assert_eq!(found.mean_iou(), Some((2.0 / 3.0 + 0.5 + 0.0) / 3.0));
        assert_eq!(found.labels(), BTreeMap::from([(0, 3), (1, 3)]));

        let empty = confusion(&[IGNORED; 3], &[0, 9, 1]);
        assert_eq!((empty.mean_iou(), empty.pairs().len()), (None, 0));
        let score = SegmentationScore::of([&empty, &found], 4).unwrap();
        assert_eq!(score.accuracy, 4.0 / 6.0);
        assert_eq!(score.areas[3].iou(), None);
        assert_eq!(
            SegmentationScore::of([&empty], 4).unwrap_err(),
            MetricError::NoPixels
        );
    }

    #[test]
    fn the_truth_scores_one() {
        let labels: Vec<u16> = (0..100).map(|at| at % 3).collect();
        let score = SegmentationScore::of([&confusion(&labels, &labels)], 4).unwrap();
        let all = (score.mean_iou, score.mean_accuracy, score.accuracy);
        assert_eq!(all, (1.0, 1.0, 1.0));
    }

    #[test]
    fn classes_that_there_are_not_are_refused() {
        let count = |labels: &[u16], predictions: &[u16]| {
            let error = Confusion::count(labels, predictions, 4, IGNORED).unwrap_err();
            assert!(error.hint().is_some());
            error.to_string()
        };
        assert_eq!(
            count(&[0, 0, 4], &[0; 3]),
            "the label of pixel 2 is 4, outside the 4 classes"
        );
        assert_eq!(
            count(&[0, 1, 1], &[0, 0, 7]),
            "the prediction of pixel 2 is 7, outside the 4 classes"
        );
        assert!(count(&[0; 3], &[0; 2]).contains("3 against 2"));
        let beyond = SegmentationScore::of([&confusion(&[3], &[0])], 3).unwrap_err();
        assert_eq!(
            beyond,
            MetricError::UnknownClass {
                class: 3,
                classes: 3
            }
        );
    }

    #[test]
    fn pairs_that_count_never_gives_are_none() {
        let pair = |label, prediction, pixels| PixelPair {
            label,
            prediction,
            pixels,
        };
        let is = |pairs: &[PixelPair]| Confusion::from_pairs(pairs.to_vec()).is_some();
        assert!(is(&[pair(0, 1, 2), pair(1, 0, 1)]) && is(&[]));
        assert!(!is(&[pair(0, 1, 0)]) && !is(&[pair(0, 1, 2), pair(0, 1, 1)]));
        assert!(!is(&[pair(1, 0, 2), pair(0, 1, 1)]));
    }

    #[test]
    fn every_measure_is_the_mean_of_its_ratios() {
        let images = images();
        let score = SegmentationScore::of(&images, 4).unwrap();
        let of = |measure: SegmentationMeasure| measure.sample(&images, 4).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        for (measure, want) in [
            (SegmentationMeasure::MeanIou, score.mean_iou),
            (SegmentationMeasure::MeanAccuracy, score.mean_accuracy),
            (SegmentationMeasure::PixelAccuracy, score.accuracy),
            (SegmentationMeasure::Iou(1), score.areas[1].iou().unwrap()),
        ] {
            near(of(measure).mean().unwrap(), want);
            let class = match measure {
                SegmentationMeasure::Iou(class) => Some(class),
                _ => None,
            };
            assert_eq!(
                SegmentationMeasure::named(measure.name(), class),
                Some(measure)
            );
        }
        let sample = of(SegmentationMeasure::MeanIou);
        let iou: Vec<_> = score.areas.iter().map(ClassAreas::iou).collect();
        assert_eq!(sample.values(), iou);
        for (at, image) in images.iter().enumerate() {
            near(sample.of_image(at).unwrap(), image.mean_iou().unwrap());
        }
        assert_eq!(SegmentationMeasure::named("iou", None), None);
        assert!(SegmentationMeasure::MeanIou.sample(&images, 3).is_err());
    }
}
