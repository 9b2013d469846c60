//! What became of the same images under several records.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use super::{ComparisonError, ImageConfusions, Measured, Outcomes, Record};
use crate::metric::SegmentationMeasure;
use crate::stats::RatioSample;

/// What an image is matched by: contents, then class and path where several are the same.
fn place(outcomes: &Outcomes, image: usize) -> ([u8; 16], u32, &str) {
    let (contents, label) = (outcomes.contents[image], outcomes.labels[image]);
    (contents, label, &outcomes.paths[image])
}

/// Images in an order that is the same for all records of the same images.
pub(super) fn order(outcomes: &Outcomes) -> Vec<usize> {
    let mut order: Vec<usize> = (0..outcomes.labels.len()).collect();
    order.sort_by(|&a, &b| place(outcomes, a).cmp(&place(outcomes, b)));
    order
}

/// Refuses records of different images, or of the same under other classes.
pub(super) fn check(
    (left, left_record): (&Outcomes, &Record),
    (right, right_record): (&Outcomes, &Record),
) -> Result<(), ComparisonError> {
    let orders = [order(left), order(right)];
    let mut lefts = orders[0].iter().copied().peekable();
    let mut rights = orders[1].iter().copied().peekable();
    let [mut only_left, mut only_right] = [0, 0];
    let (mut example, mut other_class, mut other_pixels) = (None, None, None);
    loop {
        let side = match (lefts.peek(), rights.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(&l), Some(&r)) => left.contents[l].cmp(&right.contents[r]),
        };
        let l = if side.is_le() { lefts.next() } else { None };
        let r = if side.is_ge() { rights.next() } else { None };
        match (l, r) {
            (Some(l), Some(r)) if left.labels[l] != right.labels[r] => {
                other_class = other_class.or(Some(&left.paths[l]));
            }
            (Some(l), Some(r))
                if labelled(left, l)
                    .zip(labelled(right, r))
                    .is_some_and(|(left, right)| left != right) =>
            {
                other_pixels = other_pixels.or(Some(&left.paths[l]));
            }
            (Some(l), None) => {
                only_left += 1;
                example = example.or(Some(&left.paths[l]));
            }
            (None, Some(r)) => {
                only_right += 1;
                example = example.or(Some(&right.paths[r]));
            }
            _ => {}
        }
    }
    let names = || (title(left_record), title(right_record));
    if let Some(example) = example {
        let (left_name, right_name) = names();
        return Err(ComparisonError::Images {
            left: left_name,
            right: right_name,
            only_left,
            left_images: left.labels.len(),
            only_right,
            right_images: right.labels.len(),
            example: example.clone(),
            seeds: [left_record.cell.seed, right_record.cell.seed],
        });
    }
    let (left, right) = names();
    match (other_class, other_pixels) {
        (Some(path), _) => {
            let path = path.clone();
            Err(ComparisonError::Labels { left, right, path })
        }
        (None, Some(path)) => {
            let path = path.clone();
            Err(ComparisonError::Masks { left, right, path })
        }
        (None, None) => Ok(()),
    }
}

/// Pixels of each class in an image's mask, where it has one.
fn labelled(outcomes: &Outcomes, image: usize) -> Option<BTreeMap<u32, u64>> {
    let confusions = outcomes.confusions.first()?;
    Some(confusions.images.get(image)?.labels())
}

/// A record in an error: its checkpoint and the beginning of its key.
pub(super) fn title(record: &Record) -> String {
    let key: String = record.cell.key.chars().take(8).collect();
    format!("{} ({key})", record.subject.name)
}

/// Classes predicted for each image, and whether the true one is among the first five.
pub(super) struct Predicted<'a> {
    pub top1: &'a [u32],
    pub top5: &'a [bool],
}

/// What it takes for an image to be classified right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criterion {
    /// The true class comes first.
    First,
    /// It is among the first five, in DINO's sense.
    FirstFive,
}

impl Criterion {
    /// That of the measure, where it counts images that are right.
    pub(super) fn of(measure: &str) -> Option<Self> {
        match measure {
            "top1" => Some(Self::First),
            "top5" => Some(Self::FirstFive),
            _ => None,
        }
    }
}

impl Predicted<'_> {
    /// Whether the image, whose class is `label`, is right.
    pub(super) fn right(&self, criterion: Criterion, image: usize, label: u32) -> bool {
        match criterion {
            Criterion::First => self.top1[image] == label,
            Criterion::FirstFive => self.top5[image],
        }
    }
}

/// Predictions with their k, ascending; of a trained head the only ones.
pub(super) type Curve<'a> = Vec<(Option<usize>, Predicted<'a>)>;

/// The predictions of the feature under each k of the record, ascending, or of the head.
pub(super) fn curve<'a>(outcomes: &'a Outcomes, record: &Record, feature: &str) -> Curve<'a> {
    let of_feature = record.measures.iter().filter(|m| m.feature == feature);
    let mut ks: Vec<Option<usize>> = of_feature.map(|measured| measured.k).collect();
    ks.sort_unstable();
    ks.dedup();
    let mut curve = Vec::new();
    for k in ks {
        let name = match k {
            Some(k) => format!("{feature}/k{k}"),
            None => feature.to_owned(),
        };
        let found = outcomes.predictions.iter().find(|other| other.name == name);
        curve.extend(found.map(|found| {
            let (top1, top5) = (&found.top1[..], &found.top5[..]);
            (k, Predicted { top1, top5 })
        }));
    }
    curve
}

/// The measure's value for each image, in the unit of the measure; none where it is of all images
/// together.
pub(super) fn values(
    outcomes: &Outcomes,
    record: &Record,
    measured: &Measured,
) -> Option<Vec<f64>> {
    let name = measured.measure.name.as_str();
    if let Some(criterion) = Criterion::of(name) {
        let curve = curve(outcomes, record, &measured.feature);
        let (_, predicted) = curve.into_iter().find(|&(k, _)| k == measured.k)?;
        let labels = outcomes.labels.iter().enumerate();
        let right = labels.map(|(image, &label)| predicted.right(criterion, image, label));
        return Some(right.map(|hit| if hit { 100.0 } else { 0.0 }).collect());
    }
    let layer = measured.layer.filter(|_| measured.other_layer.is_none())?;
    let name = format!("block {layer}/{name}");
    let found = outcomes.values.iter().find(|values| values.name == name)?;
    let rows = found.values.chunks_exact(found.width.max(1));
    match measured.head {
        Some(head) => rows
            .map(|row| row.get(head).map(|&x| f64::from(x)))
            .collect(),
        None => Some(
            rows.map(|row| row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64)
                .collect(),
        ),
    }
}

/// What a measure of segmented images is the mean of, one image after the other in `order`; none where
/// the measure is another, or the pixels were not kept.
pub(super) fn ratios(
    outcomes: &Outcomes,
    record: &Record,
    measured: &Measured,
    order: &[usize],
) -> Option<RatioSample> {
    let measure = SegmentationMeasure::named(&measured.measure.name, measured.class)?;
    let ImageConfusions { images, .. } = confusions(outcomes, record, measured)?;
    let images: Option<Vec<_>> = order.iter().map(|&image| images.get(image)).collect();
    measure.sample(images?, record.data.classes).ok()
}

/// The pixels that a measure is of: those of its head; a class's own are the headline's.
pub(super) fn confusions<'a>(
    outcomes: &'a Outcomes,
    record: &Record,
    measured: &Measured,
) -> Option<&'a ImageConfusions> {
    let of_head = match measured.class {
        None => Some(measured),
        Some(_) => record.measures.iter().find(|measured| measured.headline),
    };
    let name = &of_head?.feature;
    let mut kept = outcomes.confusions.iter();
    kept.find(|confusions| confusions.name == *name)
}

/// Names of classes: the folders of their images, where every class has one of its own.
pub(super) fn class_names(outcomes: &Outcomes) -> BTreeMap<u32, String> {
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    for (path, &label) in outcomes.paths.iter().zip(&outcomes.labels) {
        let folder = Path::new(path).parent().and_then(Path::file_name);
        let Some(folder) = folder.and_then(|folder| folder.to_str()) else {
            return BTreeMap::new();
        };
        let known = names.entry(label).or_insert_with(|| folder.to_owned());
        if known != folder {
            return BTreeMap::new();
        }
    }
    let mut folders: Vec<&String> = names.values().collect();
    folders.sort_unstable();
    folders.dedup();
    match folders.len() == names.len() {
        true => names,
        false => BTreeMap::new(),
    }
}
