//! CIFAR-10 and CIFAR-100 in their binary version (<https://www.cs.toronto.edu/~kriz/cifar.html>).
//!
//! A file is records of one length: the labels, one byte each, and 32 x 32 pixels as a red, a green
//! and a blue plane. A record is handed out as a PPM file, so that it is decoded, hashed and named
//! in errors as every other image is.

use super::{
    dataset::{Dataset, LabelSource, Location, Sample, Shard, Split},
    dataset_error::{CifarProblem, DatasetError},
    folder::Listing,
    manifest::FileStamp,
    shards, synset,
};
use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Height and width of an image in pixels.
const SIDE: usize = 32;

/// Pixels of one plane.
const PLANE: usize = SIDE * SIDE;

/// Bytes of a record behind its labels.
pub(super) const PIXEL_BYTES: usize = 3 * PLANE;

/// What stands before the pixels of a PPM file of 32 x 32.
const PPM_HEADER: &[u8] = b"P6\n32 32\n255\n";

/// One of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CifarSet {
    /// Ten classes; a record has one label.
    Cifar10,
    /// A hundred classes; a record has the label of a superclass and its own.
    Cifar100,
}

impl CifarSet {
    const ALL: [Self; 2] = [Self::Cifar10, Self::Cifar100];

    /// The archive of the binary version.
    pub fn archive(self) -> &'static str {
        match self {
            Self::Cifar10 => "cifar-10-binary.tar.gz",
            Self::Cifar100 => "cifar-100-binary.tar.gz",
        }
    }

    /// The training files, in order.
    fn train(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            Self::Cifar100 => &["train.bin"],
        }
    }

    /// The file of test images, which validate.
    fn test(self) -> &'static str {
        match self {
            Self::Cifar10 => "test_batch.bin",
            Self::Cifar100 => "test.bin",
        }
    }

    /// The class names, one a line.
    pub fn names(self) -> &'static str {
        match self {
            Self::Cifar10 => "batches.meta.txt",
            Self::Cifar100 => "fine_label_names.txt",
        }
    }

    /// Two files of the version for Python, and of MATLAB's.
    fn other_versions(self) -> [(&'static str, [&'static str; 2]); 2] {
        match self {
            Self::Cifar10 => [
                ("Python", ["data_batch_1", "batches.meta"]),
                ("MATLAB", ["data_batch_1.mat", "batches.meta.mat"]),
            ],
            Self::Cifar100 => [
                ("Python", ["train", "meta"]),
                ("MATLAB", ["train.mat", "meta.mat"]),
            ],
        }
    }

    /// Label bytes of a record; the last is the class.
    fn label_bytes(self) -> u64 {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }

    /// Bytes of a record.
    fn record_bytes(self) -> u64 {
        self.label_bytes() + PIXEL_BYTES as u64
    }

    /// One of the files of records that lies in `folder`.
    fn present(self, folder: &Path) -> Option<&'static str> {
        let mut files = self.train().iter().copied().chain([self.test()]);
        files.find(|file| folder.join(file).is_file())
    }
}

impl fmt::Display for CifarSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cifar10 => "CIFAR-10",
            Self::Cifar100 => "CIFAR-100",
        })
    }
}

/// A folder with files of one of the sets.
pub(super) struct Cifar {
    set: CifarSet,
    folder: PathBuf,
    /// One of the files.
    pub(super) file: &'static str,
}

/// The set whose files lie in `folder`.
pub(super) fn of(folder: &Path) -> Option<Cifar> {
    CifarSet::ALL.into_iter().find_map(|set| {
        Some(Cifar {
            set,
            folder: folder.to_path_buf(),
            file: set.present(folder)?,
        })
    })
}

/// The set that lies in a folder of `root`.
///
/// # Errors
/// When there are two, or another version or a packed archive instead.
pub(super) fn below(root: &Path, top: &Listing) -> Result<Option<Cifar>, DatasetError> {
    let names = || top.directories.iter().map(|(name, _)| name);
    let mut found = names().filter_map(|name| Some((name, of(&root.join(name))?)));
    match (found.next(), found.next()) {
        (Some((_, cifar)), None) => return Ok(Some(cifar)),
        (Some((first, _)), Some((second, _))) => {
            return Err(DatasetError::MixedLayout {
                path: root.to_path_buf(),
                first: format!("{first}/"),
                second: format!("{second}/"),
            });
        }
        (None, _) => {}
    }
    let folders = || std::iter::once(root.to_path_buf()).chain(names().map(|name| root.join(name)));
    for set in CifarSet::ALL {
        for folder in folders() {
            let is_there = |file: &&str| folder.join(file).is_file();
            let mut versions = set.other_versions().into_iter();
            if let Some((version, _)) = versions.find(|(_, files)| files.iter().all(is_there)) {
                return Err(DatasetError::Cifar {
                    set,
                    file: folder,
                    problem: CifarProblem::OtherVersion(version),
                });
            }
        }
        let path = root.join(set.archive());
        if path.is_file() {
            return Err(DatasetError::Packed { path });
        }
    }
    Ok(None)
}

impl Cifar {
    /// Opens both splits for the dataset at `root`.
    ///
    /// # Errors
    /// When a file is missing, cut short or compressed, or a label has no name.
    pub(super) fn open(&self, root: &Path) -> Result<Dataset, DatasetError> {
        let names = self.folder.join(self.set.names());
        let classes = synset::class_list(&names)?
            .ok_or_else(|| self.error(self.set.names(), CifarProblem::Missing))?;
        Ok(Dataset {
            root: root.to_path_buf(),
            train: self.split("train", self.set.train(), &classes)?,
            val: self.split("val", &[self.set.test()], &classes)?,
            classes,
        })
    }

    fn split(&self, name: &str, files: &[&str], classes: &[String]) -> Result<Split, DatasetError> {
        let mut samples = Vec::new();
        let mut shards = Vec::new();
        for (file, shard) in files.iter().zip(0..) {
            let (stamp, contents) = self.scan(file, shard, classes.len(), &mut samples)?;
            shards.push(Shard {
                name: (*file).into(),
                stamp,
                contents: Some(contents),
            });
        }
        let directory = self.folder.file_name().unwrap_or(self.folder.as_os_str());
        Ok(Split {
            name: name.into(),
            directory: directory.to_string_lossy().into_owned(),
            root: self.folder.clone(),
            samples,
            labels: LabelSource::Records,
            ignored: BTreeMap::new(),
            shards: shards.into(),
        })
    }

    /// Adds the records of one file -> its stamp and the BLAKE3 of its contents.
    fn scan(
        &self,
        name: &str,
        shard: u32,
        classes: usize,
        samples: &mut Vec<Sample>,
    ) -> Result<(FileStamp, [u8; 32]), DatasetError> {
        let path = self.folder.join(name);
        if !path.exists() {
            return Err(self.error(name, CifarProblem::Missing));
        }
        let failed = |source| DatasetError::Io {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(DatasetError::NotAFile { path });
        }
        let (bytes, record) = (metadata.len(), self.set.record_bytes());
        // No label of either set is as large as a compressor's first byte.
        if shards::is_compressed(&file).map_err(failed)? {
            return Err(self.error(name, CifarProblem::Compressed));
        }
        if bytes == 0 || !bytes.is_multiple_of(record) {
            return Err(self.error(name, CifarProblem::Length { bytes, record }));
        }
        for number in 0..bytes / record {
            let pixels = number * record + self.set.label_bytes();
            let mut label = [0];
            file.read_exact_at(&mut label, pixels - 1).map_err(failed)?;
            let [label] = label;
            if usize::from(label) >= classes {
                return Err(self.error(
                    name,
                    CifarProblem::Label {
                        number,
                        label,
                        classes,
                    },
                ));
            }
            samples.push(Sample {
                path: format!("{name}[{number}]"),
                label: label.into(),
                bytes: (PPM_HEADER.len() + PIXEL_BYTES) as u64,
                location: Location::Record {
                    shard,
                    offset: pixels,
                },
            });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&file).map_err(failed)?;
        let contents = hasher.finalize().into();
        Ok((FileStamp::of(&metadata, 0), contents))
    }

    fn error(&self, file: &str, problem: CifarProblem) -> DatasetError {
        DatasetError::Cifar {
            set: self.set,
            file: self.folder.join(file),
            problem,
        }
    }
}

/// A record's pixels as a PPM file.
///
/// planes: `[3, 32, 32]`
pub(super) fn ppm(planes: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(PPM_HEADER.len() + PIXEL_BYTES);
    file.extend_from_slice(PPM_HEADER);
    let (red, others) = planes.split_at(PLANE);
    let (green, blue) = others.split_at(PLANE);
    for ((&red, &green), &blue) in red.iter().zip(green).zip(blue) {
        file.extend_from_slice(&[red, green, blue]);
    }
    file
}
