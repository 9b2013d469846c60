//! Multi-head self-attention over packed projections.
//!
//! A block of rows of one head's scores fits in the second-level cache: it is formed, normalised
//! and multiplied with the values before the next one. The backward pass forms the scores again
//! from the kept log-sum-exp of each row, so that no `[N, N]` map is stored.

use rayon::prelude::*;

use super::attention_statistics::{HeadSums, Spans};
use super::gemm::{Matrix, MatrixMut, Output, Threads, multiply_into};
use super::softmax::{exp_minus_rows, softmax_gradient_rows, softmax_rows};
use crate::metric::PatchGrid;

/// Rows of scores formed at a time in the forward pass: so few that threads share an image, and
/// as many for one image as for more, so that an image's bits do not depend on the others.
const ROWS: usize = 128;

/// Rows of scores formed at a time in the backward pass.
const GRADIENT_ROWS: usize = 256;

/// Groups of images whose bias gradients are summed apart and merged in order: a fixed number, so
/// that threads do not change the order of the sum.
const GROUPS: usize = 16;

/// Sizes of packed projections: `[batch, tokens, 3 heads head_dim]`.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Images.
    pub batch: usize,
    /// Tokens an image.
    pub tokens: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Packed {
    fn width(self) -> usize {
        self.heads * self.head_dim
    }

    /// Part 0, 1 or 2 (q, k or v) of a head in one image's projections: `[rows, head_dim]`.
    fn part<'a>(self, image: &'a [f32], part: usize, head: usize, rows: Rows) -> Matrix<'a> {
        let stride = 3 * self.width();
        let start = rows.first * stride + part * self.width() + head * self.head_dim;
        Matrix::strided(&image[start..], [rows.count, self.head_dim], stride)
    }

    /// A head's columns in rows of `[tokens, heads head_dim]`.
    fn head<'a>(self, image: &'a [f32], head: usize, rows: Rows) -> Matrix<'a> {
        let start = rows.first * self.width() + head * self.head_dim;
        Matrix::strided(&image[start..], [rows.count, self.head_dim], self.width())
    }
}

/// A run of tokens.
#[derive(Clone, Copy, Debug)]
struct Rows {
    first: usize,
    count: usize,
}

/// Runs of at most [`GRADIENT_ROWS`] tokens, as equal as they can be.
fn blocks(tokens: usize) -> impl Iterator<Item = Rows> {
    let size = block_size(tokens, GRADIENT_ROWS);
    (0..tokens).step_by(size).map(move |first| Rows {
        first,
        count: size.min(tokens - first),
    })
}

fn block_size(tokens: usize, most: usize) -> usize {
    tokens.div_ceil(tokens.div_ceil(most).max(1)).max(1)
}

/// What is added to the scores: element `[b, h, i, j]` of the broadcast bias stands at
/// `b strides[0] + h strides[1] + i strides[2] + j strides[3]`.
#[derive(Clone, Copy, Debug)]
pub struct Bias<'a> {
    /// Elements.
    pub data: &'a [f32],
    /// 0 where an axis is broadcast; the last is 0 or 1.
    pub strides: [usize; 4],
}

impl Bias<'_> {
    /// Adds row `i` of image `b` and head `h`.
    fn add(&self, [b, h, i]: [usize; 3], scores: &mut [f32]) {
        let [images, heads, rows, columns] = self.strides;
        let start = b * images + h * heads + i * rows;
        if columns == 0 {
            scores
                .iter_mut()
                .for_each(|score| *score += self.data[start]);
        } else {
            for (score, bias) in scores.iter_mut().zip(&self.data[start..]) {
                *score += bias;
            }
        }
    }
}

/// What attention computes.
#[derive(Debug)]
pub struct Attended {
    /// The mixed values: `[B, N, D]`.
    pub out: Vec<f32>,
    /// Log-sum-exp of each row of scores: `[B, N, H]`.
    pub log_sums: Vec<f32>,
    /// What the weights say about the patches: `[B, H, 4]`; empty where nobody asks.
    pub statistics: Vec<f32>,
}

/// `softmax(scale q kᵀ + bias) v`: qkv `[B, N, 3 D]`, rows `[q; k; v]`, head-major inside each; and
/// of the weights, while a block of them is in the cache, their statistics over `patches`, which
/// are a grid of these tokens.
pub fn attention(
    qkv: &[f32],
    sizes: Packed,
    bias: Option<Bias<'_>>,
    scale: f32,
    patches: Option<&PatchGrid>,
) -> Attended {
    let Packed {
        batch,
        tokens,
        heads,
        ..
    } = sizes;
    let width = sizes.width();
    let mut out = vec![0.0; batch * tokens * width];
    let mut log_sums = vec![0.0; batch * tokens * heads];
    if out.is_empty() {
        return Attended {
            out,
            log_sums,
            statistics: Vec::new(),
        };
    }
    let size = block_size(tokens, ROWS);
    let blocks = tokens.div_ceil(size);
    let spans = patches.map(Spans::new);
    // Every block's sums, one a head.
    let mut sums: Vec<Vec<HeadSums>> = vec![Vec::new(); batch * blocks];
    let task = |[image, block]: [usize; 2], part: BlockMut<'_>, scores: &mut Vec<f32>| {
        let projections = &qkv[image * tokens * 3 * width..][..tokens * 3 * width];
        let rows = Rows {
            first: block * size,
            count: part.out.len() / width,
        };
        let run = rows.first..rows.first + rows.count;
        let spans = spans.as_ref().map(|spans| (spans, spans.of(run.clone())));
        let all = Rows {
            first: 0,
            count: tokens,
        };
        scores.resize(rows.count * tokens, 0.0);
        let mut row_sums = vec![0.0; rows.count];
        for head in 0..heads {
            let [q, k, v] = [
                sizes.part(projections, 0, head, rows),
                sizes.part(projections, 1, head, all),
                sizes.part(projections, 2, head, all),
            ];
            form_scores(scores, q, k, scale, bias, [image, head, rows.first]);
            softmax_rows(scores, tokens, &mut row_sums);
            if let Some((spans, of_run)) = &spans {
                part.sums.push(spans.sums(scores, run.clone(), of_run));
            }
            let into = MatrixMut::strided(
                &mut part.out[head * sizes.head_dim..],
                [rows.count, sizes.head_dim],
                width,
            );
            let weights = Matrix::new(scores, tokens);
            multiply_into(into, weights, v, 1.0, Output::Replace, Threads::One);
            for (sums, sum) in part.log_sums.chunks_exact_mut(heads).zip(&row_sums) {
                sums[head] = *sum;
            }
        }
    };
    out.par_chunks_mut(tokens * width)
        .zip(log_sums.par_chunks_mut(tokens * heads))
        .zip(sums.par_chunks_mut(blocks))
        .enumerate()
        .for_each(|(image, ((out, log_sums), sums))| {
            out.par_chunks_mut(size * width)
                .zip(log_sums.par_chunks_mut(size * heads))
                .zip(sums)
                .enumerate()
                .for_each_init(Vec::new, |scores, (block, ((out, log_sums), sums))| {
                    let part = BlockMut {
                        out,
                        log_sums,
                        sums,
                    };
                    task([image, block], part, scores);
                });
        });
    let statistics = spans.map(|spans| {
        let of_head = |i| {
            let image = &sums[i / heads * blocks..][..blocks];
            spans.statistics(image.iter().map(|block| &block[i % heads]))
        };
        let each: Vec<_> = (0..batch * heads).into_par_iter().map(of_head).collect();
        each.into_flattened()
    });
    Attended {
        out,
        log_sums,
        statistics: statistics.unwrap_or_default(),
    }
}

/// What belongs to a block of rows of [`Attended`].
struct BlockMut<'a> {
    out: &'a mut [f32],
    log_sums: &'a mut [f32],
    sums: &'a mut Vec<HeadSums>,
}

/// `scale q kᵀ + bias` of a block of rows that begins at row `at[2]` of image `at[0]`, head `at[1]`.
fn form_scores(
    scores: &mut [f32],
    q: Matrix<'_>,
    k: Matrix<'_>,
    scale: f32,
    bias: Option<Bias<'_>>,
    at: [usize; 3],
) {
    let tokens = k.rows();
    let into = MatrixMut::new(scores, tokens);
    multiply_into(
        into,
        q,
        k.transposed(),
        scale,
        Output::Replace,
        Threads::One,
    );
    if let Some(bias) = bias {
        for (row, scores) in scores.chunks_exact_mut(tokens).enumerate() {
            bias.add([at[0], at[1], at[2] + row], scores);
        }
    }
}

/// Gradients of [`attention`].
#[derive(Debug)]
pub struct AttentionGradient {
    /// `[B, N, 3 D]`
    pub qkv: Vec<f32>,
    /// Where it is needed: of the bias, broadcast along the images when it is the same for all of
    /// them (`[H, N, N]`), else `[B, H, N, N]`.
    pub bias: Option<Vec<f32>>,
}

/// Gradients with respect to qkv and, where `needs_bias`, to the bias.
///
/// dy: `[B, N, D]`
pub fn attention_gradient(
    qkv: &[f32],
    sizes: Packed,
    bias: Option<Bias<'_>>,
    scale: f32,
    (out, kept_sums): (&[f32], &[f32]),
    dy: &[f32],
    needs_bias: bool,
) -> AttentionGradient {
    let Packed {
        batch,
        tokens,
        heads,
        ..
    } = sizes;
    let width = sizes.width();
    let mut dqkv = vec![0.0; qkv.len()];
    if qkv.is_empty() {
        return AttentionGradient {
            qkv: dqkv,
            bias: needs_bias.then(|| vec![0.0; heads * tokens * tokens]),
        };
    }
    let per_image = bias.is_some_and(|bias| bias.strides[0] != 0);
    // Images that share a sum of bias gradients.
    let group = if needs_bias && !per_image {
        batch.div_ceil(GROUPS)
    } else {
        1
    };
    let map = heads * tokens * tokens;
    let groups = if needs_bias { batch.div_ceil(group) } else { 0 };
    let mut maps = vec![0.0; groups * map];
    let task =
        |image: usize, dqkv: &mut [f32], mut dbias: Option<&mut [f32]>, scratch: &mut Scratch| {
            let projections = &qkv[image * tokens * 3 * width..][..tokens * 3 * width];
            let [out, dy] = [out, dy].map(|x| &x[image * tokens * width..][..tokens * width]);
            let all = Rows {
                first: 0,
                count: tokens,
            };
            for (head, rows) in
                (0..heads).flat_map(|head| blocks(tokens).map(move |rows| (head, rows)))
            {
                let [q, k, v] = [
                    sizes.part(projections, 0, head, rows),
                    sizes.part(projections, 1, head, all),
                    sizes.part(projections, 2, head, all),
                ];
                let dy_rows = sizes.head(dy, head, rows);
                let Scratch {
                    weights,
                    dweights,
                    log_sums,
                    shares,
                } = scratch;
                weights.resize(rows.count * tokens, 0.0);
                dweights.resize(rows.count * tokens, 0.0);
                log_sums.clear();
                shares.clear();
                for row in rows.first..rows.first + rows.count {
                    log_sums.push(kept_sums[(image * tokens + row) * heads + head]);
                    let columns = row * width + head * sizes.head_dim..;
                    let pairs = out[columns.clone()]
                        .iter()
                        .zip(&dy[columns])
                        .take(sizes.head_dim);
                    shares.push(pairs.map(|(out, dy)| out * dy).sum());
                }
                form_scores(weights, q, k, scale, bias, [image, head, rows.first]);
                exp_minus_rows(weights, tokens, log_sums);
                let output = if rows.first == 0 {
                    Output::Replace
                } else {
                    Output::Accumulate
                };
                let mut into = |part: usize, rows: Rows, lhs, rhs, scale, output| {
                    let start = rows.first * 3 * width + part * width + head * sizes.head_dim;
                    let shape = [rows.count, sizes.head_dim];
                    let into = MatrixMut::strided(&mut dqkv[start..], shape, 3 * width);
                    multiply_into(into, lhs, rhs, scale, output, Threads::One);
                };
                into(
                    2,
                    all,
                    Matrix::new(weights, tokens).transposed(),
                    dy_rows,
                    1.0,
                    output,
                );
                let dweights_into = MatrixMut::new(dweights, tokens);
                multiply_into(
                    dweights_into,
                    dy_rows,
                    v.transposed(),
                    1.0,
                    Output::Replace,
                    Threads::One,
                );
                // From here on the gradient of the scores.
                softmax_gradient_rows(weights, tokens, shares, dweights);
                if let Some(dbias) = &mut dbias {
                    let rows = &mut dbias[(head * tokens + rows.first) * tokens..];
                    for (sum, score) in rows.iter_mut().zip(dweights.iter()) {
                        *sum += score;
                    }
                }
                let dscores = Matrix::new(dweights, tokens);
                into(0, rows, dscores, k, scale, Output::Replace);
                into(1, all, dscores.transposed(), q, scale, output);
            }
        };
    let images = dqkv.par_chunks_mut(group * tokens * 3 * width).enumerate();
    let run = |(first, dqkv): (usize, &mut [f32]), mut dbias: Option<&mut [f32]>| {
        let mut scratch = Scratch::default();
        for (i, dqkv) in dqkv.chunks_exact_mut(tokens * 3 * width).enumerate() {
            task(first * group + i, dqkv, dbias.as_deref_mut(), &mut scratch);
        }
    };
    if needs_bias {
        images
            .zip(maps.par_chunks_mut(map))
            .for_each(|(images, map)| run(images, Some(map)));
    } else {
        images.for_each(|images| run(images, None));
    }
    let bias = needs_bias.then(|| {
        if per_image || maps.len() == map {
            return maps;
        }
        let (sum, others) = maps.split_at_mut(map);
        for other in others.chunks_exact(map) {
            for (sum, other) in sum.iter_mut().zip(other) {
                *sum += other;
            }
        }
        maps.truncate(map);
        maps
    });
    AttentionGradient { qkv: dqkv, bias }
}

/// Memory of one thread in the backward pass.
#[derive(Default)]
struct Scratch {
    /// Softmax weights of a block: `[rows, tokens]`.
    weights: Vec<f32>,
    /// Their gradients, then those of the scores.
    dweights: Vec<f32>,
    log_sums: Vec<f32>,
    /// `Σ_c out_c dy_c` of each row: what softmax takes off its gradient.
    shares: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::candle::kernels::linear::tests::wide;
    use crate::engine::candle::kernels::vector::tests::{assert_close, noise, on_threads};

    /// Values, and gradients of `Σ out dy` with respect to qkv and the full bias
    /// `[B, H, N, N]`, in f64.
    fn plain(
        qkv: &[f64],
        sizes: Packed,
        bias: &dyn Fn([usize; 4]) -> f64,
        scale: f64,
        dy: &[f64],
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let Packed {
            batch,
            tokens: n,
            heads,
            head_dim: d,
        } = sizes;
        let width = heads * d;
        let mut out = vec![0.0; batch * n * width];
        let mut dqkv = vec![0.0; qkv.len()];
        let mut dbias = vec![0.0; batch * heads * n * n];
        for (b, h, i) in (0..batch * heads * n).map(|r| (r / n / heads, r / n % heads, r % n)) {
            let at = |token: usize, part: usize, c: usize| {
                ((b * n + token) * 3 + part) * width + h * d + c
            };
            let scores: Vec<f64> = (0..n)
                .map(|j| {
                    let dot: f64 = (0..d).map(|c| qkv[at(i, 0, c)] * qkv[at(j, 1, c)]).sum();
                    scale * dot + bias([b, h, i, j])
                })
                .collect();
            let total: f64 = scores.iter().map(|s| s.exp()).sum();
            let weights: Vec<f64> = scores.iter().map(|s| s.exp() / total).collect();
            let row = (b * n + i) * width + h * d;
            let dweight = |j: usize| (0..d).map(|c| dy[row + c] * qkv[at(j, 2, c)]).sum::<f64>();
            let share: f64 = (0..n).map(|j| weights[j] * dweight(j)).sum();
            for j in 0..n {
                let dscore = weights[j] * (dweight(j) - share);
                dbias[((b * heads + h) * n + i) * n + j] = dscore;
                for c in 0..d {
                    out[row + c] += weights[j] * qkv[at(j, 2, c)];
                    dqkv[at(i, 0, c)] += scale * dscore * qkv[at(j, 1, c)];
                    dqkv[at(j, 1, c)] += scale * dscore * qkv[at(i, 0, c)];
                    dqkv[at(j, 2, c)] += weights[j] * dy[row + c];
                }
            }
        }
        (out, dqkv, dbias)
    }

    fn sizes(batch: usize, tokens: usize, heads: usize, head_dim: usize) -> Packed {
        Packed {
            batch,
            tokens,
            heads,
            head_dim,
        }
    }

    #[test]
    fn values_and_gradients_agree_with_f64_on_any_number_of_threads() {
        // More images than groups, and more tokens than a block of rows.
        for sizes in [
            sizes(1, 1, 1, 1),
            sizes(2, 5, 3, 4),
            sizes(37, 6, 2, 3),
            sizes(1, 300, 2, 16),
        ] {
            let Packed {
                batch,
                tokens,
                heads,
                head_dim,
            } = sizes;
            let width = heads * head_dim;
            let qkv = noise(batch * tokens * 3 * width, 1);
            let dy = noise(batch * tokens * width, 2);
            let data = noise(batch * heads * tokens * tokens, 3);
            let (n, map) = (tokens, tokens * tokens);
            let strides = [
                None,
                Some([0, map, n, 1]),
                Some([heads * map, map, n, 1]),
                Some([0, 0, 0, 1]),
                Some([0, n, 1, 0]),
            ];
            for strides in strides {
                let bias = strides.map(|strides| Bias {
                    data: &data,
                    strides,
                });
                let at = |place: [usize; 4]| match strides {
                    None => 0.0,
                    Some(strides) => {
                        let i: usize = place.iter().zip(strides).map(|(i, s)| i * s).sum();
                        f64::from(data[i])
                    }
                };
                let (out, dqkv, dbias) = plain(&wide(&qkv), sizes, &at, 0.3, &wide(&dy));
                let (found, log_sums) = on_threads(|| {
                    let attended = attention(&qkv, sizes, bias, 0.3, None);
                    (attended.out, attended.log_sums)
                });
                assert_close(&found, &out, 2e-6);
                let (found, found_bias) = on_threads(|| {
                    let attended = (&found[..], &log_sums[..]);
                    let gradient =
                        attention_gradient(&qkv, sizes, bias, 0.3, attended, &dy, bias.is_some());
                    (gradient.qkv, gradient.bias)
                });
                assert_close(&found, &dqkv, 3e-6);
                let Some(found) = found_bias else {
                    assert!(bias.is_none());
                    continue;
                };
                let mut expected = vec![0.0; found.len()];
                for (i, dbias) in dbias.iter().enumerate() {
                    expected[i % found.len()] += dbias;
                }
                assert_close(&found, &expected, 3e-6);
            }
        }
    }

    #[test]
    fn no_images_give_nothing() {
        let none = sizes(0, 4, 2, 3);
        let attended = attention(&[], none, None, 1.0, None);
        assert!(attended.out.is_empty() && attended.log_sums.is_empty());
        let gradient = attention_gradient(&[], none, None, 1.0, (&[], &[]), &[], false);
        assert!(gradient.qkv.is_empty());
    }
}
