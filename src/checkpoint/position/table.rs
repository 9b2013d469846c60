//! Relative position tables.

use serde::{Deserialize, Serialize};

use super::{Axis, PositionError, geometric, resample, uniform};
use crate::engine::HostTensor;

/// Rows of a table that belong to pairs with the class token; they come last.
const CLASS_ROWS: usize = 3;

/// How a relative position table is brought to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableResize {
    /// Linear between geometrically growing distances: timm (`timm/layers/pos_embed_rel.py`,
    /// `resize_rel_pos_bias_table`).
    GeometricLinear,
    /// The cubic spline through geometrically growing distances: BEiT (microsoft/unilm
    /// `beit/run_class_finetuning.py`), BEiT v2, SimMIM, EVA.
    GeometricCubic,
    /// Linear between uniform distances: transformers (`BeitRelativePositionBias`).
    Bilinear,
    /// Cubic convolution over uniform distances with a = -0.75: segmentation code over mmcv
    /// (implus/mae_segmentation).
    Bicubic,
}

impl TableResize {
    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::GeometricLinear => "geometric_linear",
            Self::GeometricCubic => "geometric_cubic",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        }
    }

    /// The axis of distances in rows of `from` and of `to` patches.
    fn axis(self, from: usize, to: usize) -> Option<Axis> {
        let [old, new] = [from, to].map(|patches| 2 * patches - 1);
        match self {
            Self::GeometricLinear => Some(geometric::linear(from, to)),
            Self::GeometricCubic => geometric::cubic(from, to),
            Self::Bilinear => Some(uniform::linear(old, new)),
            Self::Bicubic => Some(uniform::cubic(old, new)),
        }
    }
}

/// Brings a relative position table from one grid of patches to another; rows and columns of either
/// may differ, the originals that are for squares only being continued axis by axis.
///
/// table: `[(2 h - 1)(2 w - 1) + 3, H]` with `from` = `[h, w]` -> `[(2 h' - 1)(2 w' - 1) + 3, H]`
/// with `to` = `[h', w']`; the last three rows, of pairs with the class token, stay. So does
/// everything when the grids are equal. The geometric methods move distances along both axes even
/// when one keeps its length, as timm does.
///
/// # Errors
/// [`PositionError::Shape`] when the table is not of `from`, [`PositionError::Grid`] for a grid
/// without patches, and [`PositionError::TooFewPoints`] when the spline has fewer than three rows or
/// columns of patches.
pub fn resize_table(
    table: &HostTensor,
    from: [usize; 2],
    to: [usize; 2],
    method: TableResize,
) -> Result<HostTensor, PositionError> {
    let wrong = || PositionError::Shape {
        shape: table.shape.clone(),
        grid: from,
        others: CLASS_ROWS,
    };
    let &[rows, heads] = table.shape.as_slice() else {
        return Err(wrong());
    };
    let size = distances(from)?;
    let places = size[0] * size[1];
    if rows.checked_sub(CLASS_ROWS) != Some(places) || heads == 0 {
        return Err(wrong());
    }
    let resized = distances(to)?;
    let resized_rows = (resized[0] * resized[1])
        .checked_add(CLASS_ROWS)
        .filter(|rows| rows.checked_mul(heads).is_some())
        .ok_or(PositionError::Grid { grid: to })?;
    if from == to {
        return Ok(table.clone());
    }
    let few = || PositionError::TooFewPoints { grid: from };
    let axis = |axis: usize| method.axis(from[axis], to[axis]).ok_or_else(few);
    let (places, class) = table.data.split_at(places * heads);
    let mut data = resample(places, size, heads, &[axis(0)?, axis(1)?]);
    data.extend(class);
    Ok(HostTensor {
        shape: vec![resized_rows, heads],
        data,
    })
}

/// Numbers of vertical and horizontal distances between patches; their product fits.
fn distances(grid: [usize; 2]) -> Result<[usize; 2], PositionError> {
    let along = |patches: usize| patches.checked_mul(2)?.checked_sub(1);
    along(grid[0])
        .zip(along(grid[1]))
        .filter(|(rows, columns)| rows.checked_mul(*columns).is_some())
        .map(Into::into)
        .ok_or(PositionError::Grid { grid })
}
