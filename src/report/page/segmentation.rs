//! Segmentations class by class, from the pixels beside a record, and pictures of some images.

use maud::{Markup, html};

use super::figure;
use super::provenance::Provenance;
use crate::metric::SegmentationScore;
use crate::report::cell_text::{printable, rounded};
use crate::report::comparison_images::confusions;
use crate::report::table::Source;
use crate::report::{Measured, Outcomes, Record};

/// A class of the dataset.
struct Ranked<'a> {
    /// Its intersection over union, and the place of that in the record.
    iou: (usize, &'a Measured),
    /// The share of its pixels that are right; none where it does not occur.
    accuracy: Option<f64>,
    /// Pixels of it.
    pixels: u64,
    /// The class that most of its other pixels are taken for, and the share of those.
    taken: Option<(String, f64)>,
}

/// The classes of a record by intersection over union, folded; nothing of what is no segmentation.
pub(super) fn results(
    record: &Record,
    outcomes: &Outcomes,
    provenance: &Provenance<'_>,
) -> Option<Markup> {
    let ranked = ranked(record, outcomes)?;
    let from_pixels = Source::Outcomes {
        key: record.cell.key.clone(),
    };
    let percent =
        |value: f64, source: &Source| provenance.number(value, &rounded(value, 1), source);
    let row = |class: &Ranked<'_>| {
        let (measure, measured) = class.iou;
        let value = measured.measure.value;
        let key = record.cell.key.clone();
        html! {
            tr {
                td { (printable(&measured.feature)) }
                td class="bar" {
                    div {
                        span style=(format!("width:{value:.2}%")) {}
                        @if let Some([low, high]) = measured.measure.interval {
                            i style=(format!("left:{low:.2}%;width:{:.2}%", high - low)) {}
                        }
                    }
                }
                td class="number" { (percent(value, &Source::Record { key, measure })) }
                td class="number" {
                    @if let Some([low, high]) = measured.measure.interval {
                        span class="interval" { "[" (rounded(low, 1)) ", " (rounded(high, 1)) "]" }
                    } @else { span class="missing" { "one image" } }
                }
                td class="number" {
                    @match class.accuracy {
                        Some(share) => (percent(100.0 * share, &from_pixels)),
                        None => span class="missing" { "does not occur" },
                    }
                }
                td class="number" { (class.pixels) }
                td {
                    @if let Some((name, share)) = &class.taken {
                        (printable(name)) " " (percent(100.0 * share, &from_pixels)) " %"
                    }
                }
            }
        }
    };
    Some(html! {
        details class="classes" {
            summary {
                "Classes by IoU: " strong { (printable(&record.subject.name)) }
            }
            div class="wide" {
                table class="bars" {
                    thead { tr {
                        th scope="col" { "class" }
                        th scope="col" {}
                        th scope="col" class="number" { "IoU (%)" }
                        th scope="col" class="number" { "95 % interval" }
                        th scope="col" class="number" { "accuracy (%)" }
                        th scope="col" class="number" { "pixels" }
                        th scope="col" { "most often taken for" }
                    } }
                    tbody { @for class in &ranked { (row(class)) } }
                }
            }
        }
    })
}

/// The best class first; of equal ones the first.
fn ranked<'a>(record: &'a Record, outcomes: &Outcomes) -> Option<Vec<Ranked<'a>>> {
    let measures = || record.measures.iter().enumerate();
    let (_, first) = measures().find(|(_, measured)| measured.class.is_some())?;
    let images = &confusions(outcomes, record, first)?.images;
    let score = SegmentationScore::of(images, record.data.classes).ok()?;
    let mut pairs = std::collections::BTreeMap::new();
    for pair in images.iter().flat_map(|image| image.pairs()) {
        *pairs.entry((pair.label, pair.prediction)).or_insert(0u64) += u64::from(pair.pixels);
    }
    let name = |class: u32| {
        let (_, named) = measures().find(|(_, measured)| measured.class == Some(class))?;
        Some(named.feature.clone())
    };
    let of_class = |(place, measured): (usize, &'a Measured)| {
        let class = measured.class?;
        let areas = score.areas.get(class as usize)?;
        let others = pairs.range((class, 0)..=(class, u32::MAX));
        let others = others.filter(|((_, other), _)| *other != class);
        let most = others.max_by_key(|((_, other), pixels)| (**pixels, std::cmp::Reverse(*other)));
        let taken = most.and_then(|((_, other), pixels)| {
            Some((name(*other)?, *pixels as f64 / areas.labelled as f64))
        });
        Some(Ranked {
            iou: (place, measured),
            accuracy: areas.accuracy(),
            pixels: areas.labelled,
            taken,
        })
    };
    let mut ranked: Vec<Ranked<'a>> = measures().filter_map(of_class).collect();
    ranked.sort_by(|a, b| {
        let value = |class: &Ranked<'_>| class.iou.1.measure.value;
        value(b).total_cmp(&value(a))
    });
    Some(ranked)
}

/// Images beside their masks and predictions, where a sheet of them was drawn.
pub(super) fn sheet(record: &Record, png: Option<&[u8]>) -> Option<Markup> {
    let title = format!("Image, truth and prediction: {}", record.subject.name);
    let description =
        format!("{title}; the best, the median and the worst images by their own mIoU");
    Some(figure::picture(&title, &description, png?, true))
}
