//! Checkpoints compared on the same images.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::comparison_images::{
    Criterion, Curve, check, class_names, curve, order, ratios, title, values,
};
use super::{Better, ComparisonError, Measured, Outcomes, Record, differing_settings};
use crate::metric::SegmentationMeasure;
use crate::spec::Kind;
use crate::stats::{
    Bootstrap, CONFIDENCE, Measure, Noise, PairedDifference, PairedHits, PairedRatios,
    RatioDifference, RatioSample, SampleError, Seeds, Spread, Unit, half_width, holm,
    paired_differences, paired_ratio_differences,
};

/// What is compared, and how.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the measure; the first headline of the records where none is given.
    pub measure: Option<String>,
    /// None where every record has one feature or one headline, else one for all checkpoints or one
    /// for each.
    pub features: Vec<String>,
    /// Neighbours; those of the headline where none are given.
    pub k: Option<usize>,
    /// Disagreements, or segmented images, that are named, for each checkpoint of a pair.
    pub disagreements: usize,
    /// How the images are resampled.
    pub bootstrap: Bootstrap,
}

/// One record and what lies beside it.
#[derive(Clone, Debug)]
pub struct Run {
    /// The record.
    pub record: Record,
    /// What became of its images.
    pub outcomes: Outcomes,
}

/// Two checkpoints or more under one protocol, on the same images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the protocol.
    pub protocol: String,
    /// Its version.
    pub version: u32,
    /// Hash of its settings.
    pub protocol_hash: String,
    /// The dataset's folder, as the first record has it.
    pub data: PathBuf,
    /// Number of images.
    pub images: u64,
    /// Which measure.
    pub measure: String,
    /// Neighbours, where there are any.
    pub k: Option<usize>,
    /// The unit of values and differences; a difference of percentages is one of points.
    pub unit: Unit,
    /// Which values are the better ones, where any are.
    pub better: Option<Better>,
    /// Confidence of all intervals.
    pub confidence: f64,
    /// How the images were resampled.
    pub bootstrap: Bootstrap,
    /// The checkpoints, as they were asked for.
    pub sides: Vec<Side>,
    /// Each with each.
    pub pairs: Vec<Pair>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

/// One checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Side {
    /// Name in tables.
    pub name: String,
    /// The weights; none for raw pixels.
    pub path: Option<PathBuf>,
    /// The feature or the head, in words; of several seeds each that was taken.
    pub feature: String,
    /// Whether it was chosen among others of its record by these very images.
    pub selected: bool,
    /// Its records, which differ by seed alone.
    pub runs: Vec<SideRun>,
    /// Their mean, spread and noise.
    pub seeds: Seeds,
}

/// One record of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideRun {
    /// The record's key.
    pub key: String,
    /// Its seed.
    pub seed: u64,
    /// Place of the measure among the record's, from 0.
    pub measure: usize,
    /// Its value.
    pub value: f64,
    /// Its 95 % interval, where it has one.
    pub interval: Option<[f64; 2]>,
}

/// How a p-value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// McNemar's, exact: every image is right or wrong.
    McnemarExact,
    /// Resampled images: values that are numbers, shares of several seeds, or ratios of sums over
    /// the images.
    PairedBootstrap,
}

/// Two checkpoints on the same images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Place of the first among the sides.
    pub a: usize,
    /// Place of the second.
    pub b: usize,
    /// First minus second, over the means of the seeds.
    pub difference: f64,
    /// Its 95 % interval over resampled images.
    pub interval: [f64; 2],
    /// The test of no difference.
    pub test: Test,
    /// Its two-sided p-value.
    pub p: f64,
    /// The p-value by Holm's correction for all pairs.
    pub adjusted_p: f64,
    /// How the images are shared out, where each is right or wrong.
    pub hits: Option<PairedHits>,
    /// Share of images that both put into the same class, where they are classified once.
    pub agreement: Option<f64>,
    /// Of the difference, images and seeds together, where either has several seeds.
    pub noise: Option<Noise>,
    /// Whether the difference may be chance of images and seeds together, where that is known.
    pub within_noise: Option<bool>,
    /// Images that one gets right and the other wrong, the most telling first: the first's, then
    /// the second's.
    pub disagreements: Vec<Disagreement>,
    /// Of segmentations, every class in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassDifference>,
    /// Of segmentations, the images that are better under one than under the other, those with the
    /// largest differences first: the first's, then the second's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageDifference>,
}

/// A class whose pixels one checkpoint finds better than the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassDifference {
    /// The class.
    pub class: Class,
    /// First minus second, points, with the interval of this class alone: of many classes some lie
    /// beside 0 by chance.
    #[serde(flatten)]
    pub difference: RatioDifference,
}

/// An image that one checkpoint segments better than the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageDifference {
    /// Place of the better one among the sides.
    pub winner: usize,
    /// Path in the dataset.
    pub path: String,
    /// First half of the blake3 of its bytes, hexadecimal.
    pub content: String,
    /// The measure of this image alone under the first of the pair, percent: of `miou` the mean over
    /// the classes that occur in it or are predicted for it; of several seeds their mean.
    pub a: f64,
    /// Under the second.
    pub b: f64,
}

/// An image that one checkpoint gets right and the other wrong.
///
/// The records keep no votes, so that how sure both are is judged by the numbers of neighbours they
/// keep: an image that is won whatever the k tells more than one that is won by a single k. Where
/// that is equal, and first classes are compared, it tells more if the true one is not even among the
/// loser's first five.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// Place of the winner among the sides.
    pub winner: usize,
    /// Path in the dataset.
    pub path: String,
    /// First half of the blake3 of its bytes, hexadecimal.
    pub content: String,
    /// True class.
    pub label: Class,
    /// The class that the first of the pair puts first.
    pub a: Class,
    /// That of the second.
    pub b: Class,
    /// Numbers of neighbours under which the winner is right and the loser wrong.
    pub won: usize,
    /// Numbers of neighbours that there are.
    pub of: usize,
    /// Whether the true class is among the loser's first five, where these are not what is compared.
    pub near: Option<bool>,
}

/// A class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its number.
    pub index: u32,
    /// Its folder, where every class has one; of segmentations the dataset's name of it.
    pub name: Option<String>,
}

/// One checkpoint with what was chosen of its records.
struct Chosen<'a> {
    runs: &'a [Run],
    measured: Vec<&'a Measured>,
    sample: Sample,
    order: Vec<usize>,
}

/// What became of the images, in their common order.
enum Sample {
    /// `[n]`, whose mean the measure is; of several seeds their mean.
    Values(Vec<f64>),
    /// Ratios of sums over the images, each seed's.
    Ratios(Vec<RatioSample>),
}

impl<'a> Chosen<'a> {
    /// The first run's predictions under every k, and the place of the k that is compared.
    fn curve(&self) -> Option<(Curve<'a>, usize)> {
        let run = self.runs.first()?;
        let measured = self.measured.first()?;
        let curve = curve(&run.outcomes, &run.record, &measured.feature);
        let own = curve.iter().position(|&(k, _)| k == measured.k)?;
        Some((curve, own))
    }

    /// `[n]`, where the measure is a mean over images.
    fn values(&self) -> Option<&[f64]> {
        match &self.sample {
            Sample::Values(values) => Some(values),
            Sample::Ratios(_) => None,
        }
    }

    /// Each seed's ratios, where the measure is a mean of those.
    fn ratios(&self) -> Option<Vec<&RatioSample>> {
        match &self.sample {
            Sample::Values(_) => None,
            Sample::Ratios(runs) => Some(runs.iter().collect()),
        }
    }

    /// Its images, and what it takes for one of them to be right.
    fn criterion(&self) -> Option<(&'a Outcomes, Criterion)> {
        let name = &self.measured.first()?.measure.name;
        Some((&self.runs.first()?.outcomes, Criterion::of(name)?))
    }
}

impl Comparison {
    /// Compares checkpoints, each by its records, which differ by seed alone.
    ///
    /// # Errors
    /// Fewer than two, records under different protocols or of different images, a measure that
    /// they do not have or have not kept image by image.
    pub fn new(sides: &[Vec<Run>], question: &Question) -> Result<Self, ComparisonError> {
        let first = comparable(sides)?;
        let mut chosen = Vec::new();
        for (place, runs) in sides.iter().enumerate() {
            let feature = match question.features.as_slice() {
                [] => None,
                [all] => Some(all),
                each if each.len() == sides.len() => each.get(place),
                each => {
                    return Err(ComparisonError::FeatureCount {
                        features: each.len(),
                        sides: sides.len(),
                    });
                }
            };
            chosen.push(choose(runs, question, feature.map(String::as_str))?);
        }
        let measure = &chosen[0].measured[0].measure;
        for side in &chosen[1..] {
            let other = &side.measured[0].measure;
            if (&other.name, other.unit) != (&measure.name, measure.unit) {
                let (left, right) = (measure.name.clone(), other.name.clone());
                return Err(SampleError::Unlike { left, right }.into());
            }
        }
        let mut described = Vec::new();
        for side in &chosen {
            described.push(describe(side)?);
        }
        Ok(Self {
            protocol: first.record.protocol.name.clone(),
            version: first.record.protocol.version,
            protocol_hash: first.record.protocol.hash.clone(),
            data: first.record.data.root.clone(),
            images: first.outcomes.labels.len() as u64,
            measure: measure.name.clone(),
            k: chosen[0].measured[0].k,
            unit: measure.unit,
            better: (first.record.protocol.kind != Kind::Attention).then_some(Better::Higher),
            confidence: CONFIDENCE,
            bootstrap: question.bootstrap,
            pairs: pairs(&chosen, &described, question)?,
            notes: notes(sides, &described),
            sides: described,
        })
    }
}

/// Refuses what cannot be compared; the first record of all.
fn comparable(sides: &[Vec<Run>]) -> Result<&Run, ComparisonError> {
    let runs: Vec<&Run> = sides.iter().flatten().collect();
    let [first, others @ ..] = &runs[..] else {
        return Err(ComparisonError::Alone);
    };
    if sides.len() < 2 {
        return Err(ComparisonError::Alone);
    }
    for (place, run) in runs.iter().enumerate() {
        if runs[..place]
            .iter()
            .any(|other| other.record.cell.key == run.record.cell.key)
        {
            let name = title(&run.record);
            return Err(ComparisonError::Twice { name });
        }
    }
    for run in others {
        let names = || (title(&first.record), title(&run.record));
        let (ours, theirs) = (&first.record, &run.record);
        if ours.protocol.hash != theirs.protocol.hash {
            let (left, right) = names();
            return Err(ComparisonError::Protocols {
                left,
                right,
                fields: differing_settings(&ours.protocol.text, &theirs.protocol.text),
            });
        }
        let train = |record: &Record| record.data.train.as_ref().map(|s| s.fingerprint.clone());
        if train(ours) != train(theirs) {
            let (left, right) = names();
            return Err(ComparisonError::Train { left, right });
        }
        check((&first.outcomes, ours), (&run.outcomes, theirs))?;
    }
    Ok(first)
}

/// The measure of each run of one checkpoint, and its values.
fn choose<'a>(
    runs: &'a [Run],
    question: &Question,
    feature: Option<&str>,
) -> Result<Chosen<'a>, ComparisonError> {
    let Some(first) = runs.first() else {
        return Err(SampleError::Empty("runs").into());
    };
    let mut measured = Vec::new();
    let mut all = Vec::new();
    for run in runs {
        let found = measure_of(&run.record, question, feature)?;
        all.push(kept(run, found)?);
        measured.push(found);
    }
    let mut sums = vec![0.0; first.outcomes.labels.len()];
    let mut ratios = Vec::new();
    for sample in all {
        match sample {
            Sample::Values(values) => sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x),
            Sample::Ratios(runs) => ratios.extend(runs),
        }
    }
    let sample = match ratios.is_empty() {
        true => Sample::Values(sums.iter().map(|sum| sum / runs.len() as f64).collect()),
        false => Sample::Ratios(ratios),
    };
    Ok(Chosen {
        runs,
        measured,
        sample,
        order: order(&first.outcomes),
    })
}

/// What a record keeps of each image, in their common order.
fn kept(run: &Run, found: &Measured) -> Result<Sample, ComparisonError> {
    let Run { record, outcomes } = run;
    let order = order(outcomes);
    let measure = found.measure.name.clone();
    let not_kept = || ComparisonError::NotByImage {
        record: title(record),
        measure: measure.clone(),
    };
    let (sample, value) = match SegmentationMeasure::named(&measure, found.class) {
        Some(_) => {
            let sample = ratios(outcomes, record, found, &order).ok_or_else(not_kept)?;
            let mean = sample.mean().ok_or_else(not_kept)?;
            (Sample::Ratios(vec![sample]), 100.0 * mean)
        }
        None => {
            let values = values(outcomes, record, found).ok_or_else(not_kept)?;
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let ordered = order.iter().map(|&image| values[image]);
            (Sample::Values(ordered.collect()), mean)
        }
    };
    let recorded = found.measure.value;
    // The same numbers in the same order; what is left is how they are added.
    if (value - recorded).abs() > 1e-9 * recorded.abs().max(1.0) {
        return Err(ComparisonError::Outcomes {
            record: title(record),
            measure,
            recorded,
            found: value,
        });
    }
    Ok(sample)
}

/// The one measure of a record that is asked for.
fn measure_of<'a>(
    record: &'a Record,
    question: &Question,
    feature: Option<&str>,
) -> Result<&'a Measured, ComparisonError> {
    let unknown = |wanted: String, mut known: Vec<String>| {
        known.dedup();
        let record = title(record);
        ComparisonError::Unknown {
            record,
            wanted,
            known,
        }
    };
    let mut headlines = record.measures.iter().filter(|measured| measured.headline);
    let first = headlines.next().map(|first| first.measure.name.as_str());
    let name = question.measure.as_deref().or(first).unwrap_or_default();
    let all = |pick: &dyn Fn(&Measured) -> bool| -> Vec<&'a Measured> {
        record
            .measures
            .iter()
            .filter(|measured| pick(measured))
            .collect()
    };
    let named = all(&|measured| measured.measure.name == name && measured.other_layer.is_none());
    if named.is_empty() {
        let mut known: Vec<String> = record
            .measures
            .iter()
            .map(|measured| measured.measure.name.clone())
            .collect();
        known.sort_unstable();
        return Err(unknown(format!("measure {name}"), known));
    }
    let features = |measures: &[&Measured]| -> Vec<String> {
        let mut features: Vec<String> = measures.iter().map(|m| m.feature.clone()).collect();
        features.dedup();
        features
    };
    let of_feature: Vec<&Measured> = match feature {
        Some(feature) => named
            .iter()
            .copied()
            .filter(|m| m.feature == feature)
            .collect(),
        // Heads are asked for by name.
        None => named.iter().copied().filter(|m| m.head.is_none()).collect(),
    };
    if of_feature.is_empty() {
        let wanted = format!("feature {}", feature.unwrap_or_default());
        return Err(unknown(wanted, features(&named)));
    }
    let mut of_k: Vec<&Measured> = of_feature
        .iter()
        .copied()
        .filter(|measured| match (measured.k, question.k) {
            (None, None) => true,
            (Some(_), None) => measured.headline,
            (k, wanted) => k == wanted,
        })
        .collect();
    // Of several heads the record's own choice.
    if feature.is_none() && of_k.len() > 1 && of_k.iter().any(|measured| measured.headline) {
        of_k.retain(|measured| measured.headline);
    }
    match of_k[..] {
        [one] => Ok(one),
        [] => {
            let mut ks: Vec<usize> = of_feature.iter().filter_map(|m| m.k).collect();
            ks.sort_unstable();
            let known = match ks.is_empty() {
                true => vec!["none".to_owned()],
                false => ks.iter().map(|k| format!("k = {k}")).collect(),
            };
            Err(unknown(
                format!("k = {}", question.k.unwrap_or_default()),
                known,
            ))
        }
        _ => Err(ComparisonError::Features {
            record: title(record),
            measure: name.to_owned(),
            features: features(&of_k),
        }),
    }
}

fn describe(side: &Chosen<'_>) -> Result<Side, ComparisonError> {
    let record = &side.runs[0].record;
    let measures: Vec<&Measure> = side.measured.iter().map(|m| &m.measure).collect();
    let runs = side.runs.iter().zip(&side.measured);
    let mut features: Vec<&str> = Vec::new();
    for measured in &side.measured {
        if !features.contains(&measured.feature.as_str()) {
            features.push(&measured.feature);
        }
    }
    Ok(Side {
        name: record.subject.name.clone(),
        path: record.subject.path.clone(),
        feature: features.join(", "),
        selected: side.measured.iter().any(|m| m.selection.is_made()),
        runs: runs
            .map(|(Run { record, .. }, measured)| SideRun {
                key: record.cell.key.clone(),
                seed: record.cell.seed,
                measure: record
                    .measures
                    .iter()
                    .take_while(|other| !std::ptr::eq(*other, *measured))
                    .count(),
                value: measured.measure.value,
                interval: measured.measure.interval,
            })
            .collect(),
        seeds: Seeds::of(&measures)?,
    })
}

fn pairs(
    chosen: &[Chosen<'_>],
    described: &[Side],
    question: &Question,
) -> Result<Vec<Pair>, ComparisonError> {
    let mut pairs = Vec::new();
    for PairedRatios { mean: found, each } in differences(chosen, &question.bootstrap)? {
        let (a, b) = (&chosen[found.a], &chosen[found.b]);
        let classified = |side: &Chosen<'_>| side.runs.len() == 1 && side.criterion().is_some();
        let both_classified = classified(a) && classified(b);
        let hits = match both_classified {
            true => {
                let right = |side: &Chosen<'_>| -> Vec<bool> {
                    let values = side.values().unwrap_or_default();
                    values.iter().map(|&value| value > 0.0).collect()
                };
                Some(PairedHits::count(&right(a), &right(b))?)
            }
            false => None,
        };
        let spreads: Vec<Spread> = [found.a, found.b]
            .iter()
            .filter_map(|&side| described[side].seeds.of_mean())
            .collect();
        let noise = match spreads.is_empty() {
            true => None,
            false => Noise::combined(Some(half_width(found.interval)), &spreads),
        };
        let (agreement, disagreements) = match both_classified {
            true => disagree((found.a, a), (found.b, b), question.disagreements),
            false => (None, Vec::new()),
        };
        pairs.push(Pair {
            a: found.a,
            b: found.b,
            difference: found.difference,
            interval: found.interval,
            test: match hits {
                Some(_) => Test::McnemarExact,
                None => Test::PairedBootstrap,
            },
            p: hits.map_or(found.p, |hits| hits.p()),
            adjusted_p: 1.0,
            hits,
            agreement,
            noise,
            within_noise: noise.map(|noise| noise.covers(found.difference)),
            disagreements,
            classes: classes(a, each),
            images: telling((found.a, a), (found.b, b), question.disagreements),
        });
    }
    let p: Vec<f64> = pairs.iter().map(|pair| pair.p).collect();
    for (pair, adjusted) in pairs.iter_mut().zip(holm(&p)) {
        pair.adjusted_p = adjusted;
    }
    Ok(pairs)
}

/// All pairs of sides, in the unit of the measure, with those of every ratio where there are any.
fn differences(
    chosen: &[Chosen<'_>],
    bootstrap: &Bootstrap,
) -> Result<Vec<PairedRatios>, ComparisonError> {
    let ratios: Option<Vec<_>> = chosen.iter().map(Chosen::ratios).collect();
    let Some(ratios) = ratios else {
        let values: Vec<&[f64]> = chosen.iter().filter_map(Chosen::values).collect();
        let found = paired_differences(&values, bootstrap)?.into_iter();
        let alone = found.map(|mean| PairedRatios {
            mean,
            each: Vec::new(),
        });
        return Ok(alone.collect());
    };
    let sides: Vec<&[&RatioSample]> = ratios.iter().map(Vec::as_slice).collect();
    let percent = |ends: [f64; 2]| ends.map(|end| 100.0 * end);
    let found = paired_ratio_differences(&sides, bootstrap)?.into_iter();
    Ok(found
        .map(|found| {
            let each = found.each.into_iter().map(|ratio| {
                ratio.map(|ratio| RatioDifference {
                    difference: 100.0 * ratio.difference,
                    interval: ratio.interval.map(percent),
                })
            });
            let mean = PairedDifference {
                difference: 100.0 * found.mean.difference,
                interval: percent(found.mean.interval),
                ..found.mean
            };
            let each = each.collect();
            PairedRatios { mean, each }
        })
        .collect())
}

/// The classes' differences under their names, where the measure is a mean over classes.
fn classes(side: &Chosen<'_>, each: Vec<Option<RatioDifference>>) -> Vec<ClassDifference> {
    let Some((run, measured)) = side.runs.first().zip(side.measured.first()) else {
        return Vec::new();
    };
    let name = &measured.measure.name;
    if !SegmentationMeasure::named(name, None).is_some_and(SegmentationMeasure::is_of_classes) {
        return Vec::new();
    }
    let named = |index: u32| {
        let mut measures = run.record.measures.iter();
        let of_class = measures.find(|measured| measured.class == Some(index));
        of_class.map(|measured| measured.feature.clone())
    };
    let each = (0..).zip(each).filter_map(|(index, difference)| {
        let name = named(index);
        Some(ClassDifference {
            class: Class { index, name },
            difference: difference?,
        })
    });
    each.collect()
}

/// The images that one segments better than the other, the largest differences first.
fn telling(
    (place_a, a): (usize, &Chosen<'_>),
    (place_b, b): (usize, &Chosen<'_>),
    most: usize,
) -> Vec<ImageDifference> {
    let (Some(runs_a), Some(runs_b)) = (a.ratios(), b.ratios()) else {
        return Vec::new();
    };
    let outcomes = &a.runs[0].outcomes;
    let of_image = |runs: &[&RatioSample], row: usize| {
        let values: Option<Vec<f64>> = runs.iter().map(|run| run.of_image(row)).collect();
        Some(100.0 * values?.iter().sum::<f64>() / runs.len() as f64)
    };
    let rows = a.order.iter().enumerate();
    let mut all: Vec<ImageDifference> = rows
        .filter_map(|(row, &image)| {
            let (own_a, own_b) = (of_image(&runs_a, row)?, of_image(&runs_b, row)?);
            (own_a != own_b).then(|| ImageDifference {
                winner: if own_a > own_b { place_a } else { place_b },
                path: outcomes.paths[image].clone(),
                content: hexadecimal(&outcomes.contents[image]),
                a: own_a,
                b: own_b,
            })
        })
        .collect();
    all.sort_by(|x, y| {
        let size = |image: &ImageDifference| (image.a - image.b).abs();
        size(y)
            .total_cmp(&size(x))
            .then_with(|| x.path.cmp(&y.path))
    });
    let of = |winner| {
        let own = all.iter().filter(move |image| image.winner == winner);
        own.take(most)
    };
    of(place_a).chain(of(place_b)).cloned().collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The share of images that both put into one class, and the most telling of those that one gets
/// right and the other wrong.
fn disagree(
    (place_a, a): (usize, &Chosen<'_>),
    (place_b, b): (usize, &Chosen<'_>),
    most: usize,
) -> (Option<f64>, Vec<Disagreement>) {
    let (Some((outcomes, criterion)), Some((curve_a, own_a)), Some((curve_b, own_b))) =
        (a.criterion(), a.curve(), b.curve())
    else {
        return (None, Vec::new());
    };
    let (Some(values_a), Some(values_b)) = (a.values(), b.values()) else {
        return (None, Vec::new());
    };
    let names = class_names(outcomes);
    let class = |index: u32| Class {
        index,
        name: names.get(&index).cloned(),
    };
    let mut same = 0;
    let mut all = Vec::new();
    for (row, (&image_a, &image_b)) in a.order.iter().zip(&b.order).enumerate() {
        let says = (
            curve_a[own_a].1.top1[image_a],
            curve_b[own_b].1.top1[image_b],
        );
        same += usize::from(says.0 == says.1);
        let (right_a, right_b) = (values_a[row] > 0.0, values_b[row] > 0.0);
        if right_a == right_b {
            continue;
        }
        let label = outcomes.labels[image_a];
        let won = curve_a.iter().zip(&curve_b).filter(|((_, a), (_, b))| {
            let right = [
                a.right(criterion, image_a, label),
                b.right(criterion, image_b, label),
            ];
            right == [right_a, right_b]
        });
        let near = (criterion == Criterion::First).then(|| match right_a {
            true => curve_b[own_b].1.top5[image_b],
            false => curve_a[own_a].1.top5[image_a],
        });
        all.push(Disagreement {
            winner: if right_a { place_a } else { place_b },
            path: outcomes.paths[image_a].clone(),
            content: hexadecimal(&outcomes.contents[image_a]),
            label: class(label),
            a: class(says.0),
            b: class(says.1),
            won: won.count(),
            of: curve_a.len().min(curve_b.len()),
            near,
        });
    }
    all.sort_by(|x, y| {
        let telling = |d: &Disagreement| (std::cmp::Reverse(d.won), d.near);
        telling(x)
            .cmp(&telling(y))
            .then_with(|| x.path.cmp(&y.path))
    });
    let of = |winner| all.iter().filter(move |d| d.winner == winner).take(most);
    let telling = of(place_a).chain(of(place_b)).cloned().collect();
    (Some(same as f64 / a.order.len() as f64), telling)
}

/// What differs between the records beside the checkpoint, and what was changed of the protocol.
fn notes(sides: &[Vec<Run>], described: &[Side]) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for side in described.iter().filter(|side| side.selected) {
        notes.push(format!(
            "{}: {} was chosen by the images that are compared, which the test does not count",
            side.name, side.feature
        ));
    }
    let records = || sides.iter().flatten().map(|run| &run.record);
    if records().any(|record| record.protocol.kind.trains()) {
        let most = described.iter().map(|side| side.runs.len()).max();
        notes.push(match most {
            Some(2..) => "every seed is a training run: an image counts by the mean of its side's runs, p and the interval are over the images alone, and what is within noise is within that of images and runs together",
            _ => "every checkpoint was trained once: p and the interval are those of these runs, and what another seed would change is in neither",
        }.to_owned());
    }
    for record in records() {
        let name = &record.subject.name;
        let settings = record
            .protocol
            .modified
            .iter()
            .map(|s| format!("{name}: --set {s}"));
        notes.extend(settings);
        notes.extend(
            record
                .data
                .limit
                .map(|n| format!("{name}: --limit {n} images a split")),
        );
        let keys = record.subject.ignored_keys.iter();
        notes.extend(keys.map(|key| format!("{name}: key {key} left out on request")));
        if record.skipped() > 0 {
            let skipped = record.skipped();
            notes.push(format!("{name}: {skipped} images could not be decoded"));
        }
    }
    let of = |record: &Record| {
        let compute = &record.compute;
        let [engine, precision, stored] = [&compute.engine, &compute.precision, &compute.stored];
        format!("{engine}, {precision}, features stored as {stored}")
    };
    let mut computed: Vec<(String, &Record)> =
        records().map(|record| (of(record), record)).collect();
    computed.dedup_by(|a, b| a.0 == b.0);
    if computed.len() > 1 {
        let by = |(how, record): &(String, &Record)| format!("{}: by {how}", record.subject.name);
        notes.extend(computed.iter().map(by));
    }
    // Runs of one side say the same.
    let mut said = BTreeSet::new();
    notes.retain(|note| said.insert(note.clone()));
    notes
}
