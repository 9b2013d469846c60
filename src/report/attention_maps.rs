//! Attention maps of a few images, beside the record that they belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::picture::{Map, Picture, PictureError};
use crate::store::{Elements, NamedTensor, StoreError, TensorFile};

/// Raised when the meaning of anything in the file changes.
const SCHEMA: u32 = 1;

/// One attention map a head, on the grid of patches.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadMaps {
    shape: [usize; 3],
    values: Vec<f32>,
}

impl HeadMaps {
    /// shape: heads, rows, columns; values: `[heads, rows, columns]`.
    ///
    /// # Errors
    /// `Maps` when there are none, or another number of values.
    pub fn new(shape: [usize; 3], values: Vec<f32>) -> Result<Self, PictureError> {
        let [heads, rows, columns] = shape;
        let wanted = rows
            .checked_mul(columns)
            .and_then(|patches| patches.checked_mul(heads));
        if values.is_empty() || wanted != Some(values.len()) {
            return Err(PictureError::Maps {
                values: values.len(),
                heads,
                rows,
                columns,
            });
        }
        Ok(Self { shape, values })
    }

    /// Heads, rows, columns.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.shape[0]
    }

    /// `[heads, rows, columns]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The map of `head`, which is below [`HeadMaps::heads`].
    ///
    /// # Errors
    /// `NotFinite`.
    pub fn head(&self, head: usize) -> Result<Map<'_>, PictureError> {
        let [_, rows, columns] = self.shape;
        let patches = rows * columns;
        Map::new(
            rows,
            columns,
            &self.values[head * patches..(head + 1) * patches],
        )
    }
}

/// What one patch attends to.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMaps {
    /// Row of the patch in the grid, from 0.
    pub row: usize,
    /// Column of the patch in the grid, from 0.
    pub column: usize,
    /// Its attention to the patches.
    pub maps: HeadMaps,
}

/// The attention maps of one image in one block.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMaps {
    /// The image's path, as the dataset lists it.
    pub path: String,
    /// What the model saw, before it was normalised.
    pub image: Picture,
    /// The block, from 0.
    pub layer: usize,
    /// The class token's attention to the patches, where the model has one.
    pub class: Option<HeadMaps>,
    /// Chosen patches.
    pub queries: Vec<QueryMaps>,
}

/// What the file's metadata says of an image.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    layer: usize,
    class: bool,
    /// Row and column of each query.
    queries: Vec<[usize; 2]>,
}

impl AttentionMaps {
    /// The file beside the record of `key`.
    pub fn path(results: &Path, key: &str) -> PathBuf {
        results
            .join("records")
            .join(format!("{key}.maps.safetensors"))
    }

    /// Writes the maps of several images: for image i `i/image` `[height, width, 3]`, `i/class`
    /// `[heads, rows, columns]` where there is a class token, `i/query/j` `[heads, rows, columns]`
    /// for each query, and paths, blocks and patches as JSON in the metadata.
    pub fn write_all(images: &[Self], results: &Path, key: &str) -> Result<(), StoreError> {
        let mut tensors = Vec::new();
        let mut entries = Vec::new();
        for (at, image) in images.iter().enumerate() {
            let picture = &image.image;
            tensors.push(NamedTensor {
                name: format!("{at}/image"),
                shape: vec![picture.height(), picture.width(), 3],
                elements: Elements::U8(picture.rgb().into()),
            });
            let mut maps = |name: String, maps: &HeadMaps| {
                tensors.push(NamedTensor {
                    name,
                    shape: maps.shape.to_vec(),
                    elements: Elements::F32(maps.values.clone().into()),
                });
            };
            if let Some(class) = &image.class {
                maps(format!("{at}/class"), class);
            }
            for (index, query) in image.queries.iter().enumerate() {
                maps(format!("{at}/query/{index}"), &query.maps);
            }
            entries.push(Entry {
                path: image.path.clone(),
                layer: image.layer,
                class: image.class.is_some(),
                queries: image.queries.iter().map(|q| [q.row, q.column]).collect(),
            });
        }
        let path = Self::path(results, key);
        let entries = serde_json::to_string(&entries).map_err(|error| StoreError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        let metadata = [("schema", SCHEMA.to_string()), ("images", entries)]
            .map(|(name, value)| (name.to_owned(), value));
        TensorFile::create(&path)?.write(&tensors, &BTreeMap::from(metadata))
    }

    /// Reads the maps beside the record of `key`, in the order they were written in.
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Damaged` when it is not what [`AttentionMaps::write_all`]
    /// writes; both name it.
    pub fn read_all(results: &Path, key: &str) -> Result<Vec<Self>, StoreError> {
        let path = Self::path(results, key);
        let bytes = std::fs::read(&path).map_err(|source| StoreError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        parse(&bytes).map_err(|reason| StoreError::Damaged { path, reason })
    }
}

/// What the bytes of a file say, or what is wrong with them.
fn parse(bytes: &[u8]) -> Result<Vec<AttentionMaps>, String> {
    let said = |error: safetensors::SafeTensorError| error.to_string();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(said)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(said)?;
    let metadata = header.metadata().as_ref();
    let field = |name: &str| {
        let value = metadata.and_then(|metadata| metadata.get(name));
        value.ok_or_else(|| format!("its metadata has no field {name}"))
    };
    let schema = field("schema")?;
    if *schema != SCHEMA.to_string() {
        return Err(format!(
            "it has schema {}, and this version reads schema {SCHEMA}",
            schema.escape_debug()
        ));
    }
    let entries: Vec<Entry> = serde_json::from_str(field("images")?)
        .map_err(|error| format!("the field images of its metadata: {error}"))?;
    let mut images = Vec::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let maps = |name: String| head_maps(&tensors, &name);
        let class = entry
            .class
            .then(|| maps(format!("{at}/class")))
            .transpose()?;
        let mut queries = Vec::new();
        for (index, [row, column]) in entry.queries.into_iter().enumerate() {
            let maps = maps(format!("{at}/query/{index}"))?;
            queries.push(QueryMaps { row, column, maps });
        }
        images.push(AttentionMaps {
            path: entry.path,
            image: picture(&tensors, &format!("{at}/image"))?,
            layer: entry.layer,
            class,
            queries,
        });
    }
    Ok(images)
}

/// Shape and bytes of a tensor of three dimensions.
fn tensor<'a>(
    tensors: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
) -> Result<([usize; 3], &'a [u8]), String> {
    let view = tensors
        .tensor(name)
        .map_err(|_| format!("it has no tensor {name}"))?;
    match <[usize; 3]>::try_from(view.shape()) {
        Ok(shape) if view.dtype() == dtype => Ok((shape, view.data())),
        _ => Err(format!(
            "its tensor {name} is {:?} {:?}, not {dtype:?} of 3 dimensions",
            view.dtype(),
            view.shape()
        )),
    }
}

fn picture(tensors: &SafeTensors<'_>, name: &str) -> Result<Picture, String> {
    let ([height, width, channels], bytes) = tensor(tensors, name, Dtype::U8)?;
    if channels != 3 {
        return Err(format!("its tensor {name} has {channels} channels, not 3"));
    }
    Picture::new(width, height, bytes.to_vec())
        .map_err(|error| format!("its tensor {name}: {error}"))
}

fn head_maps(tensors: &SafeTensors<'_>, name: &str) -> Result<HeadMaps, String> {
    let (shape, bytes) = tensor(tensors, name, Dtype::F32)?;
    let values = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b));
    HeadMaps::new(shape, values.collect()).map_err(|error| format!("its tensor {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_maps(shape: [usize; 3]) -> HeadMaps {
        let values = (0..shape.iter().product()).map(|i: usize| (i as f32).sin());
        HeadMaps::new(shape, values.collect()).unwrap()
    }

    fn sample() -> Vec<AttentionMaps> {
        let image = |width: usize, height: usize| {
            let bytes = (0..width * height * 3).map(|i| (i % 256) as u8);
            Picture::new(width, height, bytes.collect()).unwrap()
        };
        vec![
            AttentionMaps {
                path: "val/dog/\"1\"\n.jpg".to_owned(),
                image: image(32, 16),
                layer: 11,
                class: Some(head_maps([3, 2, 4])),
                queries: vec![QueryMaps {
                    row: 1,
                    column: 3,
                    maps: head_maps([3, 2, 4]),
                }],
            },
            AttentionMaps {
                path: "val/cat/2.jpg".to_owned(),
                image: image(5, 7),
                layer: 0,
                class: None,
                queries: vec![],
            },
        ]
    }

    #[test]
    fn maps_survive_the_disk() {
        let results = tempfile::tempdir().unwrap();
        AttentionMaps::write_all(&sample(), results.path(), "0a").unwrap();
        assert!(results.path().join("records/0a.maps.safetensors").is_file());
        let read = AttentionMaps::read_all(results.path(), "0a").unwrap();
        assert_eq!(read, sample());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let results = tempfile::tempdir().unwrap();
        let error = AttentionMaps::read_all(results.path(), "0a").unwrap_err();
        assert!(matches!(&error, StoreError::Io { action: "read", .. }));
        assert!(error.to_string().contains("0a.maps.safetensors"));

        AttentionMaps::write_all(&sample(), results.path(), "0a").unwrap();
        let path = AttentionMaps::path(results.path(), "0a");
        let whole = std::fs::read(&path).unwrap();
        let damaged = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let at = whole.windows(from.len()).position(|w| w == from.as_bytes());
            let at = at.unwrap();
            let mut bytes = whole.clone();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            std::fs::write(&path, bytes).unwrap();
            let error = AttentionMaps::read_all(results.path(), "0a").unwrap_err();
            assert!(matches!(error, StoreError::Damaged { .. }) && error.hint().is_some());
            let text = error.to_string();
            assert!(text.contains("0a.maps.safetensors"), "{text}");
            text
        };
        let schema = damaged("\"schema\":\"1\"", "\"schema\":\"7\"");
        assert!(schema.contains("schema 7"), "{schema}");
        let query = damaged("0/query/0", "0/query/9");
        assert!(query.contains("no tensor 0/query/0"), "{query}");
        let entry = damaged("\\\"layer\\\"", "\\\"liner\\\"");
        assert!(entry.contains("liner"), "{entry}");
        let shape = damaged("\"shape\":[7,5,3]", "\"shape\":[7,3,5]");
        assert!(shape.contains("5 channels"), "{shape}");

        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(AttentionMaps::read_all(results.path(), "0a").is_err());
    }

    #[test]
    fn maps_have_the_values_of_their_shape() {
        assert!(HeadMaps::new([2, 3, 4], vec![0.0; 23]).is_err());
        assert!(HeadMaps::new([0, 3, 4], vec![]).is_err());
        assert!(HeadMaps::new([usize::MAX, 3, 4], vec![0.0; 24]).is_err());
        let maps = head_maps([3, 2, 4]);
        assert_eq!(
            maps.head(2).unwrap(),
            Map::new(2, 4, &maps.values()[16..]).unwrap()
        );
    }
}
