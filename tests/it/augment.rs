//! Training augmentations against torchvision on Pillow, bit for bit, and the loader that uses them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mimbench::data::augment::{
    Adjustment, AugmentSpec, Augmenter, Crop, CropSpec, Draw, Jitter, SampleKey,
};
use mimbench::data::{
    Colour, ImageError, Images, InputSpec, Interpolation, Limits, LoadError, Loaded, Pick,
    Preparation, Resize, Split, load_batches, ranged_batches,
};
use safetensors::SafeTensors;
use serde::Deserialize;

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

fn goldens(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(folder)
}

/// What `tests/goldens/augment/generate.py` writes.
#[derive(Deserialize)]
struct Goldens {
    cube: Vec<(Kind, f64, String)>,
    cases: Vec<Case>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Brightness,
    Contrast,
    Saturation,
    Hue,
}

impl Kind {
    fn of(self, amount: f64) -> Adjustment {
        match self {
            Self::Brightness => Adjustment::Brightness(amount),
            Self::Contrast => Adjustment::Contrast(amount),
            Self::Saturation => Adjustment::Saturation(amount),
            Self::Hue => Adjustment::Hue(amount),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Case {
    image: String,
    channels: usize,
    height: usize,
    width: usize,
    interpolation: Interpolation,
    crop: Option<[usize; 4]>,
    /// Shorter side that the evaluation's crop is taken from.
    shorter: Option<usize>,
    flip: bool,
    adjustments: Vec<(Kind, f64)>,
    #[serde(default)]
    tensor: bool,
}

impl Case {
    fn input(&self) -> InputSpec {
        InputSpec {
            height: self.height,
            width: self.width,
            channels: self.channels,
            resize: self.shorter.map_or(Resize::Exact, Resize::Shorter),
            interpolation: self.interpolation,
            mean: MEAN[..self.channels].to_vec(),
            std: STD[..self.channels].to_vec(),
        }
    }

    fn augmenter(&self) -> Augmenter {
        let spec = AugmentSpec {
            interpolation: self.interpolation,
            ..AugmentSpec::default()
        };
        Augmenter::new(spec, self.input(), Limits::default()).unwrap()
    }

    fn draw(&self) -> Draw {
        let crop = self.crop.map(|[left, top, width, height]| Crop {
            left,
            top,
            width,
            height,
        });
        let adjustments = self.adjustments.iter();
        Draw {
            crop,
            shift: [0; 2],
            flip: self.flip,
            adjustments: adjustments.map(|&(kind, amount)| kind.of(amount)).collect(),
            operations: vec![],
            erasures: vec![],
        }
    }

    fn file(&self) -> Vec<u8> {
        let own = goldens("augment").join(&self.image);
        let shared = goldens("preprocess").join(&self.image);
        std::fs::read(own)
            .or_else(|_| std::fs::read(shared))
            .unwrap()
    }
}

fn read() -> Goldens {
    let text = std::fs::read(goldens("augment").join("cases.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn augments_like_torchvision() {
    let expected = std::fs::read(goldens("augment").join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let cases = read().cases;
    let (mut wrong, mut tensors) = (Vec::new(), 0);
    for (number, case) in cases.iter().enumerate() {
        let (mut augmenter, draw, file) = (case.augmenter(), case.draw(), case.file());
        let want = expected.tensor(&number.to_string()).unwrap();
        if augmenter.bytes(&file, &draw).unwrap() != want.data() {
            wrong.push(case);
        }
        if case.tensor {
            tensors += 1;
            let want = expected.tensor(&format!("{number}/tensor")).unwrap();
            let mut got = vec![0.0; case.channels * case.height * case.width];
            augmenter.apply_draw(&file, &draw, &mut got).unwrap();
            let want = want.data().as_chunks().0.iter();
            let want = want.map(|b| u32::from_le_bytes(*b));
            assert!(got.iter().map(|x| x.to_bits()).eq(want), "{case:?}");
        }
    }
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    assert_eq!((cases.len(), tensors), (142, 10));
}

#[test]
fn every_colour_changes_as_in_pillow() {
    let cube: Vec<u8> = (0..1_u32 << 24)
        .flat_map(|colour| {
            let [_, r, g, b] = colour.to_be_bytes();
            [r, g, b]
        })
        .collect();
    for (kind, amount, hash) in read().cube {
        let mut bytes = cube.clone();
        kind.of(amount).apply(&mut bytes, Colour::Rgb);
        assert_eq!(
            blake3::hash(&bytes).to_hex().as_str(),
            hash,
            "{kind:?} {amount}"
        );
    }
}

#[test]
fn grey_images_keep_their_bytes_without_colours_to_change() {
    let before: Vec<u8> = (0..=255).collect();
    for adjustment in [Adjustment::Saturation(0.3), Adjustment::Hue(0.4)] {
        let mut bytes = before.clone();
        adjustment.apply(&mut bytes, Colour::Grey);
        assert_eq!(bytes, before);
    }
}

#[test]
fn a_crop_outside_its_image_is_an_error() {
    let case = &read().cases[0];
    let mut draw = case.draw();
    draw.crop = Some(Crop {
        left: 100,
        top: 0,
        width: 32,
        height: 1,
    });
    let mut out = vec![0.0; case.channels * case.height * case.width];
    let refused = case.augmenter().apply_draw(&case.file(), &draw, &mut out);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "no crop of 32 x 1 pixels at column 100, row 0 lies in an image of 131 x 97"
    );
    let refused = case
        .augmenter()
        .apply_draw(&case.file(), &draw, &mut out[1..]);
    assert!(matches!(refused, Err(ImageError::OutputLength { .. })));
}

/// A data set of two classes.
fn split() -> (tempfile::TempDir, Split) {
    let root = tempfile::tempdir().unwrap();
    for (class, files) in [
        (
            "a",
            ["a_rgb_131x97.jpg", "c_gray_90x111.jpg", "i_small_33x41.png"],
        ),
        (
            "b",
            [
                "b_rgb_tall_75x163_444.jpg",
                "h_rgba_87x87.png",
                "e_palette_121x99.png",
            ],
        ),
    ] {
        std::fs::create_dir(root.path().join(class)).unwrap();
        for file in files {
            let to = root.path().join(class).join(file);
            std::fs::copy(goldens("preprocess").join(file), to).unwrap();
        }
    }
    let split = Split::folder(root.path()).unwrap().0;
    (root, split)
}

fn input() -> InputSpec {
    InputSpec {
        height: 24,
        width: 32,
        channels: 3,
        resize: Resize::Exact,
        interpolation: Interpolation::Bicubic,
        mean: MEAN.to_vec(),
        std: STD.to_vec(),
    }
}

fn augment() -> AugmentSpec {
    AugmentSpec {
        crop: CropSpec::Mae,
        jitter: Some(Jitter {
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
        }),
        ..AugmentSpec::default()
    }
}

fn training(seed: u64) -> Preparation {
    Preparation::Training {
        input: input(),
        augment: Box::new(augment()),
        seed,
        mix: None,
    }
}

/// These places, all in one pass.
fn picks<const N: usize>(pass: usize, places: [usize; N]) -> Vec<Pick> {
    let pick = |index| Pick {
        index,
        pass,
        group: 0,
    };
    places.map(pick).to_vec()
}

fn load(
    split: &Split,
    preparation: &Preparation,
    batches: &[Vec<Pick>],
    workers: usize,
) -> Vec<Vec<Loaded>> {
    let mut loaded = Vec::new();
    load_batches(split, preparation, batches, workers, &mut |images| {
        loaded.push(images.collect::<Result<_, _>>()?);
        Ok::<_, LoadError>(())
    })
    .unwrap();
    loaded
}

/// The tensors by place in the split.
fn tensors(loaded: Vec<Vec<Loaded>>) -> BTreeMap<usize, Vec<f32>> {
    let images = loaded.into_iter().flatten();
    images
        .map(|image| (image.index, image.pixels.unwrap()))
        .collect()
}

#[test]
fn an_image_is_augmented_alike_in_every_batch_and_on_every_thread() {
    let (_root, split) = split();
    let preparation = training(3);
    let all = |pass| [picks(pass, [0, 1, 2, 3, 4, 5])];
    let alone = load(&split, &preparation, &all(5), 1);
    let alone = tensors(alone);
    let mut augmenter = Augmenter::new(augment(), input(), Limits::default()).unwrap();
    for (&index, tensor) in &alone {
        let key = SampleKey {
            seed: 3,
            pass: 5,
            index: index as u64,
        };
        let mut out = vec![0.0; tensor.len()];
        augmenter
            .apply(&split.read(index).unwrap(), key, &mut out)
            .unwrap();
        assert!(out == *tensor);
    }
    for workers in [1, 2, 7] {
        let batches = [picks(5, [4, 1]), picks(5, [5]), vec![], picks(5, [3, 0, 2])];
        let loaded = load(&split, &preparation, &batches, workers);
        let picks = |images: &Vec<Loaded>| {
            let pick = |image: &Loaded| Pick {
                index: image.index,
                pass: 5,
                group: 0,
            };
            images.iter().map(pick).collect::<Vec<_>>()
        };
        assert!(loaded.iter().map(picks).eq(batches));
        assert!(tensors(loaded) == alone);
    }
    for (seed, pass) in [(4, 5), (3, 6)] {
        let other = tensors(load(&split, &training(seed), &all(pass), 2));
        assert!(other.iter().all(|(index, tensor)| alone[index] != *tensor));
    }
}

#[test]
fn an_image_that_comes_again_in_a_batch_is_augmented_as_its_pass_is() {
    let (_root, split) = split();
    let pixels = |batch: Vec<Pick>| -> Vec<Vec<f32>> {
        let loaded = load(&split, &training(3), &[batch], 2);
        let images = loaded.into_iter().flatten();
        images.map(|image| image.pixels.unwrap()).collect()
    };
    let [first, second] = [0, 1].map(|pass| pixels(picks(pass, [2, 4])));
    assert_ne!(first, second);
    let both = pixels([picks(0, [2, 4]), picks(1, [2, 4])].concat());
    assert!(both == [first, second].concat());
}

#[test]
fn the_evaluation_crop_without_changes_is_the_evaluation() {
    let (_root, split) = split();
    let batches = ranged_batches(&[0..4, 4..6], 3);
    assert_eq!(
        batches,
        [picks(0, [0, 1, 2]), picks(0, [3]), picks(0, [4, 5])]
    );
    for (resize, height) in [
        (Resize::Exact, 24),
        (Resize::Shorter(40), 24),
        (Resize::Shorter(20), 28),
    ] {
        let input = InputSpec {
            resize,
            height,
            ..input()
        };
        let training = Preparation::Training {
            input: input.clone(),
            augment: Box::new(AugmentSpec {
                crop: CropSpec::Centre,
                flip: 0.0,
                ..AugmentSpec::default()
            }),
            seed: 0,
            mix: None,
        };
        let trained = tensors(load(&split, &training, &batches, 2));
        let evaluated = load(&split, &Preparation::Evaluation(input), &batches, 2);
        assert!(tensors(evaluated) == trained);
    }
}

#[test]
fn a_consumer_may_stop_and_a_wrong_specification_or_place_is_an_error() {
    let (_root, split) = split();
    let mut seen = 0;
    let stopped = load_batches(
        &split,
        &training(0),
        &[picks(0, [0, 1]), picks(0, [2, 3]), picks(0, [4, 5])],
        2,
        &mut |_| {
            seen += 1;
            let enough = || Err(LoadError::Thread(std::io::Error::other("enough")));
            if seen == 2 { enough() } else { Ok(()) }
        },
    );
    assert_eq!(
        (seen, stopped.unwrap_err().to_string().contains("enough")),
        (2, true)
    );

    let mut never =
        |_: &mut Images<'_>| -> Result<(), LoadError> { panic!("nothing was to be loaded") };
    let wrong = Preparation::Training {
        input: input(),
        augment: Box::new(AugmentSpec {
            flip: 2.0,
            ..augment()
        }),
        seed: 0,
        mix: None,
    };
    let refused = load_batches(&split, &wrong, &[picks(0, [0])], 2, &mut never).unwrap_err();
    assert_eq!(refused.to_string(), "augment.flip is 2, not from 0 to 1");
    assert_eq!(refused.hint().unwrap(), "a probability, as in flip = 0.5");
    // Images come as they are decoded, not when their batch is whole; a place that there is not is
    // an error whether it is looked at or not.
    for looks_at in [2, 3] {
        let mut seen = Vec::new();
        let refused = load_batches(
            &split,
            &training(0),
            &[picks(0, [3, 1, 6])],
            2,
            &mut |images: &mut Images<'_>| {
                for image in images.take(looks_at) {
                    seen.push(image?.index);
                }
                Ok(())
            },
        );
        assert!(matches!(refused, Err(LoadError::Dataset(_))));
        assert_eq!(seen, [3, 1]);
    }
}
