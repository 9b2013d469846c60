//! Resizing of images as two matrix products, exact and differentiable.

use crate::engine::{Engine, EngineError, Result};

/// The coefficient of PyTorch's cubic convolution (Keys 1981; `aten/src/ATen/native/UpSample.h`).
const CUBIC: f64 = -0.75;

/// Brings images to another size: PyTorch's `interpolate(mode="bicubic", align_corners=False)`,
/// which does not widen its kernel where it reduces.
#[derive(Clone, Debug)]
pub struct Resize<E: Engine> {
    from: [usize; 2],
    to: [usize; 2],
    /// `[h', h]`
    rows: E::Tensor,
    /// `[w, w']`
    columns: E::Tensor,
}

impl<E: Engine> Resize<E> {
    /// From and to height and width, pixels.
    pub fn bicubic(engine: &E, from: [usize; 2], to: [usize; 2]) -> Result<Self> {
        let rows = cubic_matrix(from[0], to[0]);
        let columns = cubic_matrix(from[1], to[1]);
        let columns = engine.tensor(&columns[..], &[to[1], from[1]])?;
        Ok(Self {
            from,
            to,
            rows: engine.tensor(&rows[..], &[to[0], from[0]])?,
            columns: engine.permute(&columns, &[1, 0])?,
        })
    }

    /// images: `[B, C, h, w]` -> `[B, C, h', w']`
    pub fn forward(&self, engine: &E, images: &E::Tensor) -> Result<E::Tensor> {
        let shape = engine.shape(images);
        let [batch, channels, height, width] = shape[..] else {
            return Err(unfit(&shape));
        };
        if [height, width] != self.from {
            return Err(unfit(&shape));
        }
        let [to_height, to_width] = self.to;
        let lines = engine.reshape(images, &[batch * channels * height, width])?;
        let lines = engine.matmul(&lines, &self.columns)?;
        let planes = engine.reshape(&lines, &[batch * channels, height, to_width])?;
        let rows = engine.expand(
            &engine.reshape(&self.rows, &[1, to_height, height])?,
            &[batch * channels, to_height, height],
        )?;
        let resized = engine.matmul(&rows, &planes)?;
        engine.reshape(&resized, &[batch, channels, to_height, to_width])
    }
}

fn unfit(shape: &[usize]) -> EngineError {
    EngineError {
        op: "resize",
        message: format!("images of shape {shape:?}"),
    }
}

/// Weights of `from` pixels in each of `to`: `[to, from]`. Pixels beyond an edge are that of the
/// edge.
fn cubic_matrix(from: usize, to: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; to * from];
    let scale = from as f64 / to as f64;
    for (target, weights) in matrix.chunks_exact_mut(from).enumerate() {
        let centre = (target as f64 + 0.5) * scale - 0.5;
        let first = centre.floor();
        for tap in -1..=2 {
            let source = first + f64::from(tap);
            let place = source.clamp(0.0, (from - 1) as f64) as usize;
            weights[place] += cubic(centre - source);
        }
    }
    matrix
}

/// The kernel at a distance.
fn cubic(distance: f64) -> f64 {
    let (a, x) = (CUBIC, distance.abs());
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
