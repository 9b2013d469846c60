//! Absolute position tables.

use serde::{Deserialize, Serialize};

use super::{Axis, PositionError, resample, uniform};
use crate::engine::HostTensor;

/// How an absolute position table is brought to another grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsoluteResize {
    /// Cubic convolution with a = -0.5 that widens with the reduction: timm
    /// (`timm/layers/pos_embed.py`, `resample_abs_pos_embed`), DINOv2 with registers
    /// (facebookresearch/dinov2 `dinov2/models/vision_transformer.py`) and transformers'
    /// `Dinov2WithRegisters`.
    BicubicAntialias,
    /// Cubic convolution with a = -0.75: MAE (facebookresearch/mae `util/pos_embed.py`), DeiT, BEiT,
    /// EVA, SimMIM, and transformers (`interpolate_pos_encoding` of ViT, DeiT, CLIP, DINOv2).
    Bicubic,
    /// The same with a scale of (n + 0.1) / M, which also shifts the source coordinates: DINO
    /// (facebookresearch/dino `vision_transformer.py`), iBOT and DINOv2 without registers.
    BicubicOffset,
}

impl AbsoluteResize {
    /// The name used on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::BicubicAntialias => "bicubic_antialias",
            Self::Bicubic => "bicubic",
            Self::BicubicOffset => "bicubic_offset",
        }
    }

    fn axis(self, from: usize, to: usize) -> Axis {
        match self {
            Self::BicubicAntialias => uniform::cubic_antialiased(from, to),
            Self::Bicubic => uniform::cubic(from, to),
            Self::BicubicOffset => uniform::cubic_offset(from, to),
        }
    }
}

/// Brings an absolute position table from one grid of patches to another; rows and columns of
/// either may differ, the originals that are for squares only being continued axis by axis.
///
/// table: `[1, prefix + h w, D]` with `from` = `[h, w]` -> `[1, prefix + h' w', D]` with `to` =
/// `[h', w']`; the `prefix` rows, of tokens without a place, stay. So does everything when the grids
/// are equal. With the offset, an axis that keeps its length changes all the same when the other one
/// does not keep its own.
///
/// # Errors
/// [`PositionError::Shape`] when the table is not of `from`, [`PositionError::Grid`] for a grid
/// without patches.
pub fn resize_absolute(
    table: &HostTensor,
    prefix: usize,
    from: [usize; 2],
    to: [usize; 2],
    method: AbsoluteResize,
) -> Result<HostTensor, PositionError> {
    let wrong = || PositionError::Shape {
        shape: table.shape.clone(),
        grid: from,
        others: prefix,
    };
    let &[1, rows, width] = table.shape.as_slice() else {
        return Err(wrong());
    };
    if rows.checked_sub(prefix) != Some(patches(from)?) || width == 0 {
        return Err(wrong());
    }
    let resized_rows = prefix
        .checked_add(patches(to)?)
        .filter(|rows| rows.checked_mul(width).is_some())
        .ok_or(PositionError::Grid { grid: to })?;
    if from == to {
        return Ok(table.clone());
    }
    let (prefix, places) = table.data.split_at(prefix * width);
    let axes = [0, 1].map(|axis| method.axis(from[axis], to[axis]));
    let mut data = prefix.to_vec();
    data.extend(resample(places, from, width, &axes));
    Ok(HostTensor {
        shape: vec![1, resized_rows, width],
        data,
    })
}

fn patches(grid: [usize; 2]) -> Result<usize, PositionError> {
    grid[0]
        .checked_mul(grid[1])
        .filter(|&patches| patches > 0)
        .ok_or(PositionError::Grid { grid })
}
