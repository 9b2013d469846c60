//! Convolution by 3 x 3 pixels over a border of zeros, channels last.
//!
//! No window is written out. In a copy with a border every pixel's channels are a row, and the next
//! line lies a fixed number of rows on: a line of the kernel is then one product whose rows, three
//! neighbours long, overlap, and the whole convolution is three. The border is shared: a line has
//! one column of zeros, which ends it and begins the next, and an image one line of them. What
//! is computed at those columns is left out. Outputs need the copy of a few lines at a time, which
//! stays in the cache; the weight's gradient sums over all pixels, and copies all.

use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};

use super::gemm::{Matrix, MatrixMut, Output, Threads, multiply_into};
use super::output;

/// Rows of a product that one thread computes at a time, about. A tile is lines of one image, so that
/// neither threads nor the images beside it change a bit.
const ROWS: usize = 1024;

/// Channels whose weights are moved together.
const BLOCK: usize = 16;

/// Images of one size.
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// Their number.
    pub batch: usize,
    /// Lines of each.
    pub height: usize,
    /// Pixels of a line.
    pub width: usize,
}

impl Images {
    /// Rows from a line to the next in a bordered copy.
    fn line(self) -> usize {
        self.width + 1
    }

    /// Lines from an image to the next in a bordered copy.
    fn lines(self) -> usize {
        self.height + 1
    }

    fn pixels(self) -> usize {
        self.batch * self.height * self.width
    }
}

/// x: `[B, H, W, I]`, weight: `[O, I, 3, 3]`, channels: I and O -> `[B, H, W, O]`
pub fn convolution(
    x: &[f32],
    weight: &[f32],
    images: Images,
    [inputs, outputs]: [usize; 2],
) -> Vec<f32> {
    let kernel = kernel(weight, [inputs, outputs], Direction::Forward);
    slide(x, &kernel, images, [inputs, outputs])
}

/// Gradients of [`convolution`] with respect to x and weight, those that are needed.
///
/// dy: `[B, H, W, O]`
pub fn convolution_gradient(
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    images: Images,
    [inputs, outputs]: [usize; 2],
    needs: [bool; 2],
) -> [Option<Vec<f32>>; 2] {
    let dx = needs[0].then(|| {
        let kernel = kernel(weight, [inputs, outputs], Direction::Back);
        slide(dy, &kernel, images, [outputs, inputs])
    });
    let dweight = needs[1].then(|| weight_gradient(x, dy, images, [inputs, outputs]));
    [dx, dweight]
}

/// A copy with a line of zeros before, between and after the images, and a pixel of zeros before,
/// between and after lines: `[(B (H + 1) + 1) (W + 1) + 1, C]`.
fn bordered(x: &[f32], images: Images, channels: usize) -> Vec<f32> {
    let lines = images.batch * images.lines() + 1;
    let line = images.line() * channels;
    output::chunks(lines * line + channels, line, |index, out| {
        let (image, below) = (index / images.lines(), index % images.lines());
        if image < images.batch && below > 0 {
            let length = images.width * channels;
            let from = (image * images.height + below - 1) * length;
            out[channels..].copy_from_slice(&x[from..][..length]);
        }
    })
}

/// Which way a kernel is applied.
#[derive(Clone, Copy, Debug)]
enum Direction {
    Forward,
    /// Turned by half a circle, from outputs to inputs: what the gradient is convolved with.
    Back,
}

/// A weight `[O, I, 3, 3]` as factors of products: `[3, 3, I, O]`, or `[3, 3, O, I]` for the way
/// back.
fn kernel(weight: &[f32], [inputs, outputs]: [usize; 2], direction: Direction) -> Vec<f32> {
    let [rows, columns, row_stride, column_stride] = match direction {
        Direction::Forward => [inputs, outputs, 9, 9 * inputs],
        Direction::Back => [outputs, inputs, 9 * inputs, 9],
    };
    let mut kernel = vec![0.0; weight.len()];
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(rows.div_ceil(BLOCK), Vec::new);
    for place in kernel.chunks_exact_mut(rows * columns) {
        for (block, part) in blocks.iter_mut().zip(place.chunks_mut(BLOCK * columns)) {
            block.push(part);
        }
    }
    if matches!(direction, Direction::Back) {
        blocks.iter_mut().for_each(|places| places.reverse());
    }
    blocks
        .par_iter_mut()
        .with_min_len(output::least_chunks(weight.len()))
        .enumerate()
        .for_each(|(block, places)| {
            // In blocks of columns too, so that what is read stays in the cache for nine places.
            for first in (0..columns).step_by(BLOCK) {
                let last = columns.min(first + BLOCK);
                for (place, part) in places.iter_mut().enumerate() {
                    for (row, part) in part.chunks_exact_mut(columns).enumerate() {
                        let from = (block * BLOCK + row) * row_stride + place;
                        for (column, out) in (first..last).zip(&mut part[first..last]) {
                            *out = weight[from + column * column_stride];
                        }
                    }
                }
            }
        });
    kernel
}

/// Images `[B, H, W, I]` under a kernel `[3, 3, I, O]` -> `[B, H, W, O]`
fn slide(x: &[f32], kernel: &[f32], images: Images, [inputs, outputs]: [usize; 2]) -> Vec<f32> {
    let (height, width, line) = (images.height, images.width, images.line());
    let tiles = height.div_ceil((ROWS / line).max(1));
    let lines = height.div_ceil(tiles);
    let threads = match images.batch * tiles < rayon::current_num_threads() {
        true => Threads::All,
        false => Threads::One,
    };
    let mut y = vec![0.0; images.pixels() * outputs];
    y.par_chunks_exact_mut(height * width * outputs)
        .zip(x.par_chunks_exact(height * width * inputs))
        .flat_map(|(y, x)| {
            y.par_chunks_mut(lines * width * outputs)
                .enumerate()
                .map(move |(tile, y)| (tile * lines, x, y))
        })
        .for_each_init(Tile::default, |tile, (first, x, y)| {
            let height = y.len() / (width * outputs);
            tile.border(x, [first, height], [width, inputs]);
            let product = &mut tile.product;
            product.resize(height * line * outputs, 0.0);
            let rows = height * line - 1;
            for (down, kernel) in kernel.chunks_exact(3 * inputs * outputs).enumerate() {
                let windows = &tile.bordered[down * line * inputs..];
                multiply_into(
                    MatrixMut::strided(product, [rows, outputs], outputs),
                    Matrix::strided(windows, [rows, 3 * inputs], inputs),
                    Matrix::new(kernel, outputs),
                    1.0,
                    match down {
                        0 => Output::Replace,
                        _ => Output::Accumulate,
                    },
                    threads,
                );
            }
            let products = product.chunks_exact(line * outputs);
            for (y, product) in y.chunks_exact_mut(width * outputs).zip(products) {
                y.copy_from_slice(&product[..y.len()]);
            }
        });
    y
}

/// Lines of an image that a thread has at hand.
#[derive(Default)]
struct Tile {
    /// With the lines around them: `[(lines + 2) (W + 1) + 1, I]`.
    bordered: Vec<f32>,
    /// `[lines (W + 1), O]`.
    product: Vec<f32>,
}

impl Tile {
    /// Takes `count` lines of an image, from `first` on.
    fn border(&mut self, x: &[f32], [first, count]: [usize; 2], [width, channels]: [usize; 2]) {
        let (from, to) = (width * channels, (width + 1) * channels);
        self.bordered.clear();
        self.bordered.reserve((count + 2) * to + channels);
        for line in first..first + count + 2 {
            self.bordered.resize(self.bordered.len() + channels, 0.0);
            match line.checked_sub(1).and_then(|line| x.get(line * from..)) {
                Some(rest) if !rest.is_empty() => self.bordered.extend_from_slice(&rest[..from]),
                _ => self.bordered.resize(self.bordered.len() + from, 0.0),
            }
        }
        self.bordered.resize(self.bordered.len() + channels, 0.0);
    }
}

/// The gradient `[O, I, 3, 3]`.
///
/// x: `[B, H, W, I]`, dy: `[B, H, W, O]`
fn weight_gradient(
    x: &[f32],
    dy: &[f32],
    images: Images,
    [inputs, outputs]: [usize; 2],
) -> Vec<f32> {
    let (x, dy) = (bordered(x, images, inputs), bordered(dy, images, outputs));
    let line = images.line();
    let rows = (images.batch * images.lines() - 1) * line - 1;
    // From the first pixel on; where x's windows lie over a border, dy has its zeros.
    let dy = Matrix::strided(&dy[(line + 1) * outputs..], [rows, outputs], outputs);
    let mut places = vec![0.0; outputs * 9 * inputs];
    for down in 0..3 {
        let windows = &x[down * line * inputs..];
        multiply_into(
            MatrixMut::strided(
                &mut places[down * 3 * inputs..],
                [outputs, 3 * inputs],
                9 * inputs,
            ),
            dy.transposed(),
            Matrix::strided(windows, [rows, 3 * inputs], inputs),
            1.0,
            Output::Replace,
            Threads::All,
        );
    }
    output::chunks(places.len(), 9 * inputs, |index, out| {
        let places = &places[index * 9 * inputs..][..9 * inputs];
        for (place, values) in places.chunks_exact(inputs).enumerate() {
            for (out, value) in out.iter_mut().skip(place).step_by(9).zip(values) {
                *out = *value;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};

    struct Case {
        images: Images,
        channels: [usize; 2],
        x: Vec<f32>,
        weight: Vec<f32>,
        dy: Vec<f32>,
    }

    impl Case {
        fn new(batch: usize, height: usize, width: usize, channels: [usize; 2]) -> Self {
            let images = Images {
                batch,
                height,
                width,
            };
            let [inputs, outputs] = channels;
            Self {
                images,
                channels,
                x: noise(images.pixels() * inputs, 1),
                weight: noise(9 * inputs * outputs, 2),
                dy: noise(images.pixels() * outputs, 3),
            }
        }

        /// Output, dx and dweight, from the definition.
        fn plain(&self) -> [Vec<f64>; 3] {
            let Images {
                batch,
                height,
                width,
            } = self.images;
            let [inputs, outputs] = self.channels;
            let mut y = vec![0.0; self.dy.len()];
            let mut dx = vec![0.0; self.x.len()];
            let mut dweight = vec![0.0; self.weight.len()];
            for pixel in 0..batch * height * width {
                let (row, column) = (pixel / width % height, pixel % width);
                for place in 0..9 {
                    let (down, right) = (row + place / 3, column + place % 3);
                    if down < 1 || down > height || right < 1 || right > width {
                        continue;
                    }
                    let source = (pixel + (place / 3) * width + place % 3) - width - 1;
                    for o in 0..outputs {
                        for i in 0..inputs {
                            let (w, from) = ((o * inputs + i) * 9 + place, source * inputs + i);
                            let to = pixel * outputs + o;
                            let [x, weight, dy] = [self.x[from], self.weight[w], self.dy[to]];
                            y[to] += f64::from(x) * f64::from(weight);
                            dx[from] += f64::from(dy) * f64::from(weight);
                            dweight[w] += f64::from(dy) * f64::from(x);
                        }
                    }
                }
            }
            [y, dx, dweight]
        }

        fn forward(&self) -> Vec<f32> {
            convolution(&self.x, &self.weight, self.images, self.channels)
        }

        fn gradient(&self, needs: [bool; 2]) -> [Option<Vec<f32>>; 2] {
            let Self { x, weight, dy, .. } = self;
            convolution_gradient(x, weight, dy, self.images, self.channels, needs)
        }
    }

    #[test]
    fn any_size_agrees_with_f64_on_any_number_of_threads() {
        for (batch, height, width, channels) in [
            (1, 1, 1, [1, 1]),
            (2, 1, 1, [5, 3]),
            (2, 1, 7, [3, 4]),
            (3, 7, 1, [4, 20]),
            (2, 5, 6, [1, 17]),
            (1, 9, 9, [33, 1]),
            (2, 40, 33, [18, 19]),
            (1, 3, 600, [2, 3]),
        ] {
            let case = Case::new(batch, height, width, channels);
            let [y, dx, dweight] = case.plain();
            assert_close(&on_threads(|| case.forward()), &y, 1e-6);
            let [found_dx, found_dweight] = on_threads(|| case.gradient([true; 2]));
            assert_close(&found_dx.unwrap(), &dx, 1e-6);
            assert_close(&found_dweight.unwrap(), &dweight, 1e-6);
        }
    }

    #[test]
    fn the_images_beside_an_image_change_no_bit() {
        for (height, width, channels) in [(1, 1, [70, 3]), (20, 31, [64, 48]), (6, 6, [600, 40])] {
            let all = Case::new(3, height, width, channels);
            let y = all.forward();
            for image in 0..3 {
                let part = |x: &[f32]| x[image * x.len() / 3..(image + 1) * x.len() / 3].to_vec();
                let one = Case {
                    images: Images {
                        batch: 1,
                        ..all.images
                    },
                    x: part(&all.x),
                    ..Case::new(3, height, width, channels)
                };
                assert_eq!(one.forward(), part(&y));
            }
        }
    }

    #[test]
    fn what_is_asked_for_does_not_depend_on_the_rest() {
        let case = Case::new(2, 5, 4, [6, 7]);
        let all = case.gradient([true; 2]);
        for needs in [[true, false], [false, true], [false; 2]] {
            for ((found, all), needed) in case.gradient(needs).iter().zip(&all).zip(needs) {
                assert_eq!(found.as_ref(), all.as_ref().filter(|_| needed));
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_within_reach() {
        let mut case = Case::new(1, 6, 6, [2, 3]);
        case.x[(2 * 6 + 5) * 2] = f32::NAN;
        for (pixel, y) in case.forward().chunks_exact(3).enumerate() {
            let (row, column) = (pixel / 6, pixel % 6);
            let near = (1..=3).contains(&row) && column >= 4;
            assert!(y.iter().all(|y| y.is_nan() == near), "{row}, {column}");
        }
    }
}
