//! Semantic segmentation: what is said of the pixels of all images.

use crate::metric::{Confusion, MetricError, SegmentationMeasure, SegmentationScore};
use crate::report::{ImageConfusions, Measured};
use crate::stats::{Bootstrap, CONFIDENCE, Measure, SampleError, Unit};

/// Pixels that no measure can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SegmentationError {
    /// They are not of the classes, or there are none.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// An interval has no value.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl SegmentationError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Metric(error) => error.hint(),
            Self::Sample(error) => error.hint(),
        }
    }
}

/// What a segmentation amounts to.
#[derive(Debug)]
pub struct SegmentationOutcome {
    /// `miou`, `macc` and `aacc` of the head, the headlines in this order, and the `iou` of every class
    /// that has one, percent.
    pub measures: Vec<Measured>,
    /// Every image, to be kept beside the record.
    pub confusions: ImageConfusions,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// The measures of a head called `head`; classes: their names; confusions: of every image. Intervals
/// are over resampled images.
///
/// # Errors
/// No images, no pixel that counts, a class beyond `classes`.
pub fn evaluate(
    head: &str,
    classes: &[String],
    confusions: Vec<Confusion>,
    bootstrap: &Bootstrap,
) -> Result<SegmentationOutcome, SegmentationError> {
    let score = SegmentationScore::of(&confusions, classes.len())?;
    let intervals = |measure: SegmentationMeasure| {
        let sample = measure.sample(&confusions, classes.len())?;
        bootstrap.ratio_intervals(&sample)
    };
    let percent = |measure: SegmentationMeasure, value: f64, n: u64, interval: Option<[f64; 2]>| {
        Measured::of(Measure {
            name: measure.name().to_owned(),
            value: 100.0 * value,
            unit: Unit::Percent,
            n,
            interval: interval.map(|ends| ends.map(|end| 100.0 * end)),
            confidence: CONFIDENCE,
        })
    };
    let n = confusions.len() as u64;
    let mut measures = Vec::new();
    // One image tells nothing of others.
    let several = |ends: [f64; 2]| Some(ends).filter(|_| n > 1);
    let of_means = intervals(SegmentationMeasure::MeanIou)?;
    for (measure, value, interval) in [
        (SegmentationMeasure::MeanIou, score.mean_iou, of_means.mean),
        (
            SegmentationMeasure::MeanAccuracy,
            score.mean_accuracy,
            intervals(SegmentationMeasure::MeanAccuracy)?.mean,
        ),
        (
            SegmentationMeasure::PixelAccuracy,
            score.accuracy,
            intervals(SegmentationMeasure::PixelAccuracy)?.mean,
        ),
    ] {
        measures.push(Measured {
            feature: head.to_owned(),
            headline: true,
            ..percent(measure, value, n, several(interval))
        });
    }
    let mut images = vec![0; classes.len()];
    for class in confusions
        .iter()
        .flat_map(|image| image.areas().into_keys())
    {
        images[class as usize] += 1;
    }
    let mut absent = Vec::new();
    for (at, (name, areas)) in classes.iter().zip(&score.areas).enumerate() {
        let class = at as u32;
        match areas.iou() {
            None => absent.push(name.as_str()),
            Some(iou) => measures.push(Measured {
                feature: name.clone(),
                class: Some(class),
                ..percent(
                    SegmentationMeasure::Iou(class),
                    iou,
                    images[at],
                    of_means.each[at].filter(|_| n > 1),
                )
            }),
        }
    }
    let mut notes = Vec::new();
    if !absent.is_empty() {
        notes.push(format!(
            "{} of {} classes neither occur nor are predicted, and are not among those that the means are of: {}",
            absent.len(),
            classes.len(),
            absent.join(", ")
        ));
    }
    Ok(SegmentationOutcome {
        measures,
        confusions: ImageConfusions {
            name: head.to_owned(),
            images: confusions,
        },
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_the_means_and_every_class() {
        let image = |labels: &[u16], predictions: &[u16]| {
            Confusion::count(labels, predictions, 4, u16::MAX).unwrap()
        };
        let confusions = vec![
            image(&[0, 0, 1, 1], &[0, 0, 1, 0]),
            image(&[0, 1, 1, 2], &[0, 1, 1, 1]),
            image(&[0, 0, 0, 0], &[0, 0, 0, 1]),
        ];
        let names = ["sky", "wall", "cat", "dog"].map(str::to_owned);
        let found = evaluate("upernet", &names, confusions, &Bootstrap::new(0)).unwrap();
        let said: Vec<_> = (found.measures.iter())
            .map(|m| (&m.feature[..], &m.measure.name[..], m.class, m.measure.n))
            .collect();
        assert_eq!(
            said,
            [
                ("upernet", "miou", None, 3),
                ("upernet", "macc", None, 3),
                ("upernet", "aacc", None, 3),
                ("sky", "iou", Some(0), 3),
                ("wall", "iou", Some(1), 3),
                ("cat", "iou", Some(2), 1),
            ]
        );
        let value = |at: usize| found.measures[at].measure.value;
        let near = |at: usize, want: f64| assert!((value(at) - want).abs() < 1e-12, "{at}");
        near(3, 100.0 * 6.0 / 8.0);
        near(4, 100.0 * 3.0 / 6.0);
        near(5, 0.0);
        near(0, 100.0 * (0.75 + 0.5) / 3.0);
        near(1, 100.0 * (6.0 / 7.0 + 0.75) / 3.0);
        near(2, 100.0 * 9.0 / 12.0);
        assert!(found.measures[..3].iter().all(|measured| measured.headline));
        assert!(!found.measures[3].headline);
        let [low, high] = found.measures[0].measure.interval.unwrap();
        assert!(low < value(0) && value(0) < high);
        assert_eq!(found.measures[5].measure.interval, None);
        assert!(found.notes[0].contains("1 of 4") && found.notes[0].ends_with("dog"));
    }
}
