//! What happened to every single image, for paired tests between checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::RecordError;
use crate::metric::{Confusion, PixelPair};
use crate::store::{Elements, NamedTensor, StoreError, TensorFile, read_tensors};

/// Predictions for one feature and one k.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOutcomes {
    /// Name in the file, as in `block 11 cls norm/k20`.
    pub name: String,
    /// Predicted class of each image.
    pub top1: Vec<u32>,
    /// Whether the true class is among the first five, in DINO's sense.
    pub top5: Vec<bool>,
}

/// Numbers that belong to each image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageValues {
    /// Name in the file, as in `block 3/nmi`.
    pub name: String,
    /// Numbers an image: heads.
    pub width: usize,
    /// `[n, width]`, row-major.
    pub values: Vec<f32>,
}

/// The pixels of every image by true and predicted class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageConfusions {
    /// Name in the file: the head, as in `upernet`.
    pub name: String,
    /// Of each image.
    pub images: Vec<Confusion>,
}

/// The images of a record's validation split and what became of each.
///
/// The file beside the record has these tensors:
///
/// | name | shape | |
/// |---|---|---|
/// | `paths` | `[bytes]` u8 | each path ended by a NUL, which no path holds |
/// | `contents` | `[n, 16]` u8 | |
/// | `labels` | `[n]` u32 | |
/// | `<prediction>/top1` | `[n]` u32 | |
/// | `<prediction>/top5` | `[n]` u8 | 0 or 1 |
/// | `<values>` | `[n, width]` f32 | |
/// | `<confusions>/pairs` | `[n]` u32 | how many rows of the next each image has, in order |
/// | `<confusions>/confusion` | `[rows, 3]` u32 | true class, predicted class, pixels |
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// Paths, as the dataset lists them.
    pub paths: Vec<String>,
    /// First half of the blake3 of each image's bytes.
    pub contents: Vec<[u8; 16]>,
    /// True classes; 0 where it is the pixels that have classes.
    pub labels: Vec<u32>,
    /// One entry a feature and k.
    pub predictions: Vec<ImageOutcomes>,
    /// One entry a layer and statistic.
    pub values: Vec<ImageValues>,
    /// One entry a head that segments.
    pub confusions: Vec<ImageConfusions>,
}

impl Outcomes {
    /// The file beside the record of `key`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results
            .join("records")
            .join(format!("{key}.outcomes.safetensors"))
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, results: &Path, key: &str) -> Result<(), StoreError> {
        let n = self.labels.len();
        let names = self.paths.iter().flat_map(|path| [path, "\0"]);
        let names = names.collect::<String>().into_bytes();
        let tensor = |name: &str, shape: &[usize], elements| NamedTensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            elements,
        };
        let mut tensors = vec![
            tensor(
                "contents",
                &[n, 16],
                Elements::U8(self.contents.concat().into()),
            ),
            tensor("labels", &[n], Elements::U32((&self.labels).into())),
            tensor("paths", &[names.len()], Elements::U8(names.into())),
        ];
        for ImageOutcomes { name, top1, top5 } in &self.predictions {
            let top5: Vec<u8> = top5.iter().map(|&hit| hit.into()).collect();
            tensors.push(tensor(
                &format!("{name}/top1"),
                &[n],
                Elements::U32(top1.into()),
            ));
            tensors.push(tensor(
                &format!("{name}/top5"),
                &[n],
                Elements::U8(top5.into()),
            ));
        }
        for ImageValues {
            name,
            width,
            values,
        } in &self.values
        {
            tensors.push(tensor(name, &[n, *width], Elements::F32(values.into())));
        }
        for ImageConfusions { name, images } in &self.confusions {
            let pairs = || images.iter().flat_map(Confusion::pairs);
            let rows = pairs().flat_map(|pair| [pair.label, pair.prediction, pair.pixels]);
            // An image has fewer pairs than pixels, and a pair counts those in u32.
            let lengths = images.iter().map(|image| image.pairs().len() as u32);
            tensors.push(tensor(
                &format!("{name}/pairs"),
                &[images.len()],
                Elements::U32(lengths.collect()),
            ));
            tensors.push(tensor(
                &format!("{name}/confusion"),
                &[pairs().count(), 3],
                Elements::U32(rows.collect()),
            ));
        }
        TensorFile::create(&Self::path(results, key))?.write(&tensors, &BTreeMap::new())
    }

    /// What lies beside the record of `key`; entries in the order of their names.
    ///
    /// # Errors
    /// A file that cannot be read, or whose tensors are not those that [`Outcomes::write`] writes.
    pub fn read(results: &Path, key: &str) -> Result<Self, RecordError> {
        let path = Self::path(results, key);
        let wrong = |reason: String| RecordError::Outcomes {
            path: path.clone(),
            reason,
        };
        let mut tensors = read_tensors(&path).map_err(|error| RecordError::beside(key, error))?;
        let mut take = |name: &str| {
            let missing = || wrong(format!("has no {name}"));
            tensors.remove(name).ok_or_else(missing)
        };
        let labels = match take("labels")?.elements {
            Elements::U32(labels) => labels.into_owned(),
            _ => return Err(wrong("has labels that are no classes".to_owned())),
        };
        let n = labels.len();
        let paths = match take("paths")?.elements {
            Elements::U8(bytes) => String::from_utf8(bytes.into_owned())
                .map_err(|error| wrong(format!("has paths that are no text: {error}")))?,
            _ => return Err(wrong("has paths that are no text".to_owned())),
        };
        let paths: Vec<String> = paths.split_terminator('\0').map(str::to_owned).collect();
        let contents = match take("contents")?.elements {
            Elements::U8(bytes) => bytes.as_chunks().0.to_vec(),
            _ => return Err(wrong("has contents that are no hashes".to_owned())),
        };
        let mut outcomes = Self {
            paths,
            contents,
            labels,
            predictions: Vec::new(),
            values: Vec::new(),
            confusions: Vec::new(),
        };
        let mut hits = BTreeMap::new();
        let mut rows = BTreeMap::new();
        for (name, tensor) in tensors {
            // Of one name they come before the pairs that say whose they are.
            if let (Some((of, "confusion")), [_, 3], Elements::U32(found)) =
                (name.rsplit_once('/'), &tensor.shape[..], &tensor.elements)
            {
                rows.insert(of.to_owned(), found.as_chunks().0.to_vec());
                continue;
            }
            if tensor.shape.first() != Some(&n) {
                return Err(wrong(format!("has {name}, which is not of {n} images")));
            }
            match (name.rsplit_once('/'), tensor.elements) {
                (Some((of, "top5")), Elements::U8(top5)) => {
                    hits.insert(of.to_owned(), top5.iter().map(|&hit| hit != 0).collect());
                }
                (Some((of, "top1")), Elements::U32(top1)) => {
                    outcomes.predictions.push(ImageOutcomes {
                        name: of.to_owned(),
                        top1: top1.into_owned(),
                        top5: Vec::new(),
                    });
                }
                (Some((of, "pairs")), Elements::U32(lengths)) => {
                    let images = rows
                        .remove(of)
                        .and_then(|rows| confusions(&lengths, &rows))
                        .ok_or_else(|| wrong(format!("has {name} without pairs of classes")))?;
                    let name = of.to_owned();
                    outcomes.confusions.push(ImageConfusions { name, images });
                }
                (_, Elements::F32(values)) => outcomes.values.push(ImageValues {
                    name,
                    width: tensor.shape[1..].iter().product(),
                    values: values.into_owned(),
                }),
                _ => return Err(wrong(format!("has {name}, which is not known"))),
            }
        }
        for prediction in &mut outcomes.predictions {
            prediction.top5 = hits
                .remove(&prediction.name)
                .ok_or_else(|| wrong(format!("has no {}/top5", prediction.name)))?;
        }
        if let Some((name, _)) = rows.pop_first() {
            return Err(wrong(format!("has no {name}/pairs")));
        }
        if outcomes.paths.len() != n || outcomes.contents.len() != n {
            return Err(wrong(format!(
                "has {n} labels, {} paths and {} contents",
                outcomes.paths.len(),
                outcomes.contents.len()
            )));
        }
        Ok(outcomes)
    }
}

/// lengths: rows of each image; rows: `[_, 3]`. None where they are not of each other, or what no
/// image is counted as.
fn confusions(lengths: &[u32], rows: &[[u32; 3]]) -> Option<Vec<Confusion>> {
    let mut rest = rows;
    let mut images = Vec::new();
    for &length in lengths {
        let (own, others) = rest.split_at_checked(length as usize)?;
        rest = others;
        let pair = |&[label, prediction, pixels]: &[u32; 3]| PixelPair {
            label,
            prediction,
            pixels,
        };
        images.push(Confusion::from_pairs(own.iter().map(pair).collect())?);
    }
    rest.is_empty().then_some(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Outcomes {
        Outcomes {
            paths: ["dog/1.png", "dog\n/2\n.png", "\n", "cat/ \u{e9}\r\t.png"]
                .map(str::to_owned)
                .to_vec(),
            contents: (0..4).map(|image| [image; 16]).collect(),
            labels: vec![0, 1, 2, 1],
            predictions: vec![ImageOutcomes {
                name: "block 1 cls norm/k20".to_owned(),
                top1: vec![0, 1, 1, 1],
                top5: vec![true, true, false, true],
            }],
            values: vec![ImageValues {
                name: "block 1/nmi".to_owned(),
                width: 2,
                values: (0..8u8).map(f32::from).collect(),
            }],
            confusions: vec![ImageConfusions {
                name: "upernet".to_owned(),
                images: [
                    &[[0, 0, 7], [0, 2, 1], [2, 2, u32::MAX]][..],
                    &[],
                    &[[1, 0, 3]],
                    &[],
                ]
                .map(of_rows)
                .to_vec(),
            }],
        }
    }

    fn of_rows(rows: &[[u32; 3]]) -> Confusion {
        confusions(&[rows.len() as u32], rows).unwrap().remove(0)
    }

    #[test]
    fn pairs_that_no_image_is_counted_as_are_refused() {
        let results = tempfile::tempdir().unwrap();
        let said = |lengths: &[u32], rows: &[u32]| {
            let mut tensors = vec![NamedTensor {
                name: "upernet/confusion".to_owned(),
                shape: vec![rows.len() / 3, 3],
                elements: Elements::U32(rows.into()),
            }];
            tensors.push(NamedTensor {
                name: "upernet/pairs".to_owned(),
                shape: vec![lengths.len()],
                elements: Elements::U32(lengths.into()),
            });
            for (name, bytes) in [("contents", vec![0; 32]), ("paths", b"a\0b\0".to_vec())] {
                tensors.push(NamedTensor {
                    name: name.to_owned(),
                    shape: vec![bytes.len()],
                    elements: Elements::U8(bytes.into()),
                });
            }
            tensors.push(NamedTensor {
                name: "labels".to_owned(),
                shape: vec![2],
                elements: Elements::U32(vec![0; 2].into()),
            });
            let path = Outcomes::path(results.path(), "0a");
            let file = TensorFile::create(&path).unwrap();
            file.write(&tensors, &BTreeMap::new()).unwrap();
            Outcomes::read(results.path(), "0a").map_err(|error| error.to_string())
        };
        assert!(said(&[1, 0], &[0, 1, 5]).is_ok());
        for (lengths, rows) in [
            (&[1, 1][..], &[0, 1, 5][..]),
            (&[0, 0], &[0, 1, 5]),
            (&[2, 0], &[0, 1, 5, 0, 1, 5]),
            (&[1, 0], &[0, 1, 0]),
        ] {
            let error = said(lengths, rows).unwrap_err();
            assert!(error.contains("upernet/pairs without pairs"), "{error}");
        }
        let error = said(&[1], &[0, 1, 5]).unwrap_err();
        assert!(error.contains("not of 2 images"), "{error}");
    }

    #[test]
    fn whatever_a_path_is_it_survives_the_disk() {
        let results = tempfile::tempdir().unwrap();
        sample().write(results.path(), "0a").unwrap();
        assert_eq!(Outcomes::read(results.path(), "0a").unwrap(), sample());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_once() {
        let results = tempfile::tempdir().unwrap();
        let said = || {
            let error = Outcomes::read(results.path(), "0a").unwrap_err();
            let (text, hint) = (error.to_string(), error.hint().unwrap());
            assert_eq!(text.matches("0a.outcomes.safetensors").count(), 1, "{text}");
            (text, hint)
        };
        let (text, hint) = said();
        assert!(text.ends_with("outcomes.safetensors is missing"), "{text}");
        assert!(
            hint.contains("run the command of record 0a again"),
            "{hint}"
        );

        sample().write(results.path(), "0a").unwrap();
        let path = Outcomes::path(results.path(), "0a");
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 7, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (text, hint) = said();
            assert!(text.contains("is damaged"), "{text}");
            assert!(hint.contains("move the file away"), "{hint}");
        }
        let mut short = sample();
        short.paths.pop();
        short.write(results.path(), "0a").unwrap();
        let (text, _) = said();
        assert!(text.contains("has 4 labels, 3 paths"), "{text}");
    }
}
