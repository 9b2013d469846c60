//! A labelled image dataset: a training and a validation split under one root.
//!
//! | layout | train | val |
//! |---|---|---|
//! | class folders (torchvision's `ImageFolder`) | `train/<class>/**` | `val/<class>/**` |
//! | tar shards (WebDataset) | `train/*.tar`, `train-*.tar`, `*-train-*.tar` | the same with `val` |
//! | flat with a label file (ImageNet, Kaggle) | | `val/*` and a label file |
//! | CIFAR-10's binary files, or a folder with a folder of them | `data_batch_{1..5}.bin` | `test_batch.bin` |
//! | CIFAR-100's | `train.bin` | `test.bin` |
//!
//! Opening lists files, reads shard headers and decodes nothing. The order of the samples depends
//! on names alone, never on the order in which the file system returns them.

use super::{
    cifar,
    dataset_error::{DatasetError, ShardProblem},
    folder::{self, Listing},
    manifest::FileStamp,
    shards, synset,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Extensions that make a file an image, in lower case. They are compared without regard to case,
/// as torchvision does (`torchvision/datasets/folder.py`, `IMG_EXTENSIONS`).
pub const IMAGE_EXTENSIONS: [&str; 9] = [
    "jpg", "jpeg", "png", "webp", "ppm", "bmp", "pgm", "tif", "tiff",
];

/// The most classes a dataset may have: class names are held in memory, and a shard's label is
/// free text. ImageNet-21K has 21,841.
pub const MAX_CLASSES: u32 = 1 << 20;

/// The largest encoded image that is read, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 512 << 20;

/// Class names of numbered shards, in the root.
const CLASS_LIST: &str = "classes.txt";

/// Accepted names of the validation split, in order of preference.
const VAL_NAMES: &[&str] = &["val", "validation", "test"];

/// What the layout alone does not say.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// The label file of a flat validation directory: lines of `file class`, lines of synsets in
    /// the order of the file names, or Kaggle's `LOC_val_solution.csv`. `None` looks for one in
    /// the root.
    pub val_labels: Option<PathBuf>,
}

/// A training and a validation split that share their class numbers.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The directory that was opened.
    pub root: PathBuf,
    /// The training split.
    pub train: Split,
    /// The validation split. Its labels index the same [`classes`](Self::classes).
    pub val: Split,
    /// Class names by label. For class folders they are sorted by code point, as Python sorts.
    pub classes: Vec<String>,
}

/// An ordered list of images with labels.
#[derive(Debug, Clone)]
pub struct Split {
    /// `train`, `val` or, for a directory opened alone, its own name.
    pub name: String,
    /// The name found on disk: `validation` or `test` where `val` is absent; of CIFAR's files, that
    /// of their folder.
    pub directory: String,
    /// What the samples' paths are relative to.
    pub root: PathBuf,
    /// The samples: class folders in `ImageFolder`'s order, shards in natural order of their
    /// names with members as they lie, CIFAR's records likewise, flat directories by file name.
    pub samples: Vec<Sample>,
    /// Where the labels come from.
    pub labels: LabelSource,
    /// Files that are not images, by extension. Hidden files are not counted.
    pub ignored: BTreeMap<String, u64>,
    pub(super) shards: Arc<[Shard]>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Path relative to the split's root with `/` between components; `shard.tar/member` in a shard,
    /// `train.bin[0]` for the first record of CIFAR's.
    pub path: String,
    /// Index into the dataset's classes.
    pub label: u32,
    /// Encoded size in bytes, as [`Split::read`] gives it.
    pub bytes: u64,
    pub(super) location: Location,
}

/// Where an image's bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// A file of its own; its size is the sample's.
    File { inode: u64, mtime_ns: i64 },
    /// A part of a shard that begins at this byte.
    Member { shard: u32, offset: u64 },
    /// CIFAR's planes of pixels, from this byte of a file of records.
    Record { shard: u32, offset: u64 },
}

/// An archive or file of records that samples are read from.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    pub(super) name: String,
    pub(super) stamp: FileStamp,
    /// BLAKE3 of all of it, where names, sizes and labels tell no two copies apart.
    pub(super) contents: Option<[u8; 32]>,
}

/// Where a split's labels come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelSource {
    /// The folder an image lies in.
    ClassFolders,
    /// A flat directory's label file.
    LabelFile(PathBuf),
    /// Class numbers in the shards (`.cls`, or `label` in `.json`).
    ShardNumbers,
    /// The folder a shard's member lies in.
    ShardFolders,
    /// CIFAR's records.
    Records,
    /// There are none: every label is 0 and means nothing.
    Unlabelled,
}

/// How a scanned split names its classes.
pub(super) enum ClassNames {
    /// Labels index these sorted names.
    Names(Vec<String>),
    /// Labels are class numbers.
    Numbers,
}

/// A split before its labels are those of the dataset.
pub(super) struct Scanned {
    pub(super) samples: Vec<Sample>,
    pub(super) classes: ClassNames,
    pub(super) labels: LabelSource,
    pub(super) ignored: BTreeMap<String, u64>,
    pub(super) shards: Vec<Shard>,
}

impl Dataset {
    /// Opens the dataset below `root`.
    ///
    /// # Errors
    /// Whatever makes a sample's label doubtful: a missing or empty split, an empty class folder,
    /// a validation class that training lacks, a damaged shard, a label file that does not fit.
    pub fn open(root: &Path, options: &OpenOptions) -> Result<Self, DatasetError> {
        let top = folder::list(root)?;
        let train_place = match (find(root, &top, "train", &["train"]), cifar::of(root)) {
            (Ok(place), None) => place,
            (Ok(place), Some(cifar)) => {
                return Err(DatasetError::MixedLayout {
                    path: root.to_path_buf(),
                    first: format!("{}/", place.directory),
                    second: cifar.file.into(),
                });
            }
            (Err(DatasetError::NoSplit { .. }), Some(cifar)) => {
                return Self::of_records(&cifar, root, options);
            }
            (Err(error @ DatasetError::NoSplit { .. }), None) => {
                let cifar = cifar::below(root, &top)?.ok_or(error)?;
                return Self::of_records(&cifar, root, options);
            }
            (Err(error), _) => return Err(error),
        };
        let val_place = find(root, &top, "val", VAL_NAMES)?;

        let scanned = match train_place.contents()? {
            Contents::Folders(listing) => folder::scan(&train_place.root, listing)?,
            Contents::Shards(names) => shards::scan(&train_place.root, names)?,
            Contents::Flat(_) => {
                return Err(DatasetError::UnlabelledTrain {
                    path: train_place.root,
                });
            }
        };
        let classes = class_names(root, &train_place.root, &scanned)?;
        let train = train_place.split("train", scanned);

        let scanned = match (val_place.contents()?, &options.val_labels) {
            (Contents::Flat(listing), file) => {
                let file = match file {
                    Some(file) => file.clone(),
                    None => synset::find(root, &val_place.root)?,
                };
                synset::scan(&val_place.directory, listing, file, &classes)?
            }
            (Contents::Folders(_) | Contents::Shards(_), Some(file)) => {
                return Err(DatasetError::UnusedLabelFile {
                    file: file.clone(),
                    path: val_place.root,
                });
            }
            (Contents::Folders(listing), None) => {
                let scanned = folder::scan(&val_place.root, listing)?;
                numbered(scanned, &classes, &val_place.root, &train.root)?
            }
            (Contents::Shards(names), None) => {
                let scanned = shards::scan(&val_place.root, names)?;
                numbered(scanned, &classes, &val_place.root, &train.root)?
            }
        };
        let val = val_place.split("val", scanned);

        Self {
            root: root.to_path_buf(),
            train,
            val,
            classes,
        }
        .trained()
    }

    /// Whether a folder is laid out as a dataset itself, and not one that holds datasets.
    pub fn lies_in(folder: &Path) -> bool {
        folder.join("train").is_dir() || cifar::of(folder).is_some()
    }

    fn of_records(
        cifar: &cifar::Cifar,
        root: &Path,
        options: &OpenOptions,
    ) -> Result<Self, DatasetError> {
        if let Some(file) = &options.val_labels {
            return Err(DatasetError::UnusedLabelFile {
                file: file.clone(),
                path: root.to_path_buf(),
            });
        }
        cifar.open(root)?.trained()
    }

    /// The dataset, if every class of its validation images has training images.
    fn trained(self) -> Result<Self, DatasetError> {
        let trained = self.train.class_counts(self.classes.len());
        let class = |sample: &Sample| trained.get(sample.label as usize);
        let mut samples = self.val.samples.iter();
        match samples.find(|sample| class(sample).is_none_or(|&n| n == 0)) {
            None => Ok(self),
            Some(sample) => Err(DatasetError::UnknownClass {
                class: self
                    .classes
                    .get(sample.label as usize)
                    .cloned()
                    .unwrap_or_else(|| sample.label.to_string()),
                sample: sample.path.clone(),
                split: self.val.root,
                train: self.train.root,
            }),
        }
    }
}

impl Split {
    /// Opens a directory of images that is not part of a dataset and returns it with its class
    /// names. With subfolders each is a class; without, the images are unlabelled
    /// ([`LabelSource::Unlabelled`], all labels 0, no class names).
    ///
    /// # Errors
    /// When there are no images, a class folder is empty, or images lie beside class folders.
    pub fn folder(directory: &Path) -> Result<(Self, Vec<String>), DatasetError> {
        let name = directory
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|| directory.display().to_string());
        let listing = folder::list(directory)?;
        let scanned = match (listing.directories.is_empty(), listing.images.is_empty()) {
            (false, true) => folder::scan(directory, listing)?,
            (true, false) => folder::flat(listing),
            (false, false) => {
                return Err(DatasetError::MixedLayout {
                    path: directory.to_path_buf(),
                    first: "folders".into(),
                    second: format!("{} images outside them", listing.images.len()),
                });
            }
            (true, true) => {
                return Err(DatasetError::EmptySplit {
                    path: directory.to_path_buf(),
                    looked_for: format!("class folders and images ({})", extensions()),
                });
            }
        };
        let classes = match &scanned.classes {
            ClassNames::Names(names) => names.clone(),
            ClassNames::Numbers => Vec::new(),
        };
        let place = Place {
            directory: name.clone(),
            root: directory.to_path_buf(),
            shards: None,
        };
        Ok((place.split(&name, scanned), classes))
    }

    /// Reads one encoded image; a record of CIFAR's becomes a PPM file. Safe to call from several threads at once.
    ///
    /// # Errors
    /// When the file cannot be read, is larger than 512 MiB, or is not the one that
    /// was listed (its inode, size or modification time differ).
    pub fn read(&self, index: usize) -> Result<Vec<u8>, DatasetError> {
        let sample = self.sample(index)?;
        let stamp = self.stamp(index)?;
        if sample.bytes > MAX_IMAGE_BYTES {
            return Err(DatasetError::TooLarge {
                path: self.root.join(&sample.path),
                bytes: sample.bytes,
                limit: MAX_IMAGE_BYTES,
            });
        }
        let path = match sample.location {
            Location::File { .. } => self.root.join(&sample.path),
            Location::Member { shard, .. } | Location::Record { shard, .. } => {
                self.root.join(self.shard_name(shard))
            }
        };
        let failed = |source| DatasetError::Io {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let now = FileStamp::of(&file.metadata().map_err(failed)?, stamp.offset);
        if now != stamp {
            return Err(DatasetError::Changed { path });
        }
        let length = match sample.location {
            Location::Record { .. } => cifar::PIXEL_BYTES,
            Location::File { .. } | Location::Member { .. } => sample.bytes as usize,
        };
        let mut bytes = vec![0; length];
        match file.read_exact_at(&mut bytes, stamp.offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(DatasetError::Changed { path });
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(match sample.location {
            Location::Record { .. } => cifar::ppm(&bytes),
            Location::File { .. } | Location::Member { .. } => bytes,
        })
    }

    /// An image's path, as a user can open it.
    pub fn located(&self, index: usize) -> String {
        let path = self.samples.get(index).map_or("", |sample| &sample.path);
        self.root.join(path).display().to_string()
    }

    /// Samples of each of `classes` classes: `[classes]`.
    pub fn class_counts(&self, classes: usize) -> Vec<u64> {
        let mut counts = vec![0; classes];
        for sample in &self.samples {
            if let Some(count) = counts.get_mut(sample.label as usize) {
                *count += 1;
            }
        }
        counts
    }

    pub(super) fn sample(&self, index: usize) -> Result<&Sample, DatasetError> {
        self.samples.get(index).ok_or(DatasetError::NoSuchSample {
            index,
            samples: self.samples.len(),
        })
    }

    fn shard_name(&self, shard: u32) -> &str {
        self.shards
            .get(shard as usize)
            .map_or("", |shard| shard.name.as_str())
    }
}

/// Whether a file name has one of [`IMAGE_EXTENSIONS`].
pub(super) fn is_image(name: &str) -> bool {
    extension(name).is_some_and(|ext| {
        IMAGE_EXTENSIONS
            .iter()
            .any(|known| ext.eq_ignore_ascii_case(known))
    })
}

/// What follows the last dot of a file name.
pub(super) fn extension(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ext)| ext)
}

/// [`IMAGE_EXTENSIONS`] as error messages show them.
pub(super) fn extensions() -> String {
    IMAGE_EXTENSIONS.map(|ext| format!(".{ext}")).join(" ")
}

/// Where a split was found.
struct Place {
    directory: String,
    root: PathBuf,
    /// Shards that lie in the dataset's root, sorted.
    shards: Option<Vec<String>>,
}

/// What a split's directory holds.
enum Contents {
    Folders(Listing),
    Shards(Vec<String>),
    Flat(Listing),
}

/// Finds a split under the first of its names that is present.
fn find(
    root: &Path,
    top: &Listing,
    split: &'static str,
    names: &[&str],
) -> Result<Place, DatasetError> {
    let mut looked_for = Vec::new();
    for name in names {
        let directory = top.directories.iter().any(|(found, _)| found == name);
        let (prefix, infix) = (format!("{name}-"), format!("-{name}-"));
        let mut shards: Vec<String> = top
            .archives
            .iter()
            .filter(|archive| archive.starts_with(&prefix) || archive.contains(&infix))
            .cloned()
            .collect();
        match (directory, shards.is_empty()) {
            (true, true) => {
                return Ok(Place {
                    directory: (*name).into(),
                    root: root.join(name),
                    shards: None,
                });
            }
            (false, false) => {
                shards.sort_by(|a, b| shards::natural_order(a, b));
                return Ok(Place {
                    directory: (*name).into(),
                    root: root.to_path_buf(),
                    shards: Some(shards),
                });
            }
            (true, false) => {
                return Err(DatasetError::MixedLayout {
                    path: root.to_path_buf(),
                    first: format!("{name}/"),
                    second: shards.swap_remove(0),
                });
            }
            (false, true) => looked_for.extend([
                format!("{name}/"),
                format!("{name}-*.tar"),
                format!("*-{name}-*.tar"),
            ]),
        }
    }
    let mut folders = top.directories.iter().map(|(name, _)| root.join(name));
    Err(DatasetError::NoSplit {
        root: root.to_path_buf(),
        split,
        looked_for,
        inside: folders.find(|folder| names.iter().any(|name| folder.join(name).is_dir())),
    })
}

impl Place {
    fn contents(&self) -> Result<Contents, DatasetError> {
        if let Some(names) = &self.shards {
            return Ok(Contents::Shards(names.clone()));
        }
        let mut listing = folder::list(&self.root)?;
        match (listing.directories.first(), listing.archives.first()) {
            (Some((directory, _)), Some(archive)) => Err(DatasetError::MixedLayout {
                path: self.root.clone(),
                first: format!("{directory}/"),
                second: archive.clone(),
            }),
            (Some(_), None) => Ok(Contents::Folders(listing)),
            (None, Some(archive)) => match listing.images.first() {
                Some(image) => Err(DatasetError::MixedLayout {
                    path: self.root.clone(),
                    first: image.name.clone(),
                    second: archive.clone(),
                }),
                None => {
                    let mut names = std::mem::take(&mut listing.archives);
                    names.sort_by(|a, b| shards::natural_order(a, b));
                    Ok(Contents::Shards(names))
                }
            },
            (None, None) if listing.images.is_empty() => Err(DatasetError::EmptySplit {
                path: self.root.clone(),
                looked_for: format!("class folders, .tar shards and images ({})", extensions()),
            }),
            (None, None) => Ok(Contents::Flat(listing)),
        }
    }

    fn split(self, name: &str, scanned: Scanned) -> Split {
        Split {
            name: name.into(),
            directory: self.directory,
            root: self.root,
            samples: scanned.samples,
            labels: scanned.labels,
            ignored: scanned.ignored,
            shards: scanned.shards.into(),
        }
    }
}

/// The dataset's class names: the training folders, `classes.txt` for numbered shards, or else
/// the numbers themselves.
fn class_names(root: &Path, train: &Path, scanned: &Scanned) -> Result<Vec<String>, DatasetError> {
    match &scanned.classes {
        ClassNames::Names(names) => Ok(names.clone()),
        ClassNames::Numbers => {
            let highest = scanned.samples.iter().max_by_key(|sample| sample.label);
            let Some(highest) = highest else {
                return Err(DatasetError::EmptySplit {
                    path: train.to_path_buf(),
                    looked_for: "labelled images in shards".into(),
                });
            };
            match synset::class_list(&root.join(CLASS_LIST))? {
                Some(names) if highest.label as usize >= names.len() => Err(DatasetError::Shard {
                    shard: train.to_path_buf(),
                    member: highest.path.clone(),
                    problem: ShardProblem::LabelOutside {
                        label: highest.label,
                        classes: names.len(),
                    },
                }),
                Some(names) => Ok(names),
                None => Ok((0..=highest.label).map(|label| label.to_string()).collect()),
            }
        }
    }
}

/// Turns the labels of a validation split into the dataset's class numbers.
fn numbered(
    mut scanned: Scanned,
    classes: &[String],
    split: &Path,
    train: &Path,
) -> Result<Scanned, DatasetError> {
    let ClassNames::Names(names) = &scanned.classes else {
        return Ok(scanned);
    };
    let known: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    for sample in &mut scanned.samples {
        let name = names.get(sample.label as usize).map_or("", String::as_str);
        sample.label = *known.get(name).ok_or_else(|| DatasetError::UnknownClass {
            class: name.into(),
            sample: sample.path.clone(),
            split: split.to_path_buf(),
            train: train.to_path_buf(),
        })?;
    }
    Ok(scanned)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// A temporary directory with these files, each holding its own path.
    pub fn tree(files: &[&str]) -> TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            write(root.path(), file, file.as_bytes());
        }
        root
    }

    pub fn write(root: &Path, file: &str, bytes: &[u8]) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn open(root: &TempDir) -> Result<Dataset, DatasetError> {
        Dataset::open(root.path(), &OpenOptions::default())
    }

    /// Paths and labels in order.
    pub fn labelled(split: &Split) -> Vec<(&str, u32)> {
        split
            .samples
            .iter()
            .map(|sample| (sample.path.as_str(), sample.label))
            .collect()
    }

    /// The message of the error that opening gives.
    pub fn failure(root: &TempDir) -> String {
        let error = open(root).unwrap_err();
        error
            .to_string()
            .replace(&root.path().display().to_string(), "ROOT")
    }

    #[test]
    fn class_folders_share_the_classes_of_train() {
        let root = tree(&[
            "train/b/1.jpg",
            "train/a/2.png",
            "train/c/3.webp",
            "val/c/4.jpg",
            "val/b/5.jpg",
            "val/b/.6.jpg",
            "val/b/about.TXT",
            "val/stray.jpg",
            "README",
        ]);
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes, ["a", "b", "c"]);
        assert_eq!(
            labelled(&dataset.train),
            [("a/2.png", 0), ("b/1.jpg", 1), ("c/3.webp", 2)]
        );
        assert_eq!(labelled(&dataset.val), [("b/5.jpg", 1), ("c/4.jpg", 2)]);
        assert_eq!(dataset.val.labels, LabelSource::ClassFolders);
        assert_eq!(dataset.val.class_counts(3), [0, 1, 1]);
        let ignored: Vec<_> = dataset.val.ignored.into_iter().collect();
        assert_eq!(
            ignored,
            [
                ("jpg (outside the class folders)".to_string(), 1),
                ("txt".to_string(), 1)
            ]
        );
        assert_eq!(dataset.train.read(0).unwrap(), b"train/a/2.png");
        assert_eq!(dataset.train.samples[0].bytes, 13);
        assert_eq!(
            dataset.train.read(3).unwrap_err().to_string(),
            "sample 3 does not exist: the split has 3 samples"
        );
    }

    #[test]
    fn val_may_have_another_name_only_when_it_is_absent() {
        let root = tree(&["train/a/1.jpg", "validation/a/2.jpg", "test/a/3.jpg"]);
        let dataset = open(&root).unwrap();
        assert_eq!(
            (&*dataset.val.name, &*dataset.val.directory),
            ("val", "validation")
        );
        assert_eq!(labelled(&dataset.val), [("a/2.jpg", 0)]);
        write(root.path(), "val/a/4.jpg", b"");
        assert_eq!(labelled(&open(&root).unwrap().val), [("a/4.jpg", 0)]);
    }

    #[test]
    fn a_missing_split_says_what_was_looked_for() {
        assert_eq!(
            failure(&tree(&["val/a/1.jpg"])),
            "ROOT has no train split: looked for train/, train-*.tar, *-train-*.tar"
        );
        let message = failure(&tree(&["train/a/1.jpg"]));
        assert!(message.starts_with("ROOT has no val split: looked for val/, val-*.tar, "));
        assert!(message.contains("validation/") && message.ends_with("*-test-*.tar"));
        let gone = Dataset::open(Path::new("/nonexistent/x"), &OpenOptions::default());
        let gone = gone.unwrap_err();
        assert_eq!(gone.to_string(), "/nonexistent/x is not a directory");
        let hint = open(&tree(&[])).unwrap_err().hint().unwrap();
        assert!(hint.contains("`train` and `val`"));
    }

    #[test]
    fn doubtful_layouts_are_refused() {
        assert_eq!(
            failure(&tree(&["train/1.jpg", "val/a/1.jpg"])),
            "ROOT/train holds images but no class folders"
        );
        assert_eq!(
            failure(&tree(&["train/a/1.jpg", "train/b.tar", "val/a/1.jpg"])),
            "ROOT/train holds both a/ and b.tar"
        );
        assert_eq!(
            failure(&tree(&["train/a/1.jpg", "train-0.tar", "val/a/1.jpg"])),
            "ROOT holds both train/ and train-0.tar"
        );
        assert!(
            failure(&tree(&["train/x.txt", "val/a/1.jpg"]))
                .starts_with("ROOT/train has no images: looked for class folders, .tar shards")
        );
        assert_eq!(
            failure(&tree(&[
                "train/a/1.jpg",
                "train/b/x.txt",
                "train/c/d/x.gif",
                "val/a/1.jpg"
            ])),
            "no images (.jpg .jpeg .png .webp .ppm .bmp .pgm .tif .tiff) in 2 class folder(s) of ROOT/train: b, c"
        );
    }

    #[test]
    fn a_class_that_train_lacks_is_named() {
        let root = tree(&["train/a/1.jpg", "val/a/1.jpg", "val/b/2.jpg"]);
        assert_eq!(
            failure(&root),
            "class `b` of ROOT/val has no training images in ROOT/train (first seen at b/2.jpg)"
        );
    }

    /// As transfer sets come: nested folders, and classes of which no image validates.
    #[test]
    fn a_class_need_not_be_validated() {
        let root = tree(&[
            "train/birds/1.jpg",
            "train/birds/rare/2.jpg",
            "train/fungi/3.jpg",
            "val/birds/rare/4.jpg",
        ]);
        let dataset = open(&root).unwrap();
        assert_eq!(dataset.classes, ["birds", "fungi"]);
        assert_eq!(dataset.train.class_counts(2), [2, 1]);
        assert_eq!(dataset.val.class_counts(2), [1, 0]);
        fs::create_dir(root.path().join("val/fungi")).unwrap();
        let empty = open(&root).unwrap_err();
        assert!(
            matches!(&empty, DatasetError::EmptyClass { classes, .. } if *classes == ["fungi"])
        );
        assert!(empty.hint().unwrap().contains("remove the empty folders"));
    }

    #[test]
    fn the_folder_that_was_meant_is_named() {
        let root = tree(&["cars/train/a/1.jpg", "cars/val/a/1.jpg", "notes/x.txt"]);
        let hint = open(&root).unwrap_err().hint().unwrap();
        assert!(hint.ends_with("/cars has one: give that folder"), "{hint}");
        let root = tree(&["train/val/1.jpg"]);
        let hint = open(&root).unwrap_err().hint().unwrap();
        assert!(hint.contains("val/<class>/"), "{hint}");
        write(root.path(), "set.tar", b"");
        write(root.path(), "set.bin", b"\x1f\x8b\x08");
        for archive in ["set.tar", "set.bin"] {
            let path = root.path().join(archive);
            let error = Dataset::open(&path, &OpenOptions::default()).unwrap_err();
            assert!(matches!(error, DatasetError::Packed { .. }), "{error}");
        }
    }

    #[test]
    fn an_image_that_changed_is_not_read() {
        let root = tree(&["train/a/1.jpg", "val/a/1.jpg"]);
        let dataset = open(&root).unwrap();
        write(root.path(), "train/a/1.jpg", b"longer than it was");
        assert!(matches!(
            dataset.train.read(0),
            Err(DatasetError::Changed { .. })
        ));
        fs::remove_file(root.path().join("val/a/1.jpg")).unwrap();
        assert!(matches!(dataset.val.read(0), Err(DatasetError::Io { .. })));
    }

    #[test]
    fn an_image_too_large_for_memory_is_refused() {
        let root = tree(&["train/a/1.jpg", "val/a/1.jpg"]);
        let file = fs::File::create(root.path().join("val/a/1.jpg")).unwrap();
        file.set_len(MAX_IMAGE_BYTES + 1).unwrap();
        assert!(matches!(
            open(&root).unwrap().val.read(0),
            Err(DatasetError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_directory_alone_is_labelled_by_its_subfolders() {
        let root = tree(&["cats/1.jpg", "ants/x/2.jpg", "old.tar"]);
        let (split, classes) = Split::folder(root.path()).unwrap();
        assert_eq!(classes, ["ants", "cats"]);
        assert_eq!(labelled(&split), [("ants/x/2.jpg", 0), ("cats/1.jpg", 1)]);
        assert_eq!(split.labels, LabelSource::ClassFolders);
        assert_eq!(split.ignored["tar"], 1);

        let root = tree(&["b.jpg", "a.png", "x.md"]);
        let (split, classes) = Split::folder(root.path()).unwrap();
        assert!(classes.is_empty());
        assert_eq!(labelled(&split), [("a.png", 0), ("b.jpg", 0)]);
        assert_eq!(split.labels, LabelSource::Unlabelled);
        assert_eq!(split.read(1).unwrap(), b"b.jpg");

        for files in [&["b.jpg", "x/a.png"][..], &["x.md"], &["x/y.md"]] {
            assert!(Split::folder(tree(files).path()).is_err(), "{files:?}");
        }
    }

    #[test]
    fn reads_from_many_threads_do_not_disturb_each_other() {
        let names: Vec<String> = (0..50).map(|i| format!("train/a/{i:02}.jpg")).collect();
        let mut files: Vec<&str> = names.iter().map(String::as_str).collect();
        files.push("val/a/1.jpg");
        let root = tree(&files);
        let split = open(&root).unwrap().train;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for (index, name) in names.iter().enumerate() {
                        assert_eq!(split.read(index).unwrap(), name.as_bytes());
                    }
                });
            }
        });
    }
}
