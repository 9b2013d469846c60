//! `mimbench data check`: reads and decodes every image and reports what would spoil a number.

use super::{
    dataset::{Dataset, LabelSource, Split},
    manifest,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Everything found in a dataset.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The dataset's root.
    pub root: String,
    /// The training split.
    pub train: SplitReport,
    /// The validation split.
    pub val: SplitReport,
    /// Classes of the two splits.
    pub classes: ClassReport,
    /// Images that are in both splits: nearest-neighbour accuracies mean nothing while there are
    /// any. In order of their first training image.
    pub leaks: Vec<Leak>,
    /// The public dataset this looks like.
    pub known: Option<Known>,
}

/// What is in one split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// The name found on disk, for example `validation`.
    pub directory: String,
    /// Where the labels come from.
    pub labels: LabelSource,
    /// Number of images.
    pub images: usize,
    /// Sum of the encoded sizes, in bytes.
    pub bytes: u64,
    /// Images for each class that has any.
    pub class_counts: ClassCounts,
    /// Smallest and largest images, `None` when nothing could be decoded.
    pub sizes: Option<SizeRange>,
    /// Files that are not images, by extension.
    pub ignored: BTreeMap<String, u64>,
    /// Images that could not be read or decoded, in order.
    pub undecodable: Vec<Undecodable>,
    /// Images with the same contents, in order of the first.
    pub duplicates: Vec<Duplicate>,
    /// Hash of paths, sizes and labels, in hex ([`Split::manifest_hash`]).
    pub manifest: String,
    /// Hash of the manifest and all contents, in hex ([`manifest::fingerprint`]); `None` when an
    /// image could not be read.
    pub fingerprint: Option<String>,
}

/// Images for each class, over the classes that have any.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassCounts {
    /// The smallest class.
    pub min: u64,
    /// The median, halfway between the middle two for an even number of classes.
    pub median: f64,
    /// The largest class.
    pub max: u64,
}

/// Classes of the two splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassReport {
    /// Number of class names.
    pub total: usize,
    /// Classes with training images.
    pub in_train: usize,
    /// Classes with validation images.
    pub in_val: usize,
    /// Classes with both.
    pub in_both: usize,
    /// Classes without training images, in label order.
    pub missing_in_train: Vec<String>,
    /// Classes without validation images, in label order.
    pub missing_in_val: Vec<String>,
    /// Hash of the names in label order, in hex.
    pub order_digest: String,
}

/// Extent of the decoded images, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeRange {
    /// Smallest width.
    pub min_width: usize,
    /// Largest width.
    pub max_width: usize,
    /// Smallest height.
    pub min_height: usize,
    /// Largest height.
    pub max_height: usize,
}

/// An image that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Undecodable {
    /// Its path in the split.
    pub path: String,
    /// What the file system or the decoder says.
    pub reason: String,
}

/// Images of one split with the same contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// Their paths, in order.
    pub paths: Vec<String>,
    /// Whether the same picture has several labels.
    pub labels_differ: bool,
}

/// A picture that is in both splits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// Its paths in the training split, in order.
    pub train: Vec<String>,
    /// Its paths in the validation split, in order.
    pub val: Vec<String>,
}

/// A comparison with a public dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Known {
    /// The dataset.
    pub name: &'static str,
    /// Whether the class names and their order are exactly the published ones; `None` for
    /// datasets whose class folders have no standard names.
    pub classes_match: Option<bool>,
    /// Training images.
    pub train: Count,
    /// Validation images.
    pub val: Count,
}

/// A count beside its published value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The published number of images.
    pub expected: u64,
    /// Found less expected: negative when images are missing.
    pub difference: i64,
}

/// A public dataset's published shape.
#[derive(Debug)]
pub struct Published {
    /// What it is called.
    pub name: &'static str,
    /// Classes.
    pub classes: usize,
    /// Images to learn from.
    pub train: u64,
    /// Images to evaluate on.
    pub val: u64,
    /// [`manifest::class_order_digest`] of the class names in hex, where they are standard.
    order_digest: Option<&'static str>,
}

static PUBLISHED: [Published; 4] = [
    // Counts: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, table 2.
    // Classes: the sorted list in timm's `timm/data/_info/imagenet_synsets.txt`.
    Published {
        name: "ImageNet-1K",
        classes: 1000,
        train: 1_281_167,
        val: 50_000,
        order_digest: Some("23b7c510288f9f7266cd1a902bbb741e0c89f8e2b73ec615f2fc57ede6d2d042"),
    },
    // Version 2 of github.com/fastai/imagenette (70/30 split, December 2019).
    Published {
        name: "Imagenette",
        classes: 10,
        train: 9_469,
        val: 3_925,
        order_digest: Some("593f17875b7a8db85c3d4a09ee7a69838718d3621c3ed050ae23faa5dd7f31a0"),
    },
    // Krizhevsky, Learning Multiple Layers of Features from Tiny Images, chapter 3.
    Published {
        name: "CIFAR-10",
        classes: 10,
        train: 50_000,
        val: 10_000,
        order_digest: None,
    },
    Published {
        name: "CIFAR-100",
        classes: 100,
        train: 50_000,
        val: 10_000,
        order_digest: None,
    },
];

/// The dataset that protocols call by this name, in whatever case.
pub fn published(name: &str) -> Option<&'static Published> {
    PUBLISHED
        .iter()
        .find(|published| published.name.eq_ignore_ascii_case(name))
}

/// Decodes an image far enough to tell its (width, height) in pixels, or says why it cannot.
pub type Decode<'a> = dyn Fn(&[u8]) -> Result<(usize, usize), String> + Sync + 'a;

/// What is learnt from reading one image.
struct Inspected {
    /// `None` when the file could not be read.
    content: Option<[u8; 16]>,
    size: Result<(usize, usize), String>,
}

/// Reads and decodes every image once, on `workers` threads; the report does not depend on their
/// number. `progress` is called on the calling thread with (images done, images in all).
pub fn check(
    dataset: &Dataset,
    decode: &Decode,
    progress: &dyn Fn(usize, usize),
    workers: NonZeroUsize,
) -> Report {
    let inspected = inspect(dataset, decode, progress, workers);
    let (train, val) = inspected.split_at(dataset.train.samples.len().min(inspected.len()));
    let contents = Contents::new(train, val);
    let classes = class_report(dataset);
    Report {
        root: dataset.root.display().to_string(),
        leaks: contents.leaks(dataset),
        train: split_report(
            &dataset.train,
            dataset.classes.len(),
            train,
            contents.duplicates(&dataset.train, Side::Train),
        ),
        val: split_report(
            &dataset.val,
            dataset.classes.len(),
            val,
            contents.duplicates(&dataset.val, Side::Val),
        ),
        known: known(dataset, &classes),
        classes,
    }
}

/// Inspects the training and then the validation images: `[train + val]`.
fn inspect(
    dataset: &Dataset,
    decode: &Decode,
    progress: &dyn Fn(usize, usize),
    workers: NonZeroUsize,
) -> Vec<Inspected> {
    let trained = dataset.train.samples.len();
    let total = trained + dataset.val.samples.len();
    let one = |index: usize| {
        let bytes = match index.checked_sub(trained) {
            None => dataset.train.read(index),
            Some(index) => dataset.val.read(index),
        };
        match bytes {
            Ok(bytes) => Inspected {
                content: Some(manifest::content_hash(&bytes)),
                size: decode(&bytes),
            },
            Err(error) => Inspected {
                content: None,
                size: Err(error.to_string()),
            },
        }
    };
    let next = AtomicUsize::new(0);
    let mut found = Vec::with_capacity(total);
    thread::scope(|scope| {
        // Bounded, so that a slow observer slows the workers instead of filling memory.
        let (sender, receiver) = mpsc::sync_channel(1024);
        for _ in 0..workers.get().min(total) {
            let (sender, next, one) = (sender.clone(), &next, &one);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= total || sender.send((index, one(index))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for inspected in receiver {
            found.push(inspected);
            progress(found.len(), total);
        }
    });
    found.sort_unstable_by_key(|&(index, _)| index);
    found.into_iter().map(|(_, inspected)| inspected).collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Train,
    Val,
}

/// Every image that could be read, sorted by contents, then split, then index.
struct Contents(Vec<([u8; 16], Side, usize)>);

impl Contents {
    fn new(train: &[Inspected], val: &[Inspected]) -> Self {
        let mut contents: Vec<_> = [(Side::Train, train), (Side::Val, val)]
            .into_iter()
            .flat_map(|(side, inspected)| {
                inspected
                    .iter()
                    .enumerate()
                    .filter_map(move |(index, image)| Some((image.content?, side, index)))
            })
            .collect();
        contents.sort_unstable();
        Self(contents)
    }

    /// Groups of equal images in one split, each group and their list in order.
    fn duplicates(&self, split: &Split, side: Side) -> Vec<Duplicate> {
        let mut groups: Vec<Vec<usize>> = self
            .0
            .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
            .filter(|group| group.len() > 1 && group.first().is_some_and(|first| first.1 == side))
            .map(|group| group.iter().map(|&(_, _, index)| index).collect())
            .collect();
        groups.sort_unstable();
        groups
            .iter()
            .map(|group| {
                let mut labels = group
                    .iter()
                    .filter_map(|&index| split.samples.get(index))
                    .map(|sample| sample.label);
                let first = labels.next();
                Duplicate {
                    labels_differ: labels.any(|label| Some(label) != first),
                    paths: paths(split, group),
                }
            })
            .collect()
    }

    /// Groups of equal images that reach over both splits.
    fn leaks(&self, dataset: &Dataset) -> Vec<Leak> {
        let mut groups: Vec<(Vec<usize>, Vec<usize>)> = self
            .0
            .chunk_by(|a, b| a.0 == b.0)
            .map(|group| {
                let side = |wanted: Side| {
                    group
                        .iter()
                        .filter(|&&(_, side, _)| side == wanted)
                        .map(|&(_, _, index)| index)
                        .collect::<Vec<_>>()
                };
                (side(Side::Train), side(Side::Val))
            })
            .filter(|(train, val)| !train.is_empty() && !val.is_empty())
            .collect();
        groups.sort_unstable();
        groups
            .iter()
            .map(|(train, val)| Leak {
                train: paths(&dataset.train, train),
                val: paths(&dataset.val, val),
            })
            .collect()
    }
}

fn paths(split: &Split, indices: &[usize]) -> Vec<String> {
    indices
        .iter()
        .filter_map(|&index| split.samples.get(index))
        .map(|sample| sample.path.clone())
        .collect()
}

fn split_report(
    split: &Split,
    classes: usize,
    inspected: &[Inspected],
    duplicates: Vec<Duplicate>,
) -> SplitReport {
    let mut sizes: Option<SizeRange> = None;
    let mut undecodable = Vec::new();
    for (sample, image) in split.samples.iter().zip(inspected) {
        match &image.size {
            Ok(size) => sizes = Some(SizeRange::with(sizes, *size)),
            Err(reason) => undecodable.push(Undecodable {
                path: sample.path.clone(),
                reason: reason.clone(),
            }),
        }
    }
    let contents: Option<Vec<[u8; 16]>> = inspected.iter().map(|image| image.content).collect();
    SplitReport {
        directory: split.directory.clone(),
        labels: split.labels.clone(),
        images: split.samples.len(),
        bytes: split.samples.iter().map(|sample| sample.bytes).sum(),
        class_counts: ClassCounts::of(split.class_counts(classes)),
        sizes,
        ignored: split.ignored.clone(),
        undecodable,
        duplicates,
        manifest: hex(split.manifest_hash()),
        fingerprint: contents
            .and_then(|contents| manifest::fingerprint(split, &contents).ok())
            .map(hex),
    }
}

impl SizeRange {
    fn with(range: Option<Self>, (width, height): (usize, usize)) -> Self {
        let range = range.unwrap_or(Self {
            min_width: width,
            max_width: width,
            min_height: height,
            max_height: height,
        });
        Self {
            min_width: range.min_width.min(width),
            max_width: range.max_width.max(width),
            min_height: range.min_height.min(height),
            max_height: range.max_height.max(height),
        }
    }
}

impl ClassCounts {
    fn of(mut counts: Vec<u64>) -> Self {
        counts.retain(|&count| count > 0);
        counts.sort_unstable();
        let at = |index: usize| counts.get(index).copied().unwrap_or_default();
        let last = counts.len().saturating_sub(1);
        Self {
            min: at(0),
            median: (at(last / 2) + at(last.div_ceil(2))) as f64 / 2.0,
            max: at(last),
        }
    }
}

fn class_report(dataset: &Dataset) -> ClassReport {
    let train = dataset.train.class_counts(dataset.classes.len());
    let val = dataset.val.class_counts(dataset.classes.len());
    let missing = |counts: &[u64]| -> Vec<String> {
        let classes = dataset.classes.iter().zip(counts);
        classes
            .filter(|&(_, &count)| count == 0)
            .map(|(name, _)| name.clone())
            .collect()
    };
    let present = |counts: &[u64]| counts.iter().filter(|&&count| count > 0).count();
    ClassReport {
        total: dataset.classes.len(),
        in_train: present(&train),
        in_val: present(&val),
        in_both: train
            .iter()
            .zip(&val)
            .filter(|&(&train, &val)| train > 0 && val > 0)
            .count(),
        missing_in_train: missing(&train),
        missing_in_val: missing(&val),
        order_digest: hex(manifest::class_order_digest(&dataset.classes)),
    }
}

/// The public dataset that this is a complete copy of, as protocols name it: `imagenet-1k`. Names
/// and numbers are looked at, not contents.
pub fn complete_copy(dataset: &Dataset) -> Option<String> {
    let known = known(dataset, &class_report(dataset))?;
    let complete = known.classes_match != Some(false)
        && [known.train, known.val].iter().all(|n| n.difference == 0);
    complete.then(|| known.name.to_lowercase())
}

/// The published dataset this is, or is a damaged copy of: one whose classes it has, whose counts
/// it has, or ImageNet-1K for any thousand WordNet ids.
fn known(dataset: &Dataset, classes: &ClassReport) -> Option<Known> {
    let train = dataset.train.samples.len() as u64;
    let val = dataset.val.samples.len() as u64;
    let is_wordnet =
        !dataset.classes.is_empty() && dataset.classes.iter().all(|name| is_wnid(name));
    let published = PUBLISHED.iter().find(|published| {
        published.classes == classes.total
            && (published.order_digest == Some(&classes.order_digest)
                || (published.train, published.val) == (train, val)
                || (is_wordnet && published.classes == 1000))
    })?;
    let count = |expected: u64, found: u64| Count {
        expected,
        difference: found as i64 - expected as i64,
    };
    Some(Known {
        name: published.name,
        classes_match: published
            .order_digest
            .map(|digest| digest == classes.order_digest),
        train: count(published.train, train),
        val: count(published.val, val),
    })
}

/// Whether a class name is a WordNet id of a noun, such as `n01440764`.
fn is_wnid(name: &str) -> bool {
    name.strip_prefix('n')
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()))
}

fn hex(hash: [u8; 32]) -> String {
    blake3::Hash::from_bytes(hash).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::dataset::{
        OpenOptions,
        tests::{open, tree, write},
    };
    use super::*;
    use std::{cell::RefCell, path::Path};
    use tempfile::TempDir;

    /// Takes "WxH" for an image of that size.
    fn decode(bytes: &[u8]) -> Result<(usize, usize), String> {
        let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let parse = |text: &str| text.trim().parse().map_err(|_| "not a number".to_string());
        let (width, height) = text.split_once('x').ok_or("no size")?;
        Ok((parse(width)?, parse(height)?))
    }

    fn sample_dataset() -> TempDir {
        let root = tree(&[]);
        for (path, bytes) in [
            ("train/a/1.jpg", "10x20"),
            ("train/a/2.jpg", "10x20"),
            ("train/a/3.jpg", "30x5"),
            ("train/b/1.jpg", "10x20"),
            ("train/b/2.jpg", "broken"),
            ("train/c/1.jpg", "7x7"),
            ("train/c/readme.txt", ""),
            ("val/a/1.jpg", "10x20"),
            ("val/b/1.jpg", "64x64"),
            ("val/b/2.jpg", " 64x64"),
        ] {
            write(root.path(), path, bytes.as_bytes());
        }
        root
    }

    fn workers(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).unwrap()
    }

    #[test]
    fn finds_what_spoils_a_number() {
        let root = sample_dataset();
        let report = check(&open(&root).unwrap(), &decode, &|_, _| (), workers(2));
        assert_eq!((report.train.images, report.val.images), (6, 3));
        assert_eq!(report.train.bytes, 5 + 5 + 4 + 5 + 6 + 3);
        assert_eq!(
            report.train.class_counts,
            ClassCounts {
                min: 1,
                median: 2.0,
                max: 3
            }
        );
        assert_eq!(
            report.val.class_counts,
            ClassCounts {
                min: 1,
                median: 1.5,
                max: 2
            }
        );
        assert_eq!(
            report.train.sizes,
            Some(SizeRange {
                min_width: 7,
                max_width: 30,
                min_height: 5,
                max_height: 20
            })
        );
        assert_eq!(
            report.train.undecodable,
            [Undecodable {
                path: "b/2.jpg".into(),
                reason: "no size".into()
            }]
        );
        assert_eq!(
            report.train.duplicates,
            [Duplicate {
                paths: ["a/1.jpg", "a/2.jpg", "b/1.jpg"].map(String::from).into(),
                labels_differ: true
            }]
        );
        assert!(report.val.duplicates.is_empty());
        assert_eq!(
            report.leaks,
            [Leak {
                train: ["a/1.jpg", "a/2.jpg", "b/1.jpg"].map(String::from).into(),
                val: vec!["a/1.jpg".into()]
            }]
        );
        let classes = &report.classes;
        assert_eq!(
            (
                classes.total,
                classes.in_train,
                classes.in_val,
                classes.in_both
            ),
            (3, 3, 2, 2)
        );
        assert_eq!(classes.missing_in_val, ["c"]);
        assert!(classes.missing_in_train.is_empty());
        assert_eq!(report.train.ignored["txt"], 1);
        assert_eq!(report.known, None);
        assert!(report.train.fingerprint.is_some());
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["val"]["labels"], "class_folders");
    }

    #[test]
    fn reports_do_not_depend_on_the_number_of_threads() {
        let root = sample_dataset();
        let dataset = open(&root).unwrap();
        let seen = RefCell::new(Vec::new());
        let one = check(
            &dataset,
            &decode,
            &|done, total| seen.borrow_mut().push((done, total)),
            workers(1),
        );
        assert_eq!(
            seen.into_inner(),
            (1..=9).map(|n| (n, 9)).collect::<Vec<_>>()
        );
        for count in [2, 3, 50] {
            assert_eq!(one, check(&dataset, &decode, &|_, _| (), workers(count)));
        }
    }

    #[test]
    fn unreadable_files_leave_no_fingerprint() {
        let root = sample_dataset();
        let dataset = open(&root).unwrap();
        std::fs::remove_file(root.path().join("val/b/1.jpg")).unwrap();
        let report = check(&dataset, &decode, &|_, _| (), workers(2));
        assert_eq!(report.val.fingerprint, None);
        assert_eq!(report.val.undecodable[0].path, "b/1.jpg");
        assert!(report.train.fingerprint.is_some());
    }

    #[test]
    fn known_datasets_are_recognised_with_their_gaps() {
        let root = tree(&[]);
        for class in 0..1000 {
            write(root.path(), &format!("train/n{class:08}/1.jpg"), b"1x1");
        }
        write(root.path(), "val/n00000007/1.jpg", b"2x2");
        let known = check(&open(&root).unwrap(), &decode, &|_, _| (), workers(2))
            .known
            .unwrap();
        assert_eq!(known.name, "ImageNet-1K");
        assert_eq!(known.classes_match, Some(false));
        assert_eq!(
            known.train,
            Count {
                expected: 1_281_167,
                difference: 1000 - 1_281_167
            }
        );
        assert_eq!(known.val.difference, 1 - 50_000);

        let root = tree(&[]);
        for class in [
            "n01440764",
            "n02102040",
            "n02979186",
            "n03000684",
            "n03028079",
            "n03394916",
            "n03417042",
            "n03425413",
            "n03445777",
            "n03888257",
        ] {
            write(root.path(), &format!("train/{class}/1.jpg"), b"1x1");
            write(root.path(), &format!("val/{class}/1.jpg"), b"2x2");
        }
        let mut dataset = open(&root).unwrap();
        let classes = class_report(&dataset);
        let imagenette = known_of(&dataset);
        assert_eq!(imagenette.name, "Imagenette");
        assert_eq!(
            imagenette.classes_match,
            Some(true),
            "{}",
            classes.order_digest
        );
        assert_eq!(imagenette.train.difference, 10 - 9_469);
        // CIFAR-10 is known by its counts.
        for (split, count) in [(&mut dataset.train, 50_000), (&mut dataset.val, 10_000)] {
            let sample = split.samples[0].clone();
            split.samples.resize(count, sample);
        }
        dataset.classes[0] = "airplane".into();
        assert_eq!(known_of(&dataset).name, "CIFAR-10");
        assert_eq!(known_of(&dataset).train.difference, 0);
    }

    /// Files without contents have the counts: every record is of class 0.
    #[test]
    fn whole_sets_of_records_are_known() {
        let mut names = String::new();
        for (classes, files, record, name) in [
            (
                10,
                &["data_batch_1.bin", "test_batch.bin"][..],
                3073,
                "CIFAR-10",
            ),
            (100, &["train.bin", "test.bin"], 3074, "CIFAR-100"),
        ] {
            let root = tree(&[]);
            while names.lines().count() < classes {
                names += &format!("class {}\n", names.lines().count());
            }
            let batches: Vec<String> = match classes {
                10 => (1..=5).map(|i| format!("data_batch_{i}.bin")).collect(),
                _ => vec![files[0].into()],
            };
            for batch in &batches {
                sparse(&root, batch, 50_000 / batches.len() as u64 * record);
            }
            sparse(&root, files[1], 10_000 * record);
            write(root.path(), "batches.meta.txt", names.as_bytes());
            write(root.path(), "fine_label_names.txt", names.as_bytes());
            let dataset = open(&root).unwrap();
            assert_eq!(known_of(&dataset).name, name);
            assert_eq!(complete_copy(&dataset), Some(name.to_lowercase()));
            assert_eq!(dataset.train.samples.len(), 50_000);
        }
    }

    fn sparse(root: &TempDir, name: &str, bytes: u64) {
        let file = std::fs::File::create(root.path().join(name)).unwrap();
        file.set_len(bytes).unwrap();
    }

    fn known_of(dataset: &Dataset) -> Known {
        known(dataset, &class_report(dataset)).unwrap()
    }

    #[test]
    fn real_photographs() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/photos");
        if !Path::new(root).is_dir() {
            eprintln!("skipped: {root} is absent");
            return;
        }
        let dataset = Dataset::open(Path::new(root), &OpenOptions::default()).unwrap();
        let known = known_of(&dataset);
        assert_eq!(
            (known.name, known.classes_match),
            ("Imagenette", Some(true))
        );
        let report = check(&dataset, &|_| Ok((224, 224)), &|_, _| (), workers(2));
        assert_eq!((report.train.images, report.val.images), (1400, 600));
        assert!(report.leaks.is_empty() && report.val.undecodable.is_empty());
    }
}
