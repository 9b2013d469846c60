//! Images with masks: layouts, masks, and crops against what OpenCV and NumPy make of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mimbench::data::augment::{Crop, SampleKey};
use mimbench::data::segmentation::{
    BilinearResizer, CropMaker, CropPreparation, Distortion, EncodedScene, IGNORED_LABEL, LabelMap,
    LoadedScene, MaskSpec, SceneAugment, SceneCrop, SceneDraw, SegmentationDataError,
    SegmentationSet, WholePreparation, hsv_to_rgb, load_scenes, rgb_to_hsv,
};
use mimbench::data::{
    InputSpec, Interpolation, Limits, Pick, Pixels, Resize, Window, ranged_batches,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::shared;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/segmentation_data")
}

fn cases() -> Value {
    serde_json::from_str(&fs::read_to_string(goldens().join("cases.json")).unwrap()).unwrap()
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

/// `noise` of generate.py.
fn noise(height: usize, width: usize, channels: usize, seed: u64) -> Pixels {
    let byte = |place: u64| {
        let mixed = (place * 2_654_435_761 + seed * 40_503) % (1 << 32);
        let mixed = (mixed ^ (mixed >> 15)) * 2_246_822_519 % (1 << 32);
        (mixed >> 24) as u8
    };
    Pixels {
        width,
        height,
        channels,
        data: (0..(height * width * channels) as u64).map(byte).collect(),
    }
}

fn window(size: usize, start: usize, len: usize) -> Window {
    Window { size, start, len }
}

fn input(channels: usize) -> InputSpec {
    InputSpec {
        height: 64,
        width: 64,
        channels,
        resize: Resize::Exact,
        interpolation: Interpolation::Bicubic,
        mean: [0.485, 0.456, 0.406][..channels].to_vec(),
        std: [0.229, 0.224, 0.225][..channels].to_vec(),
    }
}

/// What the masks of the goldens mean.
fn golden_masks() -> MaskSpec {
    MaskSpec {
        classes: 11,
        ignore: Some(12),
        reduce_zero_label: true,
    }
}

fn golden_scene(name: &str) -> EncodedScene {
    let (image, mask) = (format!("{name}.png"), format!("{name}_mask.png"));
    EncodedScene {
        image: fs::read(goldens().join(&image)).unwrap(),
        mask: fs::read(goldens().join(&mask)).unwrap(),
        image_path: image,
        mask_path: mask,
    }
}

#[test]
fn bilinear_is_opencv_s() {
    let mut resizer = BilinearResizer::default();
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for (number, case) in cases()["resize"].as_array().unwrap().iter().enumerate() {
        let side = |at: usize| case[at].as_u64().unwrap() as usize;
        let [height, width, channels, to_height, to_width] = [0, 1, 2, 3, 4].map(side);
        let image = noise(height, width, channels, number as u64);
        let columns = window(to_width, 0, to_width);
        let rows = window(to_height, 0, to_height);
        resizer.resize(&image, columns, rows, &mut whole);
        assert_eq!(case[5], digest(&whole), "{case}");
        // Any part is that part of the whole.
        let (left, top) = (number % to_width, number * 7 % to_height);
        let columns = window(to_width, left, (to_width - left).div_ceil(2));
        let rows = window(to_height, top, to_height - top);
        resizer.resize(&image, columns, rows, &mut part);
        let lines = whole.chunks_exact(to_width * channels).skip(top);
        let seen: Vec<u8> = lines
            .flat_map(|line| &line[left * channels..][..columns.len * channels])
            .copied()
            .collect();
        assert_eq!(part, seen, "{case}");
    }
}

#[test]
fn hue_saturation_and_value_are_opencv_s() {
    let colour = |number: u32| [(number >> 16) as u8, (number >> 8) as u8, number as u8];
    let there: Vec<u8> = (0..1 << 24).flat_map(|n| rgb_to_hsv(colour(n))).collect();
    assert_eq!(cases()["cube"]["rgb_to_hsv"], digest(&there));
    let back: Vec<u8> = (0..180 << 16).flat_map(|n| hsv_to_rgb(colour(n))).collect();
    assert_eq!(cases()["cube"]["hsv_to_rgb"], digest(&back));
}

#[test]
fn crops_are_those_of_opencv_and_numpy() {
    for case in cases()["pipeline"].as_array().unwrap() {
        let pair = |field: &str| [0, 1].map(|at| case[field][at].as_u64().unwrap() as usize);
        let crop = |at: usize| case["crop"][at].as_u64().unwrap() as usize;
        let factor = |field: &str| case[field].as_f64().map(|value| value as f32);
        let draw = SceneDraw {
            resized: pair("resized"),
            crop: Crop {
                left: crop(0),
                top: crop(1),
                width: crop(2),
                height: crop(3),
            },
            flip: case["flip"].as_bool().unwrap(),
            distortion: Distortion {
                brightness: factor("brightness"),
                contrast: factor("contrast"),
                contrast_last: case["contrast_last"].as_bool().unwrap(),
                saturation: factor("saturation"),
                hue: case["hue"].as_i64().map(|shift| shift as i32),
            },
        };
        let augment = SceneAugment {
            scale: pair("scale"),
            ratio: [1.0, 1.0],
            crop: 64,
            ..SceneAugment::default()
        };
        let scene = golden_scene(case["scene"].as_str().unwrap());
        let masks = golden_masks();
        // The size that is drawn under the case's scale is the case's.
        let labels = LabelMap::read(&scene.mask, &masks, &Limits::default(), String::new).unwrap();
        let key = SampleKey {
            seed: 0,
            pass: 0,
            index: 0,
        };
        let drawn = SceneDraw::new(&augment, key, &labels, 11);
        assert_eq!(drawn.resized, draw.resized, "{case}");

        let mut maker = CropMaker::new(augment, masks, &input(3), Limits::default()).unwrap();
        let (pixels, labels) = maker.bytes(&scene, &draw).unwrap();
        let labels: Vec<u8> = labels
            .iter()
            .flat_map(|label| label.to_le_bytes())
            .collect();
        assert_eq!(case["labels"], digest(&labels), "{case}");
        assert_eq!(case["pixels"], digest(pixels), "{case}");
    }
}

/// A PNG file.
fn png(width: u32, height: u32, kind: png::ColorType, depth: png::BitDepth, raw: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(kind);
    encoder.set_depth(depth);
    if kind == png::ColorType::Indexed {
        encoder.set_palette(vec![7; 3 * 16]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(raw).unwrap();
    writer.finish().unwrap();
    file
}

fn grey_mask(width: u32, height: u32, values: &[u8]) -> Vec<u8> {
    png(
        width,
        height,
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        values,
    )
}

fn rgb_image(width: u32, height: u32) -> Vec<u8> {
    let pixels = noise(height as usize, width as usize, 3, 1).data;
    png(
        width,
        height,
        png::ColorType::Rgb,
        png::BitDepth::Eight,
        &pixels,
    )
}

fn read_mask(file: &[u8], spec: &MaskSpec) -> Result<LabelMap, SegmentationDataError> {
    LabelMap::read(file, spec, &Limits::default(), || "m.png".to_owned())
}

const FOUR: MaskSpec = MaskSpec {
    classes: 4,
    ignore: None,
    reduce_zero_label: false,
};

#[test]
fn every_kind_of_index_mask_gives_its_indices() {
    use png::{BitDepth, ColorType};
    // 3 x 2 pixels: 0 1 2 / 3 2 1, rows in whole bytes.
    for (kind, depth, raw) in [
        (
            ColorType::Grayscale,
            BitDepth::Eight,
            vec![0, 1, 2, 3, 2, 1],
        ),
        (ColorType::Indexed, BitDepth::Eight, vec![0, 1, 2, 3, 2, 1]),
        (
            ColorType::Grayscale,
            BitDepth::Four,
            vec![0x01, 0x20, 0x32, 0x10],
        ),
        (
            ColorType::Indexed,
            BitDepth::Four,
            vec![0x01, 0x20, 0x32, 0x10],
        ),
        (ColorType::Grayscale, BitDepth::Two, vec![0x18, 0xe4]),
        (ColorType::Indexed, BitDepth::Two, vec![0x18, 0xe4]),
        (
            ColorType::Grayscale,
            BitDepth::Sixteen,
            vec![0, 0, 0, 1, 0, 2, 0, 3, 0, 2, 0, 1],
        ),
    ] {
        let map = read_mask(&png(3, 2, kind, depth, &raw), &FOUR).unwrap();
        assert_eq!((map.height, map.width), (2, 3));
        assert_eq!(map.labels, [0, 1, 2, 3, 2, 1], "{kind:?} {depth:?}");
    }
    let bits = png(3, 2, ColorType::Grayscale, BitDepth::One, &[0x40, 0xa0]);
    assert_eq!(read_mask(&bits, &FOUR).unwrap().labels, [0, 1, 0, 1, 0, 1]);
    assert_eq!(
        read_mask(&bits, &FOUR).unwrap().class_counts(4),
        [3, 3, 0, 0]
    );
}

#[test]
fn masks_that_are_none_are_refused_by_name() {
    use png::{BitDepth, ColorType};
    let says = |file: &[u8]| {
        let error = read_mask(file, &FOUR).unwrap_err();
        assert!(error.hint().is_some());
        error.to_string()
    };
    for (kind, samples, found) in [
        (ColorType::Rgb, 3, "RGB"),
        (ColorType::Rgba, 4, "RGB with alpha"),
        (ColorType::GrayscaleAlpha, 2, "grey with alpha"),
    ] {
        assert_eq!(
            says(&png(2, 1, kind, BitDepth::Eight, &vec![0; 2 * samples])),
            format!("m.png: the mask is {found}, whose pixels are no class numbers")
        );
    }
    assert_eq!(
        says(&grey_mask(3, 2, &[0, 1, 2, 3, 4, 9])),
        "m.png: value 4 at column 1, row 1 is beyond the 4 classes"
    );
    // The low byte of 256 would be class 0.
    let wide = png(1, 1, ColorType::Grayscale, BitDepth::Sixteen, &[1, 0]);
    assert!(says(&wide).contains("value 256 at column 0, row 0"));
    assert_eq!(says(b"\xff\xd8\xff\xe0"), "m.png: the mask is no PNG file");
    let whole = grey_mask(3, 2, &[0; 6]);
    assert!(says(&whole[..whole.len() - 20]).starts_with("m.png: "));
}

proptest::proptest! {
    #[test]
    fn a_mask_s_values_are_counted_as_their_class_or_refused(
        values in proptest::collection::vec(0_u8..=255, 12),
        classes in 1_u32..260,
        ignore in proptest::option::of(0_u32..256),
        reduce: bool,
    ) {
        let spec = MaskSpec { classes, ignore, reduce_zero_label: reduce };
        if spec.check().is_ok() {
            match read_mask(&grey_mask(4, 3, &values), &spec) {
                Ok(map) => for (&raw, &label) in values.iter().zip(&map.labels) {
                    let own = i32::from(raw) - i32::from(reduce);
                    if label == IGNORED_LABEL {
                        let by_reduction = reduce && (raw == 0 || raw == 255);
                        proptest::prop_assert!(by_reduction || ignore == Some(raw.into()));
                    } else {
                        proptest::prop_assert_eq!(i32::from(label), own);
                    }
                },
                Err(SegmentationDataError::MaskValue { value, column, row, .. }) => {
                    let at = row * 4 + column;
                    proptest::prop_assert_eq!(u16::from(values[at]), value);
                    let beyond = |&raw: &u8| spec.label(raw.into()).is_none();
                    proptest::prop_assert_eq!(values.iter().position(beyond), Some(at));
                }
                Err(other) => return Err(proptest::test_runner::TestCaseError::fail(other.to_string())),
            }
        }
    }
}

/// A set of these files; images and masks of 4 x 3 pixels.
fn tree(files: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for file in files {
        let bytes = match file {
            file if file.starts_with("annotations") => grey_mask(4, 3, &[1; 12]),
            _ => rgb_image(4, 3),
        };
        write(root.path(), file, &bytes);
    }
    root
}

fn write(root: &Path, file: &str, bytes: &[u8]) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn refusal(root: &Path, spec: &MaskSpec) -> String {
    let error = SegmentationSet::open(root, spec).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    let message = error.to_string();
    message.replace(&format!("{}/", root.display()), "")
}

#[test]
fn both_layouts_are_found() {
    let root = tree(&[
        "images/training/b/2.png",
        "images/training/a.png",
        "annotations/training/a.png",
        "annotations/training/b/2.png",
        "images/validation/x.png",
        "annotations/validation/x.png",
        "images/test/y.png",
        "annotations/test/y.png",
    ]);
    let set = SegmentationSet::open(root.path(), &FOUR).unwrap();
    let train = set.train.unwrap();
    let paths = |split: &mimbench::data::Split| -> Vec<String> {
        split.samples.iter().map(|s| s.path.clone()).collect()
    };
    assert_eq!(paths(&train.images), ["a.png", "b/2.png"]);
    assert_eq!(paths(&train.masks), paths(&train.images));
    assert_eq!(set.val.images.directory, "validation");
    assert_eq!(set.classes, ["class 0", "class 1", "class 2", "class 3"]);
    assert_eq!(set.palette.len(), 4);

    let root = tree(&["images/test/x.png", "annotations/test/x.png"]);
    let set = SegmentationSet::open(root.path(), &FOUR).unwrap();
    assert!(set.train.is_none());
    assert_eq!((set.val.len(), set.val.images.name.as_str()), (1, "val"));
}

#[test]
fn what_is_no_pair_is_named_and_counted() {
    let root = tree(&[
        "images/val/a.png",
        "images/val/b.png",
        "images/val/c.png",
        "images/val/c.ppm",
        "annotations/val/c.png",
        "annotations/val/d.png",
        "annotations/val/a.ppm",
    ]);
    let refused = refusal(root.path(), &FOUR);
    assert_eq!(
        refused,
        "images/val and annotations/val are not pairs: 2 image(s) without a mask: a.png, b.png; \
         1 image(s) of the same name as another: c.ppm; 1 mask(s) without an image: d.png; \
         1 mask(s) that are not called .png: a.ppm"
    );
    let root = tree(&["images/val/a.png"]);
    assert!(refusal(root.path(), &FOUR).ends_with("annotations/val is not there"));
    let root = tree(&["images/train/a.png", "annotations/train/a.png"]);
    assert!(refusal(root.path(), &FOUR).contains("no validation split: looked for images/val/"));
    let root = tree(&["ADE/images/val/a.png"]);
    let error = SegmentationSet::open(root.path(), &FOUR).unwrap_err();
    assert!(error.hint().unwrap().contains("ADE has one"), "{error}");
}

#[test]
fn classes_are_called_what_the_file_says() {
    let root = tree(&["images/val/a.png", "annotations/val/a.png"]);
    let names = |file: &str, text: &str, spec: &MaskSpec| {
        fs::write(root.path().join(file), text).unwrap();
        let set = SegmentationSet::open(root.path(), spec).map(|set| set.classes);
        let set = set.map_err(|error| error.to_string());
        fs::remove_file(root.path().join(file)).unwrap();
        set
    };
    let two = MaskSpec {
        classes: 2,
        ignore: Some(5),
        reduce_zero_label: false,
    };
    let reduced = MaskSpec {
        classes: 2,
        ignore: None,
        reduce_zero_label: true,
    };
    let list = "classes.txt";
    assert_eq!(names(list, "Sky\nRoad\n", &two).unwrap(), ["Sky", "Road"]);
    assert_eq!(names(list, "Sky\nRoad", &reduced).unwrap(), ["Sky", "Road"]);
    assert_eq!(
        names(list, "1\tRoad\n0\tSky\n5\tnothing\n", &two).unwrap(),
        ["Sky", "Road"]
    );
    assert_eq!(
        names(
            "objectInfo150.txt",
            "Idx\tRatio\tName\n1\t0.1\tsky, air\n2\t0.1\troad \n",
            &reduced
        )
        .unwrap(),
        ["sky", "road"]
    );
    for (text, problem) in [
        (
            "Sky\n",
            "class 1 has no name: it names 1, and the protocol has 2 classes",
        ),
        (
            "Sky\nRoad\nTree\n",
            "value 2, `Tree`, is beyond the 2 classes",
        ),
        ("0\tSky\n0\tRoad\n", "value 0 is named twice"),
        ("0\tSky\n1\t \n", "value 1 has no name"),
    ] {
        let refused = names(list, text, &two).unwrap_err();
        assert!(refused.ends_with(problem), "{refused}");
    }
}

fn crops(augment: SceneAugment, masks: MaskSpec) -> CropPreparation {
    CropPreparation {
        input: input(3),
        masks,
        augment,
        seed: 3,
    }
}

fn whole(masks: MaskSpec) -> WholePreparation {
    WholePreparation {
        input: input(3),
        masks,
        scale: [2048, 512],
        ratios: vec![1.0],
        flip: false,
        window: 1,
    }
}

/// A scene of one image and one mask.
fn scene(image: Vec<u8>, mask: Vec<u8>) -> EncodedScene {
    EncodedScene {
        image,
        mask,
        image_path: "i.png".to_owned(),
        mask_path: "m.png".to_owned(),
    }
}

fn key(index: u64) -> SampleKey {
    SampleKey {
        seed: 1,
        pass: 0,
        index,
    }
}

#[test]
fn sizes_that_differ_are_refused_by_name() {
    let mut maker =
        CropMaker::new(SceneAugment::default(), FOUR, &input(3), Limits::default()).unwrap();
    let error = maker
        .apply(&scene(rgb_image(4, 3), grey_mask(3, 4, &[0; 12])), key(0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "m.png is 3 x 4 pixels, but i.png is 4 x 3"
    );
    assert!(error.hint().is_some());
}

/// A PNG whose EXIF tag says so.
fn oriented(file: &[u8], orientation: u8) -> Vec<u8> {
    let mut tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    tiff[18] = orientation;
    let mut chunk = b"eXIf".to_vec();
    chunk.extend(&tiff);
    let mut out = file[..33].to_vec();
    out.extend((tiff.len() as u32).to_be_bytes());
    out.extend(&chunk);
    // The decoder leaves checksums of chunks beside the pixels unread only if they are right.
    out.extend(crc32(&chunk).to_be_bytes());
    out.extend(&file[33..]);
    out
}

/// PNG's checksum.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
    !bytes
        .iter()
        .fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn images_are_turned_as_their_tag_says_and_masks_are_not() {
    let values: Vec<u8> = (0..6).map(|value| 40 * value).collect();
    let grey: Vec<u8> = values.iter().flat_map(|&value| [value; 3]).collect();
    let image = png(3, 2, png::ColorType::Rgb, png::BitDepth::Eight, &grey);
    // 0 1 2 / 3 4 5 under each orientation, as `cv2.imdecode` gives it.
    for (orientation, size, order) in [
        (1, [2, 3], [0, 1, 2, 3, 4, 5]),
        (2, [2, 3], [2, 1, 0, 5, 4, 3]),
        (3, [2, 3], [5, 4, 3, 2, 1, 0]),
        (4, [2, 3], [3, 4, 5, 0, 1, 2]),
        (5, [3, 2], [0, 3, 1, 4, 2, 5]),
        (6, [3, 2], [3, 0, 4, 1, 5, 2]),
        (7, [3, 2], [5, 2, 4, 1, 3, 0]),
        (8, [3, 2], [2, 5, 1, 4, 0, 3]),
    ] {
        let [height, width] = size;
        let mask = grey_mask(width, height, &[0; 6]);
        let scene = scene(oriented(&image, orientation), mask);
        let colour = mimbench::data::Colour::Rgb;
        let (pixels, _) = scene.decode(colour, &FOUR, &Limits::default()).unwrap();
        let seen: Vec<u8> = pixels
            .data
            .iter()
            .step_by(3)
            .map(|byte| byte / 40)
            .collect();
        assert_eq!(seen, order, "{orientation}");
    }
    let lying = scene(oriented(&image, 6), grey_mask(3, 2, &[0; 6]));
    let refused = lying.decode(mimbench::data::Colour::Rgb, &FOUR, &Limits::default());
    let refused = refused.unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("turned as its EXIF orientation says")
    );
    assert!(refused.hint().unwrap().contains("exiftran"));
}

#[test]
fn small_long_and_empty_scenes_make_crops() {
    let augment = SceneAugment {
        crop: 48,
        ..SceneAugment::default()
    };
    let ignoring = MaskSpec {
        ignore: Some(255),
        ..FOUR
    };
    for (width, height) in [(1, 1), (2, 900), (900, 2), (5000, 1), (7, 5)] {
        let pixels = (width * height) as usize;
        let scene = scene(
            rgb_image(width, height),
            grey_mask(width, height, &vec![255; pixels]),
        );
        for channels in [1, 3] {
            let mut maker = CropMaker::new(
                augment.clone(),
                ignoring.clone(),
                &input(channels),
                Limits::default(),
            )
            .unwrap();
            for index in 0..8 {
                let crop = maker.apply(&scene, key(index)).unwrap();
                assert_eq!(crop.pixels.len(), channels * 48 * 48);
                assert!(crop.labels.iter().all(|&label| label == u32::MAX));
                assert!(crop.pixels.iter().all(|value| value.is_finite()));
            }
        }
    }
}

#[test]
fn what_is_filled_up_is_zero_and_without_a_class() {
    let augment = SceneAugment {
        scale: [20, 10],
        ratio: [1.0, 1.0],
        crop: 32,
        flip: 0.0,
        ..SceneAugment::default()
    };
    let scene = scene(rgb_image(12, 10), grey_mask(12, 10, &[2; 120]));
    let mut maker = CropMaker::new(augment, FOUR, &input(3), Limits::default()).unwrap();
    let SceneCrop { pixels, labels } = maker.apply(&scene, key(5)).unwrap();
    for (at, &label) in labels.iter().enumerate() {
        let seen = at % 32 < 12 && at / 32 < 10;
        assert_eq!(label, if seen { 2 } else { u32::MAX });
        if !seen {
            assert!((0..3).all(|channel| pixels[channel * 1024 + at] == 0.0));
        }
    }
}

#[test]
fn draws_are_functions_of_their_key_and_spread_as_they_should() {
    const DRAWS: u64 = 8000;
    let labels = LabelMap {
        height: 64,
        width: 96,
        labels: (0..64 * 96).map(|at| (at / 8 % 4) as u16).collect(),
    };
    let spec = SceneAugment {
        scale: [192, 128],
        crop: 32,
        ..SceneAugment::default()
    };
    let draw = |key| SceneDraw::new(&spec, key, &labels, 4);
    assert_eq!(draw(key(4)), draw(key(4)));
    let draws: Vec<SceneDraw> = (0..DRAWS).map(|index| draw(key(index))).collect();
    let share = |of: fn(&SceneDraw) -> bool| {
        draws.iter().filter(|draw| of(draw)).count() as f64 / DRAWS as f64
    };
    // Five standard errors of 1/2: 0.028.
    for (what, share) in [
        ("flip", share(|draw| draw.flip)),
        (
            "brightness",
            share(|draw| draw.distortion.brightness.is_some()),
        ),
        ("contrast", share(|draw| draw.distortion.contrast.is_some())),
        ("order", share(|draw| draw.distortion.contrast_last)),
        (
            "saturation",
            share(|draw| draw.distortion.saturation.is_some()),
        ),
        ("hue", share(|draw| draw.distortion.hue.is_some())),
    ] {
        assert!((share - 0.5).abs() < 0.028, "{what}: {share}");
    }
    // Factors are uniform from 0.5 to 2, so that heights are from 64 to 256.
    let heights: BTreeSet<usize> = draws.iter().map(|draw| draw.resized[0]).collect();
    assert!(heights.first().unwrap() <= &65 && heights.last().unwrap() >= &254);
    let mean = draws.iter().map(|d| d.resized[0] as f64).sum::<f64>() / DRAWS as f64;
    assert!((mean - 160.0).abs() < 3.5, "{mean}");
    let hues: BTreeSet<i32> = draws.iter().filter_map(|d| d.distortion.hue).collect();
    assert_eq!(
        hues.into_iter().collect::<Vec<_>>(),
        (-18..18).collect::<Vec<_>>()
    );
    let means = |of: fn(&SceneDraw) -> Option<f32>| {
        let values: Vec<f32> = draws.iter().filter_map(of).collect();
        values.iter().sum::<f32>() / values.len() as f32
    };
    assert!((means(|d| d.distortion.contrast) - 1.0).abs() < 0.025);
    assert!((means(|d| d.distortion.saturation) - 1.0).abs() < 0.025);
    assert!(means(|d| d.distortion.brightness).abs() < 1.6);
    // Both ends of the places are reached.
    let tight: Vec<&SceneDraw> = draws.iter().filter(|d| d.resized[0] <= 66).collect();
    assert!(tight.iter().any(|d| d.crop.top == 0));
    assert!(tight.iter().any(|d| d.crop.top + 32 == d.resized[0]));
}

#[test]
fn a_draw_never_changes_between_versions() {
    let labels = LabelMap {
        height: 40,
        width: 60,
        labels: (0..2400).map(|at| (at % 60 / 30) as u16).collect(),
    };
    let draw = SceneDraw::new(&SceneAugment::default(), key(1234), &labels, 2);
    assert_eq!(format!("{draw:?}"), PINNED);
}

const PINNED: &str = "SceneDraw { resized: [859, 1289], crop: Crop { left: 311, top: 259, \
    width: 512, height: 512 }, flip: true, distortion: Distortion { brightness: None, \
    contrast: Some(0.7972189), contrast_last: false, saturation: Some(0.7819853), hue: Some(-12) } }";

#[test]
fn one_class_does_not_fill_a_crop_where_there_are_others() {
    // 15 of 16 columns are class 0: most crops of a fourth would be of it alone.
    let labels = LabelMap {
        height: 64,
        width: 64,
        labels: (0..64 * 64).map(|at| u16::from(at % 64 >= 60)).collect(),
    };
    let filled = |category_share: f64| {
        let spec = SceneAugment {
            scale: [64, 64],
            ratio: [1.0, 1.0],
            crop: 12,
            category_share,
            ..SceneAugment::default()
        };
        let crops = (0..1000).map(|index| SceneDraw::new(&spec, key(index), &labels, 2).crop);
        // A crop is mixed if less than 3/4 of its 12 columns are left of column 60.
        crops.filter(|crop| crop.left + 12 <= 63).count() as f64 / 1000.0
    };
    // Of 53 places 1 is mixed (columns 52 to 63), and there are 11 crops before one is taken as it is.
    let miss = 52.0_f64 / 53.0;
    assert!((filled(1.0) - miss).abs() < 0.025, "{}", filled(1.0));
    assert!(
        (filled(0.75) - miss.powi(11)).abs() < 0.065,
        "{}",
        filled(0.75)
    );
}

#[test]
fn views_are_of_every_scale_and_mirrored() {
    let root = tree(&["images/val/a.png", "annotations/val/a.png"]);
    let set = SegmentationSet::open(root.path(), &FOUR).unwrap();
    let preparation = WholePreparation {
        scale: [40, 30],
        ratios: vec![0.5, 1.0],
        flip: true,
        ..whole(FOUR)
    };
    let mut seen = Vec::new();
    load_scenes::<_, SegmentationDataError>(
        &set.val,
        &preparation,
        &ranged_batches(std::slice::from_ref(&(0..1)), 1),
        1,
        &mut |scenes| {
            for scene in scenes {
                seen.push(scene?);
            }
            Ok(())
        },
    )
    .unwrap();
    let [LoadedScene { scene, .. }] = &seen[..] else {
        panic!("{}", seen.len());
    };
    let shapes: Vec<_> = scene
        .views
        .iter()
        .map(|v| (v.height, v.width, v.flipped))
        .collect();
    assert_eq!(
        shapes,
        [
            (15, 20, false),
            (15, 20, true),
            (30, 40, false),
            (30, 40, true)
        ]
    );
    let (plain, mirror) = (&scene.views[0].pixels, &scene.views[1].pixels);
    for (row, mirrored) in plain.chunks_exact(20).zip(mirror.chunks_exact(20)) {
        assert!(row.iter().eq(mirrored.iter().rev()));
    }
    assert_eq!(scene.truth.labels, [1; 12]);
    for (scale, ratios) in [
        ([0, 30], vec![1.0]),
        ([40, 30], vec![]),
        ([40, 30], vec![0.0]),
    ] {
        let wrong = WholePreparation {
            scale,
            ratios,
            ..preparation.clone()
        };
        let refused =
            load_scenes::<_, SegmentationDataError>(&set.val, &wrong, &[], 1, &mut |_| Ok(()));
        assert!(refused.unwrap_err().hint().is_some());
    }
}

/// A folder of the shared scenes, where they are.
fn scenes_of(set: &str) -> Option<PathBuf> {
    shared(&format!("data/seg/{set}"))
}

/// CamVid's masks: 11 for what nobody named.
pub const CAMVID: MaskSpec = MaskSpec {
    classes: 11,
    ignore: Some(11),
    reduce_zero_label: false,
};

#[test]
fn camvid_loads_the_same_on_any_threads() {
    let Some(root) = scenes_of("camvid") else {
        return;
    };
    let set = SegmentationSet::open(&root, &CAMVID).unwrap();
    let train = set.train.unwrap();
    assert_eq!((train.len(), set.val.len()), (150, 60));
    assert_eq!(
        (set.classes[0].as_str(), set.classes[10].as_str()),
        ("Sky", "Bicyclist")
    );
    let augment = SceneAugment {
        scale: [480, 180],
        crop: 96,
        ..SceneAugment::default()
    };
    let preparation = crops(augment, CAMVID.clone());
    let picks: Vec<Pick> = (0..24)
        .map(|place| Pick {
            index: place * 7 % 12,
            pass: place / 12,
            group: 0,
        })
        .collect();
    let load = |workers: usize, batch: usize| {
        let batches: Vec<Vec<Pick>> = picks.chunks(batch).map(<[Pick]>::to_vec).collect();
        let mut seen = Vec::new();
        load_scenes::<_, SegmentationDataError>(
            &train,
            &preparation,
            &batches,
            workers,
            &mut |s| {
                for scene in s {
                    seen.push(scene?);
                }
                Ok(())
            },
        )
        .unwrap();
        seen
    };
    let one = load(1, 24);
    assert!(one == load(3, 5));
    for (scene, pick) in one.iter().zip(&picks) {
        assert_eq!(scene.index, pick.index);
        assert!(
            scene
                .scene
                .labels
                .iter()
                .all(|&label| label < 11 || label == u32::MAX)
        );
    }
    // The second pass sees the same files otherwise.
    assert_eq!(one[0].content, one[12].content);
    assert!(one[0].scene != one[12].scene);
}

#[test]
fn ade20k_has_its_names_and_colours() {
    let Some(root) = scenes_of("ade20k_sample") else {
        return;
    };
    let masks = MaskSpec {
        classes: 150,
        ignore: None,
        reduce_zero_label: true,
    };
    let set = SegmentationSet::open(&root, &masks).unwrap();
    assert!(set.train.is_none());
    assert_eq!((set.val.len(), set.classes.len()), (3, 150));
    assert_eq!(
        (set.classes[0].as_str(), set.classes[149].as_str()),
        ("wall", "flag")
    );
    let rows = fs::read_to_string(root.join("classes150.tsv")).unwrap();
    for (row, colour) in rows.lines().skip(1).zip(&set.palette) {
        let ends = colour.map(|part| part.to_string()).join("\t");
        assert!(row.ends_with(&format!("\t{ends}")), "{row}");
    }
    let mut sizes = Vec::new();
    load_scenes::<_, SegmentationDataError>(
        &set.val,
        &whole(masks),
        &ranged_batches(std::slice::from_ref(&(0..3)), 2),
        2,
        &mut |scenes| {
            for scene in scenes {
                let scene = scene?.scene;
                let view = &scene.views[0];
                sizes.push([
                    scene.truth.height,
                    scene.truth.width,
                    view.height,
                    view.width,
                ]);
            }
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(
        sizes,
        [
            [512, 683, 512, 683],
            [364, 500, 512, 703],
            [300, 400, 512, 683]
        ]
    );
}
