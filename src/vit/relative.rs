//! Learned biases of the attention scores: which row of a table belongs to which pair of tokens, and
//! what the rows make of the scores.

use crate::engine::{Engine, Result};
use crate::nn::{Loader, WeightError};

/// Rows of a table for a grid: one a distance, and three of the class token.
pub fn table_rows([rows, columns]: [usize; 2]) -> usize {
    (2 * rows - 1) * (2 * columns - 1) + 3
}

/// Row of a relative position table for each pair of tokens, a class token and the patches of
/// `grid` row by row: `[(1 + N)²]`, the query's index outermost.
///
/// The table has a row for each distance between patches, `[(2 h - 1)(2 w - 1)]` with vertical
/// distances outermost, and three more: from the class token to a patch, from a patch to the class
/// token, from the class token to itself (microsoft/unilm `beit/modeling_finetune.py`,
/// `RelativePositionBias`).
pub fn relative_index(grid: [usize; 2]) -> Vec<u32> {
    let [rows, columns] = grid;
    let patches = rows * columns;
    let distances = (2 * rows).saturating_sub(1) * (2 * columns).saturating_sub(1);
    let [from_class, to_class, class] = [0, 1, 2].map(|row| distances + row);
    let mut index = Vec::with_capacity((1 + patches).pow(2));
    index.push(class as u32);
    index.resize(1 + patches, from_class as u32);
    for query in 0..patches {
        index.push(to_class as u32);
        index.extend((0..patches).map(|key| {
            let down = query / columns + rows - 1 - key / columns;
            let right = query % columns + columns - 1 - key % columns;
            (down * (2 * columns - 1) + right) as u32
        }));
    }
    index
}

/// Rows of a table for the pairs of tokens of each image, or of every image.
#[derive(Clone, Debug)]
pub(super) struct PairRows {
    /// Images with rows of their own; 1 where all have the same.
    images: usize,
    /// Tokens T of an image.
    tokens: usize,
    /// `[images, T, T]`
    rows: Vec<u32>,
}

impl PairRows {
    /// Of a class token and all patches.
    pub(super) fn all(grid: [usize; 2]) -> Self {
        Self {
            images: 1,
            tokens: 1 + grid[0] * grid[1],
            rows: relative_index(grid),
        }
    }

    /// Of a class token and some patches: `[B, K]`.
    pub(super) fn of_seen(&self, seen: &[u32], images: usize) -> Self {
        let kept = seen.len() / images.max(1);
        let tokens = 1 + kept;
        let mut rows = Vec::with_capacity(images * tokens * tokens);
        for seen in seen.chunks_exact(kept.max(1)) {
            let places = || std::iter::once(0).chain(seen.iter().map(|patch| 1 + *patch as usize));
            for query in places() {
                let of_query = &self.rows[query * self.tokens..][..self.tokens];
                rows.extend(places().map(|key| of_query[key]));
            }
        }
        Self {
            images,
            tokens,
            rows,
        }
    }
}

/// One table: `[(2 h - 1)(2 w - 1) + 3, H]`.
#[derive(Clone, Debug)]
pub(super) struct RelativeTable<E: Engine>(E::Tensor);

impl<E: Engine> RelativeTable<E> {
    pub(super) fn load(
        loader: &mut Loader<'_, E>,
        prefix: &str,
        grid: [usize; 2],
        heads: usize,
    ) -> std::result::Result<Self, WeightError> {
        let name = format!("{prefix}.relative_position_bias_table");
        Ok(Self(loader.take(&name, &[table_rows(grid), heads])?))
    }

    /// -> `[1 or B, H, T, T]`
    pub(super) fn bias(&self, engine: &E, pairs: &PairRows) -> Result<E::Tensor> {
        let rows = engine.index_select(&self.0, 0, &pairs.rows)?;
        let heads = engine.shape(&self.0)[1];
        let shape = [pairs.images, pairs.tokens, pairs.tokens, heads];
        let bias = engine.reshape(&rows, &shape)?;
        engine.permute(&bias, &[0, 3, 1, 2])
    }
}

#[cfg(test)]
mod tests {
    use super::relative_index;

    #[test]
    fn one_row_of_two_patches() {
        // Distances -1, 0, 1 are rows 0, 1, 2.
        assert_eq!(relative_index([1, 2]), [5, 3, 3, 4, 1, 0, 4, 2, 1]);
    }

    #[test]
    fn every_row_of_the_table_is_used_and_distances_are_antisymmetric() {
        let (rows, columns) = (3, 5);
        let tokens = 1 + rows * columns;
        let distances = (2 * rows - 1) * (2 * columns - 1);
        let index = relative_index([rows, columns]);
        assert_eq!(index.len(), tokens * tokens);
        for row in 0..distances as u32 + 3 {
            assert!(index.contains(&row), "{row}");
        }
        for query in 1..tokens {
            for key in 1..tokens {
                let there = index[query * tokens + key] as usize;
                let back = index[key * tokens + query] as usize;
                assert_eq!(there + back, distances - 1, "{query} {key}");
            }
        }
    }
}
