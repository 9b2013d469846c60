//! Masks against the code of MAE and BEiT, and their clusters against SciPy.

use std::path::PathBuf;

use mimbench::data::augment::SampleKey;
use mimbench::pretrain::{BlockMask, Distances, EpochOf, Linkage, Mask, MaskSpec, Sample};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::fixture;

fn golden(name: &str) -> PathBuf {
    fixture("goldens").join(name)
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(golden(name)).unwrap()).unwrap()
}

/// Numbers of eight bytes.
fn numbers<T>(file: &SafeTensors<'_>, key: &str, of: fn([u8; 8]) -> T) -> Vec<T> {
    let tensor = file.tensor(key).unwrap();
    tensor.data().as_chunks().0.iter().map(|x| of(*x)).collect()
}

fn integers(file: &SafeTensors<'_>, key: &str) -> Vec<u32> {
    numbers(file, key, |x| i64::from_le_bytes(x) as u32)
}

fn floats(file: &SafeTensors<'_>, key: &str) -> Vec<f32> {
    let tensor = file.tensor(key).unwrap();
    let numbers = tensor.data().as_chunks().0;
    numbers.iter().map(|x| f32::from_le_bytes(*x)).collect()
}

/// Whether two labellings part points alike.
#[track_caller]
fn assert_same_parts(what: &str, found: &[u32], expected: &[u32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for i in 0..found.len() {
        for j in 0..i {
            let same = found[i] == found[j];
            assert_eq!(
                same,
                expected[i] == expected[j],
                "{what}: points {i} and {j}"
            );
        }
    }
}

fn draw(spec: &MaskSpec, grid: [usize; 2], index: u64) -> Sample {
    let key = SampleKey {
        seed: 8,
        pass: 0,
        index,
    };
    let epoch = EpochOf {
        epoch: 0,
        epochs: 1,
    };
    spec.draw(grid, key, epoch, None).unwrap()
}

#[test]
fn mae_sorts_its_noise_alike() {
    let bytes = std::fs::read(golden("masks/mae.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (patches, ratio) in [(16, 0.75), (25, 0.9), (49, 0.6), (196, 0.75)] {
        let of = |key: &str| format!("L{patches}_r{ratio}/{key}");
        let mask = Mask::random(&floats(&file, &of("noise")), patches, ratio).unwrap();
        assert_eq!(mask.restore(), integers(&file, &of("ids_restore")));
        assert_eq!(mask.seen().unwrap(), integers(&file, &of("ids_keep")));
        let hidden: Vec<_> = mask
            .hidden()
            .into_iter()
            .map(|x| f32::from(u8::from(x)))
            .collect();
        assert_eq!(hidden, floats(&file, &of("mask")));
        let kept = mask.kept().unwrap();
        let samples = integers(&file, &of("ids_shuffle"));
        let samples = samples.chunks_exact(patches).map(|order| Sample {
            order: order.to_vec(),
            kept,
        });
        assert_eq!(Mask::new(patches, samples.collect()).unwrap(), mask);
    }
}

#[test]
fn ratios_keep_as_many_as_maes_code() {
    let expected = json("masks/expected.json");
    let table = expected["len_keep_table"].as_array().unwrap();
    for row in table {
        let patches = row["L"].as_u64().unwrap() as usize;
        let ratio = row["ratio"].as_f64().unwrap();
        let keep = row["keep"].as_u64().unwrap() as usize;
        let spec = MaskSpec::Random { ratio };
        assert_eq!(spec.kept([1, patches]), Some(keep).filter(|keep| *keep > 0));
    }
    assert_eq!(table.len(), 90);
}

#[test]
fn blocks_are_distributed_as_beits() {
    const DRAWS: u64 = 5000;
    let expected = json("masks/expected.json");
    let cases = [
        ([14, 14], 75, 16, None),
        ([14, 14], 118, 16, None),
        ([7, 9], 25, 4, Some(10)),
    ];
    for (golden, (grid, target, minimum, maximum)) in
        expected["beit"].as_array().unwrap().iter().zip(cases)
    {
        let args = &golden["args"];
        assert_eq!(args["num_masking_patches"], target.to_string());
        assert_eq!(args["min_num_patches"], minimum.to_string());
        let number = |key: &str| golden[key].as_f64().unwrap();
        let patches = grid[0] * grid[1];
        let block = BlockMask {
            // In the middle of the ratios that hide as many.
            ratio: (target as f64 + 0.5) / patches as f64,
            minimum,
            maximum,
            exact: false,
            ..BlockMask::default()
        };
        let spec = MaskSpec::Block(block);
        let samples = (0..DRAWS).map(|index| draw(&spec, grid, index));
        let counts: Vec<_> = samples
            .map(|sample| (patches - sample.kept) as f64)
            .collect();
        let n = DRAWS as f64;
        let mean = counts.iter().sum::<f64>() / n;
        let variance = counts.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let share =
            |test: &dyn Fn(f64) -> bool| counts.iter().filter(|x| test(**x)).count() as f64 / n;
        // Theirs is a mean over fewer draws.
        let draws = 1.0 / n + 1.0 / number("n");
        let apart = (mean - number("mean")).abs();
        assert!(apart < 5.0 * (variance * draws).sqrt(), "{mean}: {golden}");
        let full = share(&|x| x == target as f64);
        let apart = (full - number("frac_full")).abs();
        assert!(
            apart < 5.0 * (full * (1.0 - full) * draws).sqrt(),
            "{full}: {golden}"
        );
        assert_eq!(counts.iter().copied().fold(0.0, f64::max), number("max"));
        // Nothing that is likely to have been among their 500.
        assert!(share(&|x| x < number("min")) < 0.03, "{golden}");
        assert!(share(&|x| x <= number("min")) > 0.0, "{golden}");
        let exact = MaskSpec::Block(BlockMask {
            exact: true,
            ..block
        });
        assert!((0..500).all(|index| draw(&exact, grid, index).kept == patches - target));
    }
}

#[test]
fn clusters_are_scipys() {
    let bytes = std::fs::read(golden("hc/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let meta = json("hc/meta.json");
    for case in meta["cases"].as_array().unwrap() {
        let name = case["case"].as_u64().unwrap();
        let points = case["n"].as_u64().unwrap() as usize;
        let clusters = case["C"].as_u64().unwrap() as usize;
        let values = numbers(&file, &format!("{name}/D"), f64::from_le_bytes);
        let linkage = Linkage::average(Distances::new(points, values).unwrap());
        // Rows of two clusters, their distance and their points.
        let expected = numbers(&file, &format!("{name}/Z"), f64::from_le_bytes);
        let expected = expected.as_chunks::<4>().0;
        assert_eq!(linkage.merges().len(), expected.len());
        for (merge, [_, _, height, _]) in linkage.merges().iter().zip(expected) {
            assert!((merge.height - height).abs() <= 1e-12);
        }
        let labels = integers(&file, &format!("{name}/labels.C{clusters}"));
        assert_same_parts(&format!("{case}"), &linkage.cut(clusters), &labels);
    }
}

#[test]
fn distances_are_those_of_the_golden() {
    let bytes = std::fs::read(golden("hc/data.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, side, zeta) in [(0, 4, 0.7), (1, 7, 0.5), (2, 6, 0.2)] {
        let of = |key: &str| format!("{name}/{key}");
        let points = side * side;
        let rows = floats(&file, &of("A"));
        let size = rows.len() / points;
        let columns = (0..size).flat_map(|f| rows[f..].iter().step_by(size).copied());
        let attention = Distances::of_patches(&columns.collect::<Vec<_>>(), [side, side], 1.0);
        // Its positions are others than ours, and were rounded to f32.
        let positions = floats(&file, &of("B"));
        let expected = numbers(&file, &of("D"), f64::from_le_bytes);
        for (i, expected) in expected.into_iter().enumerate() {
            let found = zeta * attention.values()[i] + (1.0 - zeta) * f64::from(positions[i]);
            assert!(
                (found - expected).abs() < 1e-7,
                "{name}: {found} for {expected}"
            );
        }
    }
}

#[test]
fn equal_distances_part_as_scipys() {
    let golden = json("hc/ties.json");
    let cases = golden["cases"].as_array().unwrap();
    for case in cases {
        let grid = [0, 1].map(|axis| case["grid"][axis].as_u64().unwrap() as usize);
        let clusters = case["clusters"].as_u64().unwrap() as usize;
        let labels = case["labels"].as_array().unwrap().iter();
        let labels: Vec<_> = labels.map(|x| x.as_u64().unwrap() as u32).collect();
        let found = Linkage::average(Distances::of_patches(&[], grid, 0.0)).cut(clusters);
        assert_same_parts(&format!("{grid:?} into {clusters}"), &found, &labels);
    }
    assert_eq!(cases.len(), 9);
}
