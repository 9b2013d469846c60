//! The largest of every 2 x 2 pixels, channels last.

use rayon::slice::ParallelSliceMut;

use super::output::{chunks, chunks_beside};

/// A pooling and what its gradient needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled {
    /// `[B, ⌊H/2⌋, ⌊W/2⌋, C]`.
    pub y: Vec<f32>,
    /// Which of its four pixels each is, line by line.
    pub places: Vec<u8>,
}

/// x: `[B, H, W, C]`, sizes: H, W, C, of which H and W are at least 2. NaN is the largest, and of
/// equal ones the first.
pub fn max_pool(x: &[f32], [height, width, channels]: [usize; 3]) -> Pooled {
    let (rows, columns) = (height / 2, width / 2);
    let images = x.len() / (height * width * channels);
    let (line, out_line) = (width * channels, columns * channels);
    let mut places = vec![0; images * rows * out_line];
    let beside = places.par_chunks_exact_mut(out_line);
    let y = chunks_beside(
        images * rows * out_line,
        out_line,
        beside,
        |i, y, places| {
            let above = &x[(i / rows * height + i % rows * 2) * line..];
            let below = &above[line..];
            let places = places.chunks_exact_mut(channels);
            for (column, (y, places)) in y.chunks_exact_mut(channels).zip(places).enumerate() {
                let from = 2 * column * channels;
                let pair = |line: &'_ [f32]| line[from..][..2 * channels].to_vec();
                let (above, below) = (pair(above), pair(below));
                y.copy_from_slice(&above[..channels]);
                let others = [&above[channels..], &below[..channels], &below[channels..]];
                for (other, place) in others.into_iter().zip(1..) {
                    for ((y, chosen), &x) in y.iter_mut().zip(&mut *places).zip(other) {
                        if x > *y || (x.is_nan() && !y.is_nan()) {
                            (*y, *chosen) = (x, place);
                        }
                    }
                }
            }
        },
    );
    Pooled { y, places }
}

/// The gradient of [`max_pool`] with respect to x, whose sizes these are.
///
/// dy, places: `[B, ⌊H/2⌋, ⌊W/2⌋, C]` -> `[B, H, W, C]`
pub fn max_pool_gradient(
    dy: &[f32],
    places: &[u8],
    [height, width, channels]: [usize; 3],
) -> Vec<f32> {
    let (rows, out_line) = (height / 2, width / 2 * channels);
    let images = dy.len() / (rows * out_line);
    chunks(
        images * height * width * channels,
        width * channels,
        |line, dx| {
            let (image, down) = (line / height, line % height);
            if down / 2 >= rows {
                return;
            }
            let from = (image * rows + down / 2) * out_line;
            let taken = dy[from..][..out_line].chunks_exact(channels);
            let places = places[from..][..out_line].chunks_exact(channels);
            let pairs = dx.chunks_exact_mut(2 * channels);
            for (dx, (dy, places)) in pairs.zip(taken.zip(places)) {
                for (dx, right) in dx.chunks_exact_mut(channels).zip(0u8..) {
                    let place = (down % 2) as u8 * 2 + right;
                    for ((dx, dy), &chosen) in dx.iter_mut().zip(dy).zip(places) {
                        *dx = if chosen == place { *dy } else { 0.0 };
                    }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{noise, on_threads};

    #[test]
    fn every_size_on_any_number_of_threads() {
        for (batch, height, width, channels) in
            [(1, 2, 2, 1), (2, 5, 4, 3), (3, 7, 9, 17), (2, 40, 33, 20)]
        {
            let (rows, columns) = (height / 2, width / 2);
            let x = noise(batch * height * width * channels, 1);
            let dy = noise(batch * rows * columns * channels, 2);
            let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
            for (at, dy) in dy.iter().enumerate() {
                let (pixel, channel) = (at / channels, at % channels);
                let (line, column) = (pixel / columns, pixel % columns);
                let above = line / rows * height + line % rows * 2;
                let tap = |place: usize| {
                    let pixel = (above + place / 2) * width + 2 * column + place % 2;
                    pixel * channels + channel
                };
                let best = (0..4)
                    .map(tap)
                    .max_by(|a, b| x[*a].total_cmp(&x[*b]))
                    .unwrap();
                y.push(x[best]);
                dx[best] = *dy;
            }
            let sizes = [height, width, channels];
            let found = on_threads(|| max_pool(&x, sizes));
            assert_eq!(found.y, y);
            let found = on_threads(|| max_pool_gradient(&dy, &found.places, sizes));
            assert_eq!(found, dx);
        }
    }

    #[test]
    fn the_first_of_equal_ones_and_of_those_that_are_no_number() {
        let nan = f32::NAN;
        for (x, place) in [
            ([1.0; 4], 0),
            ([0.0, 1.0, 1.0, 1.0], 1),
            ([2.0, nan, 3.0, nan], 1),
            ([nan, 1.0, 2.0, 3.0], 0),
            ([f32::NEG_INFINITY; 4], 0),
        ] {
            let found = max_pool(&x, [2, 2, 1]);
            assert_eq!(found.places, [place]);
            assert_eq!(found.y[0].to_bits(), x[usize::from(place)].to_bits());
        }
    }
}
