//! CIFAR's binary files as a dataset, from their bytes to a record of the program.

use std::path::Path;

use mimbench::data::{
    Colour, Dataset, DatasetError, LabelSource, Limits, OpenOptions, Split, content_hash, decode,
};

use crate::support::{Bench, CLASSES, headline, tiny};

/// Bytes of an image's planes.
const PIXELS: usize = 3 * 32 * 32;

/// Planes of image `i`: its class's plane is the brightest, under noise.
fn planes(class: u8, i: usize) -> Vec<u8> {
    let mut state = (i as u32).wrapping_mul(2_654_435_761).wrapping_add(1);
    let noise = (0..PIXELS).map(|at| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let colour = if at / 1024 == usize::from(class) {
            60
        } else {
            30
        };
        (colour + (state >> 16) % 151) as u8
    });
    noise.collect()
}

/// Records of `count` images, of every class in turn, the first with the noise of `first`.
fn records(count: usize, first: usize, superclass: Option<u8>) -> Vec<u8> {
    let record = |i: usize| {
        let class = (i % CLASSES.len()) as u8;
        let labels: Vec<u8> = superclass.into_iter().chain([class]).collect();
        [labels, planes(class, first + i)].concat()
    };
    (0..count).flat_map(record).collect()
}

/// CIFAR-100's files: 24 training and 12 test images of three classes.
fn hundred(bench: &Bench, folder: &str) {
    bench.write(&format!("{folder}/train.bin"), records(24, 0, Some(19)));
    bench.write(&format!("{folder}/test.bin"), records(12, 100, Some(7)));
    let names = CLASSES.join("\n") + "\n";
    bench.write(&format!("{folder}/fine_label_names.txt"), names);
}

/// CIFAR-10's files: three images in every batch but the last, which has six, and nine tests.
fn ten(bench: &Bench, folder: &str) {
    for batch in 1..=5 {
        let bytes = records(if batch == 5 { 6 } else { 3 }, 10 * batch, None);
        bench.write(&format!("{folder}/data_batch_{batch}.bin"), bytes);
    }
    bench.write(&format!("{folder}/test_batch.bin"), records(9, 100, None));
    // The real file ends in an empty line.
    let names = CLASSES.join("\r\n") + "\r\n\r\n";
    bench.write(&format!("{folder}/batches.meta.txt"), names);
}

fn open(path: &Path) -> Result<Dataset, DatasetError> {
    Dataset::open(path, &OpenOptions::default())
}

/// Red, green and blue of every pixel in turn.
fn interleaved(planes: &[u8]) -> Vec<u8> {
    let pixel = |at: usize| [planes[at], planes[1024 + at], planes[2048 + at]];
    (0..1024).flat_map(pixel).collect()
}

fn paths(split: &Split) -> Vec<&str> {
    split.samples.iter().map(|sample| &*sample.path).collect()
}

#[test]
fn a_record_is_its_label_and_its_pixels() {
    let bench = Bench::empty();
    hundred(&bench, "cifar-100-binary");
    let dataset = open(&bench.path("cifar-100-binary")).unwrap();
    assert_eq!(dataset.classes, CLASSES);
    let (train, val) = (&dataset.train, &dataset.val);
    assert_eq!((train.samples.len(), val.samples.len()), (24, 12));
    assert_eq!(train.class_counts(3), [8, 8, 8]);
    assert_eq!((&*val.name, &*val.directory), ("val", "cifar-100-binary"));
    assert_eq!(val.labels, LabelSource::Records);
    assert_eq!(val.samples[4].path, "test.bin[4]");
    assert!(val.located(4).ends_with("cifar-100-binary/test.bin[4]"));
    for (split, first) in [(train, 0), (val, 100)] {
        for (i, sample) in split.samples.iter().enumerate() {
            let planes = planes((i % 3) as u8, first + i);
            assert_eq!(sample.label as usize, i % 3);
            assert_eq!(split.stamp(i).unwrap().offset, i as u64 * 3074 + 2);
            let bytes = split.read(i).unwrap();
            assert_eq!(bytes.len() as u64, sample.bytes);
            let pixels = decode(&bytes, Colour::Rgb, &Limits::default()).unwrap();
            assert_eq!((pixels.width, pixels.height), (32, 32));
            assert_eq!(pixels.data, interleaved(&planes), "{}", sample.path);
            let again = [b"P6\n32 32\n255\n", &interleaved(&planes)[..]].concat();
            assert_eq!(content_hash(&bytes), content_hash(&again));
            let grey = decode(&bytes, Colour::Grey, &Limits::default()).unwrap();
            // ITU-R BT.601 luma as Pillow rounds it.
            let luma = |at: usize| {
                let weighed = [19_595, 38_470, 7_471].iter().zip([0, 1024, 2048]);
                let sum: u32 = weighed
                    .map(|(w, plane)| w * u32::from(planes[plane + at]))
                    .sum();
                ((sum + 0x8000) >> 16) as u8
            };
            assert_eq!(grey.data, (0..1024).map(luma).collect::<Vec<_>>());
        }
    }
    assert!(train.read(24).is_err());
}

#[test]
fn batches_are_joined_in_order() {
    let bench = Bench::empty();
    ten(&bench, "cifar-10-batches-bin");
    let dataset = open(&bench.path("cifar-10-batches-bin")).unwrap();
    assert_eq!(dataset.classes, CLASSES);
    assert_eq!(
        (dataset.train.samples.len(), dataset.val.samples.len()),
        (18, 9)
    );
    assert_eq!(
        paths(&dataset.train)[..4],
        [
            "data_batch_1.bin[0]",
            "data_batch_1.bin[1]",
            "data_batch_1.bin[2]",
            "data_batch_2.bin[0]",
        ]
    );
    assert_eq!(paths(&dataset.train)[17], "data_batch_5.bin[5]");
    assert_eq!(paths(&dataset.val)[8], "test_batch.bin[8]");
    let pixels = decode(
        &dataset.train.read(13).unwrap(),
        Colour::Rgb,
        &Limits::default(),
    );
    assert_eq!(pixels.unwrap().data, interleaved(&planes(1, 51)));
}

#[test]
fn the_folder_above_is_the_same_dataset() {
    let bench = Bench::empty();
    hundred(&bench, "sets/cifar-100-binary");
    bench.write("sets/notes/a.txt", "none of it");
    let (above, itself) = (
        open(&bench.path("sets")).unwrap(),
        open(&bench.path("sets/cifar-100-binary")).unwrap(),
    );
    assert_eq!(above.root, bench.path("sets"));
    assert_eq!(above.train.manifest_hash(), itself.train.manifest_hash());
    assert_eq!(above.val.manifest_hash(), itself.val.manifest_hash());
    assert_eq!(above.val.read(3).unwrap(), itself.val.read(3).unwrap());
    assert!(Dataset::lies_in(&bench.path("sets/cifar-100-binary")));
    assert!(
        !Dataset::lies_in(&bench.path("sets")),
        "it may be a collection"
    );

    ten(&bench, "sets/cifar-10-batches-bin");
    let error = open(&bench.path("sets")).unwrap_err();
    let said = error.to_string();
    assert!(
        said.ends_with("both cifar-10-batches-bin/ and cifar-100-binary/"),
        "{said}"
    );
    assert!(error.hint().unwrap().contains("give the folder"));
}

#[test]
fn subsets_take_records_as_they_take_files() {
    let bench = Bench::empty();
    hundred(&bench, "cifar");
    let train = open(&bench.path("cifar")).unwrap().train;
    let limited = train.limited(9, 0);
    assert_eq!(limited.class_counts(3), [3, 3, 3]);
    assert_eq!(
        train.subset(&train.per_class(2, 0)).class_counts(3),
        [2, 2, 2]
    );
    assert_eq!(train.fraction(0.25, 0).len(), 6);
    let (rest, held_out) = train.hold_out(0.25, 0);
    assert_eq!((rest.len(), held_out.len()), (18, 6));
    for (i, sample) in limited.samples.iter().enumerate() {
        let place = train
            .samples
            .iter()
            .position(|other| other == sample)
            .unwrap();
        assert_eq!(limited.read(i).unwrap(), train.read(place).unwrap());
    }
    bench.write("cifar/train.bin", records(3, 0, Some(0)));
    assert!(matches!(train.read(0), Err(DatasetError::Changed { .. })));
}

/// Message and hint of the error that a folder gives, after a change to good files.
fn refusal(set: fn(&Bench, &str), change: impl Fn(&Bench)) -> String {
    let bench = Bench::empty();
    set(&bench, "cifar");
    change(&bench);
    let error = open(&bench.path("cifar")).unwrap_err();
    let hint = error.hint().unwrap();
    format!("{error} / {hint}").replace(&bench.path("").display().to_string(), "")
}

fn remove(bench: &Bench, name: &str) {
    std::fs::remove_file(bench.path(name)).unwrap();
}

#[test]
fn what_is_wrong_with_the_files_is_said() {
    const GET: &str = "unpack cifar-100-binary.tar.gz again, or get it again from https://www.cs.toronto.edu/~kriz/cifar.html";
    let whole = records(24, 0, Some(0));
    let said = refusal(hundred, |b| b.write("cifar/train.bin", &whole[..73_775]));
    let truncated =
        "cifar/train.bin: truncated: 73775 bytes are no whole number of records of 3074";
    assert_eq!(said, format!("{truncated} / {GET}"));
    let said = refusal(hundred, |b| b.write("cifar/test.bin", ""));
    assert!(
        said.starts_with("cifar/test.bin: truncated: 0 bytes"),
        "{said}"
    );
    let said = refusal(hundred, |b| remove(b, "cifar/test.bin"));
    assert_eq!(said, format!("cifar/test.bin: the file is missing / {GET}"));
    let said = refusal(hundred, |b| remove(b, "cifar/fine_label_names.txt"));
    assert_eq!(
        said,
        format!("cifar/fine_label_names.txt: the file is missing / {GET}")
    );
    let said = refusal(ten, |b| remove(b, "cifar/data_batch_3.bin"));
    assert!(said.starts_with("cifar/data_batch_3.bin: the file is missing / unpack cifar-10-"));
    let said = refusal(ten, |b| {
        b.write("cifar/data_batch_3.bin", b"\x1f\x8b\x08\0")
    });
    assert!(said.starts_with("cifar/data_batch_3.bin: the file is compressed / unpack it"));

    let said = refusal(hundred, |b| {
        b.write("cifar/fine_label_names.txt", "ant\nbee\n")
    });
    let label = "cifar/train.bin: record 2 has label 2, and there are names for 2 classes / a line of fine_label_names.txt";
    assert!(said.starts_with(label), "{said}");
    let said = refusal(ten, |b| {
        b.write("cifar/batches.meta.txt", "ant\nant\ncat\n")
    });
    assert!(said.starts_with("cifar/batches.meta.txt, line 2: `ant` is named before"));
    let said = refusal(hundred, |b| b.write("cifar/train.bin", &whole[..2 * 3074]));
    assert!(
        said.starts_with(
            "class `cat` of cifar has no training images in cifar (first seen at test.bin[2])"
        ),
        "{said}"
    );

    let said = refusal(hundred, |b| b.write("cifar/train/ant/1.png", ""));
    assert!(
        said.starts_with("cifar holds both train/ and train.bin"),
        "{said}"
    );
    let bench = Bench::empty();
    hundred(&bench, "cifar");
    let val_labels = Some(bench.path("val.txt"));
    let error = Dataset::open(&bench.path("cifar"), &OpenOptions { val_labels }).unwrap_err();
    assert!(
        matches!(error, DatasetError::UnusedLabelFile { .. }),
        "{error}"
    );
}

#[test]
fn another_download_is_named_with_the_one_that_is_meant() {
    let nothing = |_: &Bench, _: &str| ();
    for (files, archive, version) in [
        (["train", "meta"], "cifar-100-binary.tar.gz", "Python"),
        (
            ["data_batch_1", "batches.meta"],
            "cifar-10-binary.tar.gz",
            "Python",
        ),
        (
            ["train.mat", "meta.mat"],
            "cifar-100-binary.tar.gz",
            "MATLAB",
        ),
    ] {
        for folder in ["cifar", "cifar/inside"] {
            let said = refusal(nothing, |bench| {
                for file in files {
                    bench.write(&format!("{folder}/{file}"), "\u{80}");
                }
            });
            let begins = format!("{folder}: this is the version for {version}");
            assert!(said.starts_with(&begins), "{said}");
            assert!(said.contains(&format!("get the binary version, {archive}, from https://")));
        }
    }
    let said = refusal(nothing, |b| b.write("cifar/cifar-10-binary.tar.gz", ""));
    let packed = "cifar/cifar-10-binary.tar.gz is a packed archive, not a folder / unpack it (`tar -xf cifar";
    assert!(said.starts_with(packed), "{said}");
}

#[test]
fn the_program_reads_records_as_it_reads_class_folders() {
    let bench = Bench::empty();
    bench.model("tiny.safetensors", &tiny(), 1);
    hundred(&bench, "data/cifar-100-binary");
    for (split, count, first) in [("train", 24, 0), ("val", 12, 100)] {
        for i in 0..count {
            let mut file = b"P6\n# by hand\n32 32\n255\n".to_vec();
            file.extend(interleaved(&planes((i % 3) as u8, first + i)));
            bench.write(&format!("folders/{split}/{}/{i}.ppm", CLASSES[i % 3]), file);
        }
    }
    let checked = bench.run(&["data", "check", "data"]).ok().stdout;
    for said in [
        "3 classes",
        "train  24 images in cifar-100-binary/",
        "val    12 images in cifar-100-binary/",
        "32 to 32 pixels wide",
        "0 images are in both splits",
    ] {
        assert!(checked.contains(said), "{said}: {checked}");
    }
    let k = [
        "--set",
        "task.k=[5]",
        "--set",
        "task.headline=5",
        "--json",
        "--quiet",
    ];
    let records = bench.knn(&k).records();
    let folders = ["knn", "--data", "folders", "--ckpt", "tiny.safetensors"];
    let of_folders = bench.run(&[&folders[..], &k].concat()).records();
    assert_eq!(
        headline(&records[0], "top1"),
        headline(&of_folders[0], "top1")
    );
    assert!(headline(&records[0], "top1")[0] > 0.0);
    let limited = bench.knn(&[&["--limit", "6"], &k[..]].concat()).records();
    assert_ne!(limited[0], records[0]);

    let said = bench.knn(&["--val-labels", "x.txt"]);
    said.refused(&["x.txt is not needed: the images of data have labels"]);
    bench.write("data/cifar-100-binary/train.bin", "short");
    bench.knn(&[]).refused(&["train.bin: truncated"]);
    bench.write("packed.tar.gz", b"\x1f\x8b\x08");
    let packed = bench.run(&[
        "knn",
        "--ckpt",
        "tiny.safetensors",
        "--data",
        "packed.tar.gz",
    ]);
    packed.refused(&["packed.tar.gz is a packed archive"]);
}
