//! Mean intersection over union beside mmsegmentation's.

use std::time::Instant;

use mimbench::metric::{Confusion, PixelPair, SegmentationMeasure, SegmentationScore};
use mimbench::stats::{Bootstrap, paired_ratio_differences};
use mimbench::store::{Elements, read_tensors};
use serde_json::Value;

use super::support::fixture;

const IGNORED: u16 = u16::MAX;

/// f32 as the golden's JSON prints them; NaN is `None`.
fn numbers(value: &Value) -> Vec<Option<f32>> {
    let all = value.as_array().unwrap().iter();
    all.map(|x| x.as_f64().map(|x| x as f32)).collect()
}

/// Neighbours of an f32 are one apart.
fn ulps(a: f32, b: f32) -> u32 {
    a.to_bits().abs_diff(b.to_bits())
}

#[test]
fn every_number_is_mmsegmentations() {
    let folder = fixture("goldens/segmentation_metric");
    let tensors = read_tensors(&folder.join("miou.safetensors")).unwrap();
    let bytes = |name: String| match &tensors[&name].elements {
        Elements::U8(bytes) => bytes.to_vec(),
        _ => panic!("{name} is not of bytes"),
    };
    // Python writes NaN, which JSON does not have.
    let text = std::fs::read_to_string(folder.join("miou.json")).unwrap();
    let golden: Value = serde_json::from_str(&text.replace("NaN", "null")).unwrap();
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 4);
    let mut absent = 0;
    for (name, case) in cases {
        let classes = case["num_classes"].as_u64().unwrap() as usize;
        let label = |&label: &u8| if label == 255 { IGNORED } else { label.into() };
        let labels: Vec<u16> = bytes(format!("{name}/label_used_u8"))
            .iter()
            .map(label)
            .collect();
        let predictions: Vec<u16> = (bytes(format!("{name}/pred")).into_iter())
            .map(u16::from)
            .collect();
        let pixels = tensors[&format!("{name}/pred")].shape[1..].iter().product();
        let images: Vec<Confusion> = labels
            .chunks_exact(pixels)
            .zip(predictions.chunks_exact(pixels))
            .map(|(labels, predictions)| {
                Confusion::count(labels, predictions, classes, IGNORED).unwrap()
            })
            .collect();
        assert_eq!(images.len(), 2);
        let score = SegmentationScore::of(&images, classes).unwrap();
        for (class, areas) in score.areas.iter().enumerate() {
            for (area, found) in [
                ("area_intersect", areas.intersect),
                ("area_union", areas.union()),
                ("area_pred", areas.predicted),
                ("area_label", areas.labelled),
            ] {
                assert_eq!(
                    case[area][class].as_f64(),
                    Some(found as f64),
                    "{name} {area}"
                );
            }
        }
        // Quotients of integers: rounded to f32 they are the golden's.
        let f32s = |values: Vec<Option<f64>>| -> Vec<Option<f32>> {
            values.into_iter().map(|x| x.map(|x| x as f32)).collect()
        };
        let iou = f32s(score.areas.iter().map(|areas| areas.iou()).collect());
        assert_eq!(iou, numbers(&case["IoU"]), "{name}");
        let accuracy = f32s(score.areas.iter().map(|areas| areas.accuracy()).collect());
        assert_eq!(accuracy, numbers(&case["Acc"]), "{name}");
        absent += iou.iter().filter(|iou| iou.is_none()).count();
        for (measure, found) in [
            ("aAcc", score.accuracy),
            ("mIoU", score.mean_iou),
            ("mAcc", score.mean_accuracy),
        ] {
            // The means are of f32 there, whose sums are rounded class by class.
            let golden = case[measure].as_f64().unwrap() as f32;
            let apart = ulps(golden, found as f32);
            println!("case {name}, {measure}: {apart} ulp");
            assert!(apart <= 1, "{name} {measure}: {found} {golden}");
            let rounded = case["mmseg_rounded"][measure].as_f64().unwrap();
            assert_eq!(format!("{:.2}", 100.0 * found), format!("{rounded:.2}"));
        }
    }
    assert!(
        absent > 0,
        "no case has a class that neither occurs nor is predicted"
    );
}

/// As many images and classes as ADE20K's validation images have; an image has some twelve classes
/// and a few more that are predicted.
fn ade20k(skill: usize) -> Vec<Confusion> {
    let mut state = 1u64;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((u128::from(state) * u128::from(below)) >> 64) as u32
    };
    let mut image = || {
        let mut pairs = std::collections::BTreeMap::new();
        for _ in 0..12 {
            // Some classes are everywhere, some in few images.
            let label = draw(150).min(draw(150));
            *pairs.entry((label, label)).or_insert(0) += 2000 + draw(20_000) + skill as u32 * 900;
            for _ in 0..2 {
                *pairs.entry((label, draw(150))).or_insert(0) += 1 + draw(4000);
            }
        }
        let pair = |((label, prediction), pixels)| PixelPair {
            label,
            prediction,
            pixels,
        };
        Confusion::from_pairs(pairs.into_iter().map(pair).collect()).unwrap()
    };
    (0..2000).map(|_| image()).collect()
}

#[test]
fn a_set_as_large_as_ade20ks_is_resampled() {
    let sides = [ade20k(0), ade20k(1)];
    let sample = |side| SegmentationMeasure::MeanIou.sample(side, 150).unwrap();
    let [a, b] = [&sides[0], &sides[1]].map(sample);
    let bootstrap = Bootstrap {
        seed: 0,
        resamples: 200,
    };
    let start = Instant::now();
    let one = bootstrap.ratio_intervals(&a).unwrap();
    let found = paired_ratio_differences(&[&[&a], &[&b]], &bootstrap).unwrap();
    // Three samples are resampled; what is asked for elsewhere is 10,000 times.
    println!("{:?} a resample of 2,000 images", start.elapsed() / 600);
    let [low, high] = one.mean;
    let mean = a.mean().unwrap();
    assert!(low < mean && mean < high && high - low < 0.1);
    let pair = &found[0].mean;
    assert!(pair.difference < 0.0 && pair.interval[1] < 0.0 && pair.p < 0.011);
    assert_eq!(found[0].each.len(), 150);
}
