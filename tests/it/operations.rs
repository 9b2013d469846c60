//! RandAugment's operations, padded crops and random erasing against timm on Pillow, bit for bit.

use std::path::{Path, PathBuf};

use mimbench::data::augment::{
    AugmentSpec, Augmenter, Crop, Draw, Erasure, Operation, OperationKind,
};
use mimbench::data::{InputSpec, Interpolation, Limits, Resize};
use serde::Deserialize;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(folder)
}

/// What `tests/goldens/augment/operations.py` writes.
#[derive(Deserialize)]
struct Goldens {
    kinds: Vec<String>,
    singles: Vec<Single>,
    pipelines: Vec<Pipeline>,
}

/// One operation on a whole image: image, channels, interpolation, kind, magnitude, whether it goes
/// the other way, argument, hash.
#[derive(Debug, Deserialize)]
struct Single(
    String,
    usize,
    Interpolation,
    usize,
    f64,
    bool,
    Option<f64>,
    String,
);

#[derive(Debug, Deserialize)]
struct Pipeline {
    image: String,
    channels: usize,
    height: usize,
    width: usize,
    interpolation: Interpolation,
    /// Left, top, width, height.
    crop: Option<[usize; 4]>,
    /// Left and top of the part of the evaluation's crop with 4 zeros around.
    padded: Option<[isize; 2]>,
    flip: bool,
    /// Kind, magnitude, whether it goes the other way.
    operations: Vec<(usize, f64, bool)>,
    /// Left, top, width, height.
    #[serde(rename = "box")]
    erased: Option<[usize; 4]>,
    hash: String,
}

fn read() -> Goldens {
    let text = std::fs::read(goldens("augment").join("operations.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    let own = goldens("augment").join(name);
    let shared = goldens("preprocess").join(name);
    std::fs::read(own)
        .or_else(|_| std::fs::read(shared))
        .unwrap()
}

fn augmenter(
    channels: usize,
    [width, height]: [usize; 2],
    interpolation: Interpolation,
) -> Augmenter {
    let input = InputSpec {
        height,
        width,
        channels,
        resize: Resize::Exact,
        interpolation,
        mean: MEAN[..channels].to_vec(),
        std: STD[..channels].to_vec(),
    };
    let spec = AugmentSpec {
        interpolation,
        ..AugmentSpec::default()
    };
    Augmenter::new(spec, input, Limits::default()).unwrap()
}

fn nothing() -> Draw {
    Draw {
        crop: None,
        shift: [0; 2],
        flip: false,
        adjustments: vec![],
        operations: vec![],
        erasures: vec![],
    }
}

/// The sides in a golden image's name.
fn sides(name: &str) -> [usize; 2] {
    let words = name.split(['_', '.']);
    let mut sides = words.filter_map(|word| word.split_once('x'));
    let (width, height) = sides.next().unwrap();
    [width, height].map(|side| side.parse().unwrap())
}

fn argument(operation: Operation) -> Option<f64> {
    match operation {
        Operation::AutoContrast | Operation::Equalize | Operation::Invert => None,
        Operation::Posterize(whole) | Operation::Solarize(whole) => Some(f64::from(whole)),
        Operation::SolarizeAdd(add) => Some(f64::from(add)),
        Operation::Rotate(argument)
        | Operation::Color(argument)
        | Operation::Contrast(argument)
        | Operation::Brightness(argument)
        | Operation::Sharpness(argument)
        | Operation::ShearX(argument)
        | Operation::ShearY(argument)
        | Operation::TranslateX(argument)
        | Operation::TranslateY(argument) => Some(argument),
    }
}

#[test]
fn the_kinds_are_those_of_timm() {
    let kinds = read().kinds;
    assert_eq!(kinds.len(), OperationKind::ALL.len());
    for (name, kind) in kinds.iter().zip(OperationKind::ALL) {
        let name = name.trim_end_matches("Increasing").trim_end_matches("Rel");
        assert_eq!(name, format!("{kind:?}"));
    }
}

#[test]
fn every_operation_changes_images_as_in_timm() {
    let singles = read().singles;
    let mut wrong = Vec::new();
    for single in &singles {
        let Single(image, channels, interpolation, kind, magnitude, negative, expected, hash) =
            single;
        let operation = OperationKind::ALL[*kind].at(*magnitude, *negative);
        assert_eq!(argument(operation), *expected, "{single:?}");
        let draw = Draw {
            operations: vec![operation],
            ..nothing()
        };
        let mut augmenter = augmenter(*channels, sides(image), *interpolation);
        let bytes = augmenter.bytes(&file(image), &draw).unwrap();
        if blake3::hash(bytes).to_hex().as_str() != hash {
            wrong.push((single, operation));
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert_eq!(singles.len(), 1502);
}

#[test]
fn whole_pipelines_are_those_of_timm() {
    let pipelines = read().pipelines;
    let mut wrong = Vec::new();
    for case in &pipelines {
        let erasure = |[left, top, width, height]: [usize; 4]| Erasure {
            left,
            top,
            width,
            height,
            noise: 11,
        };
        let operations = case.operations.iter();
        let draw = Draw {
            crop: case.crop.map(|[left, top, width, height]| Crop {
                left,
                top,
                width,
                height,
            }),
            shift: case
                .padded
                .map_or([0; 2], |[left, top]| [4 - left, 4 - top]),
            flip: case.flip,
            operations: operations
                .map(|&(kind, magnitude, negative)| {
                    OperationKind::ALL[kind].at(magnitude, negative)
                })
                .collect(),
            erasures: case.erased.map(erasure).into_iter().collect(),
            ..nothing()
        };
        let size = [case.width, case.height];
        let mut augmenter = augmenter(case.channels, size, case.interpolation);
        let mut tensor = vec![0.0; case.channels * case.width * case.height];
        augmenter
            .apply_draw(&file(&case.image), &draw, &mut tensor)
            .unwrap();
        if let [erasure] = draw.erasures[..] {
            // Where timm's numbers stand in the golden, it has their places: 1000, 1001, ...
            let mut noise = erasure.noise().zip(0..).peekable();
            for value in &mut tensor {
                if let Some((_, place)) = noise.next_if(|(number, _)| number == value) {
                    *value = (1000 + place) as f32;
                }
            }
            let (_, placed) = noise.next().unwrap();
            assert_eq!(placed, case.channels * erasure.width * erasure.height);
        }
        let bytes: Vec<u8> = tensor.iter().flat_map(|x| x.to_le_bytes()).collect();
        if blake3::hash(&bytes).to_hex().as_str() != case.hash {
            wrong.push(case);
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert_eq!(pipelines.len(), 60);
}
