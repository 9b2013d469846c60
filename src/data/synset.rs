//! Class names and labels in text files: class lists of numbered shards and CIFAR, and the label
//! files of a flat ImageNet validation directory.

use super::{
    dataset::{LabelSource, MAX_CLASSES, Scanned},
    dataset_error::{DatasetError, LabelProblem},
    folder::{self, Listing},
};
use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

/// Label files looked for in the dataset's root. The first two names are Caffe's and timm's
/// custom, the synset lists those of TensorFlow's ImageNet scripts, the last is Kaggle's.
const LABEL_FILES: [&str; 6] = [
    "val_map.txt",
    "val.txt",
    "synset_labels.txt",
    "ILSVRC2012_validation_synset_labels.txt",
    "imagenet_2012_validation_synset_labels.txt",
    "LOC_val_solution.csv",
];

/// First line of Kaggle's `LOC_val_solution.csv`.
const KAGGLE_HEADER: &str = "ImageId,PredictionString";

/// The largest label or class file, in bytes. ImageNet's largest has 2.1 MB.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// How a label file says which image a line is about.
#[derive(Clone, Copy)]
enum Format {
    /// `file class`, separated by blanks or a comma.
    Pairs,
    /// A class for each image in the order of the file names.
    List,
    /// `image-without-extension,class x y x y ...` below a header.
    Kaggle,
}

/// The one label file in the root.
///
/// # Errors
/// When there is none, or more than one.
pub(super) fn find(root: &Path, split: &Path) -> Result<PathBuf, DatasetError> {
    let found: Vec<String> = LABEL_FILES
        .iter()
        .filter(|name| root.join(name).is_file())
        .map(|name| (*name).into())
        .collect();
    match found.as_slice() {
        [] => Err(DatasetError::NoLabelFile {
            path: split.to_path_buf(),
            looked_for: LABEL_FILES.map(String::from).into(),
        }),
        [one] => Ok(root.join(one)),
        _ => Err(DatasetError::SeveralLabelFiles {
            path: split.to_path_buf(),
            found,
        }),
    }
}

/// Labels a flat directory from a file. `directory` is its name, which file names may carry as a
/// prefix (`val/x.JPEG`); `classes` are the training classes.
///
/// # Errors
/// For every line that does not fit an image and a class, and for images left without a label.
pub(super) fn scan(
    directory: &str,
    listing: Listing,
    file: PathBuf,
    classes: &[String],
) -> Result<Scanned, DatasetError> {
    let text = read_text(&file)?;
    let mut scanned = folder::flat(listing);
    let labels = parse(&text, directory, &scanned, classes)
        .map_err(|error| error.in_file(file.clone(), scanned.samples.len()))?;
    let missing: Vec<&str> = scanned
        .samples
        .iter()
        .zip(&labels)
        .filter(|(_, label)| label.is_none())
        .map(|(sample, _)| sample.path.as_str())
        .collect();
    if let Some(first) = missing.first() {
        return Err(DatasetError::MissingLabels {
            file,
            count: missing.len(),
            first: (*first).into(),
        });
    }
    for (sample, label) in scanned.samples.iter_mut().zip(labels) {
        sample.label = label.unwrap_or_default();
    }
    scanned.labels = LabelSource::LabelFile(file);
    Ok(scanned)
}

/// Reads class names, if the file is there: line i names class i. Anything after a tab is a remark.
///
/// # Errors
/// For an empty or repeated name, and for a file that is too large or no text.
pub(super) fn class_list(file: &Path) -> Result<Option<Vec<String>>, DatasetError> {
    let text = match read_text(file) {
        Ok(text) => text,
        Err(DatasetError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for (line, number) in text.trim_end().lines().zip(1..) {
        let name = line.split('\t').next().unwrap_or_default().trim();
        let problem = if name.is_empty() {
            "no class name".into()
        } else if !seen.insert(name) {
            format!("`{name}` is named before")
        } else {
            names.push(name.to_string());
            continue;
        };
        return Err(DatasetError::ClassList {
            file: file.to_path_buf(),
            line: number,
            problem,
        });
    }
    if names.len() > MAX_CLASSES as usize {
        return Err(DatasetError::TooManyClasses {
            path: file.to_path_buf(),
            classes: names.len() as u64,
            limit: MAX_CLASSES,
        });
    }
    Ok(Some(names))
}

/// What [`parse`] finds wrong.
enum Mismatch {
    Line(usize, LabelProblem),
    Count(usize),
}

impl Mismatch {
    fn in_file(self, file: PathBuf, images: usize) -> DatasetError {
        match self {
            Self::Line(line, problem) => DatasetError::LabelLine {
                file,
                line,
                problem,
            },
            Self::Count(lines) => DatasetError::LabelCount {
                file,
                lines,
                images,
            },
        }
    }
}

/// A label for each sample, `None` where no line gives one.
fn parse(
    text: &str,
    directory: &str,
    scanned: &Scanned,
    classes: &[String],
) -> Result<Vec<Option<u32>>, Mismatch> {
    let samples = &scanned.samples;
    let mut labels = vec![None; samples.len()];
    let known: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let text = text.trim_start_matches('\u{feff}').trim_end();
    let first = text.lines().next().unwrap_or_default().trim();
    let format = match first {
        KAGGLE_HEADER => Format::Kaggle,
        _ if first.contains(is_separator) => Format::Pairs,
        _ => Format::List,
    };

    // Index of the image by the name a line uses; `None` where two images share it.
    let mut images: HashMap<&str, Option<usize>> = HashMap::with_capacity(samples.len());
    for (index, sample) in samples.iter().enumerate() {
        let name = match format {
            Format::Kaggle => sample.path.rsplit_once('.').map_or("", |(stem, _)| stem),
            Format::Pairs | Format::List => &sample.path,
        };
        images
            .entry(name)
            .and_modify(|index| *index = None)
            .or_insert(Some(index));
    }

    let header = usize::from(matches!(format, Format::Kaggle));
    for (index, line) in text.lines().enumerate().skip(header) {
        let failed = |problem| Mismatch::Line(index + 1, problem);
        let malformed = |expected| {
            failed(LabelProblem::Format {
                expected,
                found: line.chars().take(80).collect(),
            })
        };
        let (image, class) = match format {
            Format::Pairs => {
                let (image, class) = line
                    .trim()
                    .rsplit_once(is_separator)
                    .ok_or_else(|| malformed("`file class`"))?;
                (Some(image.trim_end_matches(is_separator)), class)
            }
            Format::List => {
                let class = line.trim();
                if class.is_empty() || class.contains(is_separator) {
                    return Err(malformed("one class"));
                }
                if !known.contains_key(class) && class.parse::<u64>().is_ok() {
                    return Err(failed(LabelProblem::BareNumber(class.into())));
                }
                (None, class)
            }
            Format::Kaggle => {
                let (image, boxes) = line
                    .split_once(',')
                    .ok_or_else(|| malformed("`image,class x y x y`"))?;
                let class = boxes.split_whitespace().next();
                (
                    Some(image.trim()),
                    class.ok_or_else(|| malformed("`image,class x y x y`"))?,
                )
            }
        };
        let label = known
            .get(class)
            .copied()
            .or_else(|| {
                let number: u32 = class.parse().ok()?;
                ((number as usize) < classes.len()).then_some(number)
            })
            .ok_or_else(|| failed(LabelProblem::UnknownClass(class.into())))?;
        let image = match image {
            None => index,
            Some(written) => {
                let name = written.strip_prefix("./").unwrap_or(written);
                let name = name
                    .strip_prefix(directory)
                    .and_then(|rest| rest.strip_prefix('/'))
                    .unwrap_or(name);
                match images.get(name) {
                    Some(Some(image)) => *image,
                    Some(None) => {
                        return Err(failed(LabelProblem::AmbiguousImage(written.into())));
                    }
                    None => return Err(failed(LabelProblem::UnknownImage(written.into()))),
                }
            }
        };
        match labels.get_mut(image) {
            Some(slot @ None) => *slot = Some(label),
            Some(Some(_)) => {
                return Err(failed(LabelProblem::Repeated(
                    samples.get(image).map_or("", |s| &s.path).into(),
                )));
            }
            // More labels than images: counted below.
            None => {}
        }
    }
    let lines = text.lines().count();
    if matches!(format, Format::List) && lines != samples.len() {
        return Err(Mismatch::Count(lines));
    }
    Ok(labels)
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Reads a text file of bounded size.
fn read_text(path: &Path) -> Result<String, DatasetError> {
    let failed = |source| DatasetError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(DatasetError::TooLarge {
            path: path.to_path_buf(),
            bytes: bytes.len() as u64,
            limit: MAX_TEXT_BYTES,
        });
    }
    String::from_utf8(bytes).map_err(|_| DatasetError::NotText {
        path: path.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::dataset::{
        Dataset, OpenOptions,
        tests::{failure, labelled, open, tree, write},
    };
    use super::*;
    use tempfile::TempDir;

    /// Classes n1 and n2, and three flat validation images.
    fn flat_val(label_files: &[(&str, &str)]) -> TempDir {
        let root = tree(&[
            "train/n1/x.jpg",
            "train/n2/y.jpg",
            "val/v1.JPEG",
            "val/v2.JPEG",
            "val/v3.JPEG",
        ]);
        for (name, text) in label_files {
            write(root.path(), name, text.as_bytes());
        }
        root
    }

    const EXPECTED: [(&str, u32); 3] = [("v1.JPEG", 1), ("v2.JPEG", 0), ("v3.JPEG", 1)];

    #[test]
    fn every_format_gives_the_same_labels() {
        for (name, text) in [
            ("val_map.txt", "v1.JPEG n2\nv3.JPEG\tn2\nval/v2.JPEG n1\n\n"),
            ("val.txt", "v1.JPEG 1\nv2.JPEG 0\n./v3.JPEG 1"),
            (
                "val_map.txt",
                "\u{feff}v3.JPEG,1\r\nv2.JPEG, n1\r\nv1.JPEG,n2\r\n",
            ),
            ("synset_labels.txt", "n2\nn1\nn2\n"),
            ("ILSVRC2012_validation_synset_labels.txt", "n2\nn1\nn2"),
            (
                "LOC_val_solution.csv",
                "ImageId,PredictionString\nv2,n1 1 2 3 4 \nv1,n2 1 2 3 4 n2 5 6 7 8 \nv3,n2 0 0 1 1\n",
            ),
        ] {
            let dataset = open(&flat_val(&[(name, text)])).unwrap();
            assert_eq!(labelled(&dataset.val), EXPECTED, "{text}");
            assert!(
                matches!(&dataset.val.labels, LabelSource::LabelFile(file) if file.ends_with(name))
            );
        }
    }

    #[test]
    fn mismatches_name_the_line() {
        let csv = "ImageId,PredictionString\n";
        for (name, text, message) in [
            (
                "val.txt",
                "v1.JPEG 1\nv9.JPEG 0",
                "line 2: there is no image `v9.JPEG`",
            ),
            (
                "val.txt",
                "v1.JPEG 2",
                "line 1: `2` is not a class of the training split",
            ),
            (
                "val.txt",
                "v1.JPEG n3",
                "line 1: `n3` is not a class of the training split",
            ),
            (
                "val.txt",
                "v1.JPEG 1\nv1.JPEG 1",
                "line 2: `v1.JPEG` has been labelled before",
            ),
            (
                "val.txt",
                "v1.JPEG 1\n\nv2.JPEG 1",
                "line 2: expected `file class`, found ``",
            ),
            (
                "val.txt",
                "v3.JPEG 1",
                "val.txt has no label for 2 image(s), the first is v1.JPEG",
            ),
            ("val.txt", "", "val.txt has 0 labels for 3 images"),
            ("val.txt", "n1\nn2", "val.txt has 2 labels for 3 images"),
            (
                "val.txt",
                "n1\nn2\nn1\nn1",
                "val.txt has 4 labels for 3 images",
            ),
            (
                "val.txt",
                "n1\nn2 n1\nn1",
                "line 2: expected one class, found `n2 n1`",
            ),
            (
                "val.txt",
                "490\n361\n171",
                "line 1: `490` is a number, and lists of numbers do not say which class order they count in",
            ),
            (
                "LOC_val_solution.csv",
                &format!("{csv}v1"),
                "line 2: expected `image,class x y x y`, found `v1`",
            ),
            (
                "LOC_val_solution.csv",
                &format!("{csv}v1,"),
                "line 2: expected `image,class x y x y`, found `v1,`",
            ),
        ] {
            let found = failure(&flat_val(&[(name, text)]));
            assert!(found.ends_with(message), "{text:?}: {found}");
        }
        let root = flat_val(&[("LOC_val_solution.csv", &format!("{csv}v1,n1 0 0 1 1"))]);
        write(root.path(), "val/v1.png", b"");
        assert!(failure(&root).ends_with("line 2: `v1` names more than one image"));
        let root = flat_val(&[]);
        write(root.path(), "val.txt", b"\xff\xfe");
        assert_eq!(failure(&root), "ROOT/val.txt is not UTF-8 text");
    }

    #[test]
    fn a_flat_split_needs_exactly_one_label_file() {
        assert!(failure(&flat_val(&[])).starts_with(
            "ROOT/val is flat and has no label file: looked for val_map.txt, val.txt, synset_labels.txt"
        ));
        let root = flat_val(&[
            ("val.txt", "n1\nn1\nn1"),
            ("synset_labels.txt", "n2\nn1\nn2"),
        ]);
        assert_eq!(
            failure(&root),
            "several label files could label ROOT/val: val.txt, synset_labels.txt"
        );
        let options = OpenOptions {
            val_labels: Some(root.path().join("synset_labels.txt")),
        };
        let dataset = Dataset::open(root.path(), &options).unwrap();
        assert_eq!(labelled(&dataset.val), EXPECTED);

        let root = tree(&["train/a/1.jpg", "val/a/1.jpg"]);
        assert!(matches!(
            Dataset::open(root.path(), &options),
            Err(DatasetError::UnusedLabelFile { .. })
        ));
    }

    #[test]
    fn class_lists_name_every_class_once() {
        let root = tree(&[]);
        let file = root.path().join("classes.txt");
        assert_eq!(class_list(&file).unwrap(), None);
        write(root.path(), "classes.txt", b"red fox\tVulpes\n  cat\n\n");
        assert_eq!(class_list(&file).unwrap().unwrap(), ["red fox", "cat"]);
        for (text, message) in [
            ("a\n\nb", "line 2: no class name"),
            ("crane\ncat\ncrane", "line 3: `crane` is named before"),
        ] {
            write(root.path(), "classes.txt", text.as_bytes());
            let error = class_list(&file).unwrap_err().to_string();
            assert!(error.ends_with(message), "{error}");
        }
    }

    #[test]
    fn oversized_text_is_not_read() {
        let root = flat_val(&[]);
        let file = File::create(root.path().join("val.txt")).unwrap();
        file.set_len(MAX_TEXT_BYTES * 4).unwrap();
        assert!(failure(&root).contains("more than the 67108864 accepted"));
    }
}
