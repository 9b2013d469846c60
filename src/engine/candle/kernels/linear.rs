//! The affine layer.

use super::elementwise::column_sums;
use super::gemm::{Matrix, MatrixMut, Output, Threads, multiply, multiply_into};
use super::output;

/// Elements of an output that one thread starts with its bias at a time.
const CHUNK: usize = 1 << 13;

/// Rows a multiple of this many elements apart, 4 KB, begin on the same lines of a first-level
/// cache, which then holds a few of them only: products of a weight with such rows ran at 85 % of
/// the others' speed.
const ALIAS: usize = 1024;

/// Elements between rows that are moved apart: a cache line.
const GAP: usize = 16;

/// Rows of x from which on moving a weight's rows apart pays.
const ROWS: usize = 128;

/// `x Wᵀ + b`: x `[N, I]`, weight `[O, I]`, bias `[O]` -> `[N, O]`
///
/// A row of y does not depend on how many rows stand beside it, to the bit.
pub fn linear(x: &[f32], weight: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let (rows, outputs) = (x.len() / inputs.max(1), weight.len() / inputs.max(1));
    let least = least_rows(inputs, outputs);
    if rows < least && rows > 0 {
        let mut filled = x.to_vec();
        filled.resize(least * inputs, 0.0);
        let mut y = product(&filled, weight, bias, inputs);
        y.truncate(rows * outputs);
        return y;
    }
    product(x, weight, bias, inputs)
}

/// Rows from which on the sums behind an element are always formed in the same order. Below, the
/// gemm crate has kernels of their own for up to 256 elements of output and for single rows, and,
/// where rows and columns are at most 64, cuts an inner dimension of more than 512 into other
/// blocks (gemm-common 0.19, `gemm.rs` and `cache.rs`).
fn least_rows(inputs: usize, outputs: usize) -> usize {
    let least = (256 / outputs.max(1) + 1).max(2);
    if outputs <= 64 && inputs > 512 {
        least.max(65)
    } else {
        least
    }
}

/// `x Wᵀ + b` of at least [`least_rows`].
fn product(x: &[f32], weight: &[f32], bias: Option<&[f32]>, inputs: usize) -> Vec<f32> {
    let lhs = Matrix::new(x, inputs);
    let aliased = inputs.is_multiple_of(ALIAS) && lhs.rows() >= ROWS;
    let apart = aliased.then(|| apart(weight, inputs));
    let rhs = Matrix::new(weight, inputs);
    let rhs = match &apart {
        None => rhs,
        Some(apart) => Matrix::strided(apart, [rhs.rows(), inputs], inputs + GAP),
    }
    .transposed();
    let Some(bias) = bias else {
        return multiply(lhs, rhs);
    };
    // Adding the product to the bias costs no pass over memory of its own.
    let outputs = bias.len();
    let chunk = (CHUNK / outputs.max(1)).max(1) * outputs;
    let mut y = output::chunks(lhs.rows() * outputs, chunk.max(1), |_, y| {
        for y in y.chunks_exact_mut(outputs) {
            y.copy_from_slice(bias);
        }
    });
    let into = MatrixMut::new(&mut y, outputs);
    multiply_into(into, lhs, rhs, 1.0, Output::Accumulate, Threads::All);
    y
}

/// The rows of a weight `[O, I]`, [`GAP`] elements apart: `[O, I + GAP]`.
fn apart(weight: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = weight.len() / inputs.max(1);
    output::chunks(outputs * (inputs + GAP), inputs + GAP, |row, out| {
        out[..inputs].copy_from_slice(&weight[row * inputs..][..inputs]);
    })
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};

    /// `x Wᵀ + b` in f64.
    pub fn plain(x: &[f64], weight: &[f64], bias: &[f64], inputs: usize) -> Vec<f64> {
        let output = |x: &[f64], (weight, bias): (&[f64], &f64)| -> f64 {
            bias + x.iter().zip(weight).map(|(x, w)| x * w).sum::<f64>()
        };
        x.chunks_exact(inputs)
            .flat_map(|x| {
                weight
                    .chunks_exact(inputs)
                    .zip(bias)
                    .map(move |w| output(x, w))
            })
            .collect()
    }

    /// Gradients of [`plain`] with respect to x, weight and bias.
    pub fn plain_gradient(x: &[f64], weight: &[f64], dy: &[f64], inputs: usize) -> [Vec<f64>; 3] {
        let outputs = weight.len() / inputs;
        let mut gradients = [
            vec![0.0; x.len()],
            vec![0.0; weight.len()],
            vec![0.0; outputs],
        ];
        for (row, dy) in dy.chunks_exact(outputs).enumerate() {
            for (o, dy) in dy.iter().enumerate() {
                for i in 0..inputs {
                    gradients[0][row * inputs + i] += dy * weight[o * inputs + i];
                    gradients[1][o * inputs + i] += dy * x[row * inputs + i];
                }
                gradients[2][o] += dy;
            }
        }
        gradients
    }

    pub fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().map(|&x| x.into()).collect()
    }

    #[test]
    fn values_and_gradients_agree_with_f64_on_any_number_of_threads() {
        // The last has rows that are moved apart.
        for (rows, inputs, outputs) in [
            (1, 1, 1),
            (5, 3, 7),
            (130, 70, 33),
            (300, 48, 144),
            (ROWS, ALIAS, 9),
        ] {
            let x = noise(rows * inputs, 1);
            let (weight, bias) = (noise(outputs * inputs, 2), noise(outputs, 3));
            let dy = noise(rows * outputs, 4);
            let [x64, w64, b64, dy64] = [&x, &weight, &bias, &dy].map(|x| wide(x));
            let y = on_threads(|| linear(&x, &weight, Some(&bias), inputs));
            assert_close(&y, &plain(&x64, &w64, &b64, inputs), 1e-6);
            let y = on_threads(|| linear(&x, &weight, None, inputs));
            assert_close(&y, &plain(&x64, &w64, &vec![0.0; outputs], inputs), 1e-6);
            let gradients =
                on_threads(|| linear_gradient(&x, &weight, &dy, [inputs, outputs], [true; 3]));
            let expected = plain_gradient(&x64, &w64, &dy64, inputs);
            for (found, expected) in gradients.iter().zip(&expected) {
                assert_close(found.as_ref().unwrap(), expected, 1e-6);
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_those_beside_it() {
        // Inner dimensions in one block and in several, outputs few and many.
        for (inputs, outputs) in [
            (1, 3),
            (2, 7),
            (48, 64),
            (64, 1),
            (64, 192),
            (300, 5),
            (768, 40),
            (768, 64),
            (1300, 65),
            (1300, 256),
        ] {
            let rows = least_rows(inputs, outputs) + 40;
            let x = noise(rows * inputs, 1);
            let (weight, bias) = (noise(outputs * inputs, 2), noise(outputs, 3));
            for bias in [None, Some(&bias[..])] {
                let all = linear(&x, &weight, bias, inputs);
                for few in 1..rows {
                    let found = linear(&x[..few * inputs], &weight, bias, inputs);
                    let same = found == all[..few * outputs];
                    assert!(same, "{few} of {rows} rows, {inputs} x {outputs}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_needed_is_computed() {
        let x = noise(6, 1);
        for needs in [
            [true, false, false],
            [false, true, false],
            [false, false, true],
        ] {
            let found = linear_gradient(&x, &x, &x[..4], [3, 2], needs);
            assert_eq!(found.map(|gradient| gradient.is_some()), needs);
        }
    }
}
