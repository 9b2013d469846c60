//! `mimbench segment` on made-up scenes: what it learns, the head that it writes, and that head
//! evaluated as it is.

use std::collections::BTreeMap;

use mimbench::checkpoint::save;
use mimbench::checkpoint::source::TensorSource;
use mimbench::checkpoint::{Checkpoint, HeadOrigin, LoadOptions, SceneHead};
use mimbench::data::segmentation::{IGNORED_LABEL, MaskSpec, SegmentationSet};
use mimbench::data::{Colour, Limits};
use mimbench::decoders::segmentation::{SegmenterConfig, initial_weights};
use mimbench::engine::HostTensor;
use mimbench::metric::{Confusion, SegmentationScore};
use mimbench::report::{Outcomes, Record};
use mimbench::spec::{Kind, Protocol, Task};
use mimbench::vit::{RelativeBias, VitConfig, random_weights};
use serde_json::Value;

use crate::segmentation_data::CAMVID;
use crate::support::{Bench, Run, headline, shared, tensor};

/// UperNet of a few channels over crops of 32 pixels.
const PROTOCOL: &str = r#"
kind = "segment"
name = "segment/handful"
version = 1

[data]
dataset = "small"

[input]
normalise = "half"

[task]
updates = 60
validate_every = 30
batch = 8
learning_rate = 4e-3
layer_decay = 0.9
drop_path = 0.1
positions = "checkpoint"

[task.masks]
classes = 3
ignore = 9

[task.head]
kind = "uper_net"
channels = 16
pool_scales = [1, 2, 3, 6]
auxiliary = { channels = 8, weight = 0.4 }
dropout = 0.1

[task.schedule]
kind = "mmcv_polynomial"
power = 1.0
end = 0.0
warmup_steps = 5
warmup_ratio = 1e-6

[task.augment]
scale = [64, 40]
ratio = [0.8, 1.25]
crop = 32
category_share = 0.9
flip = 0.5
photometric = false

[task.test]
scale = [64, 40]
stride = 21
"#;

/// A small encoder for crops of 32 pixels.
fn encoder() -> VitConfig {
    VitConfig {
        mlp_width: 64,
        ..VitConfig::plain(8, [4, 4], (64, 2, 1))
    }
}

/// A picture of a square and a disc on ground, and its mask: 0, 1 and 2, and a line of 9, which counts
/// for nothing.
fn scene(seed: u32) -> (Vec<u8>, Vec<u8>) {
    let (width, height) = (56u32, 40u32);
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(7);
    let mut draw = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let (left, top) = (2 + draw(16), 2 + draw(18));
    let (x, y) = (36 + draw(10), 12 + draw(16));
    let (mut pixels, mut mask) = (Vec::new(), Vec::new());
    for row in 0..height {
        for column in 0..width {
            let square = (left..left + 16).contains(&column) && (top..top + 16).contains(&row);
            let disc = column.abs_diff(x).pow(2) + row.abs_diff(y).pow(2) < 81;
            let (class, colour) = match (row, square, disc) {
                (0, ..) => (9, [90, 90, 90]),
                (_, true, _) => (1, [200, 60, 40]),
                (_, _, true) => (2, [40, 80, 210]),
                _ => (0, [90, 120, 80]),
            };
            mask.push(class);
            pixels.extend(colour.map(|part: u32| (part + draw(20)) as u8));
        }
    }
    let size = (width, height);
    (
        png(size, png::ColorType::Rgb, &pixels),
        png(size, png::ColorType::Grayscale, &mask),
    )
}

fn png((width, height): (u32, u32), colour: png::ColorType, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

impl Bench {
    /// So many train and validation scenes below `data`; of the same pictures where `same` says so.
    pub fn scenes(&self, data: &str, counts: [u32; 2], same: bool) {
        for (split, count) in ["train", "val"].into_iter().zip(counts) {
            for i in 0..count {
                let other = u32::from(split == "val" && !same);
                let (image, mask) = scene(2 * i + other);
                self.write(&format!("{data}/images/{split}/{i:02}.png"), image);
                self.write(&format!("{data}/annotations/{split}/{i:02}.png"), mask);
            }
        }
        self.write(&format!("{data}/classes.txt"), "ground\nsquare\ndisc\n");
    }

    fn segment(&self, more: &[&str]) -> Run {
        let args = [
            "segment",
            "--threads",
            "1",
            "--data",
            "data",
            "--ckpt",
            "small.safetensors",
            "--protocol",
            "handful.toml",
        ];
        self.run(&[&args[..], more].concat())
    }

    /// A head over `small.safetensors` that has learned nothing.
    fn unlearned(&self, path: &str, protocol: &str, classes: &[String]) {
        let protocol = Protocol::text("p".as_ref(), protocol, Kind::Segment, &[]).unwrap();
        let Task::Segment(task) = &protocol.task else {
            panic!("no segmentation");
        };
        let config = SegmenterConfig::new(task.head.clone(), classes.len(), &encoder()).unwrap();
        let weights = initial_weights(&config, 1);
        let tensors = weights
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        let small = self.path("small.safetensors");
        let own = Checkpoint::open(&small, &LoadOptions::default()).unwrap();
        let origin = HeadOrigin {
            encoder: own.blake3,
            protocol: protocol.text,
            settings: Vec::new(),
            classes: classes.to_vec(),
        };
        SceneHead::write(&self.path(path), &origin, &tensors.collect()).unwrap();
    }

    /// The record of `head.safetensors` on the scenes of a folder.
    fn evaluated(&self, data: &str) -> Value {
        let args = [
            "segment",
            "--threads",
            "1",
            "--data",
            data,
            "--ckpt",
            "small.safetensors",
            "--head",
            "head.safetensors",
            "--json",
        ];
        self.run(&args).records().remove(0)
    }
}

/// `data` with 8 + 3 scenes, `small.safetensors` and `handful.toml`.
fn bench() -> Bench {
    let bench = Bench::empty();
    bench.scenes("data", [8, 3], false);
    bench.model("small.safetensors", &encoder(), 5);
    bench.write("handful.toml", PROTOCOL);
    bench
}

/// Every measure by its name, of those of a class with it.
fn measures(record: &Value) -> BTreeMap<String, Value> {
    let measures = record["measures"].as_array().unwrap().iter();
    let name = |measure: &Value| format!("{} {}", measure["feature"], measure["name"]);
    measures
        .map(|measure| (name(measure), measure["value"].clone()))
        .collect()
}

#[test]
fn eight_scenes_are_learned_by_heart() {
    let bench = bench();
    std::fs::remove_dir_all(bench.path("data")).unwrap();
    bench.scenes("data", [8, 8], true);
    let set = [
        "--updates",
        "400",
        "--set",
        "task.learning_rate=0.01",
        "--set",
        "task.drop_path=0.0",
        "--set",
        "task.head.dropout=0.0",
        "--set",
        "task.augment.ratio=[1.0,1.0]",
        "--json",
    ];
    let record = bench.segment(&set).records().remove(0);
    let miou = headline(&record, "miou")[0];
    assert!(miou > 90.0, "{miou}");
    assert_eq!(record["data"]["classes"], 3);
    assert_eq!(record["protocol"]["kind"], "segment");
}

#[test]
#[ignore = "a quarter of an hour: cargo test --release --test it segment::eight_images -- --ignored"]
fn eight_images_of_camvid_are_learned_by_heart() {
    let (Some(root), Some(weights)) = (
        shared("data/seg/camvid"),
        shared("data/weights/sachin_cifar10/timm_names.safetensors"),
    ) else {
        return;
    };
    let set = SegmentationSet::open(&root, &CAMVID).unwrap();
    let train = set.train.unwrap();
    let bench = Bench::empty();
    // Two fifths of their size: what is thinner than the head's grid of 4 pixels stays unseen.
    let (width, height) = (192, 144);
    for i in 0..8 {
        let scene = train.read(i * train.len() / 8).unwrap();
        let decoded = scene.decode(Colour::Rgb, &CAMVID, &Limits::default());
        let (image, truth) = decoded.unwrap();
        let places = || {
            (0..width * height).map(|at| {
                let row = (2 * (at / width) + 1) * truth.height / (2 * height);
                let column = (2 * (at % width) + 1) * truth.width / (2 * width);
                row * truth.width + column
            })
        };
        let pixels: Vec<_> = places()
            .flat_map(|at| image.data[3 * at..3 * at + 3].to_vec())
            .collect();
        let labels: Vec<_> = places()
            .map(|at| match truth.labels[at] {
                IGNORED_LABEL => 11,
                label => label as u8,
            })
            .collect();
        let size = (width as u32, height as u32);
        for split in ["train", "val"] {
            let image = png(size, png::ColorType::Rgb, &pixels);
            bench.write(&format!("eight/images/{split}/{i}.png"), image);
            let mask = png(size, png::ColorType::Grayscale, &labels);
            bench.write(&format!("eight/annotations/{split}/{i}.png"), mask);
        }
    }
    bench.write("eight/classes.txt", set.classes.join("\n"));
    let settings = [
        "task.augment.ratio=[1.0,1.0]",
        "task.augment.crop=192",
        "task.augment.category_share=1.0",
        "task.augment.flip=0.0",
        "task.augment.photometric=false",
        "task.head.dropout=0.0",
        "task.layer_decay=1.0",
        "task.weight_decay=0.0",
        "task.learning_rate=1e-2",
    ];
    let settings = settings.iter().flat_map(|set| ["--set", set]);
    let args = [
        "segment",
        "--ckpt",
        weights.to_str().unwrap(),
        "--data",
        "eight",
        "--preset",
        "mini",
        "--updates",
        "500",
        "--json",
    ];
    let args: Vec<_> = args.into_iter().chain(settings).collect();
    let record = bench.run(&args).records().remove(0);
    let miou = headline(&record, "miou")[0];
    assert!(miou > 90.0, "{miou}");
    eprintln!("{miou}");
}

#[test]
fn a_head_that_was_written_says_the_same_when_it_is_read_again() {
    for (head, trained) in [(None, true), (Some(LINEAR), false)] {
        let bench = bench();
        if let Some(linear) = head {
            let uper = PROTOCOL.find("[task.head]").unwrap();
            let end = PROTOCOL.find("[task.schedule]").unwrap();
            let text = [&PROTOCOL[..uper], linear, &PROTOCOL[end..]].concat();
            bench.write(
                "handful.toml",
                text.replace("batch = 8", "batch = 8\nfrozen = true"),
            );
        }
        let run = bench
            .segment(&["--updates", "12", "--run", "run", "--json"])
            .ok();
        let said = "small: the head is run/head.safetensors";
        assert!(run.stderr.contains(said), "{}", run.stderr);
        let record = run.records().remove(0);
        if trained {
            let curves = std::fs::read_to_string(bench.path("run/metrics.jsonl")).unwrap();
            let first: Value = serde_json::from_str(curves.lines().next().unwrap()).unwrap();
            let loss = |name: &str| first["values"][name].as_f64().unwrap();
            let parts = loss("loss/segmentation") + loss("loss/auxiliary");
            assert_eq!(loss("loss"), parts);
        }
        assert_eq!(bench.path("run/model.safetensors").exists(), trained);
        let ckpt = if trained {
            "run/model.safetensors"
        } else {
            "small.safetensors"
        };
        let eval = |more: &[&str]| {
            let args = [
                "segment",
                "--threads",
                "1",
                "--data",
                "data",
                "--ckpt",
                ckpt,
                "--head",
                "run/head.safetensors",
            ];
            bench.run(&[&args[..], more].concat())
        };
        let again = eval(&["--json"]).records().remove(0);
        assert_eq!(measures(&again), measures(&record));
        assert_eq!(again["data"]["train"], Value::Null);
        let set = ["task.updates=12", "task.validate_every=12"];
        assert_eq!(again["protocol"]["modified"], serde_json::json!(set));
        assert_eq!(again["protocol"]["hash"], record["protocol"]["hash"]);
        // Of every image too, whatever number of windows goes through the network together.
        let found = |record: &Value| {
            let key = record["cell"]["key"].as_str().unwrap();
            assert!(Record::load(&Record::path(&bench.path("results"), key)).is_ok());
            Outcomes::read(&bench.path("results"), key)
                .unwrap()
                .confusions
        };
        assert_eq!(found(&again), found(&record));
        // A second time nothing is computed.
        let third = eval(&["--json"]).ok();
        assert!(third.stderr.contains("no forward pass"), "{}", third.stderr);
        let head = SceneHead::open(&bench.path("run/head.safetensors")).unwrap();
        let of = Checkpoint::open(&bench.path(ckpt), &LoadOptions::default()).unwrap();
        assert_eq!(head.origin.encoder, of.blake3);
        assert_eq!(head.origin.classes, ["ground", "square", "disc"]);
        if trained {
            // Another encoder has not this head.
            let args = [
                "segment",
                "--data",
                "data",
                "--ckpt",
                "small.safetensors",
                "--head",
                "run/head.safetensors",
            ];
            bench
                .run(&args)
                .refused(&["head of an encoder with the hash"]);
        }
        bench.write("data/classes.txt", "ground\ndisc\nsquare\n");
        eval(&[]).refused(&["calls a class \"square\""]);
    }
}

/// DINOv3's head.
const LINEAR: &str = r#"[task.head]
kind = "linear"
blocks = "four"
norm = true
batch_norm = true
dropout = 0.1

"#;

#[test]
fn ade20ks_sample_scores_its_own_truth_at_100() {
    let Some(root) = shared("data/seg/ade20k_sample") else {
        return;
    };
    let masks = MaskSpec {
        classes: 150,
        ignore: None,
        reduce_zero_label: true,
    };
    let set = SegmentationSet::open(&root, &masks).unwrap();
    assert_eq!(set.classes.len(), 150);
    assert_eq!(set.classes[0], "wall");
    let mut confusions = Vec::new();
    for index in 0..set.val.len() {
        let scene = set.val.read(index).unwrap();
        let (_, truth) = scene
            .decode(Colour::Rgb, &masks, &Limits::default())
            .unwrap();
        assert!(truth.labels.iter().any(|&label| label != IGNORED_LABEL));
        let counted = Confusion::count(&truth.labels, &truth.labels, 150, IGNORED_LABEL);
        // Ignored pixels are not in a prediction.
        let found: Vec<_> = (truth.labels.iter())
            .map(|&label| if label == IGNORED_LABEL { 0 } else { label })
            .collect();
        let same = Confusion::count(&truth.labels, &found, 150, IGNORED_LABEL).unwrap();
        assert_eq!(same, counted.unwrap());
        confusions.push(same);
    }
    let score = SegmentationScore::of(&confusions, 150).unwrap();
    assert_eq!(
        (score.mean_iou, score.accuracy, score.mean_accuracy),
        (1.0, 1.0, 1.0)
    );

    // And it is evaluated, by a head that has learned nothing.
    let bench = bench();
    let protocol = PROTOCOL.replace(
        "classes = 3\nignore = 9",
        "classes = 150\nreduce_zero_label = true",
    );
    bench.unlearned("head.safetensors", &protocol, &set.classes);
    let record = bench.evaluated(root.to_str().unwrap());
    assert_eq!(record["data"]["val"]["images"], set.val.len());
    assert!(headline(&record, "miou")[0] < 10.0);
    let key = record["cell"]["key"].as_str().unwrap();
    let sheet = format!("results/segmentation/{key}/sheet.png");
    assert!(bench.path(&sheet).exists());
}

#[test]
fn memory_is_flat_in_the_size_of_an_image() {
    let bench = bench();
    let classes: Vec<_> = (0..150).map(|class| format!("class {class}")).collect();
    let protocol = PROTOCOL
        .replace("classes = 3\nignore = 9", "classes = 150")
        .replace(
            "[task.test]\nscale = [64, 40]",
            "[task.test]\nscale = [8192, 64]",
        );
    bench.unlearned("head.safetensors", &protocol, &classes);
    let peak = |data: &str, (width, height): (u32, u32)| {
        let pixels = width as usize * height as usize;
        let grey: Vec<_> = (0..3 * pixels).map(|i| (i * i % 251) as u8).collect();
        let scene = png((width, height), png::ColorType::Rgb, &grey);
        let mask: Vec<_> = (0..pixels).map(|i| (i / 50 % 150) as u8).collect();
        let mask = png((width, height), png::ColorType::Grayscale, &mask);
        for split in ["train", "val"] {
            bench.write(&format!("{data}/images/{split}/0.png"), &scene);
            bench.write(&format!("{data}/annotations/{split}/0.png"), &mask);
        }
        bench.write(&format!("{data}/classes.txt"), classes.join("\n"));
        bench.evaluated(data)["compute"]["peak_memory"].as_u64()
    };
    let Some(least) = peak("square", (64, 64)) else {
        eprintln!("skipped: the system does not tell the largest memory of a process");
        return;
    };
    for (data, size) in [("wide", (8192, 64)), ("tall", (64, 8192))] {
        let pixels = u64::from(size.0 * size.1);
        // The image, what the network sees of it, and the classes that come out; not 600 bytes of
        // logits for a pixel.
        let most = least + 96 * pixels;
        let found = peak(data, size).unwrap();
        assert!(found < most, "{data}: {found} after {least}");
    }
}

#[test]
fn positions_are_as_the_protocol_asks() {
    let bench = bench();
    for (positions, absolute, relative) in [
        ("checkpoint", true, None),
        ("per_block", true, None),
        ("added", true, Some(RelativeBias::PerBlock)),
        ("anew", false, Some(RelativeBias::PerBlock)),
    ] {
        let set = format!("task.positions=\"{positions}\"");
        let scale = ["--set", "task.layer_scale=1.0"];
        let run = [
            "--updates",
            "3",
            "--json",
            "--run",
            positions,
            "--set",
            &set,
        ];
        let run = bench.segment(&[&run[..], &scale].concat());
        let record = run.records().remove(0);
        let trained = bench.path(&format!("{positions}/model.safetensors"));
        let trained = Checkpoint::open(&trained, &LoadOptions::default()).unwrap();
        assert_eq!(trained.config.positions.is_some(), absolute, "{positions}");
        assert_eq!(trained.config.relative_bias, relative, "{positions}");
        assert!(trained.config.layer_scale, "{positions}");
        let args = [
            "segment",
            "--data",
            "data",
            "--ckpt",
            &format!("{positions}/model.safetensors"),
            "--head",
            &format!("{positions}/head.safetensors"),
            "--json",
        ];
        let again = bench.run(&args).records().remove(0);
        assert_eq!(measures(&again), measures(&record), "{positions}");
    }
}

#[test]
fn every_block_begins_with_the_table_that_all_shared_or_with_none() {
    let bench = bench();
    let config = VitConfig {
        positions: None,
        ..encoder()
    };
    let mut weights = random_weights(&config, 5);
    let shape = vec![7 * 7 + 3, 1];
    let data = (0..shape[0]).map(|at| (at as f32 * 0.37).sin()).collect();
    let name = "rel_pos_bias.relative_position_bias_table";
    weights.insert(name.to_owned(), HostTensor { shape, data });
    save(&bench.path("small.safetensors"), &weights).unwrap();
    let table = |path: &str, name: &str| {
        let source = TensorSource::open(&bench.path(path)).unwrap();
        tensor(&source, &format!("{name}relative_position_bias_table"))
    };
    let own = table("small.safetensors", "rel_pos_bias.");
    for (positions, expected) in [("per_block", Some(&own)), ("anew", None)] {
        let set = format!("task.positions=\"{positions}\"");
        // Of this step hardly a number moves.
        let still = ["--set", "task.learning_rate=1e-30"];
        let run = [
            "--updates",
            "1",
            "--json",
            "--run",
            positions,
            "--set",
            &set,
        ];
        bench.segment(&[&run[..], &still].concat()).ok();
        for block in 0..2 {
            let path = format!("{positions}/model.safetensors");
            let found = table(&path, &format!("blocks.{block}.attn."));
            assert_eq!(found.shape, own.shape);
            let begins = |at: usize| expected.map_or(0.0, |own: &HostTensor| own.data[at]);
            for (at, value) in found.data.iter().enumerate() {
                assert!((value - begins(at)).abs() < 1e-20, "{positions}: {at}");
            }
        }
    }
}

#[test]
fn what_decides_the_numbers_is_in_the_key() {
    let bench = bench();
    let key = |more: &[&str]| {
        let run = ["--updates", "2", "--json"];
        let record = bench
            .segment(&[&run[..], more].concat())
            .records()
            .remove(0);
        record["cell"]["key"].as_str().unwrap().to_owned()
    };
    // BatchNorm's statistics are of the crops at once.
    let whole = key(&[]);
    assert_eq!(key(&["--batch", "8"]), whole);
    assert_ne!(key(&["--batch", "2"]), whole);
    bench.write("data/classes.txt", "ground\ndisc\nsquare\n");
    assert_ne!(key(&[]), whole);
}

#[test]
fn an_image_that_is_smaller_than_a_window_is_counted() {
    let bench = bench();
    let notes = || {
        let record = bench
            .segment(&["--updates", "2", "--json"])
            .records()
            .remove(0);
        record["notes"].to_string()
    };
    let said = "smaller than a window of 32 x 32 pixels, filled up with the mean: 1";
    let warm_up = "the learning rate never reached its peak: a warm-up of 5 updates, and 2 updates";
    let found = notes();
    assert!(
        !found.contains("smaller") && found.contains(warm_up),
        "{found}"
    );
    let size = (56, 4);
    let image = png(size, png::ColorType::Rgb, &[100; 3 * 56 * 4]);
    bench.write("data/images/val/low.png", image);
    let mask = png(size, png::ColorType::Grayscale, &[1; 56 * 4]);
    bench.write("data/annotations/val/low.png", mask);
    let found = notes();
    assert!(found.contains(said), "{found}");
}

#[test]
fn all_takes_one_folder_of_scenes() {
    let bench = bench();
    let args = [
        "all",
        "--protocols",
        "handful.toml",
        "--ckpt",
        "small.safetensors",
        "--data",
        "data",
        "--plan",
    ];
    let run = bench.run(&args).ok();
    assert!(run.stdout.contains("segment/handful"), "{}", run.stdout);
}

#[test]
fn validation_masks_are_looked_at_before_the_first_update() {
    let bench = bench();
    let refused = |said: &str| {
        let run = bench.segment(&["--updates", "2"]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
        assert!(!run.stderr.contains("epoch 1"), "{run:?}");
    };
    let grey = |size: (u32, u32), value: u8| {
        let data = vec![value; (size.0 * size.1) as usize];
        png(size, png::ColorType::Grayscale, &data)
    };
    let mask = |at: usize, bytes| bench.write(&format!("data/annotations/val/0{at}.png"), bytes);
    mask(1, grey((3, 2), 0));
    refused("val/01.png is 3 x 2 pixels");
    mask(1, grey((56, 40), 3));
    refused("val/01.png");
    for at in 0..3 {
        mask(at, grey((56, 40), 9));
    }
    refused("has a pixel that counts");
}

#[test]
fn what_cannot_be_segmented_is_refused_before_the_first_step() {
    let bench = bench();
    let refused = |set: &[&str], said: &[&str]| {
        let set: Vec<_> = set.iter().flat_map(|set| ["--set", set]).collect();
        bench.segment(&set).refused(said);
    };
    refused(
        &["task.test.stride=40"],
        &["task.test.stride", "40 leaves gaps"],
    );
    refused(&["task.updates=0"], &["task.updates", "counts from 1"]);
    refused(
        &["task.validate_every=7"],
        &["task.validate_every", "7 does not divide"],
    );
    refused(&["task.masks.classes=0"], &["task.masks"]);
    refused(
        &["task.augment.crop=30"],
        &["crop is 30 pixels", "patches of 8"],
    );
    refused(&["task.head.dropout=1.0"], &["dropout is 1"]);
    refused(&["task.head.channels=1000000000"], &["from 1 to 8192"]);
    bench
        .segment(&["--batch", "3"])
        .refused(&["--batch 3 does not divide the 8 crops"]);
    let args = [
        "segment",
        "--data",
        "data",
        "--ckpt",
        "small.safetensors",
        "--head",
        "small.safetensors",
    ];
    let run = bench.run(&args);
    assert!(!run.stderr.contains("delete"), "{}", run.stderr);
    run.refused(&["no head that a segmentation wrote"]);
    bench
        .segment(&["--on-bad-image", "skip"])
        .refused(&["training leaves no image out"]);
    assert!(!bench.path("results").exists());
}
