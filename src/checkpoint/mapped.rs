//! A file's tensors as a model's, made one by one when they are asked for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::dialect::PositionResize;
use super::position::{resize_absolute, resize_table};
use super::rule::{Part, Recipe};
use super::source::TensorSource;
use crate::engine::HostTensor;
use crate::nn::{TensorStore, WeightError};
use crate::vit::table_rows;

/// Position tables on their way to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Regrid {
    /// Rows of the absolute table before the patches'.
    pub prefix: usize,
    pub from: [usize; 2],
    pub to: [usize; 2],
    pub method: PositionResize,
}

/// A checkpoint's tensors under canonical names, read from the file as they are taken.
#[derive(Debug)]
pub struct MappedWeights<'a> {
    source: &'a TensorSource,
    parts: BTreeMap<String, Part>,
    regrid: Option<Regrid>,
}

impl<'a> MappedWeights<'a> {
    pub(super) fn new(
        source: &'a TensorSource,
        parts: BTreeMap<String, Part>,
        regrid: Option<Regrid>,
    ) -> Self {
        Self {
            source,
            parts,
            regrid,
        }
    }

    fn read(&self, key: &str) -> Result<HostTensor, String> {
        match self.source.tensor(key) {
            Some(tensor) => tensor.map_err(|error| error.to_string()),
            None => Err(format!("{key} is not in the file any more")),
        }
    }

    fn make(&self, part: &Part) -> Result<HostTensor, String> {
        let Part { shape, recipe } = part.clone();
        let data = match recipe {
            Recipe::Same(key) | Recipe::Reshape(key) => self.read(&key)?.data,
            Recipe::Transpose(key) => {
                let tensor = self.read(&key)?;
                let columns = tensor.shape[1];
                (0..columns)
                    .flat_map(|column| tensor.data[column..].iter().step_by(columns))
                    .copied()
                    .collect()
            }
            Recipe::Stack(keys) => {
                let mut data = Vec::with_capacity(shape.iter().product());
                for key in keys {
                    data.extend(self.read(&key)?.data);
                }
                data
            }
            Recipe::ZeroFilled(keys) => {
                let mut data = Vec::with_capacity(shape[0]);
                for key in keys {
                    match key {
                        Some(key) => data.extend(self.read(&key)?.data),
                        None => data.resize(data.len() + shape[0] / 3, 0.0),
                    }
                }
                data
            }
            Recipe::Masked(bias, mask) => {
                let (bias, mask) = (self.read(&bias)?.data, self.read(&mask)?.data);
                let third = shape[0] / 3;
                let keys = third..2 * third;
                let masked = bias.iter().zip(mask).enumerate();
                let kept = |(at, (bias, mask)): (usize, (&f32, f32))| match mask {
                    mask if mask.is_nan() && keys.contains(&at) => 0.0,
                    mask if mask.is_nan() => *bias,
                    // A bias that is masked out may be anything.
                    0.0 => 0.0,
                    mask => bias * mask,
                };
                masked.map(kept).collect()
            }
            Recipe::Rows(key, rows) => {
                let tensor = self.read(&key)?;
                let row: usize = shape[1..].iter().product();
                tensor.data[rows.start * row..rows.end * row].to_vec()
            }
        };
        Ok(HostTensor { shape, data })
    }
}

/// Whether a tensor is a table of relative positions.
fn is_positions(name: &str) -> bool {
    matches!(name, "pos_embed" | "decoder.pos_embed")
}

fn is_table(name: &str) -> bool {
    name.ends_with("relative_position_bias_table")
}

impl MappedWeights<'_> {
    /// Canonical names that have not been taken, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.keys().map(String::as_str)
    }

    fn part(&self, name: &str) -> Result<&Part, WeightError> {
        self.parts.get(name).ok_or_else(|| WeightError::Missing {
            name: name.to_owned(),
        })
    }

    /// The dimensions that [`MappedWeights::tensor`] gives the tensor `name`.
    pub(super) fn shape(&self, name: &str) -> Result<Vec<usize>, WeightError> {
        let mut shape = self.part(name)?.shape.clone();
        if let Some(Regrid { prefix, to, .. }) = self.regrid {
            if is_positions(name) {
                shape[1] = prefix + to[0] * to[1];
            } else if is_table(name) {
                shape[0] = table_rows(to);
            }
        }
        Ok(shape)
    }

    /// The tensor `name`, which stays.
    pub(super) fn tensor(&self, name: &str) -> Result<HostTensor, WeightError> {
        let part = self.part(name)?;
        let unreadable = |reason| WeightError::Unreadable {
            name: name.to_owned(),
            reason,
        };
        let tensor = self.make(part).map_err(unreadable)?;
        let Some(regrid) = self.regrid else {
            return Ok(tensor);
        };
        let Regrid {
            prefix,
            from,
            to,
            method,
        } = regrid;
        if is_positions(name) {
            resize_absolute(&tensor, prefix, from, to, method.absolute())
        } else if is_table(name) {
            resize_table(&tensor, from, to, method.table())
        } else {
            return Ok(tensor);
        }
        .map_err(|error| unreadable(error.to_string()))
    }
}

impl TensorStore for MappedWeights<'_> {
    fn take(&mut self, name: &str) -> Result<HostTensor, WeightError> {
        let tensor = self.tensor(name)?;
        self.parts.remove(name);
        Ok(tensor)
    }

    fn left(&self) -> Vec<String> {
        self.parts.keys().cloned().collect()
    }
}
