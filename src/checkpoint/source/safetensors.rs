//! The safetensors format: the header is read within bounds, its own crate rejects overlaps.

use std::fmt;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::bounds::LONGEST;
use super::mapped::Mapped;
use super::members::{Member, Members};
use super::printable::printable;
use super::view::MAX_RANK;
use super::{CheckpointError, Contents, Entry, Float};

/// Characters of an error that quotes the header.
const SAID: usize = 400;

/// What the header has under a name.
#[derive(Deserialize)]
struct Described {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

impl Member<'_> for Described {
    fn rank(&self) -> usize {
        self.shape.0.len()
    }
}

/// Dimensions, no more than a tensor can have.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Axes;

        impl<'de> Visitor<'de> for Axes {
            type Value = Shape;

            fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
                text.write_str("a list of dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut axes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(axis) = axes.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::custom(format_args!(
                            "a tensor has more than {MAX_RANK} axes"
                        )));
                    }
                    shape.push(axis);
                }
                Ok(Shape(shape))
            }
        }

        deserializer.deserialize_seq(Axes)
    }
}

pub(super) fn read(file: &Mapped) -> Result<Contents, CheckpointError> {
    let damaged = |reason| CheckpointError::Damaged {
        path: file.path().to_owned(),
        reason,
    };
    let excessive = |what| CheckpointError::Excessive {
        path: file.path().to_owned(),
        what,
    };
    let Some(length) = file.head()?.first_chunk::<8>().copied() else {
        return Err(damaged("it ends inside its header's length".to_owned()));
    };
    let length = u64::from_le_bytes(length);
    let data = match usize::try_from(length).ok().and_then(|n| n.checked_add(8)) {
        Some(data) if data <= file.len() => data,
        _ => {
            return Err(damaged(format!(
                "the header claims {length} bytes and the file has {}",
                file.len()
            )));
        }
    };
    if data - 8 > LONGEST {
        return Err(excessive("bytes in its header"));
    }
    let header = file.bytes_at(8..data)?;
    let Members(members) =
        serde_json::from_slice::<Members<Described>>(&header).map_err(|error| {
            damaged(format!(
                "its header: {}",
                printable(&error.to_string(), SAID)
            ))
        })?;
    let mut tensors: Vec<_> = members
        .map_err(excessive)?
        .into_iter()
        .map(|(name, described)| {
            let info = TensorInfo {
                dtype: described.dtype,
                shape: described.shape.0,
                data_offsets: described.data_offsets,
            };
            (name, info)
        })
        .collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let metadata = Metadata::new(None, tensors.clone())
        .map_err(|error| damaged(printable(&error.to_string(), SAID)))?;
    if metadata.data_len() != file.len() - data {
        return Err(damaged(format!(
            "its tensors have {} bytes and {} follow the header",
            metadata.data_len(),
            file.len() - data
        )));
    }
    let entries = tensors.into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            float: match info.dtype {
                Dtype::F64 => Some(Float::F64),
                Dtype::F32 => Some(Float::F32),
                Dtype::F16 => Some(Float::F16),
                Dtype::BF16 => Some(Float::Bf16),
                _ => None,
            },
            dtype: format!("{:?}", info.dtype),
            shape: info.shape,
            file: 0,
            range: data + start..data + end,
            strides: None,
        };
        (name, entry)
    });
    Ok(Contents {
        entries: entries.collect(),
        others: Vec::new(),
    })
}
