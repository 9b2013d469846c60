//! Rotary positions of queries and keys.

use std::f64::consts::TAU;
use std::fmt;

use half::bf16;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Result};

/// Which angle turns which pair of numbers. Only patch tokens are turned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Rope {
    /// DINOv3 (`dinov3/layers/rope_position_encoding.py`): coordinates in [-1, 1] whatever the
    /// grid, number `i` of a head is paired with `i + head_dim / 2`.
    Normalised {
        /// The periods are `base^(4 i / head_dim)`; where there is no base they are a tensor of
        /// the model's, `rope_embed.periods` `[head_dim / 4]`.
        base: Option<f64>,
        /// Whether every step, queries and keys included, is rounded to bfloat16, as that code
        /// does where it stores the periods so.
        bf16: bool,
    },
    /// EVA-02 (`EVA-02/asuka/rope.py`, `VisionRotaryEmbeddingFast`): positions scaled to the grid
    /// of pre-training, neighbours `2 i` and `2 i + 1` are paired, frequencies
    /// `10000^(-4 i / head_dim)`.
    Axial {
        /// Rows and columns of the grid that positions are scaled to.
        reference: [usize; 2],
    },
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normalised { base, bf16 } => {
                f.write_str("normalised, ")?;
                match base {
                    Some(base) => write!(f, "base {base}")?,
                    None => f.write_str("stored periods")?,
                }
                f.write_str(if *bf16 { ", in bfloat16" } else { "" })
            }
            Self::Axial {
                reference: [rows, columns],
            } => write!(f, "axial, scaled to {rows} x {columns}"),
        }
    }
}

/// Base of EVA-02's frequencies.
pub const AXIAL_BASE: f64 = 10_000.0;

/// Cosine and sine of every number of every token, and the number each is paired with.
#[derive(Clone, Debug)]
pub(super) struct Rotation<E: Engine> {
    /// `[N, 2 D]`: queries, then keys.
    cos: E::Tensor,
    /// `[N, 2 D]`, with the sign of the partner.
    sin: E::Tensor,
    partner: Vec<u32>,
    bf16: bool,
}

impl<E: Engine> Rotation<E> {
    /// For `prefix` tokens that are not turned and a grid of patches that are.
    ///
    /// periods: `[head_dim / 4]`, only read under [`Rope::Normalised`] without a base.
    pub(super) fn new(
        engine: &E,
        rope: Rope,
        periods: &[f32],
        (prefix, grid): (usize, [usize; 2]),
        (heads, head_dim): (usize, usize),
    ) -> Result<Self> {
        let (angles, bf16) = match rope {
            Rope::Normalised { base, bf16 } => {
                let periods = match base {
                    Some(base) => powers(base, head_dim / 4),
                    None => periods.iter().map(|&period| period.into()).collect(),
                };
                (normalised_angles(&periods, grid, bf16), bf16)
            }
            Rope::Axial { reference } => (axial_angles(grid, reference, head_dim / 4), false),
        };
        let pair = |i: usize| match rope {
            Rope::Normalised { .. } => (i + head_dim / 2) % head_dim,
            Rope::Axial { .. } => i ^ 1,
        };
        // What the first of a pair takes from the second it takes with the sign turned.
        let sign = |i: usize| if i < pair(i) { -1.0 } else { 1.0 };
        let copies = 2 * heads;
        let mut cos = vec![1.0; prefix * copies * head_dim];
        let mut sin = vec![0.0; prefix * copies * head_dim];
        for angles in angles.chunks_exact(head_dim) {
            for _ in 0..copies {
                cos.extend(angles.iter().map(|angle| rounded(angle.cos(), bf16)));
                let angles = angles.iter().enumerate();
                sin.extend(angles.map(|(i, angle)| sign(i) * rounded(angle.sin(), bf16)));
            }
        }
        let shape = [prefix + grid[0] * grid[1], copies * head_dim];
        let partner = (0..copies * head_dim)
            .map(|at| (at - at % head_dim + pair(at % head_dim)) as u32)
            .collect();
        Ok(Self {
            cos: engine.tensor(&cos[..], &shape)?,
            sin: engine.tensor(&sin[..], &shape)?,
            partner,
            bf16,
        })
    }

    /// Turns the queries and keys of packed projections: `[B, N, 3 D]` -> `[B, N, 3 D]`.
    pub(super) fn apply(&self, engine: &E, qkv: &E::Tensor) -> Result<E::Tensor> {
        let width = self.partner.len();
        let values = engine.narrow(qkv, 2, width, width / 2)?;
        let round = |x: E::Tensor| {
            if self.bf16 {
                engine.round_to_bf16(&x)
            } else {
                Ok(x)
            }
        };
        let x = round(engine.narrow(qkv, 2, 0, width)?)?;
        let kept = round(engine.mul(&x, &self.cos)?)?;
        let partner = engine.index_select(&x, 2, &self.partner)?;
        let turned = round(engine.mul(&partner, &self.sin)?)?;
        let x = round(engine.add(&kept, &turned)?)?;
        engine.cat(&[&x, &values], 2)
    }
}

/// `x`, through bfloat16 where that is asked for.
fn rounded(x: f64, bf16: bool) -> f64 {
    if bf16 { bf16::from_f64(x).to_f64() } else { x }
}

/// `base^(i / count)` for every `i` below `count`.
fn powers(base: f64, count: usize) -> Vec<f64> {
    let exponent = |i| i as f64 / count as f64;
    (0..count).map(|i| base.powf(exponent(i))).collect()
}

/// DINOv3's angle of every number of every patch: `[h w, 4 P]`, rows, columns, and both again.
fn normalised_angles(periods: &[f64], grid: [usize; 2], bf16: bool) -> Vec<f64> {
    let round = |x| rounded(x, bf16);
    let along = |at: usize, side: usize| {
        let place = round((at as f64 + 0.5) / side as f64);
        let turn = round(TAU * round(2.0 * place - 1.0));
        periods.iter().map(move |period| round(turn / period))
    };
    let mut angles = Vec::with_capacity(grid[0] * grid[1] * 4 * periods.len());
    for y in 0..grid[0] {
        for x in 0..grid[1] {
            for _ in 0..2 {
                angles.extend(along(y, grid[0]).chain(along(x, grid[1])));
            }
        }
    }
    angles
}

/// EVA-02's angle of every number of every patch: `[h w, 4 P]`, rows, then columns, in pairs.
fn axial_angles(grid: [usize; 2], reference: [usize; 2], count: usize) -> Vec<f64> {
    let periods = powers(AXIAL_BASE, count);
    let along = |at: usize, axis: usize| {
        let position = at as f64 / grid[axis] as f64 * reference[axis] as f64;
        let angles = periods.iter().map(move |period| position / period);
        angles.flat_map(|angle| [angle, angle])
    };
    let mut angles = Vec::with_capacity(grid[0] * grid[1] * 4 * count);
    for y in 0..grid[0] {
        for x in 0..grid[1] {
            angles.extend(along(y, 0).chain(along(x, 1)));
        }
    }
    angles
}
