//! Bilinear resizing of images, channels last.

use pulp::{Arch, Simd, WithSimd};

use super::output::chunks;

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
        let source = |at: usize| &x[(image + at) * line..][..line];
        Arch::new().dispatch(Line {
            sources: [(source(above.0), above.1), (source(below.0), below.1)],
            between: &mut vec![0.0; line],
            columns,
            channels,
            out,
        });
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
        let reached = &reached_lines[index % height];
        let sources = reached.iter().map(|&(from, weight)| {
            let from = (image + from) * dy_line;
            (&dy[from..][..dy_line], weight)
        });
        Arch::new().dispatch(LineGradient {
            sources,
            sum: &mut vec![0.0; dy_line],
            columns: &reached_columns,
            channels,
            dx,
        });
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

/// A line of the output.
struct Line<'a> {
    /// The lines of x that it lies between, with their weights.
    sources: [(&'a [f32], f32); 2],
    /// Their sum, of the length of theirs.
    between: &'a mut [f32],
    columns: &'a [Taps],
    channels: usize,
    out: &'a mut [f32],
}

impl WithSimd for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        mix(simd, self.sources, self.between);
        let channels = self.channels;
        let out = self.out.chunks_exact_mut(channels);
        for (out, taps) in out.zip(self.columns) {
            let source =
                |(place, w): (usize, f32)| (&self.between[place * channels..][..channels], w);
            mix(simd, taps.map(source), out);
        }
    }
}

/// A line of the gradient.
struct LineGradient<'a, I> {
    /// The lines of dy that it has a part in, with its weights.
    sources: I,
    /// Their sum; zeros to begin with.
    sum: &'a mut [f32],
    columns: &'a [Vec<(usize, f32)>],
    channels: usize,
    /// Zeros to begin with.
    dx: &'a mut [f32],
}

impl<'a, I: Iterator<Item = (&'a [f32], f32)>> WithSimd for LineGradient<'_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for source in self.sources {
            add(simd, source, self.sum);
        }
        let channels = self.channels;
        let dx = self.dx.chunks_exact_mut(channels);
        for (dx, reached) in dx.zip(self.columns) {
            for &(from, weight) in reached {
                let source = &self.sum[from * channels..][..channels];
                add(simd, (source, weight), dx);
            }
        }
    }
}

/// `out = a x + b y`.
#[inline(always)]
fn mix<S: Simd>(simd: S, [(x, a), (y, b)]: [(&[f32], f32); 2], out: &mut [f32]) {
    let [a, b] = [a, b].map(|weight| simd.splat_f32s(weight));
    let [(x, x_tail), (y, y_tail)] = [x, y].map(|x| S::as_simd_f32s(x));
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, (x, y)) in out.iter_mut().zip(x.iter().zip(y)) {
        *out = simd.mul_add_e_f32s(*y, b, simd.mul_f32s(*x, a));
    }
    if !out_tail.is_empty() {
        let [x, y] = [x_tail, y_tail].map(|tail| simd.partial_load_f32s(tail));
        let last = simd.mul_add_e_f32s(y, b, simd.mul_f32s(x, a));
        simd.partial_store_f32s(out_tail, last);
    }
}

/// `out += weight x`.
#[inline(always)]
fn add<S: Simd>(simd: S, (x, weight): (&[f32], f32), out: &mut [f32]) {
    let weight = simd.splat_f32s(weight);
    let (x, x_tail) = S::as_simd_f32s(x);
    let (out, out_tail) = S::as_mut_simd_f32s(out);
    for (out, x) in out.iter_mut().zip(x) {
        *out = simd.mul_add_e_f32s(*x, weight, *out);
    }
    if !out_tail.is_empty() {
        let [x, last] = [x_tail, &*out_tail].map(|tail| simd.partial_load_f32s(tail));
        simd.partial_store_f32s(out_tail, simd.mul_add_e_f32s(x, weight, last));
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
        let (x, y, mut out) = (noise(21, 1), noise(21, 2), [0.0; 21]);
        mix(Scalar, [(&x, 0.25), (&y, 2.0)], &mut out);
        add(Scalar, (&x, 3.0), &mut out);
        let sources = x.iter().zip(&y);
        let sums = sources.map(|(&x, &y)| 3.25 * f64::from(x) + 2.0 * f64::from(y));
        assert_close(&out, &sums.collect::<Vec<_>>(), 3e-7);
    }
}
