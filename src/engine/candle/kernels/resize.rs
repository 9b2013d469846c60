//! Bilinear resizing of images, channels last.

use pulp::{Arch, Simd, WithSimd};

use super::output::chunks;
use super::vector::filled;

/// The two places of an axis that one of the other size lies between, with their weights.
pub type Taps = [(usize, f32); 2];

/// x: `[B, H, W, C]`, taps of the lines and of the columns, all in the order of the output
/// -> `[B, h, w, C]`
pub fn resize(
    x: &[f32],
    [height, width, channels]: [usize; 3],
    [lines, columns]: [&[Taps]; 2],
) -> Vec<f32> {
    let images = x.len() / (height * width * channels);
    let (line, out_line) = (width * channels, columns.len() * channels);
    chunks(images * lines.len() * out_line, out_line, |index, out| {
        let image = index / lines.len() * height;
        let [above, below] = lines[index % lines.len()];
        let source = |line_index| &x[(image + line_index) * line..][..line];
        let sources = [source(above.0), source(below.0)];
        for (out, columns) in out.chunks_exact_mut(channels).zip(columns) {
            let part = |line: usize, column: usize| {
                let weight = [above.1, below.1][line] * columns[column].1;
                (
                    &sources[line][columns[column].0 * channels..][..channels],
                    weight,
                )
            };
            Arch::new().dispatch(Sum {
                parts: [part(0, 0), part(0, 1), part(1, 0), part(1, 1)],
                out,
            });
        }
    })
}

/// The gradient of [`resize`] with respect to x.
///
/// dy: `[B, h, w, C]` -> `[B, H, W, C]`
pub fn resize_gradient(
    dy: &[f32],
    [height, width, channels]: [usize; 3],
    [lines, columns]: [&[Taps]; 2],
) -> Vec<f32> {
    let (line, dy_line) = (width * channels, columns.len() * channels);
    let images = dy.len() / (lines.len() * dy_line);
    let [reached_lines, reached_columns] = [(lines, height), (columns, width)].map(reached);
    chunks(images * height * line, line, |index, dx| {
        let image = index / height * lines.len();
        let mut sum = vec![0.0; dy_line];
        for &(from, weight) in &reached_lines[index % height] {
            let x = &dy[(image + from) * dy_line..][..dy_line];
            Arch::new().dispatch(Add {
                x,
                weight,
                out: &mut sum,
            });
        }
        for (dx, reached) in dx.chunks_exact_mut(channels).zip(&reached_columns) {
            for &(from, weight) in reached {
                let x = &sum[from * channels..][..channels];
                Arch::new().dispatch(Add { x, weight, out: dx });
            }
        }
    })
}

/// For each of `count` places the taps that read it, in their order.
fn reached((taps, count): (&[Taps], usize)) -> Vec<Vec<(usize, f32)>> {
    let mut reached = vec![Vec::new(); count];
    for (to, taps) in taps.iter().enumerate() {
        for &(from, weight) in taps {
            reached[from].push((to, weight));
        }
    }
    reached
}

/// The weighted sum of four vectors.
struct Sum<'a> {
    parts: [(&'a [f32], f32); 4],
    out: &'a mut [f32],
}

impl WithSimd for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let split = self.parts.map(|(x, _)| S::as_simd_f32s(x));
        let weights = self.parts.map(|(_, weight)| simd.splat_f32s(weight));
        let [(a, a_tail), (b, b_tail), (c, c_tail), (d, d_tail)] = split;
        let sum = |[a, b, c, d]: [S::f32s; 4]| {
            let above = simd.mul_add_e_f32s(b, weights[1], simd.mul_f32s(a, weights[0]));
            let below = simd.mul_add_e_f32s(d, weights[3], simd.mul_f32s(c, weights[2]));
            simd.add_f32s(above, below)
        };
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        let sources = a.iter().zip(b).zip(c.iter().zip(d));
        for (out, ((a, b), (c, d))) in out.iter_mut().zip(sources) {
            *out = sum([*a, *b, *c, *d]);
        }
        let last = [a_tail, b_tail, c_tail, d_tail].map(|tail| filled(simd, tail, 0.0));
        simd.partial_store_f32s(out_tail, sum(last));
    }
}

/// `out += weight x`.
struct Add<'a> {
    x: &'a [f32],
    weight: f32,
    out: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let weight = simd.splat_f32s(self.weight);
        let (x, x_tail) = S::as_simd_f32s(self.x);
        let (out, out_tail) = S::as_mut_simd_f32s(self.out);
        for (out, x) in out.iter_mut().zip(x) {
            *out = simd.mul_add_e_f32s(*x, weight, *out);
        }
        let last = filled(simd, out_tail, 0.0);
        let last = simd.mul_add_e_f32s(filled(simd, x_tail, 0.0), weight, last);
        simd.partial_store_f32s(out_tail, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};
    use pulp::Scalar;

    /// Taps in thirds, of `from` places by `to`.
    fn taps(from: usize, to: usize) -> Vec<Taps> {
        let place = |i: usize| (i * 2 + 1) % from;
        (0..to)
            .map(|i| [(place(i), 0.25 + i as f32), ((place(i) + 1) % from, 0.75)])
            .collect()
    }

    #[test]
    fn any_size_agrees_with_f64_on_any_number_of_threads() {
        for (sizes, to, channels) in [
            ([1, 1], [1, 1], 1),
            ([1, 1], [5, 3], 3),
            ([4, 7], [2, 3], 16),
            ([3, 5], [9, 11], 33),
            ([16, 16], [40, 33], 20),
        ] {
            let [height, width] = sizes;
            let taps = [taps(height, to[0]), taps(width, to[1])];
            let taps = [&taps[0][..], &taps[1][..]];
            let x = noise(2 * height * width * channels, 1);
            let dy = noise(2 * to[0] * to[1] * channels, 2);
            let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
            for at in 0..dy.len() {
                let (pixel, channel) = (at / channels, at % channels);
                let (line, column) = (pixel / to[1], pixel % to[1]);
                for (down, by_line) in taps[0][line % to[0]] {
                    for (right, by_column) in taps[1][column] {
                        let image = line / to[0] * height;
                        let from = ((image + down) * width + right) * channels + channel;
                        let weight = f64::from(by_line) * f64::from(by_column);
                        y[at] += weight * f64::from(x[from]);
                        dx[from] += weight * f64::from(dy[at]);
                    }
                }
            }
            let shape = [height, width, channels];
            assert_close(&on_threads(|| resize(&x, shape, taps)), &y, 3e-7);
            let found = on_threads(|| resize_gradient(&dy, shape, taps));
            assert_close(&found, &dx, 1e-6);
        }
    }

    #[test]
    fn the_portable_path_agrees() {
        let (x, mut out) = (noise(4 * 21, 1), [0.0; 21]);
        let parts: Vec<&[f32]> = x.chunks_exact(21).collect();
        let parts = [0, 1, 2, 3].map(|i| (parts[i], i as f32));
        Sum {
            parts,
            out: &mut out,
        }
        .with_simd(Scalar);
        let (x, weight) = parts[0];
        let x = (x, weight + 0.5);
        Add {
            x: x.0,
            weight: x.1,
            out: &mut out,
        }
        .with_simd(Scalar);
        let sum = |at: usize| {
            let parts = parts.iter().map(|(x, w)| f64::from(x[at]) * f64::from(*w));
            parts.sum::<f64>() + 0.5 * f64::from(x.0[at])
        };
        let want: Vec<f64> = (0..21).map(sum).collect();
        assert_close(&out, &want, 3e-7);
    }
}
