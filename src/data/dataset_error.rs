//! What can be wrong with a dataset on disk.

use super::cifar::CifarSet;
use std::{io, path::PathBuf};

/// Why a dataset could not be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The file system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was being read.
        path: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The dataset root or an image folder is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path given.
        path: PathBuf,
    },
    /// An archive in the place of what it holds.
    #[error("{} is a packed archive, not a folder", path.display())]
    Packed {
        /// The archive.
        path: PathBuf,
    },
    /// The root has none of the places where a split may lie.
    #[error("{} has no {split} split: looked for {}", root.display(), looked_for.join(", "))]
    NoSplit {
        /// The dataset root.
        root: PathBuf,
        /// `train` or `val`.
        split: &'static str,
        /// Every name that would have been accepted, in order of preference.
        looked_for: Vec<String>,
        /// A folder of the root that has it.
        inside: Option<PathBuf>,
    },
    /// Two layouts are present and only one can be meant.
    #[error("{} holds both {first} and {second}", path.display())]
    MixedLayout {
        /// The directory.
        path: PathBuf,
        /// One layout.
        first: String,
        /// The other one.
        second: String,
    },
    /// A split directory with nothing to evaluate.
    #[error("{} has no images: looked for {looked_for}", path.display())]
    EmptySplit {
        /// The directory.
        path: PathBuf,
        /// The layouts that were tried.
        looked_for: String,
    },
    /// Class folders that hold no image at any depth.
    #[error("no images ({extensions}) in {} class folder(s) of {}: {}", classes.len(), path.display(), some(classes))]
    EmptyClass {
        /// The split's directory.
        path: PathBuf,
        /// The empty classes, sorted.
        classes: Vec<String>,
        /// The extensions that count as images.
        extensions: String,
    },
    /// Training images without class folders have no labels.
    #[error("{} holds images but no class folders", path.display())]
    UnlabelledTrain {
        /// The training directory.
        path: PathBuf,
    },
    /// A validation class that no training image has.
    #[error("class `{class}` of {} has no training images in {} (first seen at {sample})", split.display(), train.display())]
    UnknownClass {
        /// The class name, or its number in shards.
        class: String,
        /// The first sample that has it.
        sample: String,
        /// The validation split's root.
        split: PathBuf,
        /// The training split's root.
        train: PathBuf,
    },
    /// Labels are stored as `u32`, and a class list is held in memory.
    #[error("{} has {classes} classes, more than {limit}", path.display())]
    TooManyClasses {
        /// The split's root.
        path: PathBuf,
        /// How many it asks for.
        classes: u64,
        /// The most that are accepted.
        limit: u32,
    },
    /// A name that is not UTF-8 cannot be hashed or printed portably.
    #[error("the name of {} is not UTF-8", path.display())]
    NonUtf8Name {
        /// The path, shown with replacement characters.
        path: PathBuf,
    },
    /// A symbolic link that leads back to a directory above itself.
    #[error("the symbolic link {} leads back to a directory that contains it", path.display())]
    LinkCycle {
        /// The link.
        path: PathBuf,
    },
    /// A pipe, socket or device with an image's name.
    #[error("{} has an image's name but is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file larger than anything of its kind.
    #[error("{} has {bytes} bytes, more than the {limit} accepted", path.display())]
    TooLarge {
        /// The file, or `shard/member`.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// Flat validation images and no label file.
    #[error("{} is flat and has no label file: looked for {}", path.display(), looked_for.join(", "))]
    NoLabelFile {
        /// The validation directory.
        path: PathBuf,
        /// The names looked for in the root.
        looked_for: Vec<String>,
    },
    /// Several label files, which may disagree.
    #[error("several label files could label {}: {}", path.display(), found.join(", "))]
    SeveralLabelFiles {
        /// The validation directory.
        path: PathBuf,
        /// The names found in the root.
        found: Vec<String>,
    },
    /// A label file was named but the validation split has its own labels.
    #[error("{} is not needed: the images of {} have labels", file.display(), path.display())]
    UnusedLabelFile {
        /// The label file named by the user.
        file: PathBuf,
        /// The validation split's root.
        path: PathBuf,
    },
    /// A line of a label file that cannot be used.
    #[error("{}, line {line}: {problem}", file.display())]
    LabelLine {
        /// The label file.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: LabelProblem,
    },
    /// A synset list must have one line an image.
    #[error("{} has {lines} labels for {images} images", file.display())]
    LabelCount {
        /// The label file.
        file: PathBuf,
        /// Its labels.
        lines: usize,
        /// The images to label.
        images: usize,
    },
    /// Images that the label file does not mention.
    #[error("{} has no label for {count} image(s), the first is {first}", file.display())]
    MissingLabels {
        /// The label file.
        file: PathBuf,
        /// How many images have no label.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A text file that is not UTF-8.
    #[error("{} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// A line of a class list that cannot be a class name.
    #[error("{}, line {line}: {problem}", file.display())]
    ClassList {
        /// The class list.
        file: PathBuf,
        /// Its line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A shard that cannot be used.
    #[error("{}: {member}: {problem}", shard.display())]
    Shard {
        /// The archive.
        shard: PathBuf,
        /// The member, or the byte position of a header that could not be read.
        member: String,
        /// What is wrong with it.
        problem: ShardProblem,
    },
    /// A file of CIFAR's that cannot be used.
    #[error("{}: {problem}", file.display())]
    Cifar {
        /// Which set it seems to be.
        set: CifarSet,
        /// The file, or the folder of another version.
        file: PathBuf,
        /// What is wrong with it.
        problem: CifarProblem,
    },
    /// A file that is no longer what was listed when the dataset was opened.
    #[error("{} changed after the dataset was opened", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An index past the end of a split.
    #[error("sample {index} does not exist: the split has {samples} samples")]
    NoSuchSample {
        /// The index asked for.
        index: usize,
        /// How many samples there are.
        samples: usize,
    },
    /// A fingerprint needs one content hash for every sample.
    #[error("{hashes} content hashes for {samples} samples")]
    HashCount {
        /// The split's samples.
        samples: usize,
        /// The hashes given.
        hashes: usize,
    },
}

/// What is wrong with a line of a validation label file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelProblem {
    /// The line does not have the format of the file.
    #[error("expected {expected}, found `{found}`")]
    Format {
        /// The format.
        expected: &'static str,
        /// The line, shortened.
        found: String,
    },
    /// The class is neither a training class nor a class number.
    #[error("`{0}` is not a class of the training split")]
    UnknownClass(String),
    /// A number in a list of one label a line.
    #[error("`{0}` is a number, and lists of numbers do not say which class order they count in")]
    BareNumber(String),
    /// The line labels an image that is not there.
    #[error("there is no image `{0}`")]
    UnknownImage(String),
    /// Several images go by this name.
    #[error("`{0}` names more than one image")]
    AmbiguousImage(String),
    /// The image already has a label.
    #[error("`{0}` has been labelled before")]
    Repeated(String),
}

/// What is wrong with CIFAR's files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CifarProblem {
    /// A file of the set is not there.
    #[error("the file is missing")]
    Missing,
    /// The file begins with a compressor's magic number.
    #[error("the file is compressed")]
    Compressed,
    /// The file does not end where a record does.
    #[error("truncated: {bytes} bytes are no whole number of records of {record}")]
    Length {
        /// The file's length.
        bytes: u64,
        /// A record's.
        record: u64,
    },
    /// A label without a name.
    #[error("record {number} has label {label}, and there are names for {classes} classes")]
    Label {
        /// The record, counted from 0.
        number: u64,
        /// Its label.
        label: u8,
        /// Lines of the file of names.
        classes: usize,
    },
    /// The pickles for Python or the files for MATLAB.
    #[error("this is the version for {0}, which is not read")]
    OtherVersion(&'static str),
}

/// What is wrong with a tar shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardProblem {
    /// The header's checksum or a number in it is wrong.
    #[error("not a valid tar header")]
    BadHeader,
    /// The file begins with a compressor's magic number.
    #[error("the archive is compressed")]
    Compressed,
    /// The member reaches past the end of the file.
    #[error("truncated: the member needs {needs} bytes, {has} are left")]
    Truncated {
        /// Bytes the member has by its header.
        needs: u64,
        /// Bytes left in the file.
        has: u64,
    },
    /// The archive stops without its end mark.
    #[error("truncated: the archive ends without an end mark")]
    NoEndMark,
    /// Something follows the end mark.
    #[error("the archive goes on after its end mark")]
    AfterEnd,
    /// A long name or PAX header that is malformed.
    #[error("malformed long-name or PAX header")]
    BadExtension,
    /// A long name, PAX header or label larger than any real one.
    #[error("{bytes} bytes are too many for {what}")]
    Oversized {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
    },
    /// A name that is not UTF-8.
    #[error("the name is not UTF-8")]
    NonUtf8Name,
    /// A link or sparse file in an image's place.
    #[error("is a link or sparse file, not a plain one")]
    NotPlain,
    /// An archive inside the archive, as in `ILSVRC2012_img_train.tar`.
    #[error("is an archive inside the archive")]
    Nested,
    /// Two members claim the same role in one sample.
    #[error("the sample already has {0}")]
    Repeated(&'static str),
    /// A label without an image.
    #[error("the sample has a label and no image")]
    NoImage,
    /// The image has no `.cls`, no `.json` label and no parent directory.
    #[error("the image has no label: no .cls, no .json with \"label\", no class folder")]
    NoLabel,
    /// The label is not a class number.
    #[error("`{0}` is not a class number")]
    BadLabel(String),
    /// The class number is outside `classes.txt`.
    #[error("class {label} is outside the {classes} classes of classes.txt")]
    LabelOutside {
        /// The class number.
        label: u32,
        /// The number of lines.
        classes: usize,
    },
    /// Some samples are labelled by number, others by folder.
    #[error("is labelled by {this}, samples before it by {before}")]
    MixedLabels {
        /// How this sample is labelled.
        this: &'static str,
        /// How the first sample is labelled.
        before: &'static str,
    },
}

impl DatasetError {
    /// What the user can do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotADirectory { .. } => {
                "a dataset is a folder: check the path, and that the disk is mounted".into()
            }
            Self::Packed { path } => format!(
                "unpack it (`tar -xf {}`, or unzip) and give the folder that it makes",
                path.display()
            ),
            Self::NoSplit { split: "val", .. } => {
                "a number needs images that are not trained on: put some of every class into val/<class>/".into()
            }
            Self::NoSplit { inside: Some(inside), .. } => {
                format!("{} has one: give that folder", inside.display())
            }
            Self::NoSplit { .. } => {
                "the root is the directory that holds `train` and `val`, as for torchvision's ImageFolder or WebDataset shards, or CIFAR's binary files".into()
            }
            Self::MixedLayout { .. } => {
                "move one of them elsewhere, or give the folder of the one that is meant".into()
            }
            Self::EmptySplit { .. } => {
                "put the images into a folder for each class; compressed archives are not read: unpack them first".into()
            }
            Self::EmptyClass { .. } => {
                "remove the empty folders or finish unpacking the dataset".into()
            }
            Self::UnlabelledTrain { .. } => {
                "put every image into a folder named after its class: train/<class>/<image>".into()
            }
            Self::UnknownClass { .. } => {
                "class numbers come from the training split: use the same class names in both splits".into()
            }
            Self::NonUtf8Name { .. } => "rename it, for example with convmv".into(),
            Self::LinkCycle { .. } => "remove the link".into(),
            Self::NoLabelFile { .. } => {
                "sort the images into class folders or pass the label file with --val-labels".into()
            }
            Self::SeveralLabelFiles { .. } => "choose one with --val-labels".into(),
            Self::UnusedLabelFile { .. } => "leave --val-labels out".into(),
            Self::LabelLine { problem, .. } => match problem {
                LabelProblem::BareNumber(_) => {
                    "the development kit's ground truth has its own class order: use the list of synsets, or lines of `file class`".into()
                }
                LabelProblem::UnknownClass(_) => {
                    "a class is the name of a training class folder, or its place in their sorted order counted from 0".into()
                }
                LabelProblem::Format { .. }
                | LabelProblem::UnknownImage(_)
                | LabelProblem::AmbiguousImage(_)
                | LabelProblem::Repeated(_) => {
                    "correct the line: every image is labelled once, by its path in the val folder".into()
                }
            },
            Self::LabelCount { .. } => {
                "a list of synsets has one line for every image, in the order of the file names".into()
            }
            Self::ClassList { .. } => "line i names class i, counted from 0".into(),
            Self::Cifar { set, problem, .. } => match problem {
                CifarProblem::Compressed => {
                    format!("unpack it: {} holds the files as they are read", set.archive())
                }
                CifarProblem::Label { .. } => format!(
                    "a line of {} names a class; with all lines there, the file is damaged or of another set",
                    set.names()
                ),
                CifarProblem::OtherVersion(_) => format!(
                    "get the binary version, {}, from {CIFAR_SITE}, and unpack it",
                    set.archive()
                ),
                CifarProblem::Missing | CifarProblem::Length { .. } => format!(
                    "unpack {} again, or get it again from {CIFAR_SITE}",
                    set.archive()
                ),
            },
            Self::Shard { problem, .. } => match problem {
                ShardProblem::Nested => {
                    "unpack it once, and each class archive into a folder of its own: train/<class>/<image>".into()
                }
                ShardProblem::Compressed => "unpack it: members of a compressed archive cannot be read in place".into(),
                ShardProblem::Truncated { .. } | ShardProblem::NoEndMark => {
                    "download or write the shard again".into()
                }
                ShardProblem::AfterEnd => {
                    "archives joined with cat are not one archive: keep them apart".into()
                }
                ShardProblem::NoImage | ShardProblem::NoLabel => {
                    "the members of a sample must stand side by side, as `tar --sort=name` writes them".into()
                }
                ShardProblem::BadHeader | ShardProblem::BadExtension | ShardProblem::Oversized { .. } => {
                    "the archive is damaged or no tar file: download or write it again".into()
                }
                ShardProblem::NonUtf8Name
                | ShardProblem::NotPlain
                | ShardProblem::Repeated(_)
                | ShardProblem::BadLabel(_)
                | ShardProblem::LabelOutside { .. }
                | ShardProblem::MixedLabels { .. } => {
                    "write the shard again: each sample is one plain image and one label".into()
                }
            },
            Self::Changed { .. } => "run again once nothing writes to the dataset".into(),
            Self::Io { .. } => "check the path and that you may read it".into(),
            Self::TooManyClasses { .. } => "check the labels: no known dataset has so many".into(),
            Self::NotAFile { .. } | Self::TooLarge { .. } => "remove it from the dataset".into(),
            Self::MissingLabels { .. } => "every image needs a line in the label file".into(),
            Self::NotText { .. } => "save the file as UTF-8 text".into(),
            Self::NoSuchSample { .. } | Self::HashCount { .. } => return None,
        };
        Some(hint)
    }
}

/// Where the sets are.
const CIFAR_SITE: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// The first names of a list that may be long.
pub(super) fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}
