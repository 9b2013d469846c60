//! The affine layer.

use super::elementwise::column_sums;
use super::gemm::{Matrix, MatrixMut, Output, Threads, multiply, multiply_into};
use super::output;

/// Elements of an output that one thread starts with its bias at a time.
const CHUNK: usize = 1 << 13;

/// `x Wᵀ + b`: x `[N, I]`, weight `[O, I]`, bias `[O]` -> `[N, O]`
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let lhs = Matrix::new(x, inputs);
    let rhs = Matrix::new(weight, inputs).transposed();
    let Some(bias) = bias else {
        return multiply(lhs, rhs);
    };
    // Adding the product to the bias costs no pass over memory of its own.
    let outputs = bias.len();
    let rows = x.len() / inputs.max(1);
    let chunk = (CHUNK / outputs.max(1)).max(1) * outputs;
    let mut y = output::chunks(rows * outputs, chunk.max(1), |_, y| {
        for y in y.chunks_exact_mut(outputs) {
            y.copy_from_slice(bias);
        }
    });
    let into = MatrixMut::new(&mut y, outputs);
    multiply_into(into, lhs, rhs, 1.0, Output::Accumulate, Threads::All);
    y
}

/// Gradients of [`linear`] with respect to x, weight and bias, those that are needed.
///
/// dy: `[N, O]`
pub fn linear_gradient(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    [inputs, outputs]: [usize; 2],
    needs: [bool; 3],
) -> [Option<Vec<f32>>; 3] {
    let dy_rows = Matrix::new(dy, outputs);
    [
        needs[0].then(|| multiply(dy_rows, Matrix::new(weight, inputs))),
        needs[1].then(|| multiply(dy_rows.transposed(), Matrix::new(x, inputs))),
        needs[2].then(|| column_sums(dy, outputs)),
    ]
}
