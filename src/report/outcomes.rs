//! What happened to every single image, for paired tests between checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::RecordError;
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

/// The images of a record's validation split and what became of each.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// Paths, as the dataset lists them.
    pub paths: Vec<String>,
    /// First half of the blake3 of each image's bytes.
    pub contents: Vec<[u8; 16]>,
    /// True classes.
    pub labels: Vec<u32>,
    /// One entry a feature and k.
    pub predictions: Vec<ImageOutcomes>,
    /// One entry a layer and statistic.
    pub values: Vec<ImageValues>,
}

impl Outcomes {
    /// The file beside the record of `key`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results
            .join("records")
            .join(format!("{key}.outcomes.safetensors"))
    }

    /// Writes `paths` (bytes, each path ended by a NUL, which no path holds), `contents` `[n, 16]`,
    /// `labels` `[n]`, and for each prediction `<name>/top1` `[n]` and `<name>/top5` `[n]`, and the values `<name>` `[n, width]`.
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
        };
        let mut hits = BTreeMap::new();
        for (name, tensor) in tensors {
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
        }
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
