//! The made-up scenes as a whole: how hard they are, and that they are written the same every time.

#![expect(
    clippy::unwrap_used,
    reason = "what a test calls may fail like the test"
)]

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use mimbench::data::scenes::{SceneError, SceneSpec, Split, class_names, draw, write_dataset};

const SPEC: SceneSpec = SceneSpec { size: 64, seed: 0 };

/// Images of every class as rows of one matrix, each of length 1, and the labels.
struct Rows {
    values: Vec<f32>,
    labels: Vec<usize>,
    width: usize,
}

impl Rows {
    fn draw(split: Split, per_class: u64) -> Self {
        let mut rows = Rows {
            values: Vec::new(),
            labels: Vec::new(),
            width: 0,
        };
        for class in 0..class_names().len() {
            for index in 0..per_class {
                let scene = draw(&SPEC, split, class, index).unwrap();
                let row = unit(normalised(&scene.rgb));
                rows.width = row.len();
                rows.values.extend(row);
                rows.labels.push(class);
            }
        }
        rows
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..][..self.width]
    }
}

fn unit(mut row: Vec<f32>) -> Vec<f32> {
    let norm = dot(&row, &row).sqrt();
    row.iter_mut().for_each(|v| *v /= norm);
    row
}

fn channel_means(row: &[f32]) -> Vec<f32> {
    (0..3)
        .map(|c| row[c..].iter().step_by(3).sum::<f32>())
        .collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 16];
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// For each row of `val`, the classes of its 20 nearest rows of `train` by cosine.
fn neighbours(train: &Rows, val: &Rows) -> Vec<Vec<usize>> {
    // A few rows of `val` at a time stay in the cache while `train` streams past.
    const BLOCK: usize = 20;
    let mut all = Vec::new();
    for start in (0..val.labels.len()).step_by(BLOCK) {
        let block = start..(start + BLOCK).min(val.labels.len());
        let mut near = vec![Vec::new(); block.len()];
        for j in 0..train.labels.len() {
            for (near, i) in near.iter_mut().zip(block.clone()) {
                near.push((dot(val.row(i), train.row(j)), j));
            }
        }
        all.extend(near.into_iter().map(|mut near| {
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            near[..20].iter().map(|&(_, j)| train.labels[j]).collect()
        }));
    }
    all
}

/// Percent of `labels` that their neighbours' majority gets right; a tie goes to the lower class.
/// `key` maps a class to what is to be told.
fn vote(neighbours: &[Vec<usize>], labels: &[usize], key: impl Fn(usize) -> usize) -> f64 {
    let right = neighbours.iter().zip(labels).filter(|(near, label)| {
        let mut votes = [0; 20];
        near.iter().for_each(|&class| votes[key(class)] += 1);
        (0..20).rev().max_by_key(|&class| votes[class]) == Some(key(**label))
    });
    100.0 * right.count() as f64 / labels.len() as f64
}

/// Pixels minus ImageNet's mean over its deviation, the input of the frozen protocols.
fn normalised(rgb: &[u8]) -> Vec<f32> {
    const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    const STD: [f32; 3] = [0.229, 0.224, 0.225];
    let value = |(i, &v): (usize, &u8)| (f32::from(v) / 255.0 - MEAN[i % 3]) / STD[i % 3];
    rgb.iter().enumerate().map(value).collect()
}

#[test]
fn raw_pixels_tell_some_classes_and_the_mean_colour_none() {
    let train = Rows::draw(Split::Train, 100);
    let val = Rows::draw(Split::Val, 25);
    let near = neighbours(&train, &val);
    let pixels = vote(&near, &val.labels, |class| class);
    let shape = vote(&near, &val.labels, |class| class / 4);
    let texture = vote(&near, &val.labels, |class| class % 4);
    // The neighbours by mean colour, from the pixels drawn above.
    let mean = |rows: &Rows| Rows {
        values: (0..rows.labels.len())
            .flat_map(|i| unit(channel_means(rows.row(i))))
            .collect(),
        labels: rows.labels.clone(),
        width: 3,
    };
    let near = neighbours(&mean(&train), &mean(&val));
    let colour = vote(&near, &val.labels, |class| class);
    println!("pixels {pixels} %, shape {shape} %, texture {texture} %, mean colour {colour} %");
    assert!((15.0..35.0).contains(&pixels), "{pixels}");
    assert!(colour < 10.0, "{colour}");
}

/// Path under `root` -> content of every file.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_path_buf();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn write(dir: &Path, seed: u64, workers: usize) -> Result<(), SceneError> {
    let spec = SceneSpec { size: 32, seed };
    write_dataset(dir, &spec, 2, 1, workers, &|_, _| ())
}

#[test]
fn the_files_are_the_drawn_scenes_whatever_the_number_of_workers() {
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "new/two"].map(|name| home.path().join(name));
    let spec = SceneSpec { size: 32, seed: 3 };
    let calls = Mutex::new(Vec::new());
    let progress = |done, total| calls.lock().unwrap().push((done, total));
    write_dataset(&one, &spec, 2, 1, 1, &progress).unwrap();
    assert_eq!(
        *calls.lock().unwrap(),
        (1..=60).map(|i| (i, 60)).collect::<Vec<_>>()
    );
    write(&two, 3, 2).unwrap();
    let found = files(&one);
    assert_eq!(found, files(&two));
    // 60 images, their masks, the mask values' names and the marker; nothing beside the sets.
    assert_eq!(found.len(), 122);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2);
    assert_eq!(
        found[Path::new("masks/classes.txt")],
        b"background\ndisc\nring\nsquare\nstar\ntriangle\n"
    );
    assert_eq!(
        found[Path::new("scenes.toml")],
        b"version = 1\nsize = 32\nseed = 3\ntrain_per_class = 2\nval_per_class = 1\n"
    );

    let decode = |name: &str| {
        let png = &found[Path::new(name)];
        let mut reader = png::Decoder::new(io::Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        (frame.color_type, pixels)
    };
    let class = class_names().iter().position(|n| n == "star-dots").unwrap();
    let scene = draw(&spec, Split::Train, class, 1).unwrap();
    assert_eq!(
        decode("train/star-dots/0001.png"),
        (png::ColorType::Rgb, scene.rgb)
    );
    assert_eq!(
        decode("masks/train/star-dots/0001.png"),
        (png::ColorType::Indexed, scene.mask)
    );
}

#[test]
fn a_finished_set_is_reused_and_another_one_is_never_overwritten() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("set");
    // What a killed run leaves does not end up in the set.
    fs::create_dir_all(home.path().join("set.partial/train/old")).unwrap();
    fs::write(home.path().join("set.lock"), "").unwrap();
    write(&dir, 0, 2).unwrap();
    assert!(!dir.join("train/old").exists());
    let kept = dir.join("train/disc-dots/0000.png");
    fs::write(&kept, "touched").unwrap();
    write(&dir, 0, 2).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), b"touched");

    let error = write(&dir, 1, 2).unwrap_err();
    assert!(matches!(error, SceneError::Differs { .. }), "{error}");
    assert!(error.hint().unwrap().contains("delete"));
    let foreign = home.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    assert!(matches!(
        write(&foreign, 0, 2),
        Err(SceneError::Differs { .. })
    ));
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        write(&file, 0, 2),
        Err(SceneError::Differs { .. })
    ));
}

#[test]
fn two_writers_of_one_directory_do_not_meet() {
    let home = tempfile::tempdir().unwrap();
    let lock = fs::File::create(home.path().join("set.lock")).unwrap();
    lock.try_lock().unwrap();
    let result = write(&home.path().join("set"), 0, 1);
    assert!(matches!(result, Err(SceneError::Busy { .. })), "{result:?}");
}

#[test]
fn arguments_out_of_range_are_errors() {
    let dir = Path::new("never-written");
    let spec = |size| SceneSpec { size, seed: 0 };
    for size in [0, 31, 1025, usize::MAX] {
        let error = draw(&spec(size), Split::Val, 0, 0).unwrap_err();
        assert!(matches!(error, SceneError::Size { .. }));
    }
    let error = draw(&SPEC, Split::Val, 20, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no scene class 20: the classes are 0 to 19"
    );
    for (result, message) in [
        (
            write_dataset(dir, &spec(8), 1, 1, 1, &|_, _| ()),
            "scenes of 8 px",
        ),
        (
            write_dataset(dir, &SPEC, 10_001, 1, 1, &|_, _| ()),
            "10001 scenes",
        ),
        (
            write_dataset(dir, &SPEC, 1, 1, 0, &|_, _| ()),
            "at least one worker",
        ),
        (
            write_dataset(Path::new(".."), &SPEC, 1, 1, 1, &|_, _| ()),
            "..",
        ),
    ] {
        assert!(
            result.unwrap_err().to_string().contains(message),
            "{message}"
        );
    }
    assert!(!dir.exists());
}

#[test]
fn every_scene_shows_its_class_and_depends_on_every_argument() {
    let names = class_names();
    assert!(names.is_sorted() && names.len() == 20);
    for class in 0..names.len() {
        let scene = draw(&SPEC, Split::Train, class, 5).unwrap();
        assert_eq!([scene.rgb.len(), scene.mask.len()], [64 * 64 * 3, 64 * 64]);
        let mut counts = [0; 6];
        scene
            .mask
            .iter()
            .for_each(|&label| counts[usize::from(label)] += 1);
        // The main object is all but whole (a tip may be cut off): the area of a disc of 15 to 20 px
        // radius, and now and then a distractor of the same shape.
        let own = counts[1 + class / 4];
        assert!((700..1300 + 250).contains(&own), "{}: {own}", names[class]);
        assert!(counts[0] > 2000);
    }
    let base = draw(&SPEC, Split::Train, 0, 0).unwrap();
    let other_seed = SceneSpec { seed: 1, ..SPEC };
    for other in [
        draw(&other_seed, Split::Train, 0, 0),
        draw(&SPEC, Split::Val, 0, 0),
        draw(&SPEC, Split::Train, 1, 0),
        draw(&SPEC, Split::Train, 0, 1),
    ] {
        assert_ne!(base.rgb, other.unwrap().rgb);
    }
}

/// Pins the pixels: a change of this hash needs a new `SCENES_VERSION`.
#[test]
fn the_pixels_are_pinned() {
    let mut hasher = blake3::Hasher::new();
    for class in 0..20 {
        let scene = draw(&SPEC, Split::Val, class, 7).unwrap();
        hasher.update(&scene.rgb).update(&scene.mask);
    }
    assert_eq!(
        hasher.finalize().to_hex().as_str(),
        "65b15131c26d8daca39b2eb0bf96c175dcdf229eaf366282289e8fd0c5b85597"
    );
}
